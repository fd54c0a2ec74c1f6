/* SPDX-License-Identifier: Apache-2.0 */
/* Directories made, names removed and changed. A link is removed and renamed itself, not what it leads to. */
#include <dirent.h>
#include <fcntl.h>

#include "run/files/internal.h"

int files_mkdir(struct job *j)
{
	PLACE_OWNED struct place p = { .dir = -EBADF };
	bool made = false;
	int r;

	if (wants(j, FILES_PARENTS)) {
		if (make_directories(j, j->path, j->request.mode, &made) < 0)
			return -EINVAL;
		return tell_directory(j, made);
	}
	r = place_open(j, j->path, false, false, &p);
	if (r < 0)
		return r;
	if (mkdirat(p.dir, p.name, j->request.mode) < 0)
		return refuse_errno(j, errno);
	return tell_place(j, &p, NULL, true);
}

int files_rename(struct job *j)
{
	PLACE_OWNED struct place from = { .dir = -EBADF }, to = { .dir = -EBADF };
	int r = place_open(j, j->path, false, false, &from);

	if (r == 0)
		r = place_open(j, j->to, false, wants(j, FILES_PARENTS), &to);
	if (r < 0)
		return r;
	if (renameat2(from.dir, from.name, to.dir, to.name,
		      wants(j, FILES_NEW) ? RENAME_NOREPLACE : 0) < 0)
		return refuse_errno(j, errno);
	return tell_place(j, &to, NULL, false);
}

static int empty(struct job *j, int fd, unsigned depth);

/* What the name is in the directory, with all beneath it. dev: what is mounted there stays. */
static int remove_name(struct job *j, int dir, const char *name, dev_t dev, unsigned depth)
{
	FD_OWNED int fd = -EBADF;
	struct stat st;

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return refuse_errno(j, errno);
	/* A link that comes in its place meanwhile is not followed. */
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOTDIR ? refuse_errno(j, EPERM) : refuse_errno(j, errno);
	if (st.st_dev != dev)
		return refuse_job(j, MOAT_E_OTHER_FILESYSTEM);
	if (depth == 0)
		return refuse_errno(j, ENAMETOOLONG);
	if (empty(j, take_fd(&fd), depth - 1) < 0)
		return -EINVAL;
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return refuse_errno(j, errno);
	return 0;
}

/* Consumes fd. */
static int empty(struct job *j, int fd, unsigned depth)
{
	DIR *d = fdopendir(fd);
	struct dirent *e;
	struct stat st;
	int r = 0;

	if (!d || fstat(fd, &st) < 0) {
		r = refuse_errno(j, errno);
		if (d)
			closedir(d);
		else
			close(fd);
		return r;
	}
	for (unsigned n = 1; r == 0 && (e = readdir(d)); n++) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = remove_name(j, fd, e->d_name, st.st_dev, depth);
		if (n % 256 == 0)
			tell_frame(FILES_KEEP, NULL, 0);
	}
	closedir(d);
	return r;
}

int files_remove(struct job *j)
{
	PLACE_OWNED struct place p = { .dir = -EBADF };
	struct stat st, parent;
	int r = place_open(j, j->path, false, false, &p);

	if (r < 0)
		return r;
	r = place_stat(j, &p, &st);
	if (r <= 0)
		return r < 0 ? r : refuse_job(j, MOAT_E_NO_SUCH_FILE);
	if (fstat(p.dir, &parent) < 0)
		return refuse_errno(j, errno);
	r = 0;
	if (wants(j, FILES_RECURSIVE))
		r = remove_name(j, p.dir, p.name, parent.st_dev, FILES_DEPTH_MAX);
	else if (unlinkat(p.dir, p.name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
		r = refuse_errno(j, errno);
	if (r == 0)
		tell_end(false, false);
	return r;
}
