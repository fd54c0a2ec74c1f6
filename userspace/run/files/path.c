/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include "run/files/internal.h"

#define TRIES 128    /* against somebody who renames all the time */
#define LINKS_MAX 40 /* as the kernel has it */

int root_open(struct job *j)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_NO_MAGICLINKS };

	j->root_fd = (int)syscall(SYS_openat2, AT_FDCWD, j->root, &how, sizeof(how));
	return j->root_fd < 0 ? refuse_errno(j, errno) : 0;
}

/* Without a word to the job, so that a missing one can be made: a descriptor or -errno. */
static int try_beneath(const struct job *j, const char *path, int flags)
{
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC,
		.resolve = (j->whole ? RESOLVE_IN_ROOT : RESOLVE_BENEATH) | RESOLVE_NO_MAGICLINKS,
	};
	long fd = -EAGAIN;

	/* EAGAIN: something was renamed while a ".." was on its way. */
	for (int i = 0; i < TRIES && fd == -EAGAIN; i++) {
		fd = syscall(SYS_openat2, j->root_fd, *path ? path : ".", &how, sizeof(how));
		if (fd < 0)
			fd = -errno;
	}
	return (int)fd;
}

static int refuse_open(struct job *j, int err)
{
	return err == EXDEV ? refuse_job(j, MOAT_E_OUTSIDE_WORKSPACE) : refuse_errno(j, err);
}

int open_beneath(struct job *j, const char *path, int flags)
{
	int fd = try_beneath(j, path, flags);

	return fd < 0 ? refuse_open(j, -fd) : fd;
}

int leads_straight(struct job *j, const char *base, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	const char *slash = strrchr(path, '/');
	FD_OWNED int dir = open_beneath(j, base, O_PATH | O_DIRECTORY);
	FD_OWNED int parent = -EBADF;
	char text[PATH_MAX];

	if (dir < 0)
		return dir;
	if (!slash)
		return 1;
	snprintf(text, sizeof(text), "%.*s", (int)(slash - path), path);
	parent = (int)syscall(SYS_openat2, dir, text, &how, sizeof(how));
	if (parent >= 0 || errno == ENOENT)
		return 1;
	return errno == ELOOP ? 0 : refuse_errno(j, errno);
}

int open_regular(struct job *j, const char *path, struct stat *ret)
{
	/* First without opening it: that alone makes a device do something, and a FIFO's writer go on. */
	FD_OWNED int seen = open_beneath(j, path, O_PATH);
	FD_OWNED int fd = -EBADF;
	struct stat st;

	if (seen < 0)
		return seen;
	if (fstat(seen, &st) < 0)
		return refuse_errno(j, errno);
	if (code_of_type(st.st_mode))
		return refuse_job(j, code_of_type(st.st_mode));
	fd = open_beneath(j, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fd;
	if (fstat(fd, ret) < 0)
		return refuse_errno(j, errno);
	if (code_of_type(ret->st_mode))
		return refuse_job(j, code_of_type(ret->st_mode));
	return take_fd(&fd);
}

/* Splits off the last name; what stands before it stays in path, "" for nothing. False: there is none. */
static bool split(char *path, char name[NAME_MAX + 1])
{
	size_t n = strlen(path);
	char *slash;

	while (n > 0 && path[n - 1] == '/')
		path[--n] = '\0';
	slash = strrchr(path, '/');
	if (strlen(slash ? slash + 1 : path) > NAME_MAX)
		return false;
	snprintf(name, NAME_MAX + 1, "%s", slash ? slash + 1 : path);
	*(slash ? slash : path) = '\0';
	return name[0] && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int make_one(const struct job *j, char *path, mode_t mode, bool *ret_made)
{
	char parent[PATH_MAX], name[NAME_MAX + 1];
	FD_OWNED int dir = -EBADF;

	snprintf(parent, sizeof(parent), "%s", path);
	if (!split(parent, name))
		return -ENOENT;
	dir = try_beneath(j, parent, O_PATH | O_DIRECTORY);
	if (dir < 0)
		return dir;
	if (mkdirat(dir, name, mode) == 0)
		*ret_made = true;
	else if (errno != EEXIST)
		return -errno;
	return 0;
}

int make_directories(struct job *j, const char *path, mode_t mode, bool *ret_made)
{
	char part[PATH_MAX];

	*ret_made = false;
	for (const char *end = path; *end;) {
		FD_OWNED int fd = -EBADF;
		int r = 0;

		end += strspn(end, "/");
		end += strcspn(end, "/");
		snprintf(part, sizeof(part), "%.*s", (int)(end - path), path);
		fd = try_beneath(j, part, O_PATH | O_DIRECTORY);
		*ret_made = false;
		if (fd == -ENOENT)
			r = make_one(j, part, *end ? 0755 : mode, ret_made);
		if (fd == -ENOENT && r == 0)
			fd = try_beneath(j, part, O_PATH | O_DIRECTORY);
		if (fd < 0)
			return refuse_open(j, r < 0 ? -r : -fd);
	}
	return 0;
}

static int open_parent(struct job *j, const char *path, bool make)
{
	int fd = try_beneath(j, path, O_PATH | O_DIRECTORY);
	bool made;

	if (fd == -ENOENT && make) {
		if (make_directories(j, path, 0755, &made) < 0)
			return -EINVAL;
		fd = try_beneath(j, path, O_PATH | O_DIRECTORY);
	}
	return fd < 0 ? refuse_open(j, -fd) : fd;
}

/* Where a link in the directory leads to, in path, which then is a path from the root. 0 or -EINVAL. */
static int follow_link(struct job *j, char path[PATH_MAX], const char *target)
{
	char parent[PATH_MAX];
	int n;

	if (*target == '/' && !j->whole)
		return refuse_job(j, MOAT_E_OUTSIDE_WORKSPACE);
	snprintf(parent, sizeof(parent), "%s", path);
	n = *target == '/' || !*parent ?
		    snprintf(path, PATH_MAX, "%s", target + strspn(target, "/")) :
		    snprintf(path, PATH_MAX, "%s/%s", parent, target);
	return n >= PATH_MAX ? refuse_job(j, MOAT_E_BAD_PATH) : 0;
}

int place_open(struct job *j, const char *path, bool follow, bool make, struct place *ret)
{
	char rest[PATH_MAX], target[PATH_MAX];

	ret->dir = -EBADF;
	snprintf(rest, sizeof(rest), "%s", path);
	for (int links = 0; links < LINKS_MAX; links++) {
		FD_OWNED int dir = -EBADF;
		ssize_t n = -1;

		if (!split(rest, ret->name))
			return refuse_job(j, MOAT_E_BAD_PATH);
		dir = open_parent(j, rest, make);
		if (dir < 0)
			return dir;
		if (follow)
			n = readlinkat(dir, ret->name, target, sizeof(target) - 1);
		if (n < 0) {
			ret->dir = take_fd(&dir);
			return 0;
		}
		target[n] = '\0';
		if (follow_link(j, rest, target) < 0)
			return -EINVAL;
	}
	return refuse_job(j, MOAT_E_TOO_MANY_LINKS);
}

int place_stat(struct job *j, const struct place *p, struct stat *ret)
{
	if (fstatat(p->dir, p->name, ret, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : refuse_errno(j, errno);
}
