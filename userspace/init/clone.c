// SPDX-License-Identifier: Apache-2.0
/*
 * The template and its clones. A context's namespaces are made when it first runs something, while somebody
 * waits for it: so the long way (a copy of the agent, execve, the whole table of mounts) is gone once, by a
 * moat-init that runs no command and so stays as set-up left it. Each other one is a fork of it.
 */
#include <sched.h>

#include "base/clone.h"
#include "init/init.h"

pid_t clone_init(enum init_world world, bool shared_pid, int *ret_pidfd)
{
	uint64_t namespaces = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
			      (shared_pid ? 0 : CLONE_NEWPID);
	int pidfd = -EBADF;
	struct clone_args args = {
		/* CLONE_PARENT: the agent waits for it. That gives it the exit signal of ours. */
		.flags = (world == INIT_WORLD_NONE ? 0 : namespaces) | CLONE_PARENT | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
	};
	long pid = clone_child_process(&args, NULL);

	if (pid < 0)
		return -errno;
	*ret_pidfd = pidfd;
	return (pid_t)pid;
}
