/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup/find.h"

#include <fcntl.h>

#include "base/mountinfo.h"

#define PROC_FILE_MAX (4u * 1024 * 1024)

/* What is left of path beneath root: "" or "/…"; NULL when it is not beneath it. */
static const char *path_beneath(const char *path, const char *root)
{
	size_t n = strlen(root);

	/* "/..": outside of our cgroup namespace, where no name of ours leads. */
	if (strncmp(root, "/..", 3) == 0)
		return NULL;
	if (strcmp(root, "/") == 0)
		return strcmp(path, "/") == 0 ? "" : path;
	if (strncmp(path, root, n) != 0 || (path[n] != '\0' && path[n] != '/'))
		return NULL;
	return path + n;
}

/* The path of the line "0::/…", which is the cgroup2 one also where v1 hierarchies are mounted. */
static int own_path(const char *cgroup, char **ret_path)
{
	for (const char *line = cgroup; line && *line;) {
		const char *end = strchrnul(line, '\n');

		if (strncmp(line, "0::/", 4) == 0) {
			*ret_path = strndup(line + 3, (size_t)(end - line) - 3);
			return *ret_path ? 0 : -ENOMEM;
		}
		line = *end ? end + 1 : NULL;
	}
	return -ENOENT;
}

bool cgroup_own_is_root(void)
{
	PTR_OWNED char *cgroup = NULL, *own = NULL;

	return read_file_at(AT_FDCWD, "/proc/self/cgroup", PROC_FILE_MAX, &cgroup, NULL) == 0 &&
	       own_path(cgroup, &own) == 0 && strcmp(own, "/") == 0;
}

int cgroup_find_in(const char *mountinfo, const char *cgroup, char **ret_path)
{
	PTR_OWNED char *own = NULL, *text = strdup(mountinfo), *found = NULL;
	char *save = NULL;
	int r = own_path(cgroup, &own);

	if (r < 0)
		return r;
	if (!text)
		return -ENOMEM;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct mountinfo mount;
		const char *rest;

		if (mountinfo_parse(line, &mount) < 0 || strcmp(mount.type, "cgroup2") != 0)
			continue;
		rest = path_beneath(own, mount.root);
		if (!rest)
			continue;
		/* A later mount may cover an earlier one at the same place: the last one counts. */
		free_ptr(&found);
		if (asprintf(&found, "%s%s", strcmp(mount.path, "/") == 0 && *rest ? "" : mount.path,
			     rest) < 0) {
			found = NULL;
			return -ENOMEM;
		}
	}
	if (!found)
		return -ENOENT;
	*ret_path = take_ptr(found);
	return 0;
}

int cgroup_find_own(char **ret_path, struct failure *f)
{
	PTR_OWNED char *mountinfo = NULL, *cgroup = NULL;
	int r;

	r = read_file_at(AT_FDCWD, "/proc/self/mountinfo", PROC_FILE_MAX, &mountinfo, NULL);
	if (r < 0)
		return fail(f, -r, "cannot read /proc/self/mountinfo");
	r = read_file_at(AT_FDCWD, "/proc/self/cgroup", PROC_FILE_MAX, &cgroup, NULL);
	if (r < 0)
		return fail(f, -r, "cannot read /proc/self/cgroup");
	r = cgroup_find_in(mountinfo, cgroup, ret_path);
	if (r == -ENOENT)
		return fail(f, ENOENT,
			    "no cgroup2 mount shows the agent's cgroup: mount one "
			    "(mount -t cgroup2 none /sys/fs/cgroup), or set cgroup_dir");
	return r < 0 ? fail(f, -r, "cannot find the agent's cgroup") : 0;
}
