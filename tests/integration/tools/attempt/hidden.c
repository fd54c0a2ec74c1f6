/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways to read or find what is hidden: t->tree is a directory with an executable file "file", an empty
 * directory "sub", a symbolic link "link" and a file "linked" whose other name, elsewhere, is t->alias. And
 * ways to take off or change the mounts that moat-init has made; of one's own: a tmpfs.
 */
#include "attempt.h"

#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <spawn.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define ELSEWHERE "/mnt"

static const char *in_tree(const struct target *t, const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", t->tree, name);
	return path;
}

/* The directory that the tree is in. */
static const char *above(const struct target *t)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", t->tree);
	*strrchr(path, '/') = '\0';
	return path;
}

static const char *own_path(const struct target *t, const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.4000s.own-%d-%s", t->tree, getpid(), name);
	return path;
}

int attempt_hidden_read(struct target *t)
{
	return open_once(in_tree(t, "file"), O_RDONLY);
}

int attempt_hidden_write(struct target *t)
{
	return open_once(in_tree(t, "file"), O_WRONLY);
}

int attempt_hidden_alias(struct target *t)
{
	return open_once(t->alias, O_RDONLY);
}

int attempt_hidden_stat(struct target *t)
{
	struct stat st;

	return answer(stat(in_tree(t, "file"), &st));
}

int attempt_hidden_stat_root(struct target *t)
{
	struct stat st;

	return answer(stat(t->tree, &st));
}

int attempt_hidden_list(struct target *t)
{
	DIR *dir = opendir(t->tree);

	return dir ? answer(closedir(dir)) : -errno;
}

/* A descriptor that only stands for the path asks no hook; what it is good for does. */
static int path_descriptor(struct target *t, const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	return fd < 0 ? setup(t, "open(O_PATH)") : fd;
}

int attempt_hidden_reopen(struct target *t)
{
	int fd = path_descriptor(t, in_tree(t, "file"));
	char path[64];

	if (fd < 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return answered(fd, open_once(path, O_RDONLY));
}

int attempt_hidden_fstat(struct target *t)
{
	int fd = path_descriptor(t, in_tree(t, "file"));
	struct stat st;

	return fd < 0 ? fd : answered(fd, answer(fstat(fd, &st)));
}

static int open_beneath(int dir, const char *name)
{
	int fd;

	if (dir < 0)
		return dir;
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	return answered(dir, fd < 0 ? -errno : answered(fd, 0));
}

int attempt_hidden_openat(struct target *t)
{
	return open_beneath(path_descriptor(t, t->tree), "file");
}

int attempt_hidden_chdir(struct target *t)
{
	if (chdir(t->tree) < 0)
		return setup(t, "chdir");
	return open_once("file", O_RDONLY);
}

int attempt_hidden_execute(struct target *t)
{
	char *const argv[] = { (char *)"file", NULL };
	char path[PATH_MAX];
	pid_t pid;
	int r;

	snprintf(path, sizeof(path), "%s", in_tree(t, "file"));
	r = posix_spawn(&pid, path, NULL, NULL, argv, argv + 1);
	if (r == 0)
		waitpid(pid, NULL, 0);
	return -r;
}

int attempt_hidden_readlink(struct target *t)
{
	char target[64];

	return answer(readlink(in_tree(t, "link"), target, sizeof(target)));
}

int attempt_hidden_xattr(struct target *t)
{
	char list[64];

	return answer(listxattr(in_tree(t, "file"), list, sizeof(list)));
}

/* That there is none is past the check. */
static int attribute(struct target *t, const char *name)
{
	char value[64];
	int r = answer(getxattr(in_tree(t, "file"), name, value, sizeof(value)));

	return r == -ENODATA || r == -EOPNOTSUPP ? 0 : r;
}

int attempt_hidden_getxattr(struct target *t)
{
	return attribute(t, "user.moat");
}

int attempt_hidden_acl(struct target *t)
{
	return attribute(t, "system.posix_acl_access");
}

/* file_getattr(2) of 6.17; include/uapi/linux/fs.h */
int attempt_hidden_file_attr(struct target *t)
{
	uint64_t attr[3] = { 0 };
	int r = answer(syscall(468, AT_FDCWD, in_tree(t, "file"), attr, sizeof(attr), 0));

	return r == -ENOSYS || r == -EOPNOTSUPP || r == -ENOTTY ? -NOT_HERE : r;
}

int attempt_hidden_watch(struct target *t)
{
	int fd = inotify_init1(IN_CLOEXEC);

	if (fd < 0)
		return setup(t, "inotify_init1");
	return answered(fd, answer(inotify_add_watch(fd, t->tree, IN_ALL_EVENTS)));
}

int attempt_hidden_link(struct target *t)
{
	const char *own = own_path(t, "link");
	int r = answer(link(in_tree(t, "file"), own));

	unlink(own);
	return r;
}

int attempt_hidden_rename(struct target *t)
{
	return answer(rename(in_tree(t, "file"), own_path(t, "renamed")));
}

int attempt_hidden_unlink(struct target *t)
{
	return answer(unlink(in_tree(t, "file")));
}

int attempt_hidden_chmod(struct target *t)
{
	return answer(chmod(in_tree(t, "file"), 0666));
}

int attempt_hidden_create(struct target *t)
{
	return open_once(in_tree(t, "new"), O_WRONLY | O_CREAT | O_EXCL);
}

int attempt_hidden_by_bind(struct target *t)
{
	int r = own_mounts(t);

	if (r == 0 && mount(t->tree, ELSEWHERE, NULL, MS_BIND, NULL) < 0)
		r = setup(t, "mount(MS_BIND)");
	return r < 0 ? r : open_once(ELSEWHERE "/file", O_RDONLY);
}

/* Without what is mounted beneath: not with the covers. */
int attempt_hidden_by_bind_above(struct target *t)
{
	int r = own_mounts(t);

	if (r == 0 && mount(above(t), ELSEWHERE, NULL, MS_BIND, NULL) < 0)
		r = setup(t, "mount(MS_BIND)");
	return r < 0 ? r : open_once(ELSEWHERE "/tree/file", O_RDONLY);
}

int attempt_hidden_by_clone(struct target *t)
{
	int r = own_mounts(t), tree;

	if (r < 0)
		return r;
	tree = open_tree(AT_FDCWD, above(t), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	return tree < 0 ? setup(t, "open_tree") : open_beneath(tree, "tree/file");
}

int attempt_hidden_uncovered(struct target *t)
{
	int r = own_mounts(t);

	if (r < 0)
		return r;
	while (umount2(t->tree, MNT_DETACH) == 0)
		;
	return open_once(in_tree(t, "file"), O_RDONLY);
}

int attempt_hidden_by_overlay(struct target *t)
{
	char options[PATH_MAX + 64];
	int r = own_mounts(t);

	if (r < 0)
		return r;
	snprintf(options, sizeof(options), "lowerdir=%s:/usr/share", above(t));
	r = answer(mount("overlay", ELSEWHERE, "overlay", 0, options));
	if (r == -ENODEV || r == -EINVAL) /* not built in, or not on this file system */
		return -NOT_HERE;
	if (r < 0)
		return setup(t, "mount(overlay)");
	r = open_once(ELSEWHERE "/tree/file", O_RDONLY);
	umount2(ELSEWHERE, MNT_DETACH);
	return r;
}

/* Mounts */

/* Where the mount is that a case is about, or NULL. */
static const char *mount_place(struct target *t)
{
	if (!t->fresh)
		return "/dev";
	if (own_mounts(t) < 0)
		return NULL;
	if (mount("tmpfs", PLACE, "tmpfs", 0, NULL) < 0) {
		setup(t, "mount(tmpfs)");
		return NULL;
	}
	return PLACE;
}

int attempt_mount_take_off(struct target *t)
{
	const char *place = mount_place(t);

	return place ? answer(umount2(place, MNT_DETACH)) : -EPERM;
}

int attempt_mount_change(struct target *t)
{
	const char *place = mount_place(t);

	return place ? answer(mount(NULL, place, NULL, MS_REMOUNT | MS_BIND, NULL)) : -EPERM;
}

int attempt_mount_setattr(struct target *t)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID };
	const char *place = mount_place(t);

	return place ? answer(mount_setattr(AT_FDCWD, place, 0, &attr, sizeof(attr))) : -EPERM;
}

/* open_tree_attr(2), 6.15: without OPEN_TREE_CLONE it changes the mount itself */
int attempt_mount_tree_attr(struct target *t)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID };
	const char *place;
	long fd;

	if (syscall(467, -1, "", 0, NULL, 0) < 0 && errno == ENOSYS)
		return -NOT_HERE;
	place = mount_place(t);
	if (!place)
		return -EPERM;
	fd = syscall(467, AT_FDCWD, place, 0, &attr, sizeof(attr));
	return fd < 0 ? -errno : answered((int)fd, 0);
}

int attempt_mount_move(struct target *t)
{
	const char *place = mount_place(t);

	return place ? answer(mount(place, ELSEWHERE, NULL, MS_MOVE, NULL)) : -EPERM;
}

int attempt_mount_move_tree(struct target *t)
{
	const char *place = mount_place(t);

	return place ? answer(move_mount(AT_FDCWD, place, AT_FDCWD, ELSEWHERE, 0)) : -EPERM;
}
