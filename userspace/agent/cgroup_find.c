/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup_find.h"

#include <fcntl.h>

#include "base/mountinfo.h"

#define PROC_FILE_MAX (4u * 1024 * 1024)

/*
 * Splits one line of mountinfo: "id parent major:minor root mountpoint options [tag…] - type …".
 * True when it is a cgroup2 mount; *ret_root and *ret_point then point into the line.
 */
static bool parse_mount(char *line, char **ret_root, char **ret_point)
{
	char *save = NULL, *field = strtok_r(line, " ", &save);
	char *root = NULL, *point = NULL;

	for (unsigned i = 0; field; field = strtok_r(NULL, " ", &save), i++) {
		if (i == 3)
			root = field;
		else if (i == 4)
			point = field;
		else if (i > 5 && strcmp(field, "-") == 0)
			break;
	}
	field = field ? strtok_r(NULL, " ", &save) : NULL;
	if (!field || strcmp(field, "cgroup2") != 0)
		return false;
	mountinfo_unescape(root);
	mountinfo_unescape(point);
	*ret_root = root;
	*ret_point = point;
	return true;
}

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

int cgroup_find_in(const char *mountinfo, const char *cgroup, char **ret_path)
{
	PTR_OWNED char *own = NULL, *text = strdup(mountinfo), *found = NULL;
	char *save = NULL, *root, *point;
	int r = own_path(cgroup, &own);

	if (r < 0)
		return r;
	if (!text)
		return -ENOMEM;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *rest;

		if (!parse_mount(line, &root, &point))
			continue;
		rest = path_beneath(own, root);
		if (!rest)
			continue;
		/* A later mount may cover an earlier one at the same place: the last one counts. */
		free_ptr(&found);
		if (asprintf(&found, "%s%s", strcmp(point, "/") == 0 && *rest ? "" : point,
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
