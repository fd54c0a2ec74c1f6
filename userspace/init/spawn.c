// SPDX-License-Identifier: Apache-2.0
/*
 * From a request to a running program: an ordinary fork (clone3), straight into the cgroup of the
 * exec. moat-init never waits for the child, which walks paths that user code has made: a directory
 * on a dead file system holds up nobody but who asked for it. How far the child came is told by a
 * pipe: it is closed by execve, or {step, errno} comes out of it.
 *
 * Not CLONE_VM, which would be faster by a tenth of an exec: a child that shares our memory and is
 * taken for the victim when its cgroup is out of memory takes us with it (__oom_kill_process() in
 * mm/oom_kill.c spares what shares memory by vfork only).
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>

#include "init/init.h"

static uint64_t held;     /* capabilities we have to give */
static uint64_t bounding; /* what our bounding set has, and so each child's at first */

int spawn_init(void)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t value;

	if (!caps)
		return -errno;
	held = bounding = 0;
	for (cap_value_t cap = 0; cap < cap_max_bits() && cap < 64; cap++) {
		if (cap_get_flag(caps, cap, CAP_PERMITTED, &value) == 0 && value == CAP_SET)
			held |= 1ull << cap;
		if (cap_get_bound(cap) == 1)
			bounding |= 1ull << cap;
	}
	cap_free(caps);
	return 0;
}

int spawn_command(struct spawn_request *request, pid_t *ret_pid, int *ret_report,
		  enum init_step *ret_step)
{
	struct clone_args args = { .flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD };
	int ends[2], r;
	long pid;

	*ret_step = INIT_STEP_SURROUNDINGS;
	r = own_prepare();
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_CLONE;
	if (request->cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)request->cgroup_fd;
	}
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	/* A container may hold fewer capabilities than the default set names: give what there is. */
	request->capabilities &= held;
	request->bounding_drop = bounding & ~request->capabilities;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		child_main(request, ends[1]);
	if (pid < 0) {
		pid = -errno;
		close(ends[0]);
	} else {
		own_used((pid_t)pid);
		*ret_pid = (pid_t)pid;
		*ret_report = ends[0];
		pid = 0;
	}
	close(ends[1]);
	return (int)pid;
}
