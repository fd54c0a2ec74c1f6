/* SPDX-License-Identifier: Apache-2.0 */
/* A child by clone3(2); where a container engine's filter says that there is none (ENOSYS) by clone(2),
 * which does the same but for cgroups. */
#ifndef MOAT_BASE_CLONE_H
#define MOAT_BASE_CLONE_H

#include <errno.h>
#include <linux/sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * As fork(2). secret: two numbers by which a filter of our own knows the call, or NULL. Of flags
 * CLONE_CLEAR_SIGHAND is lost by clone(2), so only for who has no handlers; CLONE_PIDFD and
 * CLONE_PARENT_SETTID exclude each other.
 */
static inline long clone_child_process(const struct clone_args *args, const uint64_t *secret)
{
	uint64_t where = args->flags & CLONE_PIDFD ? args->pidfd : args->parent_tid;
	long r = syscall(SYS_clone3, args, sizeof(*args), secret ? secret[0] : 0,
			 secret ? secret[1] : 0);

	if (r >= 0 || errno != ENOSYS || args->flags & CLONE_INTO_CGROUP)
		return r;
	return syscall(SYS_clone, (args->flags & UINT32_MAX) | args->exit_signal, 0, where, 0, 0);
}

#endif
