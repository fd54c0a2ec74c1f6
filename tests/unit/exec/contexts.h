/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of contexts share, beside the fixture. */
#ifndef MOAT_EXEC_CONTEXTS_H
#define MOAT_EXEC_CONTEXTS_H

#include "exec/fixture.h"

struct gone {
	struct context_waiter waiter;
	int n;
};

static inline void on_gone(struct context_waiter *w)
{
	container_of(w, struct gone, waiter)->n++;
}

static inline struct context *find(const char *name)
{
	return context_find(execs_contexts(fx.execs), name);
}

static inline struct context *add(const char *name, const struct config_context *values)
{
	struct refusal e = { 0 };
	struct context *c = NULL;

	if (execs_context_add(fx.execs, name, values, &c, &e) < 0)
		print_error("%s\n", e.message);
	assert_non_null(c);
	return c;
}

static inline const struct config_context *of_default(void)
{
	return &find("default")->settings->values;
}

static inline void add_default(const char *name)
{
	add(name, of_default());
}

/* 0: gone, 1: not yet. */
static inline int remove_context(const char *name, bool keep, struct gone *gone)
{
	struct refusal e = { 0 };
	int r;

	gone->waiter.on_gone = on_gone;
	r = execs_context_remove(fx.execs, find(name), keep, &gone->waiter, &e);
	assert_true(r >= 0);
	return r;
}

static inline bool has_dir(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/user/%s", cgroups_path(fx.cgroups), name);
	return access(path, F_OK) == 0;
}

static inline void match_name(struct namespace *ns, void *data)
{
	const char **wanted = data;

	if (*wanted && strcmp(namespace_name(ns), *wanted) == 0)
		*wanted = NULL;
}

static inline bool has_namespace(const char *name)
{
	execs_for_each_namespace(fx.execs, match_name, &name);
	return name == NULL;
}

#endif
