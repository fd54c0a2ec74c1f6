/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts that outlive the agent: what was given to those that the API has made or changed, and what command strings
 * have left, in a file of the state directory. Lines of JSON, each whole by itself; later ones stand for earlier ones
 * of the same name, and a last line without its end is none.
 *
 *	{"settings": N, "values": {…}}                                    shared by those that name it
 *	{"name", "session", "createdAt", "settings": N, "state"}          of the API
 *	{"name", "change": {…}, "state"}                                  of the configuration
 *	{"name", "gone": true}
 *
 * Variables may be secret: they are written to memory only, so to a tmpfs or nowhere.
 */
#ifndef MOAT_CONTEXT_KEPT_H
#define MOAT_CONTEXT_KEPT_H

#include "agent/context/context.h"

struct kept;

/* One context, as it was. Borrowed. */
struct kept_context {
	const char *name;
	bool session;
	uint64_t created_unix_ms;
	uint64_t
		settings; /* which, 1 and up; 0: it is the configuration's, and `values` what was changed */
	const json_t *values; /* for context_decode() */
	const void *state;    /* for context_state_apply() */
	size_t state_len;     /* 0: it has none */
};

/*
 * Where the directory is on no tmpfs, or not covered from user code, nothing is kept, nor is what is there believed. A file that is there and cannot be read is an error; one that
 * somebody else could have written is as well. On success *ret is the caller's, to be closed before the contexts.
 */
int kept_open(const char *directory, bool covered, struct contexts *contexts,
	      const struct config *config, struct kept **ret, struct failure *f);
/* What an agent before has left, in the order in which they were made. *ret_broken: lines that are none. 0 or -errno. */
int kept_read(struct kept *k, void (*fn)(const struct kept_context *c, void *data), void *data,
	      unsigned *ret_broken);
/* Begins to keep: writes what there is now. */
void kept_begin(struct kept *k);
/* The context is another than before; it was removed. NULL: nothing is kept. */
void kept_put(struct kept *k, struct context *c);
void kept_drop(struct kept *k, struct context *c);
/* Why nothing is kept now; NULL: it is. */
const char *kept_not(const struct kept *k);
/* The file stays when something is in it. */
void kept_close(struct kept *k);

#endif
