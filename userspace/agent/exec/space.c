/* SPDX-License-Identifier: Apache-2.0 */
/* What contexts have of their own from the start; their namespaces come later (namespace/set.c). */
#include "agent/exec/internal.h"

#include <linux/capability.h>

#include "base/log.h"

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

/* Where the kernel refuses nothing, covers are all there is. */
static void warn_of_covers(struct context *c, void *data)
{
	(void)data;
	if (c->config->capabilities & 1ull << CAP_SYS_ADMIN)
		log_warning("context %s can see what is hidden: it has CAP_SYS_ADMIN, and the kernel enforces nothing",
			    c->config->name);
}

int exec_spaces_open(struct execs *execs, struct failure *f)
{
	struct opening o = { .execs = execs, .f = f };

	contexts_for_each(execs->contexts, give_group, &o);
	if (!enforce_active(execs->enforce))
		contexts_for_each(execs->contexts, warn_of_covers, NULL);
	return o.r;
}
