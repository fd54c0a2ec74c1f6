/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes what there is, for tests of limits.
 *
 *   hog memory MIB   touches so much memory, and says how much it had when it got no more
 *   hog fork N       forks N children that wait, says how many there were, and ends them
 *   hog bomb         forks for ever, and so do its children; none ends
 *   hog spin MS      spins for so long, and says how many ms of CPU it got
 *   hog spinners N   forks N children that spin, says so, and spins
 *   hog pipe MIB     leaves so much in its standard output, a pipe that it makes as large
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024ul * 1024)

static int take_memory(unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			       0);

		if (p == MAP_FAILED) {
			printf("%lu %s\n", i, strerror(errno));
			return 1;
		}
		memset(p, 1, MIB);
	}
	printf("%lu\n", n);
	return 0;
}

static int take_pids(unsigned long n)
{
	unsigned long i;
	int err = 0;

	setpgid(0, 0);
	for (i = 0; i < n && !err; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			pause();
			_exit(0);
		}
		err = pid < 0 ? errno : 0;
	}
	printf("%lu %s\n", err ? i - 1 : i, err ? strerrorname_np(err) : "ok");
	fflush(stdout);
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	return 0;
}

static _Noreturn void bomb(void)
{
	const struct timespec rest = { .tv_nsec = 10000000 };

	for (;;)
		if (fork() < 0)
			nanosleep(&rest, NULL);
}

static unsigned long now_ms(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (unsigned long)ts.tv_sec * 1000 + (unsigned long)ts.tv_nsec / 1000000;
}

static int spin(unsigned long ms)
{
	unsigned long end = now_ms(CLOCK_MONOTONIC) + ms;

	while (now_ms(CLOCK_MONOTONIC) < end)
		;
	printf("%lu\n", now_ms(CLOCK_PROCESS_CPUTIME_ID));
	return 0;
}

static _Noreturn void spinners(unsigned long n)
{
	bool child = false;

	for (unsigned long i = 0; i < n && !child; i++)
		child = fork() == 0;
	if (!child)
		(void)!write(STDOUT_FILENO, "spinning\n", 9);
	for (;;)
		;
}

/* The same MiB again and again: the pipe holds references to it. */
static int fill_pipe(unsigned long mib)
{
	int file = memfd_create("hog", 0);

	if (file < 0 || ftruncate(file, (off_t)MIB) < 0)
		return 1;
	/* 2^31 is negative as an int: what comes back says nothing. */
	(void)fcntl(STDOUT_FILENO, F_SETPIPE_SZ, (unsigned)(mib * MIB));
	for (unsigned long left = mib * MIB; left > 0;) {
		off_t at = (off_t)(-left % MIB);
		ssize_t n = splice(file, &at, STDOUT_FILENO, NULL, MIB - (size_t)at,
				   SPLICE_F_NONBLOCK);

		if (n <= 0) {
			fprintf(stderr, "%lu left: %s\n", left, strerror(errno));
			return 1;
		}
		left -= (unsigned long)n;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;

	if (argc > 1 && strcmp(argv[1], "bomb") == 0)
		bomb();
	if (argc > 2 && strcmp(argv[1], "memory") == 0)
		return take_memory(n);
	if (argc > 2 && strcmp(argv[1], "fork") == 0)
		return take_pids(n);
	if (argc > 2 && strcmp(argv[1], "spin") == 0)
		return spin(n);
	if (argc > 2 && strcmp(argv[1], "spinners") == 0)
		spinners(n);
	if (argc > 2 && strcmp(argv[1], "pipe") == 0)
		return fill_pipe(n);
	fputs("usage: hog memory MIB | fork N | bomb | spin MS | spinners N | pipe MIB\n", stderr);
	return 2;
}
