/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process/clone.h"

#include <signal.h>

#include "base/clone.h"

int process_clone(uint64_t flags, int cgroup_fd, struct process *ret_process)
{
	int pidfd = -EBADF;
	struct clone_args args = {
		.flags = flags | CLONE_PIDFD | (cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = cgroup_fd >= 0 ? (uint64_t)cgroup_fd : 0,
	};
	long pid = clone_child_process(&args, NULL);

	if (pid < 0)
		return -errno;
	if (pid > 0)
		*ret_process = (struct process){ .pid = (pid_t)pid, .pidfd = pidfd };
	return pid > 0;
}
