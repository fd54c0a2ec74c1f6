// SPDX-License-Identifier: Apache-2.0
/*
 * Landlock: who is in a domain can neither signal nor trace who is not, and a domain is passed on by fork alone. The
 * commands of a context are to reach each other, so one process of ours, the keeper, goes into a domain and is what they
 * are cloned from; but they are children of moat-init's (CLONE_PARENT), which is in no domain and so out of their reach.
 *
 * They can kill the keeper, or stop it: that is their own context's loss, until the next command has moat-init make
 * another, in a domain of its own. Nothing that it says is believed. Where a command is a principal of its own there
 * is no keeper: each goes into a domain by itself, in child.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "init/init.h"

#define KEEPER_FDS_MAX (PACKET_FDS_MAX + 1) /* and the child's pipe */
#define PATIENCE_S 10

static enum init_domain domain;
static uint64_t rights; /* of the commands */
static pid_t keeper;
static int ends = -EBADF; /* ours */
/* Shared with the keeper: its newest child, as the kernel has it before that can kill the keeper, which then answers no more. */
static pid_t *newest = MAP_FAILED;

void keeper_open(enum init_domain kind, uint64_t capabilities)
{
	domain = kind;
	rights = capabilities;
}

bool keeper_wanted(void)
{
	return domain == INIT_DOMAIN_COMMON;
}

bool keeper_domain_each(void)
{
	return domain == INIT_DOMAIN_EACH;
}

/* --- The keeper's side --------------------------------------------------------------------- */

/* A request and its descriptors, which come with its first byte. Returns its length, 0 at the end. */
static size_t take(int fds[KEEPER_FDS_MAX], size_t *ret_n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * KEEPER_FDS_MAX)];
	} control;
	uint32_t len = 0;
	struct iovec iov[2] = { { &len, sizeof(len) }, { packet, INIT_PACKET_MAX } };
	struct msghdr msg = { .msg_iov = iov,
			      .msg_iovlen = 2,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(INIT_SOCKET_FD, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *cmsg = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	size_t got;

	if (n < (ssize_t)sizeof(len) || !cmsg || msg.msg_flags & MSG_CTRUNC)
		return 0;
	*ret_n_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(cmsg), *ret_n_fds * sizeof(int));
	got = (size_t)n - sizeof(len);
	while (got < len && len <= INIT_PACKET_MAX) {
		n = recv(INIT_SOCKET_FD, packet + got, len - got, 0);
		if (n <= 0)
			return 0;
		got += (size_t)n;
	}
	return got == len ? got : 0;
}

/* It took that to get into the domain. A command that may trace could take this process over. */
static int drop_admin(void)
{
	static const cap_value_t admin[] = { CAP_SYS_ADMIN };
	cap_t caps;
	int r = 0;

	if (rights & 1ull << CAP_SYS_ADMIN)
		return 0;
	caps = cap_get_proc();
	if (!caps)
		return -errno;
	if (cap_set_flag(caps, CAP_PERMITTED, 1, admin, CAP_CLEAR) < 0 ||
	    cap_set_flag(caps, CAP_EFFECTIVE, 1, admin, CAP_CLEAR) < 0 || cap_set_proc(caps) < 0)
		r = -errno;
	cap_free(caps);
	return r;
}

static _Noreturn void keeper_main(int socket)
{
	int fds[KEEPER_FDS_MAX], answer;
	struct spawn_request request;
	size_t len, n_fds;

	prctl(PR_SET_NAME, "moat-keeper");
	if (syscall(SYS_landlock_restrict_self, INIT_RULESET_FD, 0) < 0 || drop_admin() < 0 ||
	    dup3(socket, INIT_SOCKET_FD, O_CLOEXEC) < 0 ||
	    syscall(SYS_close_range, INIT_SOCKET_FD + 1u, ~0u, 0u) < 0)
		_exit(1);
	while ((len = take(fds, &n_fds)) > 0) {
		if (n_fds == 0 || !packet_spawn(len, fds, n_fds - 1, &request))
			_exit(1);
		answer = spawn_sibling(&request, newest, fds[n_fds - 1]);
		if (send(INIT_SOCKET_FD, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
			_exit(0);
		packet_drop_fds(fds, n_fds);
		packet_wipe(len);
	}
	_exit(0);
}

/* --- moat-init's side ---------------------------------------------------------------------- */

bool keeper_ended(pid_t pid)
{
	if (pid != keeper)
		return false;
	keeper = 0;
	close_fd(&ends);
	return true;
}

/* It is reaped as any child is, and then there is no keeper. */
static void give_up(void)
{
	if (keeper)
		kill(keeper, SIGKILL);
	keeper = 0;
	close_fd(&ends);
}

static int start(void)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	int pair[2], r = 0;
	pid_t pid;

	if (newest == MAP_FAILED)
		newest = mmap(NULL, sizeof(*newest), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (newest == MAP_FAILED)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	if (setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		r = -errno;
	pid = r < 0 ? -1 : fork();
	if (pid == 0)
		keeper_main(pair[1]);
	if (pid < 0 && r == 0)
		r = -errno;
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	keeper = pid;
	ends = pair[0];
	return 0;
}

/* -EPIPE: there is nobody any more who would hear it. */
static int hand_over(size_t len, const int *fds, size_t n_fds, int report)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * KEEPER_FDS_MAX)];
	} control = { .align = { .cmsg_len = CMSG_LEN((n_fds + 1) * sizeof(int)),
				 .cmsg_level = SOL_SOCKET,
				 .cmsg_type = SCM_RIGHTS } };
	uint32_t size = (uint32_t)len;
	struct iovec iov[2] = { { &size, sizeof(size) }, { packet, len } };
	struct msghdr msg = { .msg_iov = iov,
			      .msg_iovlen = 2,
			      .msg_control = &control,
			      .msg_controllen = CMSG_SPACE((n_fds + 1) * sizeof(int)) };
	ssize_t n;

	memcpy(CMSG_DATA(&control.align), fds, n_fds * sizeof(int));
	memcpy(CMSG_DATA(&control.align) + n_fds * sizeof(int), &report, sizeof(int));
	n = sendmsg(ends, &msg, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	/* More than the socket holds: the rest as it is taken. */
	for (size_t sent = (size_t)n - sizeof(size); sent < len; sent += (size_t)n) {
		n = send(ends, packet + sent, len - sent, MSG_NOSIGNAL);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

/* Whether what it names is a child of ours that we have not heard of: it is signalled by that number later. */
static bool is_new_child(pid_t pid)
{
	siginfo_t info;

	return pid > 0 && pid != keeper && children_exec(pid) == 0 &&
	       waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

/* One request. The child's pid, or -errno; -EPIPE: there is no child, and no keeper any more. */
static int ask(size_t len, const int *fds, size_t n_fds, int report)
{
	int r = ends < 0 ? start() : 0, answer = 0;
	ssize_t n = 0;

	if (r < 0)
		return r;
	*newest = 0;
	r = hand_over(len, fds, n_fds, report);
	if (r == 0)
		n = recv(ends, &answer, sizeof(answer), MSG_WAITALL);
	if (n == sizeof(answer) && (answer < 0 || is_new_child(answer)))
		return answer;
	if (n < 0)
		r = -errno;
	answer = *newest;
	give_up();
	if (r == -EPIPE || r == -ECONNRESET || (r == 0 && n == 0))
		return answer == 0 ? -EPIPE : is_new_child(answer) ? answer : -ECHILD;
	return r < 0 ? r : -ECHILD;
}

int keeper_spawn(size_t len, const int *fds, size_t n_fds, pid_t *ret_pid, int *ret_report,
		 enum init_step *ret_step)
{
	FD_OWNED int theirs = -EBADF;
	FD_OWNED int ours = -EBADF;
	int report[2], r;

	*ret_step = INIT_STEP_CLONE;
	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	ours = report[0];
	theirs = report[1];
	r = ask(len, fds, n_fds, theirs);
	if (r == -EPIPE) /* it was killed when nothing ran */
		r = ask(len, fds, n_fds, theirs);
	if (r < 0)
		return r;
	*ret_pid = r;
	*ret_report = take_fd(&ours);
	return 0;
}
