/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of an exec, after start.c has sent it on its way. What an event means in each phase is the table at the
 * end; of STARTING the rest is said by moat-init.
 *
 *   STARTING -> RUNNING ------------------------------+-> CLOSING -> BACKGROUND -> CLEARING -> GONE
 *                  \-(kill)-> KILLED -(exit)-> LEAVING -^      \-----(nothing runs on)--------^
 *
 * A tracer that does not wait for its dead tracee keeps moat-init from reaping it, and an uninterruptible sleep
 * keeps it from dying: KILLED and LEAVING have a bound.
 */
#include <signal.h>
#include <sys/wait.h>

#include "agent/exec/internal.h"
#include "agent/process/lineage.h"
#include "base/log.h"

enum exec_event {
	EXEC_EVENT_EXIT,  /* the command is gone; its status is known */
	EXEC_EVENT_EMPTY, /* and so is all that it has started */
	EXEC_EVENT_TIME,  /* the time limit; once killed, the end of patience */
	EXEC_EVENT_TAKEN, /* the pipes owe nothing more */
	EXEC_EVENT_KILL,
	EXEC_EVENT_COUNT,
};

static int happens(struct exec *x, enum exec_event event);

/* Its end has not been told yet. */
static bool command_runs(const struct exec *x)
{
	return x->phase == EXEC_PHASE_RUNNING || x->phase == EXEC_PHASE_KILLED;
}

static uint64_t *counters(const struct exec *x)
{
	return x->execs->stats.counts[namespace_kind(x->ns)];
}

void exec_on_timer(struct loop_timer *timer)
{
	(void)happens(container_of(timer, struct exec, timer), EXEC_EVENT_TIME);
}

static int set_timer(struct exec *x, uint64_t delay_ns)
{
	return loop_timer_set(x->execs->loop, &x->timer, delay_ns, exec_on_timer);
}

static void on_empty(struct cgroup *cgroup, void *data)
{
	(void)cgroup;
	(void)happens(data, EXEC_EVENT_EMPTY);
}

/* --- The result ---------------------------------------------------------------------------- */

/* No process of it is left: only the result stays. May free older ones, not x; but of a request for files nothing
 * stays. */
static int reclaim(struct exec *x)
{
	x->left = false;
	exec_tell_ended(x, true);
	exec_release(x);
	exec_leave(x);
	if (x->is_files) {
		if (!x->execs->closing) /* else it is freed with all others */
			exec_free(x);
		return 0;
	}
	exec_ended_add(x);
	return 0;
}

/* Also of a command that did without what was killed. */
static int count_oom_kills(struct exec *x)
{
	uint64_t kills;

	if (cgroup_oom_kills(x->cgroup, &kills) < 0)
		return -1;
	if (kills > 0)
		x->oom_files = cgroup_files(x->cgroup);
	return kills > 0;
}

/* Keeps an eye on what runs on. False: it cannot be, and has to end. */
static bool watch_background(struct exec *x)
{
	uint64_t now = now_ns();
	int r = cgroup_watch_empty(x->cgroup, on_empty, x);

	if (r == 0 && x->deadline_ns)
		r = set_timer(x, x->deadline_ns > now ? x->deadline_ns - now : 0);
	if (r < 0)
		log_warning("exec %s: its background processes cannot be watched, they end", x->id);
	return r == 0;
}

/* The result is complete. */
static int conclude(struct exec *x)
{
	x->oom_killed = count_oom_kills(x);
	x->phase = x->left ? EXEC_PHASE_BACKGROUND : EXEC_PHASE_CLEARING;
	x->ended_ns = now_ns();
	counters(x)[EXECS_RUNNING]--;
	counters(x)[exec_result(x)]++;
	x->held = NULL;
	exec_tell_watcher(x);
	/* First the answer, then the housekeeping. */
	exec_tell_ended(x, false);
	if (!x->left || !watch_background(x))
		return reclaim(x);
	exec_output_go_on(x);
	return 0;
}

/* A piece of what the pipes owe. While its stream is not read it waits, as the command did; unless it was killed. */
static int take(struct exec *x)
{
	if (exec_output_drain(x))
		return happens(x, EXEC_EVENT_TAKEN);
	if ((x->out[0].stalled || x->out[1].stalled) && !x->killed)
		return 0;
	if (loop_timer_set(x->execs->loop, &x->again, 0, exec_on_again) < 0)
		return happens(x, EXEC_EVENT_TAKEN);
	return 0;
}

void exec_on_again(struct loop_timer *timer)
{
	(void)take(container_of(timer, struct exec, again));
}

/* --- The end of what runs ------------------------------------------------------------------ */

/* CLOSING, CLEARING: nothing is waited for any more but the output. */
static int take_rest(struct exec *x, enum exec_phase phase)
{
	loop_timer_cancel(x->execs->loop, &x->timer);
	x->phase = phase;
	exec_output_owed(x);
	return take(x);
}

/* left: processes of the tree still run, in the background. */
static int close_result(struct exec *x, bool left)
{
	x->left = left;
	return take_rest(x, EXEC_PHASE_CLOSING);
}

static int tree_gone(struct exec *x)
{
	return close_result(x, false);
}

/* It is waited for until it is gone, or nothing of it dies any more. */
static int kill_counted(struct exec *x)
{
	int r;

	if (cgroup_count(x->cgroup, &x->alive) < 0)
		x->alive = 0;
	r = cgroup_kill(x->cgroup);
	return r == 0 ? set_timer(x, EXEC_KILL_GRACE_NS) : r;
}

static int leave_killed(struct exec *x)
{
	int r = kill_counted(x);

	x->phase = EXEC_PHASE_LEAVING;
	if (r == 0)
		r = cgroup_watch_empty(x->cgroup, on_empty, x);
	if (r == 0)
		return 0;
	log_error("exec %s: its processes cannot be killed: %s", x->id, strerror(-r));
	return close_result(x, true);
}

/* What the command left behind goes on, or has to die first. */
static int command_ended(struct exec *x)
{
	bool left = cgroup_populated(x->cgroup);

	exec_string_ended(x);
	if (left && (x->killed || namespace_kind(x->ns) == CONTEXT_SECURE))
		return leave_killed(x);
	return close_result(x, left);
}

/* Where thousands spin each waits long for its turn, to die as well: as long as they do, they are waited for. */
static bool still_dies(struct exec *x)
{
	size_t n;

	if (cgroup_count(x->cgroup, &n) < 0 || n == 0 || n >= x->alive)
		return false;
	x->alive = n;
	return set_timer(x, EXEC_KILL_GRACE_NS) == 0;
}

static int give_up(struct exec *x)
{
	if (still_dies(x))
		return 0;
	log_warning("exec %s: not gone after being killed", x->id);
	if (x->phase == EXEC_PHASE_KILLED)
		x->status = SIGKILL;
	(void)cgroup_watch_empty(x->cgroup, NULL, NULL);
	return close_result(x, cgroup_populated(x->cgroup));
}

static int background_gone(struct exec *x)
{
	return take_rest(x, EXEC_PHASE_CLEARING);
}

/* --- By force ------------------------------------------------------------------------------ */

static int kill_tree(struct exec *x)
{
	x->killed = true;
	return cgroup_kill(x->cgroup);
}

/* RUNNING, KILLED, LEAVING */
static int kill_bounded(struct exec *x)
{
	if (x->phase == EXEC_PHASE_RUNNING)
		x->phase = EXEC_PHASE_KILLED;
	x->killed = true;
	return kill_counted(x);
}

/* CLOSING, CLEARING: it waited for who reads its stream, and does so no more. */
static int kill_read(struct exec *x)
{
	int r = kill_tree(x);

	if (loop_timer_set(x->execs->loop, &x->again, 0, exec_on_again) < 0)
		return take(x);
	return r;
}

/* All of it is asked to end, where the request says how; whether it was, and is given time. */
static bool ask_to_end(struct exec *x)
{
	if (!x->kill_signal || x->asked)
		return false;
	x->asked = true;
	return cgroup_signal(x->cgroup, x->kill_signal) == 0 && set_timer(x, x->kill_after_ns) == 0;
}

static int out_of_time(struct exec *x)
{
	/* Not if it was asked by a client, who wanted it to end. */
	x->timed_out |= !x->asked;
	return ask_to_end(x) ? 0 : kill_bounded(x);
}

/* Of what is in the background the result was another one. */
static int background_out_of_time(struct exec *x)
{
	return ask_to_end(x) ? 0 : kill_tree(x);
}

int exec_kill(struct exec *x)
{
	return happens(x, EXEC_EVENT_KILL);
}

int exec_end(struct exec *x)
{
	if (x->phase != EXEC_PHASE_RUNNING || !ask_to_end(x))
		return exec_kill(x);
	return 0;
}

int exec_signal(struct exec *x, int signal, enum exec_target to)
{
	if (to == EXEC_TREE)
		return x->cgroup && x->phase != EXEC_PHASE_STARTING ? cgroup_signal(x->cgroup, signal) : -ESRCH;
	if (!command_runs(x))
		return -ESRCH;
	return namespace_signal(x->ns, x->number, signal, to == EXEC_GROUP);
}

void exec_end_now(struct exec *x)
{
	if (exec_state_of(x) != EXEC_RUNNING)
		return;
	if (command_runs(x))
		x->status = SIGKILL;
	x->killed = true;
	x->left = false;
	if (x->phase != EXEC_PHASE_CLOSING)
		exec_output_owed(x);
	(void)exec_output_drain(x);
	(void)conclude(x);
}

/* --- What moat-init says ------------------------------------------------------------------- */

static void not_started(struct exec *x, const struct refusal *error)
{
	struct list observers = LIST_INIT(observers);
	struct context *made = x->created && !x->context->ending ? x->context : NULL;
	struct execs *execs = x->execs;

	counters(x)[EXECS_RUNNING]--;
	counters(x)[EXECS_FAILED]++;
	exec_tell_watcher(x);
	/* Out of every list before the observers hear of it: they may start another one. */
	while (!list_empty(&x->observers)) {
		struct list *first = x->observers.next;

		list_remove(first);
		list_append(&observers, first);
	}
	exec_free(x);
	if (made && !execs->closing)
		exec_context_unmake(execs, made);
	list_for_each_safe(pos, &observers) {
		struct exec_observer *o = list_entry(pos, struct exec_observer, link);

		list_remove(&o->link);
		if (o->on_failed)
			o->on_failed(o, error);
	}
}

static void spawn_failed(struct exec *x, int err, enum init_step step)
{
	struct refusal error;

	exec_describe_failure(&error, x, err, step);
	not_started(x, &error);
}

/* It has not executed anything, and never will. */
static void cancel_start(struct exec *x, const struct refusal *error)
{
	namespace_cancel(x->ns, &x->spawn);
	if (x->cgroup)
		(void)cgroup_kill(x->cgroup);
	not_started(x, error);
}

static int never_started(struct exec *x, const char *why)
{
	struct refusal error;

	refuse(&error, MOAT_E_NOT_STARTED, "the command was %s", why);
	cancel_start(x, &error);
	return 0;
}

static int start_timed_out(struct exec *x)
{
	return never_started(x, "not started within its time limit");
}

static int start_killed(struct exec *x)
{
	return never_started(x, "killed before it was started");
}

void exec_stop(struct exec *x)
{
	struct refusal error;
	int r;

	if (x->phase == EXEC_PHASE_STARTING) {
		refuse(&error, MOAT_E_NO_SUCH_CONTEXT, "context %.150s was removed", x->context->name);
		cancel_start(x, &error);
		return;
	}
	r = exec_kill(x);
	if (r < 0 && r != -ESRCH)
		log_error("exec %s cannot be killed: %s", x->id, strerror(-r));
}

/* moat-init says what it is called in its own PID namespace. */
static void lead_without(struct exec *x, pid_t pid)
{
	if (x->execs->config->dev || lineage_named(namespace_pid(x->ns), pid, &pid) == 0)
		cgroup_lead(x->cgroup, pid); /* else it has ended already */
}

void exec_on_spawned(struct namespace_spawn *spawn, int err, enum init_step step, pid_t pid)
{
	struct exec *x = container_of(spawn, struct exec, spawn);
	bool lost;

	if ((step == INIT_STEP_EXEC || step == INIT_STEP_INTERPRETER) && err && !spawn->late &&
	    exec_string_leave_words(x)) {
		err = -namespace_spawn(x->ns, spawn);
		step = INIT_STEP_REQUEST;
		if (!err)
			return;
	}
	exec_wipe_env(x);
	exec_string_started(x);
	if (err) {
		spawn_failed(x, err, step);
		return;
	}
	histogram_add(&x->execs->stats.spawn, now_ns() - x->started_ns);
	x->phase = EXEC_PHASE_RUNNING;
	x->pid = pid;
	if (!cgroups_are_there(x->execs->cgroups))
		lead_without(x, pid);
	x->timed_out = spawn->late;
	lost = spawn->late || (x->is_terminal && exec_terminal_started(x) < 0);
	exec_output_started(x);
	exec_input_started(x);
	exec_output_spare(x->execs);
	if (lost)
		(void)exec_kill(x);
	list_for_each_safe(pos, &x->observers) {
		struct exec_observer *o = list_entry(pos, struct exec_observer, link);

		if (o->on_started)
			o->on_started(o, x);
	}
}

/* Everything that ran in it is dead, or (shared PID namespace) has lost its parent. */
static void on_namespace_lost(struct execs *execs, struct namespace *ns)
{
	execs->walking = true; /* nothing is freed under our feet */
	list_for_each_safe(pos, &execs->all) {
		struct exec *x = list_entry(pos, struct exec, link);

		if (x->ns != ns || !command_runs(x))
			continue;
		x->status = SIGKILL;
		x->killed = true;
		(void)happens(x, EXEC_EVENT_EXIT);
	}
	execs->walking = false;
	execs_evict(execs);
}

void exec_on_exit(struct namespace *ns, const struct init_reply *reply, void *data)
{
	struct execs *execs = data;
	struct exec *x = execs->buckets[reply->exec % EXEC_BUCKETS];

	if (reply->exec == 0) {
		on_namespace_lost(execs, ns);
		return;
	}
	while (x && x->number != reply->exec)
		x = x->next;
	if (!x || x->ns != ns || !command_runs(x))
		return;
	x->status = reply->status;
	x->user_usec = reply->user_usec;
	x->system_usec = reply->system_usec;
	x->max_rss_kib = reply->max_rss_kib;
	(void)happens(x, EXEC_EVENT_EXIT);
}

/* Where the table says nothing the event comes too late to matter: -ESRCH. May free x where it is STARTING, and of a
 * request for files. */
static int happens(struct exec *x, enum exec_event event)
{
	static int (*const table[][EXEC_EVENT_COUNT])(struct exec *x) = {
		[EXEC_PHASE_STARTING] = { [EXEC_EVENT_TIME] = start_timed_out,
					  [EXEC_EVENT_KILL] = start_killed },
		[EXEC_PHASE_RUNNING] = { [EXEC_EVENT_EXIT] = command_ended,
					 [EXEC_EVENT_TIME] = out_of_time,
					 [EXEC_EVENT_KILL] = kill_bounded },
		[EXEC_PHASE_KILLED] = { [EXEC_EVENT_EXIT] = command_ended,
					[EXEC_EVENT_TIME] = give_up,
					[EXEC_EVENT_KILL] = kill_bounded },
		[EXEC_PHASE_LEAVING] = { [EXEC_EVENT_EMPTY] = tree_gone,
					 [EXEC_EVENT_TIME] = give_up,
					 [EXEC_EVENT_KILL] = kill_bounded },
		[EXEC_PHASE_CLOSING] = { [EXEC_EVENT_TAKEN] = conclude, [EXEC_EVENT_KILL] = kill_read },
		[EXEC_PHASE_BACKGROUND] = { [EXEC_EVENT_EMPTY] = background_gone,
					    [EXEC_EVENT_TIME] = background_out_of_time,
					    [EXEC_EVENT_KILL] = kill_tree },
		[EXEC_PHASE_CLEARING] = { [EXEC_EVENT_TAKEN] = reclaim, [EXEC_EVENT_KILL] = kill_read },
		[EXEC_PHASE_GONE] = { NULL },
	};

	return table[x->phase][event] ? table[x->phase][event](x) : -ESRCH;
}
