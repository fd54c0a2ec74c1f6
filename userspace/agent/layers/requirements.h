/* SPDX-License-Identifier: Apache-2.0 */
/* What moat promises, one by one, and which layer keeps each promise here: for status, for moat check, for enforce = require. */
#ifndef MOAT_LAYERS_REQUIREMENTS_H
#define MOAT_LAYERS_REQUIREMENTS_H

#include "agent/config/config.h"

enum guard {
	GUARD_NONE,
	GUARD_PRIVATE_PID, /* in a PID namespace of its own alone */
	GUARD_FULL,
	GUARD_COUNT,
};

/* "not guarded", "only with a private PID namespace", "guarded" */
const char *guard_name(enum guard guard);

struct requirement {
	const char *id, *name, *text; /* "A1", "signals", … : static; in the order of config_requirements() */
};

/* NULL at the end of the table. */
const struct requirement *requirement_at(size_t index);
/* layers: bits of enum layer; lsm: the kernel programs enforce. ret_by: "lsm", "landlock", … (static), "" if nothing guards. */
enum guard requirement_guard(size_t index, bool lsm, unsigned layers, uint64_t capabilities, const char **ret_by);
/* Whether it holds for what runs in a context. */
bool requirement_holds(size_t index, bool lsm, unsigned layers, const struct config_context *values);
/* The first of those that the configuration requires by name that does not hold for such a context, or NULL. */
const struct requirement *requirement_missing(const struct config *config, bool lsm, unsigned layers,
					      const struct config_context *values);
/* What this kernel offers: bits of enum layer. */
unsigned layers_offered(void);

#endif
