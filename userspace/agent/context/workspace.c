/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/context/workspace.h"

#include "agent/config/link.h"
#include "agent/config/presets.h"

static int set(char ***env, char *kv)
{
	int r = kv ? env_set(env, kv) : -ENOMEM;

	free(kv);
	return r;
}

/* In front of what is there. */
static int find_first(const char *workspace, const char *programs, char ***env)
{
	char *path;

	return set(env, asprintf(&path, "PATH=%s/%s:%s", workspace, programs, env_get(*env, "PATH")) < 0 ?
				NULL :
				path);
}

int workspace_base_env(const struct config_context *values, const char *directory, char ***env)
{
	unsigned presets = values->presets ? values->presets : ~0u;
	char *pwd;
	int r = 0;

	for (unsigned i = CONFIG_PRESETS; i-- > 0 && r == 0;)
		if (presets >> i & 1)
			r = find_first(values->workspace, config_presets[i].programs, env);
	if (r == 0)
		r = set(env, asprintf(&pwd, "PWD=%s", directory) < 0 ? NULL : pwd);
	return r;
}

bool workspace_contains(const char *workspace, const char *path, const char **ret_rest)
{
	size_t n = strlen(workspace);

	while (n > 0 && workspace[n - 1] == '/')
		n--;
	if (strncmp(path, workspace, n) != 0 || (path[n] && path[n] != '/'))
		return false;
	*ret_rest = path + n + strspn(path + n, "/");
	return true;
}

static bool is_in(const char *place, const char *element)
{
	const char *rest;

	return place && strcmp(place, "/") != 0 && workspace_contains(place, element, &rest);
}

/* By its text: nobody's files are looked at. */
static bool is_careful(const struct config_context *values, const char *element)
{
	const char *const places[] = { values->workspace, values->directory, values->home,
				       "/tmp", "/var/tmp", "/dev/shm" };

	if (element[0] != '/' || strstr(element, "/../") || strstr(element, "/./") ||
	    strstr(element, "//"))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (is_in(places[i], element))
			return false;
	for (char *const *l = values->links; l && *l; l++) {
		struct config_link link;
		size_t n;

		config_link_split(*l, &link);
		n = link.target_len;
		if (strncmp(element, link.target, n) == 0 && (element[n] == '/' || !element[n]))
			return false;
	}
	return true;
}

int workspace_careful_path(const struct config_context *values, char ***env)
{
	const char *path = env_get(*env, "PATH");
	PTR_OWNED char *copy = NULL;
	char *kept, *end, *rest, *element;
	int r;

	if (!path)
		return 0;
	copy = rest = strdup(path);
	kept = malloc(sizeof("PATH=") + strlen(path));
	if (!copy || !kept) {
		free(kept);
		return -ENOMEM;
	}
	end = (char *)mempcpy(kept, "PATH=", strlen("PATH="));
	while ((element = strsep(&rest, ":")))
		if (is_careful(values, element)) {
			if (end[-1] != '=')
				*end++ = ':';
			end = (char *)mempcpy(end, element, strlen(element));
		}
	*end = '\0';
	/* None is left: not the working directory, which an empty PATH stands for. */
	r = env_set(env, end[-1] == '=' ? "PATH=" DEFAULT_PATH : kept);
	free(kept);
	return r;
}
