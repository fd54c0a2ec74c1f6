/* SPDX-License-Identifier: Apache-2.0 */
/* What can be asked of execs. */
#include <inttypes.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/exec/internal.h"

/*
 * Numbers are in labels, which an agent that dies leaves to the next one: so those of each begin above any that
 * the one before can have given, at the microseconds since boot. (It starts less than one exec in each.)
 *
 * Ids are for people: "x" and a number from 1, "-" and six characters drawn at random for this agent. An id that
 * somebody kept from before names nothing.
 */
int exec_ids_open(struct execs *execs)
{
	static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* 32, none like another */
	unsigned char bytes[6], random[20];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return errno ? -errno : -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		execs->life[i] = digits[bytes[i] % (sizeof(digits) - 1)];
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return errno ? -errno : -EIO;
	for (size_t i = 0; i < sizeof(random); i++)
		execs->instance[i] = digits[random[i] % (sizeof(digits) - 1)];
	execs->first_number = clock_ns(CLOCK_BOOTTIME) / 1000; /* microseconds */
	execs->last_number = execs->first_number;
	return 0;
}

void exec_id_make(const struct execs *execs, uint64_t number, char ret[EXEC_ID_SIZE])
{
	snprintf(ret, EXEC_ID_SIZE, "x%llu-%s", (unsigned long long)(number - execs->first_number),
		 execs->life);
}

const char *execs_name(struct execs *execs, uint64_t number)
{
	static char id[EXEC_ID_SIZE];

	if (number <= execs->first_number || number > execs->last_number)
		return NULL;
	exec_id_make(execs, number, id);
	return id;
}

const char *execs_instance(const struct execs *execs)
{
	return execs->instance;
}

struct exec *exec_find(struct execs *execs, const char *id)
{
	uint64_t number;
	char *end;

	if (exec_id_valid(id))
		return exec_claimed(execs, id);
	if (id[0] != 'x' || id[1] < '1' || id[1] > '9')
		return NULL;
	number = strtoull(id + 1, &end, 10) + execs->first_number;
	if (*end != '-' || strcmp(end + 1, execs->life) != 0)
		return NULL;
	for (struct exec *x = execs->buckets[number % EXEC_BUCKETS]; x; x = x->next)
		if (x->number == number && !x->is_files)
			return x;
	return NULL;
}

int exec_exit_code(const struct exec *x)
{
	return WIFSIGNALED(x->status) ? 128 + WTERMSIG(x->status) : WEXITSTATUS(x->status);
}

enum execs_counter exec_result(const struct exec *x)
{
	if (x->timed_out)
		return EXECS_TIMED_OUT;
	if (x->oom_killed > 0)
		return EXECS_OOM_KILLED;
	if (x->output_limited)
		return EXECS_OUTPUT_LIMITED;
	return WIFSIGNALED(x->status) ? EXECS_SIGNALLED : EXECS_EXITED;
}

void exec_get_info(struct exec *x, struct exec_info *ret)
{
	bool ended = exec_state_of(x) == EXEC_ENDED;
	uint64_t end = ended ? x->ended_ns : now_ns();

	*ret = (struct exec_info){
		.id = x->id,
		.number = x->number,
		.state = exec_state_of(x),
		.context = x->context->name,
		.ns = namespace_name(x->ns),
		.created = x->created,
		.argv = x->argv,
		.command = x->is_string ? x->string.shown : NULL,
		.interpreted = x->string.interpreted,
		.interpreter = x->string.interpreter,
		.state_fate = x->string.fate,
		.own_env = x->own_env,
		.secure = namespace_kind(x->ns) == CONTEXT_SECURE,
		.pid = x->pid,
		.background = ended && x->left,
		.exit_code = ended && WIFEXITED(x->status) ? WEXITSTATUS(x->status) : -1,
		.signal = ended && WIFSIGNALED(x->status) ? WTERMSIG(x->status) : 0,
		.timed_out = x->timed_out,
		.output_limited = x->output_limited,
		.oom_killed = x->oom_killed,
		.oom_files = x->oom_files,
		.started_unix_ms = x->started_unix_ms,
		.duration_ms = (end - x->started_ns) / NSEC_PER_MSEC,
		.user_usec = x->user_usec,
		.system_usec = x->system_usec,
		.max_rss_kib = x->max_rss_kib,
	};
	for (int i = 0; i < 2; i++) {
		struct capture *c = &x->out[i].kept;
		struct exec_output *out = &ret->output[i];

		out->total = c->total;
		out->kept = out->head = capture_kept(c);
		out->block = c->block;
		out->data = c->block ? c->block->data : NULL;
	}
}

void execs_watch_ends(struct execs *execs, void (*on_end)(const struct exec_info *info, void *data),
		      void *data)
{
	execs->on_end = on_end;
	execs->end_data = data;
}

void exec_tell_ended(struct exec *x, bool tree)
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

void exec_tell_watcher(struct exec *x)
{
	struct exec_info info;

	if (!x->own_env || !x->execs->on_end)
		return;
	exec_get_info(x, &info);
	x->execs->on_end(&info, x->execs->end_data);
}

void exec_get_output(struct exec *x, struct exec_info *ret)
{
	for (int i = 0; i < 2; i++) {
		struct capture *c = &x->out[i].kept;
		struct exec_output *out = &ret->output[i];

		out->kept = capture_linear(c, &out->head, exec_take_memory, x);
		out->block = c->block;
		out->data = c->block ? c->block->data : NULL;
	}
}

void execs_for_each(struct execs *execs, void (*fn)(struct exec *exec, void *data), void *data)
{
	list_for_each_safe(pos, &execs->all) {
		struct exec *x = list_entry(pos, struct exec, link);

		if (!x->is_files)
			fn(x, data);
	}
}

void execs_for_each_namespace(struct execs *execs, void (*fn)(struct namespace *ns, void *data),
			      void *data)
{
	namespaces_for_each(execs->namespaces, fn, data);
}

const char *execs_context_name(struct execs *execs, uint64_t number)
{
	const struct context *c = context_by_number(execs->contexts, number);

	return c ? c->name : NULL;
}

uint64_t execs_context_number(const struct execs *execs, const char *name)
{
	const struct context *c = context_find(execs->contexts, name);

	return c ? c->number : 0;
}

void execs_get_stats(const struct execs *execs, struct execs_stats *ret)
{
	*ret = execs->stats;
	ret->contexts = contexts_count(execs->contexts);
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
