/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup namespace has for its root the cgroup of whoever makes it (cgroup_namespaces(7)), and a directory that
 * gives controllers to its children takes nobody in. So it is made while the instance's directory does
 * not, by a child that is born there.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/cgroup/tree.h"

/* In the child, which has our table of descriptors: the namespace takes the place of fd. */
static _Noreturn void child_main(int fd)
{
	int ns = unshare(CLONE_NEWCGROUP) < 0 ? -1 :
						open("/proc/self/ns/cgroup", O_RDONLY | O_CLOEXEC);

	if (ns < 0 || dup3(ns, fd, O_CLOEXEC) < 0)
		_exit(errno);
	close(ns);
	_exit(0);
}

int cgroup_view_open(int dir, int *ret_ns)
{
	FD_OWNED int ns = open("/dev/null", O_RDONLY | O_CLOEXEC);
	FD_OWNED int pidfd = -EBADF;
	struct clone_args args = {
		.flags = CLONE_FILES | CLONE_INTO_CGROUP | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)dir,
	};
	siginfo_t info = { 0 };
	long pid;

	if (ns < 0)
		return -errno;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		child_main(ns);
	if (pid < 0)
		return -errno;
	while (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0)
		if (errno != EINTR)
			return -errno;
	if (info.si_code != CLD_EXITED || info.si_status != 0)
		return info.si_code == CLD_EXITED ? -info.si_status : -ECHILD;
	*ret_ns = take_fd(&ns);
	return 0;
}
