/* SPDX-License-Identifier: Apache-2.0 */
/* What contexts have of their own from the start; their namespaces come later (namespace/set.c). */
#include "agent/exec/internal.h"

struct opening {
	struct execs *execs;
	struct failure *f;
	int r;
};

/* A context gets a cgroup of its own. */
static void give_group(struct context *c, void *data)
{
	struct opening *o = data;

	if (o->r == 0)
		o->r = cgroup_group_add(o->execs->cgroups, c->config->name, c->config->limits,
					o->execs->config->enforce == ENFORCE_BEST_EFFORT,
					&c->group, o->f);
}

int exec_spaces_open(struct execs *execs, struct failure *f)
{
	struct opening o = { .execs = execs, .f = f };

	contexts_for_each(execs->contexts, give_group, &o);
	return o.r;
}
