/* SPDX-License-Identifier: Apache-2.0 */
#include "attempt.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <linux/sockios.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1u << 2)
#endif

int pidfd_open_(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int pidfd_send_(int pidfd, int sig, unsigned flags)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, flags);
}

bool process_ended(int pidfd, int ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

pid_t spawn_sleeper(void)
{
	pid_t child;

	signal(SIGTERM, SIG_DFL); /* before the fork: the child may be hit at once */
	child = fork();
	if (child == 0)
		for (;;)
			pause();
	signal(SIGTERM, SIG_IGN);
	return child;
}

int attempt_kill_0(struct target *t)
{
	return answer(kill(t->pid, 0));
}

int attempt_kill_term(struct target *t)
{
	return answer(kill(t->pid, SIGTERM));
}

int attempt_kill_kill(struct target *t)
{
	return answer(kill(t->pid, SIGKILL));
}

int attempt_kill_stop(struct target *t)
{
	return answer(kill(t->pid, SIGSTOP));
}

int attempt_kill_group(struct target *t)
{
	if (t->pgid == 1)
		return -NOT_HERE; /* kill(-1) means everybody */
	return answer(kill(-t->pgid, SIGTERM));
}

/* kill(-1) and whether a process of one's own was hit: 0 when it was, ECHILD when not. */
static int kill_everything(struct target *t)
{
	pid_t own = spawn_sleeper();
	int pidfd = pidfd_open_(own), r;

	if (own < 0 || pidfd < 0)
		return setup(t, "sleeper");
	if (kill(-1, SIGTERM) < 0)
		r = -errno;
	else
		r = process_ended(pidfd, 15000) ? 0 : -ECHILD;
	kill(own, SIGKILL);
	return answered(pidfd, r);
}

static int kill_in_namespace(struct target *t)
{
	return in_child(kill_everything, t); /* not as PID 1, which hears nothing of SIGTERM */
}

int attempt_kill_all(struct target *t)
{
	/* Anywhere else than in moat this would end every process of the machine. */
	if (t->fresh) {
		if (unshare(CLONE_NEWPID) < 0)
			return setup(t, "unshare(CLONE_NEWPID)");
		return in_child(kill_in_namespace, t);
	}
	if (!t->enforced)
		return -NOT_HERE;
	return kill_everything(t);
}

int attempt_tgkill(struct target *t)
{
	return answer(syscall(SYS_tgkill, t->pid, t->tid, SIGTERM));
}

int attempt_tkill(struct target *t)
{
	return answer(syscall(SYS_tkill, t->tid, SIGTERM));
}

int attempt_sigqueue(struct target *t)
{
	siginfo_t info = { .si_signo = SIGTERM, .si_code = SI_QUEUE };

	return answer(syscall(SYS_rt_sigqueueinfo, t->pid, SIGTERM, &info));
}

int attempt_tgsigqueue(struct target *t)
{
	siginfo_t info = { .si_signo = SIGTERM, .si_code = SI_QUEUE };

	return answer(syscall(SYS_rt_tgsigqueueinfo, t->pid, t->tid, SIGTERM, &info));
}

static int signal_by_pidfd(struct target *t, unsigned flags)
{
	int pidfd = pidfd_open_(t->pid);

	if (pidfd < 0)
		return -errno;
	return answered(pidfd, answer(pidfd_send_(pidfd, SIGKILL, flags)));
}

int attempt_pidfd_signal(struct target *t)
{
	return signal_by_pidfd(t, 0);
}

int attempt_pidfd_signal_group(struct target *t)
{
	int self = pidfd_open_(getpid());
	int r = answer(pidfd_send_(self, 0, PIDFD_SIGNAL_PROCESS_GROUP));

	close(self);
	return r == -EINVAL ? -NOT_HERE : signal_by_pidfd(t, PIDFD_SIGNAL_PROCESS_GROUP);
}

int arm_and_wait(struct target *t, const int fds[2], int pidfd)
{
	if (fcntl(fds[0], F_SETSIG, SIGKILL) < 0 || fcntl(fds[0], F_SETFL, O_ASYNC) < 0 ||
	    write(fds[1], "x", 1) != 1)
		return setup(t, "O_ASYNC");
	return process_ended(pidfd, t->fresh ? 15000 : 300) ? 0 : -EPERM;
}

static int kill_by_pipe(struct target *t, int type, pid_t to)
{
	struct f_owner_ex owner = { .type = type, .pid = to };
	int fds[2], pidfd = pidfd_open_(t->pid);

	if (pidfd < 0)
		return -errno;
	if (pipe(fds) < 0)
		return setup(t, "pipe");
	if (fcntl(fds[0], F_SETOWN_EX, &owner) < 0)
		return -errno;
	return arm_and_wait(t, fds, pidfd);
}

int attempt_sigio(struct target *t)
{
	return kill_by_pipe(t, F_OWNER_PID, t->pid);
}

int attempt_sigio_group(struct target *t)
{
	return kill_by_pipe(t, F_OWNER_PGRP, t->pgid);
}

int attempt_sigio_ioctl(struct target *t)
{
	int fds[2], pidfd = pidfd_open_(t->pid);

	if (pidfd < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return setup(t, "socketpair");
	if (ioctl(fds[0], FIOSETOWN, &t->pid) < 0)
		return -errno;
	return arm_and_wait(t, fds, pidfd);
}

static void *kill_in_thread(void *arg)
{
	struct target *t = arg;

	return (void *)(intptr_t)answer(kill(t->pid, SIGTERM));
}

int attempt_kill_from_thread(struct target *t)
{
	pthread_t thread;
	void *result;

	errno = pthread_create(&thread, NULL, kill_in_thread, t);
	if (errno || (errno = pthread_join(thread, &result)))
		return setup(t, "pthread_create");
	return (int)(intptr_t)result;
}

int attempt_kill_from_exec(struct target *t)
{
	char pid[16];
	pid_t child;
	int status;

	snprintf(pid, sizeof(pid), "%d", t->pid);
	child = fork();
	if (child == 0) {
		execl("/proc/self/exe", "another-image", "--inner-kill", pid, (char *)NULL);
		_exit(255);
	}
	errno = EIO;
	if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) ||
	    WEXITSTATUS(status) == 255)
		return setup(t, "exec");
	return -WEXITSTATUS(status);
}

int attempt_kill_from_orphan(struct target *t)
{
	return in_orphan(attempt_kill_term, t);
}

int attempt_kill_from_vfork(struct target *t)
{
	int status;
	pid_t child = vfork();

	if (child == 0)
		_exit(kill(t->pid, SIGTERM) < 0 ? errno : 0);
	errno = EIO;
	if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		return setup(t, "vfork");
	return -WEXITSTATUS(status);
}

int attempt_kill_from_userns(struct target *t)
{
	if (unshare(CLONE_NEWUSER) < 0)
		return setup(t, "unshare(CLONE_NEWUSER)");
	return answer(kill(t->pid, SIGTERM));
}
