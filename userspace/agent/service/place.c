/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/service/place.h"

#include <fcntl.h>
#include <sys/stat.h>

#define ALL "services"

static const char *const parts[] = { "work", "home", "tmp", "run" };

/* Opens the directory at name, which is made if it is not there. >= 0 or -errno. */
static int make(int parent, const char *name)
{
	FD_OWNED int dir = -EBADF;
	struct stat st;

	if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || st.st_mode & 022)
		return -EPERM;
	return take_fd(&dir);
}

char *service_places(const char *state_dir)
{
	char *path;

	return asprintf(&path, "%s/" ALL, state_dir) < 0 ? NULL : path;
}

int service_place_make(const char *state_dir, const char *name, char **ret_path, struct failure *f)
{
	FD_OWNED int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	FD_OWNED int all = state < 0 ? -errno : make(state, ALL);
	FD_OWNED int dir = all < 0 ? all : make(all, name);
	PTR_OWNED char *path = NULL;
	int r = dir < 0 ? dir : 0;

	if (asprintf(&path, "%s/" ALL "/%s", state_dir, name) < 0) {
		path = NULL;
		return fail(f, ENOMEM, "cannot set up services");
	}
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(parts); i++) {
		FD_OWNED int part = make(dir, parts[i]);

		r = part < 0 ? part : 0;
	}
	if (r == -EPERM)
		return fail(f, EINVAL, "%s and what is in it must belong to the agent's user and be "
			    "writable by nobody else", path);
	if (r < 0)
		return fail(f, -r, "cannot make %s", path);
	*ret_path = take_ptr(path);
	return 0;
}

void service_place_remove(const char *path)
{
	FD_OWNED int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	PTR_OWNED char *all = strdup(path);

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		(void)unlinkat(dir, parts[i], AT_REMOVEDIR);
	if (rmdir(path) < 0 || !all)
		return;
	*strrchr(all, '/') = '\0';
	(void)rmdir(all); /* the last service does it */
}

int service_place_env(const char *path, char *const *own, char ***env)
{
	static const struct {
		const char *name, *place;
		bool of_home; /* follows HOME */
	} variables[] = {
		{ "HOME", "home", false },
		{ "XDG_CONFIG_HOME", "home/.config", true },
		{ "XDG_CACHE_HOME", "home/.cache", true },
		{ "XDG_DATA_HOME", "home/.local/share", true },
		{ "XDG_STATE_HOME", "home/.local/state", true },
		{ "XDG_RUNTIME_DIR", "run", false },
		{ "TMPDIR", "tmp", false },
	};
	bool home = env_get(own, "HOME");
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(variables) && r == 0; i++) {
		PTR_OWNED char *value = NULL;

		if (home && variables[i].of_home) {
			env_unset(*env, variables[i].name);
			continue;
		}
		if (asprintf(&value, "%s=%s/%s", variables[i].name, path, variables[i].place) < 0) {
			value = NULL;
			return -ENOMEM;
		}
		r = env_set(env, value);
	}
	return r;
}
