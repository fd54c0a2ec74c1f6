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
struct namespace;
struct cgroup_group;

struct context {
	const struct config_context *config; /* borrowed */
	uint64_t number; /* the label's context: never that of another, nor of an agent before */
	/* Of its commands [0] without and [1] with surroundings of their own (secure). */
	char **env[2];            /* base and context, merged */
	const char *directory[2]; /* borrowed; absolute. Not configured: /, or HOME */
	struct namespace *own[2]; /* once it has run something; see namespaces_of() */
	struct cgroup_group *group; /* where they are limited. Set by exec.c */
	struct context *next, *next_by_number; /* in their buckets */
};

/* Makes every context of the configuration, which must outlive them; their numbers are above the given one.
 * 0 or -errno. */
int contexts_open(const struct config *config, uint64_t above, struct contexts **ret);
void contexts_free(struct contexts *contexts);

/* NULL when there is none. Borrowed. */
struct context *context_find(struct contexts *contexts, const char *name);
struct context *context_by_number(struct contexts *contexts, uint64_t number);
size_t contexts_count(const struct contexts *contexts);
void contexts_for_each(struct contexts *contexts, void (*fn)(struct context *c, void *data),
		       void *data);

/*
 * A vector and its strings in one block: those of base whose key over does not have, then those
 * of over (both KEY=VALUE; either may be NULL). *ret_vector is the block: free it with
 * free_wiped(vector, size). 0 or -ENOMEM.
 */
int context_env_build(char *const *base, char *const *over, char ***ret_vector, size_t *ret_size);

#endif
