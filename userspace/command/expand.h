/* SPDX-License-Identifier: Apache-2.0 */
/* What expand.c and glob.c share. */
#ifndef MOAT_COMMAND_EXPAND_H
#define MOAT_COMMAND_EXPAND_H

#include "command/command.h"

struct expansion {
	const struct command_world *world;
	struct failure *failure;
	bool one; /* one text, no fields */

	/* The field that gathers; active[i]: text[i] may be a pattern. */
	char *text, *active;
	size_t len, size;
	bool present; /* there is one, also an empty one */

	char **fields;
	size_t n_fields, fields_size;
	size_t total;     /* bytes of all */
	size_t n_entries; /* names that globs have looked at */
};

int expansion_add_field(struct expansion *x, const char *text, size_t n);
/* Adds the field that has gathered: the pathnames it matches, in order, or itself. 0 or -errno. */
int expansion_glob(struct expansion *x);

#endif
