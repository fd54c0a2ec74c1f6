/* SPDX-License-Identifier: Apache-2.0 */
/* Results of execs that have ended, as long as there is room for them. */
#include "agent/exec/internal.h"
#include "base/held.h"

static size_t kept(const struct exec *x)
{
	return capture_kept(&x->out[0].kept) + capture_kept(&x->out[1].kept);
}

static struct exec *oldest(struct execs *execs, bool of_client)
{
	return list_entry(execs->ended[of_client].next, struct exec, ended_link);
}

/* Of two or more the one that ended first. */
static struct exec *oldest_of_all(struct execs *execs)
{
	struct exec *first;

	for (int i = 0; i < 2; i++)
		if (execs->n_ended[!i] == 0)
			return oldest(execs, i);
	first = oldest(execs, false);
	return first->nth_ended < oldest(execs, true)->nth_ended ? first : oldest(execs, true);
}

/* The newest ended execs stay; also less, when their output is much. */
void execs_evict(struct execs *execs)
{
	if (execs->walking)
		return;
	while (execs->n_ended[0] > EXEC_ENDED_MAX)
		exec_free(oldest(execs, 0));
	while (execs->n_ended[1] > EXEC_ENDED_CLAIMED_MAX)
		exec_free(oldest(execs, 1));
	while (execs->n_ended[0] + execs->n_ended[1] > 1 &&
	       (execs->kept_ended > EXECS_OUTPUT_ENDED_MAX || execs->kept_ended > held_max() / 4))
		exec_free(oldest_of_all(execs));
}

void execs_make_room(struct execs *execs, size_t n, const struct exec *x)
{
	if (execs->walking)
		return;
	for (int i = 0; i < 2; i++) {
		list_for_each_safe(pos, &execs->ended[i]) {
			struct exec *old = list_entry(pos, struct exec, ended_link);

			if (n <= held_max() && held_used() <= held_max() - n && !held_scarce())
				return;
			if (old != x)
				exec_free(old);
		}
	}
}

void exec_ended_add(struct exec *x)
{
	struct execs *execs = x->execs;

	x->nth_ended = ++execs->last_ended;
	execs->n_ended[x->of_client]++;
	execs->kept_ended += kept(x);
	list_append(&execs->ended[x->of_client], &x->ended_link);
	execs_evict(execs);
}

void exec_ended_remove(struct exec *x)
{
	if (list_empty(&x->ended_link))
		return;
	x->execs->n_ended[x->of_client]--;
	x->execs->kept_ended -= kept(x);
	list_remove(&x->ended_link);
}
