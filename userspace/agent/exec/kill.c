/* SPDX-License-Identifier: Apache-2.0 */
/* Time limits, signals, and the end by force. */
#include <signal.h>

#include "agent/exec/internal.h"
#include "base/log.h"

int exec_kill_cgroup(struct exec *x)
{
	int r = cgroup_count(x->cgroup, &x->alive);

	if (r < 0)
		x->alive = 0;
	r = cgroup_kill(x->cgroup);
	return r < 0 || x->state == EXEC_ENDED ? r :
		loop_timer_set(x->execs->loop, &x->timer, EXEC_KILL_GRACE_NS, exec_on_timer);
}

int exec_kill_tree(struct exec *x)
{
	int r;

	x->killed = true;
	r = exec_kill_cgroup(x);
	/* It waited for who reads its stream; should this fail, the grace period ends that. */
	if (x->draining)
		(void)loop_timer_set(x->execs->loop, &x->again, 0, exec_on_again);
	return r;
}

/* Where thousands spin each waits long for its turn, to die as well: as long as they do, they are waited for. */
static bool still_dies(struct exec *x)
{
	size_t n;

	if (cgroup_count(x->cgroup, &n) < 0 || n == 0 || n >= x->alive)
		return false;
	x->alive = n;
	return loop_timer_set(x->execs->loop, &x->timer, EXEC_KILL_GRACE_NS, exec_on_timer) == 0;
}

static void give_up(struct exec *x)
{
	log_warning("exec %s: not gone after being killed", x->id);
	if (!x->exited)
		x->status = SIGKILL;
	x->exited = true;
	(void)cgroup_watch_empty(x->cgroup, NULL, NULL);
	exec_finish(x, cgroup_populated(x->cgroup));
}

/* All of it is asked to end first, where the request says how. */
static void out_of_time(struct exec *x)
{
	int r = -ESRCH;

	/* Of what is in the background by now, the result was another one. */
	x->timed_out |= x->state != EXEC_ENDED && !x->asked;
	if (x->kill_signal && !x->asked) {
		x->asked = true;
		r = cgroup_signal(x->cgroup, x->kill_signal);
		if (r == 0)
			r = loop_timer_set(x->execs->loop, &x->timer, x->kill_after_ns, exec_on_timer);
	}
	if (r < 0)
		(void)exec_kill_tree(x);
}

/*
 * The time limit; or, once killed, the end of patience: a tracer that does not wait for its dead
 * tracee keeps moat-init from reaping it, and an uninterruptible sleep keeps it from dying.
 */
void exec_on_timer(struct loop_timer *timer)
{
	struct exec *x = container_of(timer, struct exec, timer);

	if (x->state == EXEC_STARTING) {
		exec_start_timed_out(x);
		return;
	}
	if (!x->killed) {
		out_of_time(x);
		return;
	}
	if (x->draining)
		exec_drain(x);
	else if (x->state == EXEC_RUNNING && !still_dies(x))
		give_up(x);
}

int exec_end(struct exec *x)
{
	if (!x->kill_signal || x->asked || x->state != EXEC_RUNNING || x->killed)
		return exec_kill(x);
	x->asked = true;
	if (cgroup_signal(x->cgroup, x->kill_signal) < 0 ||
	    loop_timer_set(x->execs->loop, &x->timer, x->kill_after_ns, exec_on_timer) < 0)
		return exec_kill(x);
	return 0;
}

int exec_kill(struct exec *x)
{
	if (x->state == EXEC_STARTING) {
		exec_start_killed(x);
		return 0;
	}
	return x->state == EXEC_ENDED && !x->cgroup ? -ESRCH : exec_kill_tree(x);
}

int exec_signal(struct exec *x, int signal, enum exec_target to)
{
	if (to == EXEC_TREE)
		return x->cgroup && x->state != EXEC_STARTING ? cgroup_signal(x->cgroup, signal) : -ESRCH;
	if (x->state != EXEC_RUNNING || x->exited)
		return -ESRCH;
	return namespace_signal(x->ns, x->number, signal, to == EXEC_GROUP);
}
