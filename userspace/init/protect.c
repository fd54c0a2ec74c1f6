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

/* By no symbolic link, but it may be one: the agent has followed those there were at its start. */
static int mount_on_itself(const char *path, bool readonly)
{
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_NO_SYMLINKS };
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	FD_OWNED int place = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	FD_OWNED int clone = -EBADF;

	if (place < 0)
		return -errno;
	clone = open_tree(place, "",
			  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH);
	if (clone < 0)
		return -errno;
	if (readonly &&
	    mount_setattr(clone, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return -errno;
	return mounts_attach(clone, place, "");
}

static int protect(char kind, const char *path)
{
	int r = mount_on_itself(path, kind != INIT_PROTECT_PINNED);

	/* Where a directory on the way is gone, so is what it leads to, which tells. */
	return r == -ENOENT && kind != INIT_PROTECT_READONLY ? 0 : r;
}

int protect_paths(const char *strings, size_t others, size_t n)
{
	int r = 0;

	for (; others > 0; others--)
		strings += strlen(strings) + 1;
	for (; n > 0 && r == 0; n--, strings += strlen(strings) + 1)
		r = protect(strings[0], strings + 1);
	return r;
}
