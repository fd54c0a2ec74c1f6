/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/link.h"

#include "agent/config/value.h"

#define ARROW " -> "
#define WRITABLE " rw"

static const char usage[] = "must be NAME -> /PATH, or NAME -> /PATH rw";
static const char out_of_memory[] = "out of memory"; /* as value.c says it */

void config_link_split(const char *text, struct config_link *ret)
{
	const char *arrow = strstr(text, ARROW);
	size_t n;

	ret->name = text;
	ret->name_len = (size_t)(arrow - text);
	ret->target = arrow + strlen(ARROW);
	n = strlen(ret->target);
	ret->writable = n > strlen(WRITABLE) && strcmp(ret->target + n - strlen(WRITABLE), WRITABLE) == 0;
	ret->target_len = ret->writable ? n - strlen(WRITABLE) : n;
}

/* Whether one is, or is beneath, the other. */
static bool names_meet(const struct config_link *a, const struct config_link *b)
{
	size_t n = a->name_len < b->name_len ? a->name_len : b->name_len;

	return strncmp(a->name, b->name, n) == 0 && (a->name_len == n || a->name[n] == '/') &&
	       (b->name_len == n || b->name[n] == '/');
}

/* A part of the text as config_value_path() has it; what stands before it is put in front. */
static const char *take_path(const char *before, const char *text, size_t n, char **ret)
{
	PTR_OWNED char *copy = NULL;
	const char *why;

	while (n > 0 && text[n - 1] == ' ')
		n--;
	if (asprintf(&copy, "%s%.*s", before, (int)n, text) < 0) {
		copy = NULL;
		return out_of_memory;
	}
	why = config_value_path(copy, ret);
	if (why && strcmp(why, out_of_memory) != 0)
		return usage;
	return !why && !(*ret)[1] ? usage : why; /* neither the workspace itself, nor / */
}

static const char *append(char ***links, const char *text)
{
	struct config_link fresh, other;

	config_link_split(text, &fresh);
	for (char **l = *links; l && *l; l++) {
		config_link_split(*l, &other);
		if (names_meet(&fresh, &other))
			return "has a NAME that is in the way of another";
	}
	return strv_append(links, text) < 0 ? out_of_memory : NULL;
}

const char *config_link_add(const char *text, size_t max, char ***links)
{
	const char *arrow = strstr(text, ARROW), *why;
	PTR_OWNED char *name = NULL, *target = NULL, *whole = NULL;
	struct config_link l;

	if (!arrow || strstr(arrow + 1, ARROW) || text[0] == '/')
		return usage;
	if (*links && strv_len(*links) == max)
		return "is one too many";
	config_link_split(text, &l);
	why = take_path("/", l.name, l.name_len, &name);
	while (!why && l.target_len > 0 && *l.target == ' ') {
		l.target++;
		l.target_len--;
	}
	if (!why)
		why = take_path("", l.target, l.target_len, &target);
	if (why)
		return why;
	if (asprintf(&whole, "%s" ARROW "%s%s", name + 1, target, l.writable ? WRITABLE : "") < 0) {
		whole = NULL;
		return out_of_memory;
	}
	return append(links, whole);
}
