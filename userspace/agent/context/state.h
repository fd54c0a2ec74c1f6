/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a context: what its command strings exported, assigned, unset, and where they went. It comes from
 * user code, so it is data of an adversary: it is checked when it is taken, it has limits, and nothing but the plain
 * commands of the same context ever sees it. Settings (context.h) are apart from it.
 */
#ifndef MOAT_CONTEXT_STATE_H
#define MOAT_CONTEXT_STATE_H

#include "agent/context/context.h"
#include "run/protocol.h"

/* The states of all contexts together, in bytes. */
#define CONTEXTS_STATE_MAX (32u * 1024 * 1024)

/* What became of what a command string hands back. */
enum context_state_fate {
	CONTEXT_STATE_UNASKED,      /* the command is none that leaves state behind */
	CONTEXT_STATE_TAKEN,        /* nothing may have changed */
	CONTEXT_STATE_NOT_RETURNED, /* nothing came, or what came is no state */
	CONTEXT_STATE_TOO_LARGE,    /* nothing of it was taken */
};

/*
 * Changes the state by the packet of a command string, whole or not at all: each name that is in it, and none that
 * is not. packet is run_packet and what follows it, n bytes in all, from an adversary.
 */
enum context_state_fate context_state_apply(struct contexts *contexts, struct context *c,
					    const void *packet, size_t n);
/* Whether there was any. */
bool context_state_reset(struct contexts *contexts, struct context *c);

/* A packet that makes it anew, n bytes, to be freed with free_wiped(); only where there is a state. 0 or -ENOMEM. */
int context_state_packet(const struct context *c, void **ret, size_t *ret_n);

/* Where its commands start, when they went somewhere; else NULL. Borrowed. */
const char *context_state_directory(const struct context *c);
/* Settings and state in one environment, as context_env_build() gives it: only where there is a state. */
int context_state_env(const struct context *c, char ***ret_vector, size_t *ret_size);
/*
 * Entries of run/protocol.h for a command string: where it starts, and with_state what an environment cannot hold.
 * Free *ret with free_wiped(). 0 or -ENOMEM.
 */
int context_state_entries(const struct context *c, const char *directory, bool with_state,
			  char **ret, size_t *ret_n);

/* {"directory", "env", "variables", "unset"} */
void context_write_state(const struct context *c, struct jbuf *b);

#endif
