/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <sys/stat.h>

#include "run/internal.h"
#include "run/protocol.h"

static struct variable *find(const struct run *r, const char *name)
{
	for (size_t i = 0; i < r->n_variables; i++)
		if (strcmp(r->variables[i].name, name) == 0)
			return &r->variables[i];
	return NULL;
}

static void take_out(struct run *r, const char *name)
{
	struct variable *v = find(r, name);

	if (!v)
		return;
	free(v->name);
	free(v->value);
	*v = r->variables[--r->n_variables];
}

static struct variable *add(struct run *r, const char *name)
{
	struct variable *v;

	if (r->n_variables >= RUN_VARIABLES_MAX) {
		complain("%s: there are %u variables already", name, RUN_VARIABLES_MAX);
		return NULL;
	}
	if (r->n_variables == r->variables_size) {
		size_t size = r->variables_size ? r->variables_size * 2 : 64;

		v = realloc(r->variables, size * sizeof(*v));
		if (!v)
			return NULL;
		r->variables = v;
		r->variables_size = size;
	}
	v = &r->variables[r->n_variables];
	*v = (struct variable){ .name = strdup(name) };
	if (!v->name)
		return NULL;
	r->n_variables++;
	return v;
}

int variables_open(struct run *r, char **environment)
{
	for (; *environment; environment++) {
		const char *equals = strchr(*environment, '=');
		size_t n = equals ? (size_t)(equals - *environment) : 0;
		char *name PTR_OWNED = NULL;
		int result;

		if (!command_name_valid(*environment, n)) {
			result = strv_append(&r->foreign, *environment);
		} else {
			name = strndup(*environment, n);
			result = name ? variable_set(r, name, equals + 1, 1) : -ENOMEM;
		}
		if (result < 0)
			return result;
	}
	return 0;
}

static int add_entry(struct run *r, const char *entry)
{
	const char *equals = strchrnul(entry, '=');
	char *name PTR_OWNED = strndup(entry + 1, (size_t)(equals - entry - 1));

	if (!name)
		return -ENOMEM;
	if (!command_name_valid(name, strlen(name)))
		return 0;
	return variable_set(r, name, *equals ? equals + 1 : NULL, entry[0] == RUN_EXPORTED);
}

int variables_add(struct run *r, const char *entries, size_t len)
{
	int result = 0;

	for (size_t at = 0; at < len && result == 0; at += strlen(entries + at) + 1)
		if (entries[at] == RUN_EXPORTED || entries[at] == RUN_VARIABLE)
			result = add_entry(r, entries + at);
		else if (entries[at] == RUN_DIRECTORY) /* for directory_open() to look at */
			result = variable_set(r, "PWD", entries + at + 1, 1);
	for (size_t i = 0; i < r->n_variables; i++)
		r->variables[i].changed = false;
	return result;
}

bool variable_is_there(const struct run *r, const char *name)
{
	return find(r, name);
}

const char *variable_get(const struct run *r, const char *name)
{
	const struct variable *v = find(r, name);

	return v ? v->value : NULL;
}

int variable_set(struct run *r, const char *name, const char *value, int exported)
{
	struct variable *v = find(r, name);
	char *copy = NULL;

	if (value && strlen(value) > RUN_VALUE_MAX) {
		complain("%s: the value is longer than %u bytes", name, RUN_VALUE_MAX);
		return -E2BIG;
	}
	if (!v)
		v = add(r, name);
	if (!v)
		return -ENOMEM;
	if (value) {
		copy = strdup(value);
		if (!copy)
			return -ENOMEM;
		free(v->value);
		v->value = copy;
	}
	if (exported >= 0)
		v->exported = exported;
	v->changed = true;
	return 0;
}

static bool is_noted(char *const *names, const char *name)
{
	for (; names && *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

int variable_unset(struct run *r, const char *name)
{
	if (command_name_valid(name, strlen(name)) && !is_noted(r->unset, name) &&
	    strv_append(&r->unset, name) < 0) {
		complain("%s: %s", name, strerror(ENOMEM));
		return -ENOMEM;
	}
	take_out(r, name);
	return 0;
}

int variable_save(const struct run *r, const char *name, struct variable *ret)
{
	const struct variable *v = find(r, name);

	*ret = (struct variable){ .name = strdup(name) };
	if (!ret->name)
		return -ENOMEM;
	if (!v)
		return 0;
	ret->exported = v->exported;
	ret->changed = v->changed;
	ret->value = v->value ? strdup(v->value) : NULL;
	return v->value && !ret->value ? -ENOMEM : 0;
}

void variable_restore(struct run *r, struct variable *saved)
{
	struct variable *v;

	take_out(r, saved->name);
	if ((saved->value || saved->exported) &&
	    variable_set(r, saved->name, saved->value, saved->exported) == 0) {
		v = find(r, saved->name);
		v->changed = saved->changed;
	}
	free(saved->name);
	free(saved->value);
}

char **variables_environment(const struct run *r)
{
	size_t n = strv_len(r->foreign), at = 0;
	char **environment = calloc(r->n_variables + n + 1, sizeof(*environment));

	if (!environment)
		return NULL;
	for (size_t i = 0; i < r->n_variables; i++) {
		const struct variable *v = &r->variables[i];

		if (!v->exported || !v->value)
			continue;
		if (asprintf(&environment[at++], "%s=%s", v->name, v->value) < 0)
			return NULL;
	}
	for (size_t i = 0; i < n; i++)
		environment[at++] = r->foreign[i];
	return environment;
}

static const char *world_variable(void *data, const char *name)
{
	struct run *r = data;

	if (name[0] == '?') {
		snprintf(r->text[0], sizeof(r->text[0]), "%d", r->status);
		return r->text[0];
	}
	if (name[0] == '!') {
		snprintf(r->text[1], sizeof(r->text[1]), "%d", (int)r->background);
		return r->background ? r->text[1] : NULL;
	}
	return variable_get(r, name);
}

static int world_list(void *data, const char *path, int (*fn)(void *arg, const char *name),
		      void *arg)
{
	DIR *directory = opendir(*path ? path : ".");
	struct dirent *entry;
	int result = 0;

	(void)data;
	if (!directory)
		return 0;
	while (result == 0 && (entry = readdir(directory)))
		result = fn(arg, entry->d_name);
	closedir(directory);
	return result;
}

static bool world_exists(void *data, const char *path)
{
	struct stat st;

	(void)data;
	return lstat(path, &st) == 0;
}

struct command_world run_world(struct run *r)
{
	return (struct command_world){
		.data = r,
		.unset_is_error = r->nounset,
		.variable = world_variable,
		.list = world_list,
		.exists = world_exists,
	};
}
