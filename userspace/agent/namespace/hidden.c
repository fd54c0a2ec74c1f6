/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/namespace/hidden.h"

#include <limits.h>

static bool contains(char *const *paths, const char *path)
{
	for (; paths && *paths; paths++)
		if (strcmp(*paths, path) == 0)
			return true;
	return false;
}

/* 1: added, 0: it is there already, or -errno. */
static int add(char ***paths, const char *path, struct failure *f)
{
	char resolved[PATH_MAX];
	int r = 0;

	if (!realpath(path, resolved))
		r = -errno;
	else if (!contains(*paths, resolved))
		r = strv_append(paths, resolved) < 0 ? -ENOMEM : 1;
	return r < 0 ? fail(f, -r, "cannot hide %s from user code", path) : r;
}

int hidden_files_find(const struct config *config, struct hidden_files *ret, struct failure *f)
{
	const char *const own[] = { config->state_dir, config->file, config->audit_log };
	char **names = NULL;
	int r = 0;

	*ret = (struct hidden_files){ 0 };
	for (size_t i = 0; i < ARRAY_LEN(own) && r >= 0; i++)
		if (own[i])
			r = add(&ret->own, own[i], f);
	if (r >= 0 && config_hidden(config, &names) < 0)
		r = fail(f, ENOMEM, "cannot hide files from user code");
	for (char **name = names; name && *name && r >= 0; name++) {
		r = add(&ret->paths, *name, f);
		if (r > 0 && strv_append(&ret->names, *name) < 0)
			r = fail(f, ENOMEM, "cannot hide files from user code");
	}
	strv_free(names);
	return r < 0 ? r : 0;
}

const char *hidden_files_missing(const struct hidden_files *files)
{
	char *const *const lists[] = { files->own, files->paths };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (char *const *p = lists[i]; p && *p; p++)
			if (access(*p, F_OK) < 0)
				return *p;
	return NULL;
}

void hidden_files_free(struct hidden_files *files)
{
	strv_free(files->own);
	strv_free(files->names);
	strv_free(files->paths);
	*files = (struct hidden_files){ 0 };
}
