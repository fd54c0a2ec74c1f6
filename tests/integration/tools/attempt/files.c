/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways to change a protected tree of files: t->tree is a directory with a file "file", an empty
 * directory "sub" and a file "linked" whose other name, elsewhere, is t->alias. What a case makes of
 * its own lies beside the tree, on the same file system.
 */
#include "files.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define MOVED ".moved"

const char *in_tree(const struct target *t, const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", t->tree, name);
	return path;
}

const char *own_path(const struct target *t, const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.4000s.own-%d-%s", t->tree, getpid(), name);
	return path;
}

const char *own_file(struct target *t)
{
	const char *path = own_path(t, "file");
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0) {
		setup(t, "open(own file)");
		return NULL;
	}
	close(fd);
	return path;
}

/* The answer, after what the case made is gone again. */
static int undone(const char *path, int result)
{
	if (unlink(path) < 0)
		rmdir(path);
	return result;
}

/* Contents */

int attempt_file_write(struct target *t)
{
	return open_once(in_tree(t, "file"), O_WRONLY);
}

int attempt_file_append(struct target *t)
{
	return open_once(in_tree(t, "file"), O_RDWR | O_APPEND);
}

int attempt_file_open_truncate(struct target *t)
{
	return open_once(in_tree(t, "file"), O_RDONLY | O_TRUNC);
}

int attempt_file_truncate(struct target *t)
{
	return answer(truncate(in_tree(t, "file"), 0));
}

int attempt_file_reopen(struct target *t)
{
	char path[64];
	int fd = open(in_tree(t, "file"), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return setup(t, "open(O_RDONLY)");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = open(path, O_WRONLY | O_CLOEXEC);

	return answered(fd, again < 0 ? -errno : answered(again, 0));
}

int attempt_file_alias(struct target *t)
{
	return open_once(t->alias, O_WRONLY);
}

int handle_of_file(struct target *t, struct tree_handle *ret)
{
	int mount, dir = open(t->tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return setup(t, "open(tree)");
	*ret = (struct tree_handle){ .head.handle_bytes = sizeof(ret->rest) };
	if (name_to_handle_at(dir, "file", &ret->head, &mount, 0) < 0)
		return answered(dir, errno == EOPNOTSUPP ? -NOT_HERE : setup(t, "name_to_handle_at"));
	return dir;
}

int attempt_file_by_handle(struct target *t)
{
	struct tree_handle handle;
	int fd, dir = handle_of_file(t, &handle);

	if (dir < 0)
		return dir;
	fd = open_by_handle_at(dir, &handle.head, O_WRONLY | O_CLOEXEC);
	return answered(dir, fd < 0 ? -errno : answered(fd, 0));
}

int bind_elsewhere(struct target *t)
{
	int r = own_mounts(t);

	if (r == 0 && mount(t->tree, "/mnt", NULL, MS_BIND, NULL) < 0)
		r = setup(t, "mount(MS_BIND)");
	return r;
}

int attempt_file_by_bind(struct target *t)
{
	int r = bind_elsewhere(t);

	return r < 0 ? r : open_once("/mnt/file", O_WRONLY);
}

/* Through an overlay whose upper directory is the tree. */
int attempt_file_by_overlay(struct target *t)
{
	char options[2 * PATH_MAX + 64], work[PATH_MAX], extra[PATH_MAX + 8];
	int r = own_mounts(t);

	if (r < 0)
		return r;
	snprintf(work, sizeof(work), "%s", own_path(t, "work"));
	if (mkdir(work, 0700) < 0)
		return setup(t, "mkdir(work)");
	snprintf(options, sizeof(options), "lowerdir=/usr/share,upperdir=%s,workdir=%s", t->tree, work);
	r = answer(mount("overlay", "/mnt", "overlay", 0, options));
	if (r == -ENODEV || r == -EINVAL) /* not built in, or not on this file system */
		r = -NOT_HERE;
	if (r == 0) {
		r = open_once("/mnt/file", O_WRONLY);
		umount2("/mnt", MNT_DETACH);
	}
	snprintf(extra, sizeof(extra), "%s/work", work);
	rmdir(extra);
	return undone(work, r);
}

/* Entries */

int attempt_tree_create(struct target *t)
{
	return open_once(in_tree(t, "new"), O_WRONLY | O_CREAT | O_EXCL);
}

int attempt_tree_tmpfile(struct target *t)
{
	int fd = open(t->tree, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : answered(fd, 0);
}

int attempt_tree_mkdir(struct target *t)
{
	return answer(mkdir(in_tree(t, "sub/new"), 0700));
}

int attempt_tree_symlink(struct target *t)
{
	return answer(symlink("/", in_tree(t, "sub/symlink")));
}

int attempt_tree_mknod(struct target *t)
{
	return answer(mknod(in_tree(t, "sub/fifo"), S_IFIFO | 0600, 0));
}

int attempt_tree_link_into(struct target *t)
{
	const char *own = own_file(t);

	return own ? undone(own, answer(link(own, in_tree(t, "hardlink")))) : -EIO;
}

int attempt_tree_link_out(struct target *t)
{
	const char *own = own_path(t, "link");
	int r = answer(link(in_tree(t, "file"), own));

	return undone(own, r);
}

int attempt_tree_unlink(struct target *t)
{
	return answer(unlink(in_tree(t, "file")));
}

int attempt_tree_unlink_alias(struct target *t)
{
	return answer(unlink(t->alias));
}

int attempt_tree_rmdir(struct target *t)
{
	return answer(rmdir(in_tree(t, "sub")));
}

int attempt_tree_rename_file(struct target *t)
{
	return answer(rename(in_tree(t, "file"), own_path(t, "renamed")));
}

int attempt_tree_rename_over(struct target *t)
{
	const char *own = own_file(t);

	return own ? undone(own, answer(rename(own, in_tree(t, "file")))) : -EIO;
}

static int exchange(struct target *t, const char *victim)
{
	const char *own = own_file(t);

	if (!own)
		return -EIO;
	return undone(own, answer(renameat2(AT_FDCWD, own, AT_FDCWD, victim, RENAME_EXCHANGE)));
}

int attempt_tree_exchange(struct target *t)
{
	return exchange(t, in_tree(t, "file"));
}

int attempt_tree_exchange_root(struct target *t)
{
	return exchange(t, t->tree);
}

int attempt_tree_move(struct target *t)
{
	char moved[PATH_MAX];

	snprintf(moved, sizeof(moved), "%.4000s" MOVED, t->tree);
	return answer(rename(t->tree, moved));
}

/* The directory above: what the path then names is somebody else's. */
int attempt_tree_move_parent(struct target *t)
{
	char parent[PATH_MAX], moved[PATH_MAX];

	snprintf(parent, sizeof(parent), "%s", t->tree);
	*strrchr(parent, '/') = '\0';
	snprintf(moved, sizeof(moved), "%.4000s" MOVED, parent);
	return answer(rename(parent, moved));
}

int attempt_tree_chmod_parent(struct target *t)
{
	char parent[PATH_MAX];

	snprintf(parent, sizeof(parent), "%s", t->tree);
	*strrchr(parent, '/') = '\0';
	return answer(chmod(parent, 0755));
}

/* Attributes */

int attempt_file_chmod(struct target *t)
{
	return answer(chmod(in_tree(t, "file"), 0666));
}

int attempt_file_chown(struct target *t)
{
	return answer(chown(in_tree(t, "file"), getuid(), getgid()));
}

int attempt_file_utimes(struct target *t)
{
	static const struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

	return answer(utimensat(AT_FDCWD, in_tree(t, "file"), times, 0));
}

static int supported(long r)
{
	return r < 0 && (errno == EOPNOTSUPP || errno == ENOTTY || errno == ENOSYS) ? -NOT_HERE
										     : answer(r);
}

int attempt_file_setxattr(struct target *t)
{
	return supported(setxattr(in_tree(t, "file"), "security.moat", "x", 1, 0));
}

int attempt_file_removexattr(struct target *t)
{
	int r = supported(removexattr(in_tree(t, "file"), "security.moat"));

	return r == -ENODATA ? 0 : r; /* there is none: past the check */
}

/* u::rw-,g::r--,o::r-- as linux/posix_acl_xattr.h lays it out */
static const unsigned char acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 4, 0,
				     255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255 };

int attempt_file_set_acl(struct target *t)
{
	return supported(setxattr(in_tree(t, "file"), "system.posix_acl_access", acl, sizeof(acl), 0));
}

int attempt_file_remove_acl(struct target *t)
{
	return supported(removexattr(in_tree(t, "file"), "system.posix_acl_access"));
}

int attempt_file_flags(struct target *t)
{
	int r, flags = 0, fd = open(in_tree(t, "file"), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return setup(t, "open(O_RDONLY)");
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return answered(fd, -NOT_HERE);
	flags |= FS_NODUMP_FL;
	r = answer(ioctl(fd, FS_IOC_SETFLAGS, &flags));
	return answered(fd, r);
}

/* file_setattr(2) of 6.17; include/uapi/linux/fs.h */
int attempt_file_setattr(struct target *t)
{
	struct {
		uint64_t xflags;
		uint32_t extsize, nextents, projid, cowextsize;
	} attr = { .xflags = 0x80 }; /* FS_XFLAG_NODUMP */

	return supported(syscall(469, AT_FDCWD, in_tree(t, "file"), &attr, sizeof(attr), 0));
}

/* Holding up */

int attempt_file_lock(struct target *t)
{
	int fd = open(in_tree(t, "file"), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return setup(t, "open(O_RDONLY)");
	return answered(fd, answer(flock(fd, LOCK_EX | LOCK_NB)));
}

int attempt_file_lease(struct target *t)
{
	int fd = open(in_tree(t, "file"), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return setup(t, "open(O_RDONLY)");
	return answered(fd, answer(fcntl(fd, F_SETLEASE, F_RDLCK)));
}

/* "This file system cannot" comes after the check. */
static int fs_ioctl(struct target *t, unsigned long request)
{
	char argument[4096] = { 0 };
	int r, fd = open(t->tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return setup(t, "open(tree)");
	r = answer(ioctl(fd, request, argument));
	return answered(fd, r == -EOPNOTSUPP || r == -EINVAL || r == -ENOTTY ? 0 : r);
}

int attempt_fs_freeze(struct target *t)
{
	return fs_ioctl(t, FITHAW);
}

/* XFS_IOC_OPEN_BY_HANDLE */
int attempt_fs_open_by_handle(struct target *t)
{
	return fs_ioctl(t, _IOC(_IOC_READ | _IOC_WRITE, 'X', 107, 56));
}

/* BTRFS_IOC_SNAP_DESTROY, of a subvolume without a name */
int attempt_fs_subvolume(struct target *t)
{
	return fs_ioctl(t, _IOC(_IOC_WRITE, 0x94, 15, 4096));
}

int attempt_tree_connect(struct target *t)
{
	return connect_to(t, in_tree(t, "socket"));
}

int attempt_file_read(struct target *t)
{
	return open_once(in_tree(t, "file"), O_RDONLY);
}

/* What is protected does not hinder work beside it. */
int attempt_file_beside(struct target *t)
{
	const char *own = own_file(t);
	char moved[PATH_MAX];
	int r;

	if (!own)
		return -EIO;
	snprintf(moved, sizeof(moved), "%.4000s" MOVED, own);
	r = answer(chmod(own, 0755));
	if (r == 0)
		r = answer(rename(own, moved));
	return undone(r == 0 ? moved : own, r);
}
