// SPDX-License-Identifier: Apache-2.0
/*
 * What user code is not to change, where no kernel program says so: a read-only mount of it on itself. A mount point is
 * neither removed nor renamed in its own mount namespace, but what it lies in could be: so each directory that
 * leads there is mounted on itself as well, and stays as it is otherwise.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "init/init.h"

/* By no symbolic link: the agent has followed those there were at its start. */
static int mount_on_itself(const char *path, bool readonly)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	FD_OWNED int place = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	FD_OWNED int clone = -EBADF;

	if (place < 0)
		return -errno;
	clone = open_tree(place, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH);
	if (clone < 0)
		return -errno;
	if (readonly && mount_setattr(clone, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return -errno;
	return mounts_attach(clone, place, "");
}

int protect_paths(const char *paths, size_t n)
{
	int r = 0;

	for (; n > 0 && r == 0; n--, paths += strlen(paths) + 1)
		r = mount_on_itself(paths + 1, paths[0] == INIT_PROTECT_READONLY);
	return r;
}
