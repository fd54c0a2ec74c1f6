/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/config.h"

static const char *const ids[CONFIG_REQUIREMENTS] = { "A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "C3" };

static const char unknown[] = "must be require, also with some of A1 to A9 and C3, best-effort or audit";

const char *config_requirements(const char *text, uint32_t *ret_required)
{
	uint32_t required = 0;

	while (*(text += strspn(text, " \t"))) {
		size_t n = strcspn(text, " \t"), i = 0;

		while (i < CONFIG_REQUIREMENTS && (strlen(ids[i]) != n || strncmp(ids[i], text, n) != 0))
			i++;
		if (i == CONFIG_REQUIREMENTS)
			return unknown;
		required |= 1u << i;
		text += n;
	}
	if (!required)
		return unknown;
	*ret_required = required;
	return NULL;
}
