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
#include "base/log.h"

static const char *const step_names[] = {
#define STEP_NAME(name, text) text,
	INIT_STEPS(STEP_NAME)
#undef STEP_NAME
};

static uint64_t *counters(const struct exec *x)
{
	return x->execs->stats.counts[x->space->kind];
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
	exec_output_close(x);
	wipe_env(x);
	free_ptr(&x->cwd);
	if (x->cgroup)
		cgroup_put(x->cgroup);
	x->cgroup = NULL;
}

static size_t kept(const struct exec *x)
{
	return x->out[0].kept + x->out[1].kept;
}

void exec_free(struct exec *x)
{
	struct execs *execs = x->execs;
	struct exec **link = &execs->buckets[x->number % EXEC_BUCKETS];

	release(x);
	while (*link && *link != x)
		link = &(*link)->next;
	if (*link)
		*link = x->next;
	execs->n_active -= x->active;
	if (!list_empty(&x->ended_link)) {
		execs->n_ended--;
		execs->kept_ended -= kept(x);
	}
	list_remove(&x->link);
	list_remove(&x->ended_link);
	execs->kept -= kept(x);
	for (int i = 0; i < 2; i++)
		free_wiped(x->out[i].data, x->out[i].kept);
	free_wiped(x->argv, x->argv_size);
	free(x);
}

/* --- The end ------------------------------------------------------------------------------- */

/* The newest ended execs stay; also less, when their output is much. */
static void evict(struct execs *execs)
{
	if (execs->walking)
		return;
	while (execs->n_ended > EXEC_ENDED_MAX ||
	       (execs->kept_ended > EXECS_OUTPUT_ENDED_MAX && execs->n_ended > 1))
		exec_free(list_entry(execs->ended.next, struct exec, ended_link));
}

/* No process of it is left: only the result stays. May free older ones, not x. */
static void reclaim(struct exec *x)
{
	struct execs *execs = x->execs;

	x->background = false;
	release(x);
	x->active = false;
	execs->n_active--;
	execs->n_ended++;
	execs->kept_ended += kept(x);
	list_append(&execs->ended, &x->ended_link);
	evict(execs);
}

static void on_background_gone(struct cgroup *cgroup, void *data)
{
	struct exec *x = data;

	(void)cgroup;
	exec_output_drain(x);
	reclaim(x);
}

static int count_oom_kills(struct exec *x)
{
	uint64_t kills;

	if (x->status == 0)
		return 0; /* whatever was killed, the command did without it */
	if (cgroup_oom_kills(x->cgroup, &kills) < 0)
		return -1;
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

/* The result is complete. left: processes of the tree still run, in the background. */
static void finish(struct exec *x, bool left)
{
	struct exec_observer *o = x->observer;

	loop_timer_cancel(x->execs->loop, &x->timer);
	exec_output_drain(x);
	x->oom_killed = count_oom_kills(x);
	x->state = EXEC_ENDED;
	x->ended_ns = now_ns();
	counters(x)[EXECS_RUNNING]--;
	counters(x)[result_of(x)]++;
	x->background = left;
	x->observer = NULL;
	/* First the answer, then the housekeeping. */
	if (o && o->on_ended)
		o->on_ended(o, x);
	if (left && cgroup_watch_empty(x->cgroup, on_background_gone, x) < 0) {
		log_warning("exec %s: its background processes cannot be watched, they end", x->id);
		left = false;
	}
	if (!left)
		reclaim(x);
}

static void on_tree_gone(struct cgroup *cgroup, void *data)
{
	struct exec *x = data;

	(void)cgroup;
	if (x->exited)
		finish(x, false);
}

static void finish_killed(struct exec *x);

/* The command is gone. What it left behind goes on, or has to die first. */
static void command_ended(struct exec *x)
{
	bool left = cgroup_populated(x->cgroup);

	x->exited = true;
	if (!left) {
		finish(x, false);
	} else if (x->killed || x->space->kind == CONTEXT_SECURE) {
		finish_killed(x);
	} else {
		finish(x, true);
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
		finish(x, true);
	}
}

/* --- Time limit and kill ------------------------------------------------------------------- */

static int kill_tree(struct exec *x)
{
	int r;

	x->killed = true;
	if (!x->cgroup)
		return 0; /* it waits for its turn; exec_on_spawned() does it */
	r = cgroup_kill(x->cgroup);
	if (r == 0 && x->state != EXEC_ENDED)
		r = loop_timer_set(x->execs->loop, &x->timer, EXEC_KILL_GRACE_NS, exec_on_timer);
	return r;
}

/* It is killed, and still in the kernel on its way to execve: who waits for it is told so. It stays
 * listed as what it is. */
static void give_up(struct exec *x)
{
	struct exec_observer *o = x->observer;
	struct refusal error;

	log_warning("exec %s: killed while it started, and not gone", x->id);
	refuse(&error, MOAT_E_SPAWN_FAILED,
	       "the command did not start, was killed, and is not gone yet");
	error.err = ETIMEDOUT;
	x->observer = NULL;
	if (o && o->on_failed)
		o->on_failed(o, &error);
}

/*
 * The time limit; or, once killed, the end of patience: a tracer that does not wait for its dead
 * tracee keeps moat-init from reaping it, and an uninterruptible sleep keeps it from dying.
 */
void exec_on_timer(struct loop_timer *timer)
{
	struct exec *x = container_of(timer, struct exec, timer);

	if (!x->killed) {
		x->timed_out = true;
		(void)kill_tree(x);
		return;
	}
	if (x->state == EXEC_STARTING)
		give_up(x);
	if (x->state != EXEC_RUNNING)
		return;
	log_warning("exec %s: not gone after being killed", x->id);
	if (!x->exited)
		x->status = SIGKILL;
	x->exited = true;
	(void)cgroup_watch_empty(x->cgroup, NULL, NULL);
	finish(x, cgroup_populated(x->cgroup));
}

int exec_kill(struct exec *x)
{
	return x->state == EXEC_ENDED && !x->cgroup ? -ESRCH : kill_tree(x);
}

int exec_signal(struct exec *x, int signal)
{
	if (x->state != EXEC_RUNNING || x->exited)
		return -ESRCH;
	return namespace_signal(x->space->ns, x->number, signal, true);
}

void exec_unobserve(struct exec *x)
{
	x->observer = NULL;
	exec_pause(x, false); /* nobody would resume it */
}

/* --- What moat-init says ------------------------------------------------------------------- */

static void describe_failure(struct refusal *e, const struct exec *x, int err, enum init_step step)
{
	if (step == INIT_STEP_EXEC && (err == ENOENT || err == ENOTDIR))
		refuse(e, MOAT_E_COMMAND_NOT_FOUND, "%.128s: command not found", x->argv[0]);
	else if (step == INIT_STEP_EXEC && err == E2BIG)
		refuse(e, MOAT_E_ARGUMENTS_TOO_LARGE,
			      "an argument or variable is larger than the kernel takes");
	else if (step == INIT_STEP_EXEC)
		refuse(e, MOAT_E_COMMAND_NOT_EXECUTABLE, "%.128s: %s", x->argv[0],
			      strerror(err));
	else if (step == INIT_STEP_DIRECTORY)
		refuse(e, MOAT_E_BAD_DIRECTORY, "%.128s: %s", x->cwd, strerror(err));
	else if (step == INIT_STEP_REQUEST)
		exec_describe_errno(e, -err);
	else if (step == INIT_STEP_NONE && x->execs->closing)
		refuse(e, MOAT_E_SHUTTING_DOWN, "the agent stops");
	else if (step == INIT_STEP_NONE)
		refuse(e, MOAT_E_NAMESPACE_LOST, "namespace %s was lost",
			      x->space->name);
	else
		refuse(e, MOAT_E_SPAWN_FAILED, "cannot start the command (%s): %s",
			      step_names[step], strerror(err));
	e->err = err;
	e->step = step_names[step];
}

static void spawn_failed(struct exec *x, int err, enum init_step step)
{
	struct exec_observer *o = x->observer;
	struct refusal error;

	describe_failure(&error, x, err, step);
	x->observer = NULL;
	counters(x)[EXECS_RUNNING]--;
	counters(x)[EXECS_FAILED]++;
	/* Out of every list before the observer hears of it: it may start another one. */
	exec_free(x);
	if (o && o->on_failed)
		o->on_failed(o, &error);
}

void exec_on_spawned(struct namespace_spawn *spawn, int err, enum init_step step, pid_t pid)
{
	struct exec *x = container_of(spawn, struct exec, spawn);
	struct exec_observer *o = x->observer;

	wipe_env(x);
	if (err) {
		spawn_failed(x, err, step);
		return;
	}
	histogram_add(&x->execs->stats.spawn, now_ns() - x->started_ns);
	x->state = EXEC_RUNNING;
	x->pid = pid;
	x->timed_out |= spawn->late;
	x->killed |= spawn->late;
	exec_output_started(x);
	exec_output_spare(x->execs);
	if (x->killed)
		(void)kill_tree(x);
	if (o && o->on_started)
		o->on_started(o, x);
}

/* Everything that ran in the space is dead, or (shared PID namespace) has lost its parent. */
static void on_space_lost(struct exec_space *space)
{
	space->execs->walking = true; /* nothing is freed under our feet */
	list_for_each_safe(pos, &space->execs->all) {
		struct exec *x = list_entry(pos, struct exec, link);

		if (x->space != space || x->state != EXEC_RUNNING || x->exited)
			continue;
		x->status = SIGKILL;
		x->killed = true;
		command_ended(x);
	}
	space->execs->walking = false;
	evict(space->execs);
}

void exec_on_exit(const struct init_reply *reply, void *data)
{
	struct exec_space *space = data;
	struct exec *x = space->execs->buckets[reply->exec % EXEC_BUCKETS];

	if (reply->exec == 0) {
		on_space_lost(space);
		return;
	}
	while (x && x->number != reply->exec)
		x = x->next;
	if (!x || x->space != space || x->state != EXEC_RUNNING || x->exited)
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
	for (int i = 0; i < 2; i++)
		execs->spare[i][0] = execs->spare[i][1] = -EBADF;
	list_init(&execs->all);
	list_init(&execs->ended);
	r = contexts_open(config, &execs->contexts);
	if (r < 0)
		fail(f, -r, "cannot set up contexts");
	if (r == 0)
		r = exec_spaces_open(execs, f);
	if (r < 0) {
		execs_close(execs);
		return r;
	}
	*ret = execs;
	return 0;
}

static void end_now(struct exec *x)
{
	if (x->state != EXEC_RUNNING)
		return;
	if (!x->exited)
		x->status = SIGKILL;
	x->exited = x->killed = true;
	finish(x, false);
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
	for (size_t i = 0; i < execs->n_spaces; i++)
		namespace_stop(take_ptr(execs->spaces[i].ns));
	while (!list_empty(&execs->all)) {
		struct exec *x = list_entry(execs->all.next, struct exec, link);

		end_now(x);
		exec_free(x);
	}
	exec_spaces_close(execs);
	contexts_free(execs->contexts);
	for (int i = 0; i < 2; i++) {
		close_fd(&execs->spare[i][0]);
		close_fd(&execs->spare[i][1]);
	}
	free(execs);
}
