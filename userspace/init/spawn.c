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
#include <signal.h>

#include "base/clone.h"
#include "init/init.h"

static uint64_t held;     /* capabilities we have to give */
static uint64_t bounding; /* what our bounding set has, and so each child's at first */

static uint64_t secret[INIT_SECRET];

void spawn_set_secret(const uint64_t given[INIT_SECRET])
{
	memcpy(secret, given, sizeof(secret));
}

int spawn_init(bool bounded)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t value;

	if (!caps)
		return -errno;
	held = bounding = 0;
	for (cap_value_t cap = 0; cap < cap_max_bits() && cap < 64; cap++) {
		if (cap_get_flag(caps, cap, CAP_PERMITTED, &value) == 0 && value == CAP_SET)
			held |= 1ull << cap;
		if (bounded && cap_get_bound(cap) == 1)
			bounding |= 1ull << cap;
	}
	cap_free(caps);
	return 0;
}

/* flags, exit_signal and parent_tid as of clone3(2); report: of the child. Its pid, or -errno. */
static int clone_child(struct spawn_request *request, uint64_t flags, int exit_signal,
		       pid_t *parent_tid, int report)
{
	struct clone_args args = { .flags = CLONE_CLEAR_SIGHAND | flags,
				   .parent_tid = (uintptr_t)parent_tid,
				   .exit_signal = (uint64_t)exit_signal };
	long pid;

	if (request->cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)request->cgroup_fd;
	}
	/* A container may hold fewer capabilities than the default set names: give what there is. */
	request->capabilities &= held;
	request->bounding_drop = bounding & ~request->capabilities;
	pid = clone_child_process(&args, secret);
	if (pid == 0)
		child_main(request, report);
	return pid < 0 ? -errno : (int)pid;
}

int spawn_sibling(struct spawn_request *request, pid_t *ret_pid, int report)
{
	/* The exit signal is that of the keeper itself. */
	return clone_child(request, CLONE_PARENT | CLONE_PARENT_SETTID, 0, ret_pid, report);
}

int spawn_command(struct spawn_request *request, pid_t *ret_pid, int *ret_report,
		  enum init_step *ret_step)
{
	int ends[2], r;

	*ret_step = INIT_STEP_SURROUNDINGS;
	r = own_prepare();
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_CLONE;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	request->own_domain = keeper_domain_each();
	r = clone_child(request, 0, SIGCHLD, NULL, ends[1]);
	close(ends[1]);
	if (r < 0) {
		close(ends[0]);
		return r;
	}
	own_used(r);
	*ret_pid = r;
	*ret_report = ends[0];
	return 0;
}
