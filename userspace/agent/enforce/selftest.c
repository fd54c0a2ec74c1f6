/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The self-test: programs load and attach also where `bpf` is not among the active LSMs, and then
 * never run. So a child tries, once with our own label and once as user code, to look whether it
 * may signal us; only the second must be refused, and the verdict counter must have moved.
 */
#include "agent/enforce/internal.h"

#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

/* The child: one byte in, the errno of kill(parent, 0) out, until end of file. */
static void __attribute__((noreturn)) try_to_signal(int fd, pid_t parent)
{
	unsigned char byte;

	while (read(fd, &byte, 1) == 1) {
		byte = kill(parent, 0) < 0 ? errno : 0;
		if (write(fd, &byte, 1) != 1)
			break;
	}
	_exit(0);
}

/* The child's errno, or -errno when it does not answer. */
static int ask(int fd)
{
	unsigned char byte = 0;

	if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
		return -EPIPE;
	return byte;
}

static uint64_t refusals(struct enforce *e)
{
	struct moat_counter counters[MOAT_HOOK_COUNT];
	struct moat_drops drops;

	if (enforce_counters(e, counters, &drops) < 0)
		return 0;
	return counters[MOAT_HOOK_task_kill].denied + counters[MOAT_HOOK_task_kill].would_deny;
}

static int judge(struct enforce *e, int fd, int pidfd, struct failure *f)
{
	struct moat_task user = { .label = { .role = MOAT_ROLE_USER, .context = MOAT_CONTEXT_SELF_TEST } };
	int expected = e->settings.mode == MOAT_MODE_ENFORCE ? EPERM : 0;
	uint64_t before = refusals(e);
	int r;

	r = ask(fd);
	if (r != 0)
		return fail(f, EPROTO, "self-test: moatd's own child may not signal it (%d)", r);
	r = enforce_set_task(e, pidfd, &user);
	if (r < 0)
		return fail(f, -r, "self-test: cannot label the child");
	r = ask(fd);
	if (r != expected || refusals(e) <= before) /* others may be refused meanwhile */
		return fail(f, EPROTO,
			    "self-test: the programs are attached but do not decide; is bpf in "
			    "/sys/kernel/security/lsm (lsm= on the kernel command line)? got %d", r);
	return 0;
}

int enforce_self_test(struct enforce *e, const struct config *config, struct failure *f)
{
	FD_OWNED int ours = -EBADF;
	FD_OWNED int pidfd = -EBADF;
	int pair[2], r;
	pid_t parent = getpid(), pid;

	(void)config;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return fail(f, errno, "self-test: socketpair");
	ours = pair[0];
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		try_to_signal(pair[1], parent);
	}
	r = -errno;
	close(pair[1]);
	if (pid < 0)
		return fail(f, -r, "self-test: fork");
	pidfd = pidfd_open(pid, 0);
	r = pidfd < 0 ? fail(f, errno, "self-test: pidfd_open") : judge(e, ours, pidfd, f);
	close_fd(&ours); /* the child sees end of file */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return r;
}
