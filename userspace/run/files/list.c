/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a directory, and with FILES_RECURSIVE in those below it, which are not entered by links. */
#include <dirent.h>
#include <fcntl.h>

#include "run/files/internal.h"

struct list {
	struct job *j;
	uint32_t left; /* entries that may still be told */
	bool truncated;
	char path[FILES_PATH_MAX +
		  1]; /* of where we are, beneath the list's; "" or with a '/' behind */
};

static int list_directory(struct list *l, int fd, unsigned depth);

static void go_down(struct list *l, int dir, const char *name, unsigned depth)
{
	size_t n = strlen(l->path), m = strlen(name);
	int fd;

	if (depth == 0 || n + m + 2 > sizeof(l->path)) {
		l->truncated = true;
		return;
	}
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return; /* gone, or closed to us: it was told that it is there */
	snprintf(l->path + n, sizeof(l->path) - n, "%s/", name);
	(void)list_directory(l, fd, depth - 1);
	l->path[n] = '\0';
}

static void list_one(struct list *l, int dir, const char *name, unsigned depth)
{
	char path[FILES_PATH_MAX + 1], target[FILES_PATH_MAX + 1] = "";
	struct files_entry entry;
	struct stat st;
	ssize_t n;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return; /* gone meanwhile, or hidden */
	if (snprintf(path, sizeof(path), "%s%s", l->path, name) >= (int)sizeof(path) ||
	    l->left == 0 || l->j->listed > FILES_NAMES_MAX - 2 * (FILES_PATH_MAX + 1)) {
		l->truncated = true;
		return;
	}
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(dir, name, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
	}
	fill_entry(&st, &entry);
	tell_entry(&entry, path, target);
	l->left--;
	l->j->listed += entry.name_len + entry.target_len;
	if (S_ISDIR(st.st_mode) && wants(l->j, FILES_RECURSIVE))
		go_down(l, dir, name, depth);
}

/* Consumes fd. */
static int list_directory(struct list *l, int fd, unsigned depth)
{
	DIR *d = fdopendir(fd);
	struct dirent *e;

	if (!d) {
		close(fd);
		return refuse_errno(l->j, ENOMEM);
	}
	while (!l->truncated && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			list_one(l, fd, e->d_name, depth);
	closedir(d);
	return 0;
}

int files_list(struct job *j)
{
	struct list l = { .j = j, .left = j->request.limit };
	int fd = open_beneath(j, j->path, O_RDONLY | O_DIRECTORY | O_NONBLOCK), r;

	if (fd < 0)
		return fd;
	r = list_directory(&l, fd, FILES_DEPTH_MAX);
	if (r == 0)
		tell_end(false, l.truncated);
	return r;
}
