/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links of a workspace: "NAME -> TARGET", or "NAME -> TARGET rw". NAME is a path beneath the workspace, TARGET an
 * absolute one. In a list each text is as it is written here, and no NAME is, or is beneath, another one.
 */
#ifndef MOAT_CONFIG_LINK_H
#define MOAT_CONFIG_LINK_H

#include <stdbool.h>
#include <stddef.h>

struct config_link {
	const char *name, *target; /* borrowed */
	size_t name_len, target_len;
	bool writable; /* its files over the API */
};

void config_link_split(const char *text, struct config_link *ret);
/* Appends one to the list, which has at most max. NULL, or why it is refused (static). */
const char *config_link_add(const char *text, size_t max, char ***links);

#endif
