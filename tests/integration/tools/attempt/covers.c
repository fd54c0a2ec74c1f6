/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to change a protected tree of files (files.c) by mounting: over it, or the file system it is on. */
#include "files.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

int attempt_tree_mount_over(struct target *t)
{
	int r = own_mounts(t);

	return r < 0 ? r : answer(mount("tmpfs", t->tree, "tmpfs", 0, NULL));
}

int attempt_tree_bind_over(struct target *t)
{
	const char *own = own_file(t);
	int r = own ? own_mounts(t) : -EIO;

	if (r == 0)
		r = answer(mount(own, in_tree(t, "file"), NULL, MS_BIND, NULL));
	if (own)
		unlink(own);
	return r;
}

/* The kernel takes it for a bind mount. */
int attempt_tree_bind_private(struct target *t)
{
	const char *own = own_file(t);
	int r = own ? own_mounts(t) : -EIO;

	if (r == 0)
		r = answer(mount(own, in_tree(t, "file"), NULL, MS_BIND | MS_PRIVATE, NULL));
	if (own)
		unlink(own);
	return r;
}

/* As far as "there is no such file system" is past the check. */
static int mount_over_parent(struct target *t)
{
	char parent[PATH_MAX];
	int r;

	snprintf(parent, sizeof(parent), "%s", t->tree);
	*strrchr(parent, '/') = '\0';
	r = answer(mount("none", parent, "no-such-fs", 0, NULL));
	return r == -ENODEV ? 0 : r;
}

/* Where those who come later would see it. */
int attempt_tree_mount_over_parent(struct target *t)
{
	return mount_over_parent(t);
}

/* And where it would spread to them. */
int attempt_tree_mount_over_shared(struct target *t)
{
	int r = own_mounts(t);

	if (r < 0)
		return r;
	if (mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) < 0)
		return setup(t, "mount(MS_SHARED)");
	return mount_over_parent(t);
}

int attempt_tree_move_over(struct target *t)
{
	int fd, r = own_mounts(t);

	if (r < 0)
		return r;
	fd = open_tree(AT_FDCWD, "/usr", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0)
		return setup(t, "open_tree");
	r = answer(move_mount(fd, "", AT_FDCWD, t->tree, MOVE_MOUNT_F_EMPTY_PATH));
	return answered(fd, r);
}

/* Options as they are, so that nothing changes where it succeeds. */
int attempt_fs_remount(struct target *t)
{
	int r = bind_elsewhere(t);

	return r < 0 ? r : answer(mount(NULL, "/mnt", NULL, MS_REMOUNT, NULL));
}

int attempt_fs_umount_force(struct target *t)
{
	int r = bind_elsewhere(t);

	return r < 0 ? r : answer(umount2("/mnt", MNT_FORCE));
}

static int mount_and_wait(struct target *t)
{
	char byte = 0;
	int r = own_mounts(t);

	if (r == 0 && mount("tmpfs", t->tree, "tmpfs", 0, NULL) < 0)
		r = -errno;
	byte = (char)-r;
	if (write(t->channel, &byte, 1) != 1 || read(t->channel, &byte, 1) < 0)
		_exit(1);
	_exit(0);
}

/* Removing a directory that is a mount point in another mount namespace unmounts there. */
int attempt_mount_point_rmdir(struct target *t)
{
	struct target other = *t;
	int ends[2], r;
	char byte = EIO;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return setup(t, "socketpair");
	other.tree = own_path(t, "mountpoint");
	other.channel = ends[1];
	if (mkdir(other.tree, 0700) < 0)
		return setup(t, "mkdir");
	child = fork();
	if (child == 0) {
		close(ends[0]);
		mount_and_wait(&other);
	}
	close(ends[1]);
	if (read(ends[0], &byte, 1) == 1 && byte == 0)
		r = answer(rmdir(other.tree));
	else
		r = (errno = byte, setup(t, "mount in another mount namespace"));
	close(ends[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	rmdir(other.tree);
	return r;
}
