/* SPDX-License-Identifier: Apache-2.0 */
/* What contexts have of their own from the start; their namespaces come later (namespace/set.c). */
#include "agent/exec/internal.h"

struct opening {
	struct execs *execs;
	struct failure *f;
	int r;
};

/* A context with limits gets a cgroup of its own. */
static void give_group(struct context *c, void *data)
{
	const uint64_t *limits = c->config->limits;
	struct opening *o = data;

	for (enum config_limit i = 0; i < LIMIT_COUNT; i++)
		if (limits[i] != 0 && limits[i] != CONFIG_NO_LIMIT && o->r == 0 && !c->group)
			o->r = cgroup_group_add(o->execs->cgroups, c->config->name, limits,
						o->execs->config->enforce == ENFORCE_BEST_EFFORT,
						&c->group, o->f);
}

int exec_spaces_open(struct execs *execs, struct failure *f)
{
	struct opening o = { .execs = execs, .f = f };

	contexts_for_each(execs->contexts, give_group, &o);
	return o.r;
}
