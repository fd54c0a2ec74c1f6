/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts: named data of the agent's. There is no process and no kernel object behind one.
 *
 * The environment of a command is built from nothing: base < context < exec. The base is the table
 * in context.c; nothing of the agent's own environment gets in.
 */
#ifndef MOAT_CONTEXT_H
#define MOAT_CONTEXT_H

#include "agent/config/config.h"

struct contexts;
struct exec_space;
struct cgroup_group;

struct context {
	const struct config_context *config; /* borrowed */
	uint64_t number;                     /* the label's context, from 1 */
	/* Of its commands [0] without and [1] with surroundings of their own (secure). */
	char **env[2];            /* base and context, merged */
	const char *directory[2]; /* borrowed; absolute. Not configured: /, or HOME */
	/* Where its commands run: without and with environment of their own. Set by exec.c. */
	struct exec_space *plain, *secure;
	struct cgroup_group *group; /* where they are limited; NULL: with all others. Set by exec.c */
	struct context *next; /* in its bucket */
};

/* Makes every context of the configuration, which must outlive them. 0 or -errno. */
int contexts_open(const struct config *config, struct contexts **ret);
void contexts_free(struct contexts *contexts);

/* NULL when there is none. Borrowed. */
struct context *context_find(struct contexts *contexts, const char *name);
void contexts_for_each(struct contexts *contexts, void (*fn)(struct context *c, void *data),
		       void *data);

/*
 * A vector and its strings in one block: those of base whose key over does not have, then those
 * of over (both KEY=VALUE; either may be NULL). *ret_vector is the block: free it with
 * free_wiped(vector, size). 0 or -ENOMEM.
 */
int context_env_build(char *const *base, char *const *over, char ***ret_vector, size_t *ret_size);

#endif
