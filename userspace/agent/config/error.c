/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "agent/config/parse.h"

static void keep_another(struct config_error *e, unsigned line, const char *reason)
{
	size_t kept = e->n_more < CONFIG_ERRORS_MORE ? e->n_more : CONFIG_ERRORS_MORE;

	if (line == e->line)
		return;
	for (size_t i = 0; i < kept; i++)
		if (e->more[i].line == line)
			return;
	if (kept < CONFIG_ERRORS_MORE) {
		e->more[kept].line = line;
		snprintf(e->more[kept].reason, sizeof(e->more[kept].reason), "%s", reason);
	}
	e->n_more++;
}

void config_error_at(struct config_error *e, unsigned line, const char *fmt, ...)
{
	char reason[sizeof(e->reason)], before[sizeof(e->reason)];
	unsigned line_before = e->line;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	if (line_before && line_before <= line) {
		keep_another(e, line, reason);
		return;
	}
	memcpy(before, e->reason, sizeof(before));
	e->line = line;
	memcpy(e->reason, reason, sizeof(reason));
	if (line_before)
		keep_another(e, line_before, before);
}

static int by_line(const void *a, const void *b)
{
	const unsigned *x = a, *y = b; /* the first member */

	return (*x > *y) - (*x < *y);
}

int config_errors_tell(struct config_error *e, const char *file, struct failure *f)
{
	size_t kept = e->n_more < CONFIG_ERRORS_MORE ? e->n_more : CONFIG_ERRORS_MORE, told = 0;
	char more[sizeof(((struct failure *)0)->msg)] = "", one[sizeof(e->more[0].reason) + 32];
	size_t room, n = strlen(file) + strlen(e->reason) + sizeof(":4294967295: ; and 4294967295 more");

	qsort(e->more, kept, sizeof(e->more[0]), by_line);
	room = n < sizeof(more) ? sizeof(more) - n : 0;
	for (; told < kept; told++) {
		snprintf(one, sizeof(one), "; line %u: %s", e->more[told].line, e->more[told].reason);
		if (strlen(more) + strlen(one) >= room)
			break;
		strncat(more, one, sizeof(more) - strlen(more) - 1);
	}
	if (told < e->n_more)
		snprintf(one, sizeof(one), "; and %zu more", e->n_more - told);
	return fail(f, EINVAL, "%s:%u: %s%s%s", file, e->line, e->reason, more,
		    told < e->n_more ? one : "");
}
