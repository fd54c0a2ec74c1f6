/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of a context, the same in [context NAME] of the configuration and in the API: one table says what
 * each is called, what it may be, and how it is written.
 */
#ifndef MOAT_CONFIG_CONTEXT_KEYS_H
#define MOAT_CONFIG_CONTEXT_KEYS_H

#include "agent/config/config.h"
#include "json/json.h"

/* What it is in JSON. In the file all are text, and lists have a line for each element. */
enum config_key_kind {
	CONFIG_KEY_TEXT,
	CONFIG_KEY_BOOL,
	CONFIG_KEY_LIMIT, /* a number, or text such as "512M" and "infinity" */
	CONFIG_KEY_LIST,  /* of text */
	CONFIG_KEY_ENV,   /* an object; KEY=VALUE in the file */
};

/* When it can be given in the API. */
enum config_key_when {
	CONFIG_KEY_IN_FILE,  /* never */
	CONFIG_KEY_AT_FIRST, /* when the context is made */
	CONFIG_KEY_ALWAYS,   /* and changed */
};

struct config_context_key {
	const char *name;
	enum config_key_kind kind;
	enum config_key_when when;
	/* NULL, or why text is refused: static, and without the value, which may be a secret. Of a list: one
	 * element more. */
	const char *(*set)(struct config_context *c, const char *text);
	/* Its value, as it can be given; null where nothing is said. */
	void (*write)(const struct config_context *c, struct jbuf *b);
	/* What null does in the API: as if nothing had ever been said. NULL: something always is. */
	void (*clear)(struct config_context *c);
};

/* In the order of the table, up to NULL. *ret_index: its place there, below 64. */
const struct config_context_key *config_context_key_find(const char *name, unsigned *ret_index);
const struct config_context_key *config_context_key_at(unsigned index);

static inline bool config_context_key_repeats(const struct config_context_key *key)
{
	return key->kind == CONFIG_KEY_LIST || key->kind == CONFIG_KEY_ENV;
}

/* What set() says of an environment that is too large: for errors with a code of their own. */
extern const char config_env_too_large[];

#endif
