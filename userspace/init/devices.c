// SPDX-License-Identifier: Apache-2.0
/*
 * The devices that the configuration gives user code, in the /dev that it sees: each where the agent has it,
 * as a clone of the node itself, so that owner and mode are what they are there.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "init/init.h"

static struct {
	char *name; /* beneath /dev */
	int fd;
} given[INIT_DEVICES_MAX];
static size_t n_given;

int devices_keep(const char *names, size_t n)
{
	if (n > INIT_DEVICES_MAX)
		return -EPROTO;
	for (; n > 0; n--, names += strlen(names) + 1) {
		char *name = strdup(names);

		if (!name)
			return -ENOMEM;
		given[n_given].name = name;
		given[n_given++].fd = -EBADF;
	}
	return 0;
}

void devices_forget(void)
{
	for (size_t i = 0; i < n_given; i++)
		close_fd(&given[i].fd);
}

int devices_take(void)
{
	for (size_t i = 0; i < n_given; i++) {
		char path[PATH_MAX];
		struct stat st;
		int fd;

		snprintf(path, sizeof(path), "/dev/%s", given[i].name);
		fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		given[i].fd = fd;
		if (fd < 0 && errno == ENOENT)
			continue; /* pulled out meanwhile */
		if (fd < 0 || fstat(fd, &st) < 0)
			return -errno;
		if (!S_ISCHR(st.st_mode))
			return -ENODEV;
	}
	return 0;
}

/* The directories on the way to it; moat-init has nothing of base but its inline functions. */
static int make_way(int dev, char *name)
{
	for (char *slash = name; (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = '\0';
		if (mkdirat(dev, name, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static int place(int dev, char *name, int node)
{
	FD_OWNED int at = -EBADF;
	int r = make_way(dev, name);

	if (r < 0)
		return r;
	at = openat(dev, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0);
	if (at < 0)
		return errno == EEXIST ? 0 : -errno; /* one of the usual, or one of their names */
	/* read-only, as the usual ones are: the node is the same inode as the control plane's */
	r = mounts_set(node, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
		       MOUNT_ATTR_NODEV);
	return r < 0 ? r : mounts_attach(node, dev, name);
}

int devices_place(int dev)
{
	int r = 0;

	for (size_t i = 0; i < n_given && r == 0; i++)
		if (given[i].fd >= 0)
			r = place(dev, given[i].name, given[i].fd);
	devices_forget();
	return r;
}
