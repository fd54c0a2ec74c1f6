/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup namespace has for its root the cgroup of whoever makes it (cgroup_namespaces(7)), and a directory that
 * gives controllers to its children takes nobody in. So it is made while the instance's directory does
 * not, by a child that is born there.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "agent/cgroup/tree.h"
#include "agent/process/clone.h"

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
	struct process child;
	siginfo_t info = { 0 };
	int r;

	if (ns < 0)
		return -errno;
	r = process_clone(CLONE_FILES, dir, &child);
	if (r == 0)
		child_main(ns);
	if (r < 0)
		return r;
	pidfd = child.pidfd;
	while (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0)
		if (errno != EINTR)
			return -errno;
	if (info.si_code != CLD_EXITED || info.si_status != 0)
		return info.si_code == CLD_EXITED ? -info.si_status : -ECHILD;
	*ret_ns = take_fd(&ns);
	return 0;
}
