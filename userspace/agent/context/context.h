/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts: named data of the agent's. There is no process and no kernel object behind one until something
 * runs in it.
 *
 * The environment of a command is built from nothing: base < settings < exec. The base is the table in
 * settings.c; nothing of the agent's own environment gets in. Settings are what configuration and API gave. Between
 * settings and exec stands for plain commands the state, what the context's own commands left: see state.h.
 */
#ifndef MOAT_CONTEXT_H
#define MOAT_CONTEXT_H

#include "agent/config/config.h"
#include "base/list.h"
#include "json/json.h"

/* Of all contexts together: environments, as they are built. Those that have the same count once. */
#define CONTEXTS_ENV_MAX (128u * 1024 * 1024)

struct contexts;
struct namespace;
struct cgroup_group;

/*
 * Shared by the contexts that have the same, and never changed: who wants others makes new ones.
 * Of its commands [0] without and [1] with surroundings of their own (secure).
 */
struct context_settings {
	unsigned refs;
	struct config_context values; /* nameless; without `show`, which only the start knows how to give */
	char **env[2];                /* base and context, merged: one block each */
	size_t env_size[2];
	const char *directory[2]; /* absolute. Not configured: /, or HOME */
	/* kept.c: where they are in the file, and in which one that was. */
	uint64_t kept_as;
	unsigned kept_in;
};

/* 0 or -ENOMEM. A copy of values, with one reference; *total, which may be NULL, counts its environments. */
int context_settings_make(const struct config_context *values, size_t *total,
			  struct context_settings **ret);
void context_settings_unref(struct context_settings *settings, size_t *total);
/* Deep copy of all but the name and `show`, and its end. 0 or -ENOMEM. */
int context_values_copy(const struct config_context *values, struct config_context *ret);
void context_values_clear(struct config_context *values);

struct context_state;

struct context {
	char *name;      /* of a session: CONFIG_SESSION_PREFIX and its id, which is any UTF-8 */
	char place[40];  /* what its namespaces and cgroups are called: the name, or where it cannot be a file's
			  * "session_" and the number */
	uint64_t number; /* the label's context: never that of another, nor of an agent before */
	uint64_t created_unix_ms;
	struct context_settings *settings;
	struct context_state *state; /* NULL: there is none */
	struct namespace *own[2];   /* once it has run something; see namespaces_of() */
	struct cgroup_group *group; /* where they are limited */
	char *const *show;          /* hidden paths that it sees: the configuration's. Borrowed */

	/* exec/contexts.c */
	struct list execs;  /* that know of it, ended ones as well */
	size_t n_active;    /* of these, those that are to run, run, or left something running */
	struct list idle;   /* of a session where n_active is 0 */
	uint64_t idle_ns;   /* since when */
	struct list waiters; /* for its end */
	bool configured;    /* by the file: there from the start */
	bool session;       /* made by an exec that named one */
	bool ending;        /* nothing more is started in it */
	bool gone;          /* its name is free; only execs that ended still know it */

	bool kept; /* kept.c: the file has a line of it */

	struct list link; /* in the order made */
	struct context *next, *next_by_number; /* in their buckets */
};

/* Makes every context of the configuration, which must outlive them; their numbers are above the given one.
 * 0 or -errno. */
int contexts_open(const struct config *config, uint64_t above, struct contexts **ret);
void contexts_free(struct contexts *contexts);

/*
 * Makes one more. name: copied; not checked but for being there already (-EEXIST). settings: one reference is
 * taken over, on success only. -EUSERS: there are CONFIG_CONTEXTS_MAX. -ENOMEM.
 */
int context_add(struct contexts *contexts, const char *name, struct context_settings *settings,
		struct context **ret);
/* Its name is free from here on; what knows its number still finds it. */
void context_unname(struct contexts *contexts, struct context *c);
/* The rest. Its namespaces and cgroup are the caller's business. */
void context_free(struct contexts *contexts, struct context *c);
/* Bytes of all environments, for context_settings_make(). */
size_t *contexts_env_total(struct contexts *contexts);
/* The same of all states. */
size_t *contexts_state_total(struct contexts *contexts);

/* NULL when there is none. Borrowed. */
struct context *context_find(struct contexts *contexts, const char *name);
struct context *context_by_number(struct contexts *contexts, uint64_t number);
/* Those that have a name. */
size_t contexts_count(const struct contexts *contexts);
void contexts_for_each(struct contexts *contexts, void (*fn)(struct context *c, void *data),
		       void *data);

/* decode.c: the JSON form, by the table in config/context_keys.h */

/*
 * Changes *values by an object with the keys of a context, and "name", which is the caller's. change: of a context
 * that is there. Variables of which the object says null are taken out. -EINVAL with *e: *values is changed in part.
 */
int context_decode(const json_t *object, bool change, struct config_context *values, struct refusal *e);
/* What context_decode() makes *to of *from: members, of keys that can be changed. */
void context_write_change(const struct config_context *from, const struct config_context *to,
			  struct jbuf *b);
/* All keys of the values, as members. */
void context_write_values(const struct config_context *values, struct jbuf *b);

/*
 * A vector and its strings in one block: those of base whose key over does not have, then those
 * of over (both KEY=VALUE; either may be NULL). *ret_vector is the block: free it with
 * free_wiped(vector, size). 0 or -ENOMEM.
 */
int context_env_build(char *const *base, char *const *over, char ***ret_vector, size_t *ret_size);

#endif
