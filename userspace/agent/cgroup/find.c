/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup/find.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <linux/magic.h>

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

/* Caller frees. */
static int own_cgroup(char **ret_path)
{
	PTR_OWNED char *cgroup = NULL;
	int r = read_file_at(AT_FDCWD, "/proc/self/cgroup", PROC_FILE_MAX, &cgroup, NULL);

	return r < 0 ? r : own_path(cgroup, ret_path);
}

bool cgroup_own_is_root(void)
{
	PTR_OWNED char *own = NULL;

	return own_cgroup(&own) == 0 && strcmp(own, "/") == 0;
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

/* Places */

static int open_dir(int at, const char *path, int *ret_dir)
{
	*ret_dir = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_dir < 0 ? -errno : 0;
}

/* A mount of its own of an attached directory, that can be written. 0 or -errno. */
static int open_writable(int shown, int *ret_dir)
{
	struct mount_attr attr = { .attr_clr = MOUNT_ATTR_RDONLY };
	FD_OWNED int clone = open_tree(shown, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
							  AT_EMPTY_PATH);

	if (clone < 0 || mount_setattr(clone, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	*ret_dir = take_fd(&clone);
	return 0;
}

/* This very descriptor holds the mount: the kernel takes it apart when it is closed, whatever else is
 * open there. */

static int mount_detached(int *ret_dir)
{
	FD_OWNED int context = fsopen("cgroup2", FSOPEN_CLOEXEC);

	if (context < 0 || fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	*ret_dir = fsmount(context, FSMOUNT_CLOEXEC,
			   MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return *ret_dir < 0 ? -errno : 0;
}

/*
 * The agent's own cgroup as the root of a mount that is attached nowhere: that is what a cgroup
 * namespace shows that begins here. In the first one, a mount without options would besides take
 * nsdelegate and the like from the whole machine's hierarchy (apply_cgroup_root_flags() in the
 * kernel's cgroup.c). 0 or -errno.
 */
static int open_detached(int *ret_dir)
{
	FD_OWNED int back = open("/proc/self/ns/cgroup", O_RDONLY | O_CLOEXEC);
	int r;

	if (back < 0 || unshare(CLONE_NEWCGROUP) < 0)
		return -errno;
	r = mount_detached(ret_dir);
	if (setns(back, CLONE_NEWCGROUP) == 0)
		return r;
	r = -errno;
	close_fd(ret_dir);
	return r;
}

static bool is_same_dir(int dir, const struct statx *wanted)
{
	struct statx st;

	return statx(dir, "", AT_EMPTY_PATH, STATX_INO, &st) == 0 && st.stx_ino == wanted->stx_ino &&
	       st.stx_dev_major == wanted->stx_dev_major &&
	       st.stx_dev_minor == wanted->stx_dev_minor;
}

/*
 * The same directory as dir in some cgroup2 mount that is attached here, also where its name is not
 * known: in a cgroup namespace that begins below the mount's root. -EBADF where there is none.
 */
static int find_shown(int dir)
{
	struct {
		struct file_handle head;
		unsigned char space[MAX_HANDLE_SZ];
	} handle = { .head.handle_bytes = MAX_HANDLE_SZ };
	PTR_OWNED char *text = NULL;
	char *save = NULL;
	struct statx st;
	int id;

	if (name_to_handle_at(dir, "", &handle.head, &id, AT_EMPTY_PATH) < 0 ||
	    statx(dir, "", AT_EMPTY_PATH, STATX_INO, &st) < 0 ||
	    read_file_at(AT_FDCWD, "/proc/self/mountinfo", PROC_FILE_MAX, &text, NULL) < 0)
		return -EBADF;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		FD_OWNED int root = -EBADF;
		FD_OWNED int shown = -EBADF;
		struct mountinfo mount;

		if (mountinfo_parse(line, &mount) < 0 || strcmp(mount.type, "cgroup2") != 0 ||
		    open_dir(AT_FDCWD, mount.path, &root) < 0)
			continue;
		shown = open_by_handle_at(root, &handle.head, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (shown >= 0 && is_same_dir(shown, &st))
			return take_fd(&shown);
	}
	return -EBADF;
}

/* Where no mount shows it, by a mount of our own. */
static int open_unseen(struct cgroup_place *place, struct failure *f)
{
	PTR_OWNED char *own = NULL;
	int r = own_cgroup(&own);

	if (r == 0)
		r = open_detached(&place->dir);
	if (r == 0 && asprintf(&place->path, "cgroup2:%s", strcmp(own, "/") == 0 ? "" : own) < 0) {
		place->path = NULL;
		r = -ENOMEM;
	}
	if (r == 0)
		place->shown = find_shown(place->dir);
	return r < 0 ? fail(f, -r, "no cgroup2 mount shows the agent's cgroup and none can be made; mount "
			    "one (-v /sys/fs/cgroup:/sys/fs/cgroup), or set cgroup_dir") : 0;
}

static int open_shown(struct cgroup_place *place, struct failure *f)
{
	struct statfs fs;
	int r = open_dir(AT_FDCWD, place->path, &place->shown);

	if (r < 0)
		return fail(f, -r, "cannot open cgroup directory %s", place->path);
	if (fstatfs(place->shown, &fs) < 0)
		return fail(f, errno, "cannot examine %s", place->path);
	if (fs.f_type != CGROUP2_SUPER_MAGIC)
		return fail(f, EINVAL, "%s is not on a cgroup2 file system", place->path);
	if (!(fs.f_flags & ST_RDONLY))
		return open_dir(place->shown, ".", &place->dir) < 0 ?
			       fail(f, errno, "cannot open %s", place->path) : 0;
	r = open_writable(place->shown, &place->dir);
	return r < 0 ? fail(f, -r, "%s is mounted read-only, and a mount of the agent's own cannot be "
			    "made: it needs CAP_SYS_ADMIN (--cap-add=SYS_ADMIN)", place->path) : 0;
}

int cgroup_place_open(const char *path, struct cgroup_place *ret_place, struct failure *f)
{
	struct cgroup_place place = CGROUP_PLACE_NONE;
	struct failure why = { 0 };
	int r = 0;

	if (path && !(place.path = strdup(path)))
		r = fail(&why, ENOMEM, "cannot open cgroup directory %s", path);
	else if (!path)
		r = cgroup_find_own(&place.path, &why);
	if (r == 0)
		r = open_shown(&place, f);
	else if (r == -ENOENT)
		r = open_unseen(&place, f);
	else
		r = fail(f, -r, "%s", why.msg);
	if (r < 0) {
		cgroup_place_close(&place);
		return r;
	}
	*ret_place = place;
	return 0;
}

bool cgroup_place_equal(const struct cgroup_place *a, const struct cgroup_place *b)
{
	struct statx st;

	return statx(a->dir, "", AT_EMPTY_PATH, STATX_INO, &st) == 0 && is_same_dir(b->dir, &st);
}

void cgroup_place_close(struct cgroup_place *place)
{
	close_fd(&place->dir);
	close_fd(&place->shown);
	free_ptr(&place->path);
}
