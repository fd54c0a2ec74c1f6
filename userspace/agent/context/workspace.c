/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/context/workspace.h"

/* Where package managers put programs of a project; the same table is in moat.conf(5). */
static const char *const programs[] = { ".venv/bin", "node_modules/.bin" };

static int set(char ***env, char *kv)
{
	int r = kv ? env_set(env, kv) : -ENOMEM;

	free(kv);
	return r;
}

int workspace_base_env(const char *workspace, const char *directory, char ***env)
{
	const char *slash = strcmp(workspace, "/") == 0 ? "" : "/";
	char *path, *pwd;
	int r;

	if (asprintf(&path, "PATH=%s%s%s:%s%s%s:" DEFAULT_PATH, workspace, slash, programs[0],
		     workspace, slash, programs[1]) < 0)
		return -ENOMEM;
	r = set(env, path);
	if (r == 0 && asprintf(&pwd, "PWD=%s", directory) < 0)
		r = -ENOMEM;
	return r == 0 ? set(env, pwd) : r;
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

static bool is_careful(const char *workspace, const char *element)
{
	const char *rest;

	return element[0] == '/' && !workspace_contains(workspace, element, &rest) &&
	       !strstr(element, "/../");
}

int workspace_careful_path(const char *workspace, char ***env)
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
		if (is_careful(workspace, element)) {
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
