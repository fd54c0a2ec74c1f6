/* SPDX-License-Identifier: Apache-2.0 */
/* Pathname expansion, directory by directory. Names come in the order of their bytes. */
#include <limits.h>

#include "command/expand.h"

struct glob {
	struct expansion *x;
	char path[PATH_MAX];
};

struct names {
	struct expansion *x;
	const char *pattern, *active;
	size_t n;
	char **found;
	size_t n_found, size;
};

static bool has_pattern(const char *text, const char *active, size_t n)
{
	bool bracket = false;

	for (size_t i = 0; i < n; i++) {
		if (!active[i])
			continue;
		if (text[i] == '*' || text[i] == '?' || (text[i] == ']' && bracket))
			return true;
		bracket = (bracket || text[i] == '[') && text[i] != '/';
	}
	return false;
}

static int take_name(void *arg, const char *name)
{
	struct names *names = arg;

	if (++names->x->n_entries > COMMAND_ENTRIES_MAX)
		return fail(names->x->failure, E2BIG, "a pattern looks at more than %u names",
			    COMMAND_ENTRIES_MAX);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    (name[0] == '.' && names->pattern[0] != '.') ||
	    !command_match(names->pattern, names->active, names->n, name))
		return 0;
	if (names->n_found == names->size) {
		size_t size = names->size ? names->size * 2 : 16;
		char **grown = realloc(names->found, size * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		names->found = grown;
		names->size = size;
	}
	names->found[names->n_found] = strdup(name);
	return names->found[names->n_found++] ? 0 : -ENOMEM;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* path[0..len) is there. */
static int add_path(struct glob *g, size_t len)
{
	if (len > COMMAND_EXPANDED_MAX - g->x->total)
		return fail(g->x->failure, E2BIG, "the words of a command become too long");
	g->x->total += len;
	return expansion_add_field(g->x, g->path, len);
}

static int walk(struct glob *g, size_t len, const char *pattern, const char *active, size_t n);

/* A component that is a pattern: rest is what follows it, from the slash on. */
static int walk_names(struct glob *g, size_t len, const char *pattern, const char *active, size_t n,
		      size_t rest)
{
	struct names names = { .x = g->x, .pattern = pattern, .active = active, .n = n };
	int r;

	g->path[len] = '\0';
	r = g->x->world->list(g->x->world->data, g->path, take_name, &names);
	if (r == 0 && names.n_found)
		qsort(names.found, names.n_found, sizeof(*names.found), compare);
	for (size_t i = 0; i < names.n_found; i++) {
		size_t m = names.found[i] ? strlen(names.found[i]) : 0;

		if (r == 0 && len + m < sizeof(g->path)) {
			memcpy(g->path + len, names.found[i], m);
			r = rest ? walk(g, len + m, pattern + n, active + n, rest) :
				   add_path(g, len + m);
		}
		free(names.found[i]);
	}
	free(names.found);
	return r;
}

/* Longer ones are no patterns: no name is so long. */
#define PATTERN_MAX 1024u

/* path[0..len) is there; pattern is what follows. Components without a pattern are taken as they are. */
static int walk(struct glob *g, size_t len, const char *pattern, const char *active, size_t n)
{
	for (;;) {
		size_t i = 0;

		while (i < n && pattern[i] == '/') {
			if (len + 1 >= sizeof(g->path))
				return 0;
			g->path[len++] = pattern[i++];
		}
		pattern += i;
		active += i;
		n -= i;
		for (i = 0; i < n && pattern[i] != '/'; i++)
			;
		if (i == 0)
			break;
		if (i <= PATTERN_MAX && has_pattern(pattern, active, i))
			return walk_names(g, len, pattern, active, i, n - i);
		if (len + i >= sizeof(g->path))
			return 0;
		memcpy(g->path + len, pattern, i);
		len += i;
		pattern += i;
		active += i;
		n -= i;
	}
	g->path[len] = '\0';
	if (!g->x->world->exists(g->x->world->data, g->path))
		return 0;
	return add_path(g, len);
}

int expansion_glob(struct expansion *x)
{
	size_t before = x->n_fields;
	struct glob *g;
	int r;

	if (!has_pattern(x->text, x->active, x->len))
		return expansion_add_field(x, x->text, x->len);
	g = malloc(sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->x = x;
	r = walk(g, 0, x->text, x->active, x->len);
	free(g);
	if (r == 0 && x->n_fields == before)
		r = expansion_add_field(x, x->text, x->len);
	return r;
}
