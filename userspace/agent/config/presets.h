/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of a language want of a context that has a workspace. The same table is in moat.conf(5). */
#ifndef MOAT_CONFIG_PRESETS_H
#define MOAT_CONFIG_PRESETS_H

#include <stddef.h>

#define CONFIG_PRESETS 2u

struct config_preset {
	const char *name;
	const char *programs; /* where its package managers put programs, beneath a workspace */
	const char *env[4];   /* NULL-terminated */
};

/* struct config_context.presets has a bit for each. */
extern const struct config_preset config_presets[CONFIG_PRESETS];

#endif
