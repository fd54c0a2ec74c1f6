/* SPDX-License-Identifier: Apache-2.0 */
/* What can be asked of execs. */
#include <inttypes.h>
#include <sys/wait.h>

#include "agent/exec/internal.h"

struct exec *exec_find(struct execs *execs, const char *id)
{
	uint64_t number;
	char *end;

	if (id[0] != 'x' || id[1] < '1' || id[1] > '9')
		return NULL;
	number = strtoull(id + 1, &end, 10);
	if (*end)
		return NULL;
	for (struct exec *x = execs->buckets[number % EXEC_BUCKETS]; x; x = x->next)
		if (x->number == number)
			return x;
	return NULL;
}

void exec_get_info(struct exec *x, struct exec_info *ret)
{
	uint64_t end = x->state == EXEC_ENDED ? x->ended_ns : now_ns();
	bool ended = x->state == EXEC_ENDED;

	*ret = (struct exec_info){
		.id = x->id,
		.number = x->number,
		.state = x->state,
		.context = x->context->config->name,
		.ns = x->space->name,
		.argv = x->argv,
		.own_env = x->own_env,
		.pid = x->pid,
		.background = x->background,
		.exit_code = ended && WIFEXITED(x->status) ? WEXITSTATUS(x->status) : -1,
		.signal = ended && WIFSIGNALED(x->status) ? WTERMSIG(x->status) : 0,
		.timed_out = x->timed_out,
		.oom_killed = x->oom_killed,
		.started_unix_ms = x->started_unix_ms,
		.duration_ms = (end - x->started_ns) / NSEC_PER_MSEC,
		.user_usec = x->user_usec,
		.system_usec = x->system_usec,
		.max_rss_kib = x->max_rss_kib,
	};
	for (int i = 0; i < 2; i++)
		ret->output[i] = (struct exec_output){
			.data = x->out[i].block ? x->out[i].block->data : NULL,
			.block = x->out[i].block,
			.kept = x->out[i].kept,
			.total = x->out[i].total,
		};
}

void execs_for_each(struct execs *execs, void (*fn)(struct exec *exec, void *data), void *data)
{
	list_for_each_safe(pos, &execs->all)
		fn(list_entry(pos, struct exec, link), data);
}

void execs_for_each_namespace(struct execs *execs, void (*fn)(struct namespace *ns, void *data),
			      void *data)
{
	for (size_t i = 0; i < execs->n_spaces; i++)
		fn(execs->spaces[i].ns, data);
}

struct name_search {
	uint64_t number;
	const char *name;
};

static void match_number(struct context *c, void *data)
{
	struct name_search *search = data;

	if (c->number == search->number)
		search->name = c->config->name;
}

const char *execs_context_name(struct execs *execs, uint64_t number)
{
	struct name_search search = { .number = number };

	contexts_for_each(execs->contexts, match_number, &search);
	return search.name;
}

static void count_context(struct context *c, void *data)
{
	(void)c;
	++*(uint64_t *)data;
}

void execs_get_stats(const struct execs *execs, struct execs_stats *ret)
{
	*ret = execs->stats;
	contexts_for_each(execs->contexts, count_context, &ret->contexts);
}

uint64_t execs_total(const struct execs_stats *stats, enum execs_counter first,
		     enum execs_counter last)
{
	uint64_t sum = 0;

	for (size_t ns = 0; ns < ARRAY_LEN(stats->counts); ns++)
		for (enum execs_counter i = first; i <= last; i++)
			sum += stats->counts[ns][i];
	return sum;
}
