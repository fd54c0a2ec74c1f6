/* SPDX-License-Identifier: Apache-2.0 */
/* All execs, and what they hold. What happens to one is in life.c. */
#include "agent/exec/internal.h"
#include "base/held.h"

void exec_wipe_env(struct exec *x)
{
	free_wiped(x->env, x->env_size);
	x->env = NULL;
}

/* Frees what only a living command needs. */
void exec_release(struct exec *x)
{
	loop_timer_cancel(x->execs->loop, &x->timer);
	loop_timer_cancel(x->execs->loop, &x->again);
	exec_input_close(x);
	if (x->spawn.rows)
		close_fd(&x->spawn.terminal);
	exec_output_close(x);
	exec_string_close(x);
	exec_wipe_env(x);
	free_ptr(&x->cwd);
	if (x->cgroup) {
		enforce_forget_exec(x->execs->enforce, cgroup_fd(x->cgroup));
		cgroup_put(x->cgroup);
	}
	x->cgroup = NULL;
}

void exec_leave(struct exec *x)
{
	x->phase = EXEC_PHASE_GONE;
	x->execs->n_active--;
	namespace_release(x->ns);
	exec_leave_context(x);
}

void exec_free(struct exec *x)
{
	struct execs *execs = x->execs;
	struct exec **link = &execs->buckets[x->number % EXEC_BUCKETS];

	if (!x->forgotten) {
		exec_release(x);
		exec_claim_leave(x, exec_exit_code(x));
	}
	x->forgotten = true;
	while (*link && *link != x)
		link = &(*link)->next;
	if (*link)
		*link = x->next;
	if (exec_is_active(x))
		exec_leave(x);
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

void execs_stop(struct execs *execs)
{
	if (!execs || execs->closing)
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

		exec_end_now(x);
		exec_free(x);
	}
	loop_timer_cancel(execs->loop, &execs->session_timer);
}

void execs_close(struct execs *execs)
{
	if (!execs)
		return;
	execs_stop(execs);
	namespaces_free(execs->namespaces);
	kept_close(execs->kept);
	contexts_free(execs->contexts);
	exec_claims_close(execs);
	for (int i = 0; i < 2; i++) {
		close_fd(&execs->spare[i][0]);
		close_fd(&execs->spare[i][1]);
	}
	free(execs);
}
