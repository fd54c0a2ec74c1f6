/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of an exec, after start.c has sent it on its way.
 *
 *   STARTING --spawned--> RUNNING --exit--> ENDED --(tree gone)--> reclaimed
 *                            \--exit, and the tree is to die with it--> (tree gone) --> ENDED
 */
#include <signal.h>
#include <sys/wait.h>

#include "agent/exec/internal.h"
#include "base/held.h"
#include "base/log.h"

static uint64_t *counters(const struct exec *x)
{
	return x->execs->stats.counts[namespace_kind(x->ns)];
}

static void wipe_env(struct exec *x)
{
	free_wiped(x->env, x->env_size);
	x->env = NULL;
}

/* Frees what only a living command needs. */
static void release(struct exec *x)
{
	loop_timer_cancel(x->execs->loop, &x->timer);
	loop_timer_cancel(x->execs->loop, &x->again);
	exec_input_close(x);
	if (x->spawn.rows)
		close_fd(&x->spawn.terminal);
	exec_output_close(x);
	exec_string_close(x);
	wipe_env(x);
	free_ptr(&x->cwd);
	if (x->cgroup) {
		enforce_forget_exec(x->execs->enforce, cgroup_fd(x->cgroup));
		cgroup_put(x->cgroup);
	}
	x->cgroup = NULL;
}

/* Nothing of it is to run, or runs, any more. */
static void leave(struct exec *x)
{
	x->active = false;
	x->execs->n_active--;
	namespace_release(x->ns);
	exec_leave_context(x);
}

void exec_free(struct exec *x)
{
	struct execs *execs = x->execs;
	struct exec **link = &execs->buckets[x->number % EXEC_BUCKETS];

	if (!x->forgotten) {
		release(x);
		exec_claim_leave(x, exec_exit_code(x));
	}
	x->forgotten = true;
	while (*link && *link != x)
		link = &(*link)->next;
	if (*link)
		*link = x->next;
	if (x->active)
		leave(x);
	list_remove(&x->link);
	exec_ended_remove(x);
	list_remove(&x->observers);
	if (x->pins)
		return; /* somebody still reads it */
	exec_forget_context(x);
	for (int i = 0; i < 2; i++)
		capture_free(&x->out[i].kept);
	records_free(&x->records);
	free_wiped(x->argv, x->argv_size);
	exec_string_free(x);
	free(x);
}

/* --- The end ------------------------------------------------------------------------------- */

/* To those who wait for no more than that. */
static void tell_ended(struct exec *x, bool tree)
{
	list_for_each_safe(pos, &x->observers) {
		struct exec_observer *o = list_entry(pos, struct exec_observer, link);

		if (o->of_tree && !tree)
			continue;
		list_remove(&o->link);
		if (o->on_ended)
			o->on_ended(o, x);
	}
}

/* No process of it is left: only the result stays. May free older ones, not x; but of a request for files nothing
 * stays. */
static void reclaim(struct exec *x)
{
	x->background = x->left = false;
	tell_ended(x, true);
	release(x);
	leave(x);
	if (x->is_files) {
		if (!x->execs->closing) /* else it is freed with all others */
			exec_free(x);
		return;
	}
	exec_ended_add(x);
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

static enum execs_counter result_of(const struct exec *x)
{
	if (x->timed_out)
		return EXECS_TIMED_OUT;
	if (x->oom_killed > 0)
		return EXECS_OOM_KILLED;
	return WIFSIGNALED(x->status) ? EXECS_SIGNALLED : EXECS_EXITED;
}

static void on_background_gone(struct cgroup *cgroup, void *data);

/* Keeps an eye on what runs on. False: it cannot be, and has to end. */
static bool watch_background(struct exec *x)
{
	uint64_t now = now_ns();
	int r = cgroup_watch_empty(x->cgroup, on_background_gone, x);

	if (r == 0 && x->deadline_ns)
		r = loop_timer_set(x->execs->loop, &x->timer,
				   x->deadline_ns > now ? x->deadline_ns - now : 0, exec_on_timer);
	if (r < 0)
		log_warning("exec %s: its background processes cannot be watched, they end", x->id);
	return r == 0;
}

/* The result is complete. */
static void conclude(struct exec *x)
{
	x->oom_killed = count_oom_kills(x);
	x->state = EXEC_ENDED;
	x->ended_ns = now_ns();
	counters(x)[EXECS_RUNNING]--;
	counters(x)[result_of(x)]++;
	x->background = x->left;
	x->held = NULL;
	/* First the answer, then the housekeeping. */
	tell_ended(x, false);
	if (!x->left || !watch_background(x))
		reclaim(x);
}

/* A piece of what the pipes owe, and when that was the last, what comes then. */
void exec_drain(struct exec *x)
{
	x->draining = !exec_output_drain(x);
	/* While its stream is not read it waits, as the command did; unless it was killed. */
	if (x->draining && (((x->out[0].stalled || x->out[1].stalled) && !x->killed) ||
			    loop_timer_set(x->execs->loop, &x->again, 0, exec_on_again) == 0))
		return;
	x->draining = false;
	if (x->state == EXEC_ENDED)
		reclaim(x);
	else
		conclude(x);
}

void exec_on_again(struct loop_timer *timer)
{
	exec_drain(container_of(timer, struct exec, again));
}

static void on_background_gone(struct cgroup *cgroup, void *data)
{
	struct exec *x = data;

	(void)cgroup;
	loop_timer_cancel(x->execs->loop, &x->timer);
	exec_output_owed(x);
	exec_drain(x);
}

/* Nothing is waited for any more but the output. left: processes of the tree still run, in the
 * background. */
void exec_finish(struct exec *x, bool left)
{
	loop_timer_cancel(x->execs->loop, &x->timer);
	x->left = left;
	exec_output_owed(x);
	exec_drain(x);
}

static void on_tree_gone(struct cgroup *cgroup, void *data)
{
	struct exec *x = data;

	(void)cgroup;
	if (x->exited)
		exec_finish(x, false);
}

static void finish_killed(struct exec *x);

/* The command is gone. What it left behind goes on, or has to die first. */
static void command_ended(struct exec *x)
{
	bool left = cgroup_populated(x->cgroup);

	x->exited = true;
	exec_string_ended(x);
	if (!left) {
		exec_finish(x, false);
	} else if (x->killed || namespace_kind(x->ns) == CONTEXT_SECURE) {
		finish_killed(x);
	} else {
		exec_finish(x, true);
	}
}

/* Ends x when its tree is gone, which is killed here; or after the grace period. */
static void finish_killed(struct exec *x)
{
	int r = cgroup_kill(x->cgroup);

	if (r == 0)
		r = cgroup_watch_empty(x->cgroup, on_tree_gone, x);
	if (r == 0)
		r = loop_timer_set(x->execs->loop, &x->timer, EXEC_KILL_GRACE_NS, exec_on_timer);
	if (r < 0) {
		log_error("exec %s: its processes cannot be killed: %s", x->id, strerror(-r));
		exec_finish(x, true);
	}
}

/* --- What moat-init says ------------------------------------------------------------------- */

static void not_started(struct exec *x, const struct refusal *error)
{
	struct list observers = LIST_INIT(observers);
	struct context *made = x->created && !x->context->ending ? x->context : NULL;
	struct execs *execs = x->execs;

	counters(x)[EXECS_RUNNING]--;
	counters(x)[EXECS_FAILED]++;
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

void exec_start_timed_out(struct exec *x)
{
	struct refusal error;

	refuse(&error, MOAT_E_NOT_STARTED, "the command was not started within its time limit");
	cancel_start(x, &error);
}

void exec_start_killed(struct exec *x)
{
	struct refusal error;

	refuse(&error, MOAT_E_NOT_STARTED, "the command was killed before it was started");
	cancel_start(x, &error);
}

void exec_stop(struct exec *x)
{
	struct refusal error;
	int r;

	if (x->state == EXEC_STARTING) {
		refuse(&error, MOAT_E_NO_SUCH_CONTEXT, "context %.150s was removed", x->context->name);
		cancel_start(x, &error);
		return;
	}
	r = exec_kill(x);
	if (r < 0 && r != -ESRCH)
		log_error("exec %s cannot be killed: %s", x->id, strerror(-r));
}

void exec_on_spawned(struct namespace_spawn *spawn, int err, enum init_step step, pid_t pid)
{
	struct exec *x = container_of(spawn, struct exec, spawn);

	wipe_env(x);
	exec_string_started(x);
	if (err) {
		spawn_failed(x, err, step);
		return;
	}
	histogram_add(&x->execs->stats.spawn, now_ns() - x->started_ns);
	x->state = EXEC_RUNNING;
	x->pid = pid;
	x->timed_out |= spawn->late;
	x->killed |= spawn->late;
	if (x->is_terminal && exec_terminal_started(x) < 0)
		x->killed = true;
	exec_output_started(x);
	exec_input_started(x);
	exec_output_spare(x->execs);
	if (x->killed)
		(void)exec_kill_tree(x);
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

		if (x->ns != ns || x->state != EXEC_RUNNING || x->exited)
			continue;
		x->status = SIGKILL;
		x->killed = true;
		command_ended(x);
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
	if (!x || x->ns != ns || x->state != EXEC_RUNNING || x->exited)
		return;
	x->status = reply->status;
	x->user_usec = reply->user_usec;
	x->system_usec = reply->system_usec;
	x->max_rss_kib = reply->max_rss_kib;
	command_ended(x);
}

/* --- The module ---------------------------------------------------------------------------- */

int execs_open(const struct config *config, struct enforce *enforce, struct cgroups *cgroups,
	       struct loop *loop, struct execs **ret, struct failure *f)
{
	struct execs *execs = calloc(1, sizeof(*execs));
	int r;

	if (!execs)
		return fail(f, ENOMEM, "cannot set up execs");
	execs->config = config;
	execs->enforce = enforce;
	execs->cgroups = cgroups;
	execs->loop = loop;
	execs->running_max = EXEC_RUNNING_MAX;
	held_set_max(cgroups_for_clients(cgroups));
	for (int i = 0; i < 2; i++)
		execs->spare[i][0] = execs->spare[i][1] = -EBADF;
	list_init(&execs->all);
	list_init(&execs->ended[0]);
	list_init(&execs->ended[1]);
	list_init(&execs->idle_sessions);
	exec_open_runner(execs);
	r = exec_ids_open(execs);
	if (r == 0)
		r = exec_claims_open(execs);
	if (r == 0)
		r = contexts_open(config, execs->first_number, &execs->contexts);
	if (r < 0)
		fail(f, -r, "cannot set up contexts");
	if (r == 0)
		r = exec_contexts_open(execs, f);
	if (r == 0)
		r = namespaces_open(config, enforce, cgroups, loop, exec_on_exit, execs,
				    &execs->namespaces, f);
	if (r == 0)
		r = exec_check_required(execs, f);
	if (r < 0) {
		execs_close(execs);
		return r;
	}
	*ret = execs;
	return 0;
}

void execs_limit(struct execs *execs, unsigned running, unsigned contexts)
{
	if (running < execs->running_max)
		execs->running_max = running;
	namespaces_limit(execs->namespaces, contexts);
}

static void end_now(struct exec *x)
{
	if (x->state != EXEC_RUNNING)
		return;
	if (!x->exited)
		x->status = SIGKILL;
	x->exited = x->killed = true;
	x->left = false;
	if (!x->draining)
		exec_output_owed(x);
	(void)exec_output_drain(x);
	conclude(x);
}

void execs_close(struct execs *execs)
{
	if (!execs)
		return;
	execs->closing = true;
	/* What is queued fails; what runs, also in a shared PID namespace, is killed. */
	list_for_each(pos, &execs->all) {
		struct exec *x = list_entry(pos, struct exec, link);

		if (x->cgroup)
			(void)cgroup_kill(x->cgroup);
	}
	/* Freed after the last of its execs, which releases it. */
	namespaces_stop(execs->namespaces);
	while (!list_empty(&execs->all)) {
		struct exec *x = list_entry(execs->all.next, struct exec, link);

		end_now(x);
		exec_free(x);
	}
	namespaces_free(execs->namespaces);
	loop_timer_cancel(execs->loop, &execs->session_timer);
	kept_close(execs->kept);
	contexts_free(execs->contexts);
	exec_claims_close(execs);
	for (int i = 0; i < 2; i++) {
		close_fd(&execs->spare[i][0]);
		close_fd(&execs->spare[i][1]);
	}
	free(execs);
}
