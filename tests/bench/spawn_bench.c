/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to run one command, by moat and by other means, in one run: every round runs each
 * method, in an order shuffled anew, so that drift hits all alike. Each turn runs it twice, and the
 * second run counts: what the method before it has left behind (cold caches, a mount namespace that
 * the kernel still takes down) is not its own cost. Reported are median, p99 and the ratio of the
 * medians to posix_spawn.
 * A method whose program is missing, or which cannot run here, is a visible skip.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FIRST_CONTEXTS 256u
#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static const char *socket_path = "/run/moat/moat.sock";
static const char *moat_program = "moat";
static const char *command = "/bin/true";
static char init_pid[16]; /* of the user namespace's moat-init */
static int api_socket = -1;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "spawn_bench: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- Plain processes ----------------------------------------------------------------------- */

/* Runs argv as a program that starts others would: both outputs through pipes, to their end, then
 * the status. 0, or -1 when it could not be started or did not exit with 0. */
static int run_process(char *const *argv)
{
	char *const env[] = { (char *)"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", NULL };
	posix_spawn_file_actions_t actions;
	int out[2], err[2], status, r;
	char buffer[4096];
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		die("pipe2");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_adddup2(&actions, err[1], 2);
	r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	close(err[1]);
	while (r == 0 && read(out[0], buffer, sizeof(buffer)) > 0)
		;
	while (r == 0 && read(err[0], buffer, sizeof(buffer)) > 0)
		;
	close(out[0]);
	close(err[0]);
	if (r != 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

#define ARGV(...) ((char **)(const char *[]){ __VA_ARGS__, NULL })

static int by_posix_spawn(void)
{
	return run_process(ARGV(command));
}

static int by_cli(void)
{
	return run_process(ARGV(moat_program, "--socket", socket_path, "exec", "--", command));
}

static int by_cli_secure(void)
{
	return run_process(
		ARGV(moat_program, "--socket", socket_path, "exec", "-e", "K=V", "--", command));
}

static int by_nsenter(void)
{
	if (!init_pid[0])
		return -1;
	return run_process(ARGV("nsenter", "--target", init_pid, "--pid", "--mount", "--", command));
}

static int by_unshare(void)
{
	return run_process(ARGV("unshare", "--pid", "--fork", "--mount", "--mount-proc", command));
}

static int by_bwrap(void)
{
	return run_process(ARGV("bwrap", "--bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
				"--unshare-pid", command));
}

#include "api.h"

static int api_exec(const char *extra)
{
	char body[512];

	snprintf(body, sizeof(body), "{\"argv\":[\"%s\"]%s}", command, extra);
	return succeeded(api_call("POST", "/v1/exec", body)) ? 0 : -1;
}

static int by_api(void)
{
	return api_exec("");
}

static int by_api_secure(void)
{
	return api_exec(",\"env\":{\"K\":\"V\"}");
}

/* The same command as a string; and two of them, beside a shell that is started as a command. */
static int api_string(const char *joined)
{
	char body[512];

	if (joined)
		snprintf(body, sizeof(body), "{\"command\":\"%s %s %s\"}", command, joined,
			 command);
	else
		snprintf(body, sizeof(body), "{\"command\":\"%s\"}", command);
	return succeeded(api_call("POST", "/v1/exec", body)) ? 0 : -1;
}

static int api_shell(const char *joined)
{
	char body[512];

	snprintf(body, sizeof(body), "{\"argv\":[\"dash\",\"-c\",\"%s %s %s\"]}", command, joined,
		 command);
	return succeeded(api_call("POST", "/v1/exec", body)) ? 0 : -1;
}

static int by_string(void)
{
	return api_string(NULL);
}

static int by_string_pipe(void)
{
	return api_string("|");
}

static int by_shell_pipe(void)
{
	return api_shell("|");
}

static int by_string_and(void)
{
	return api_string("&&");
}

static int by_shell_and(void)
{
	return api_shell("&&");
}

static int api_exec_in(const char *context)
{
	char extra[64];

	snprintf(extra, sizeof(extra), ",\"context\":\"%s\"", context);
	return api_exec(extra);
}

/* Of contexts that tests/bench/run configures: each is used again when its namespaces are long gone. */
static int by_api_first(void)
{
	static unsigned turn;
	char name[16];

	snprintf(name, sizeof(name), "c%u", turn++ % FIRST_CONTEXTS);
	return api_exec_in(name);
}

static int by_api_later(void)
{
	return api_exec_in("again");
}

/* --- Latency ------------------------------------------------------------------------------- */

static struct method {
	const char *name;
	int (*run)(void);
	int (*beside)(void); /* what it is compared with, besides posix_spawn; NULL: nothing */
	bool skipped;
	uint64_t *times;
	size_t n;
} methods[] = {
	{ .name = "posix_spawn", .run = by_posix_spawn },
	{ .name = "moat API", .run = by_api },
	{ .name = "moat API, string", .run = by_string, .beside = by_api },
	{ .name = "dash -c a | b", .run = by_shell_pipe },
	{ .name = "string a | b", .run = by_string_pipe, .beside = by_shell_pipe },
	{ .name = "dash -c a && b", .run = by_shell_and },
	{ .name = "string a && b", .run = by_string_and, .beside = by_shell_and },
	{ .name = "moat API, secure", .run = by_api_secure },
	{ .name = "moat API, of a context", .run = by_api_later },
	{ .name = "moat API, first of a context", .run = by_api_first },
	{ .name = "moat exec", .run = by_cli },
	{ .name = "moat exec -e K=V", .run = by_cli_secure },
	{ .name = "nsenter", .run = by_nsenter },
	{ .name = "unshare", .run = by_unshare },
	{ .name = "bwrap", .run = by_bwrap },
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void shuffle(size_t *order, size_t n)
{
	static uint64_t seed = 88172645463325252u; /* fixed: runs are repeatable */

	for (size_t i = n; i > 1; i--) {
		size_t j, kept;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		j = seed % i;
		kept = order[i - 1];
		order[i - 1] = order[j];
		order[j] = kept;
	}
}

static void take_turn(struct method *m, bool counts)
{
	uint64_t start;
	bool failed = m->run() < 0;

	start = now_ns();
	failed = failed || m->run() < 0;
	start = now_ns() - start;
	if (failed && counts) /* it worked before: that is an error */
		die(m->name);
	if (failed)
		m->skipped = true;
	else if (counts)
		m->times[m->n++] = start;
}

static void run_rounds(size_t rounds, size_t warm_up)
{
	size_t order[LEN(methods)];

	for (size_t i = 0; i < LEN(methods); i++) {
		order[i] = i;
		methods[i].times = calloc(rounds, sizeof(uint64_t));
		if (!methods[i].times)
			die("calloc");
	}
	for (size_t round = 0; round < warm_up + rounds; round++) {
		shuffle(order, LEN(order));
		for (size_t i = 0; i < LEN(order); i++)
			if (!methods[order[i]].skipped)
				take_turn(&methods[order[i]], round >= warm_up);
	}
	for (size_t i = 0; i < LEN(methods); i++)
		if (methods[i].n)
			qsort(methods[i].times, methods[i].n, sizeof(uint64_t), compare);
}

static double median_us(const struct method *m)
{
	return (double)m->times[m->n / 2] / 1000;
}

/* The ratio of the medians to what it is to be compared with; 0: nothing. */
static double beside(const struct method *m)
{
	for (size_t i = 0; m->beside && i < LEN(methods); i++)
		if (methods[i].run == m->beside && !methods[i].skipped)
			return median_us(m) / median_us(&methods[i]);
	return 0;
}

static double p99_us(const struct method *m)
{
	return (double)m->times[m->n * 99 / 100] / 1000;
}

#include "load.h"

static const size_t widths[] = { 1, 16, 1000 };
static double rates[LEN(widths)];

static void run_throughput(size_t total)
{
	for (size_t i = 0; i < LEN(widths); i++) {
		throughput(widths[i], widths[i]); /* warms the pools of the agent */
		rates[i] = throughput(widths[i], total);
	}
}

/* --- Reports ------------------------------------------------------------------------------- */

static void print_table(void)
{
	double base = median_us(&methods[0]);

	printf("%-28s %12s %12s %14s\n", command, "median us", "p99 us", "x posix_spawn");
	for (size_t i = 0; i < LEN(methods); i++) {
		const struct method *m = &methods[i];

		if (m->skipped)
			printf("%-28s skipped: it does not run here", m->name);
		else
			printf("%-28s %12.1f %12.1f %14.2f", m->name, median_us(m), p99_us(m),
			       median_us(m) / base);
		if (!m->skipped && beside(m) > 0)
			printf("   %.2f x the one before", beside(m));
		putchar('\n');
	}
	if (!rates[0])
		return;
	printf("\n%-18s %12s %29s\n", "API, concurrent", "per second", "x the rate at 16");
	for (size_t i = 0; i < LEN(widths); i++) {
		if (rates[i] < 0)
			printf("%-18zu commands were lost\n", widths[i]);
		else
			printf("%-18zu %12.0f %29.2f\n", widths[i], rates[i], rates[i] / rates[1]);
	}
}

static void print_json(size_t rounds)
{
	printf("{\"command\":\"%s\",\"rounds\":%zu,\"latency\":[", command, rounds);
	for (size_t i = 0; i < LEN(methods); i++) {
		const struct method *m = &methods[i];

		printf("%s{\"name\":\"%s\",\"skipped\":%s", i ? "," : "", m->name,
		       m->skipped ? "true" : "false");
		if (!m->skipped)
			printf(",\"beside\":%.4f,\"medianUs\":%.2f,\"p99Us\":%.2f,\"ratio\":%.4f",
			       beside(m), median_us(m), p99_us(m),
			       median_us(m) / median_us(&methods[0]));
		printf("}");
	}
	printf("],\"throughput\":[");
	for (size_t i = 0; rates[0] && i < LEN(widths); i++)
		printf("%s{\"concurrent\":%zu,\"perSecond\":%.1f}", i ? "," : "", widths[i],
		       rates[i]);
	printf("]}\n");
}

/* The pid of the moat-init of namespace "user", from /v1/status: {"name":"user", … "pid":N}. */
static void find_init_pid(void)
{
	const char *answer = api_call("GET", "/v1/status", ""), *at;

	at = answer ? strstr(answer, "\"name\":\"user\"") : NULL;
	at = at ? strstr(at, "\"pid\":") : NULL;
	if (at)
		snprintf(init_pid, sizeof(init_pid), "%ld", strtol(at + 6, NULL, 10));
}

static const char usage[] =
	"usage: spawn_bench [-n ROUNDS] [-t COMMANDS] [--socket PATH] [--moat PROGRAM]\n"
	"                   [--command PROGRAM] [--json]\n"
	"  -n  rounds of the latency table (1000)\n"
	"  -t  commands per throughput measurement (4000; 0: none)\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "moat", required_argument, NULL, 'm' },
		{ "command", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	size_t rounds = 1000, total = 4000;
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "n:t:", options, NULL)) >= 0) {
		switch (c) {
		case 'n': rounds = strtoul(optarg, NULL, 10); break;
		case 't': total = strtoul(optarg, NULL, 10); break;
		case 's': socket_path = optarg; break;
		case 'm': moat_program = optarg; break;
		case 'c': command = optarg; break;
		case 'j': json = true; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (optind < argc || rounds == 0) {
		fputs(usage, stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	find_init_pid();
	run_rounds(rounds, 20);
	if (methods[0].skipped || methods[1].skipped) {
		fprintf(stderr, "spawn_bench: %s does not run %s\n",
			methods[0].skipped ? "posix_spawn" : "the API", command);
		return 1;
	}
	if (total)
		run_throughput(total);
	if (json)
		print_json(rounds);
	else
		print_table();
	for (size_t i = 0; i < LEN(widths); i++)
		if (rates[i] < 0)
			return 1;
	return 0;
}
