/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing. The content is gathered in a draft beside the file, so that what is cut off or does not fit on the disk
 * has changed nothing; then the draft takes the file's place (rename), or is copied into it.
 */
#include <fcntl.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

#include "run/files/internal.h"

#define ACL "system.posix_acl_access"
#define ACL_MAX 4096u

static char buffer[FILES_DATA_MAX];

int draft_name(char ret[32])
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	snprintf(ret, 32, ".moat-%016llx", (unsigned long long)random);
	return 0;
}

/* One that has a name from the start, on file systems that know no others. */
static int open_named(const struct place *p, struct draft *d)
{
	int r = draft_name(d->name);

	if (r == 0)
		d->fd = openat(p->dir, d->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			       0600);
	if (d->fd < 0)
		d->name[0] = '\0';
	return d->fd < 0 ? -errno : r;
}

/* What the file has that it takes the place of: mode, owner, access list. */
static int take_over(struct job *j, const struct place *p, const struct draft *d)
{
	FD_OWNED int old =
		openat(p->dir, p->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	char acl[ACL_MAX];
	ssize_t n = old < 0 ? -1 : fgetxattr(old, ACL, acl, sizeof(acl));
	struct stat st;

	if (fstat(d->fd, &st) < 0)
		return refuse_errno(j, errno);
	if ((st.st_uid != d->old.st_uid || st.st_gid != d->old.st_gid) &&
	    fchown(d->fd, d->old.st_uid, d->old.st_gid) < 0)
		return refuse_errno(j, errno);
	if (fchmod(d->fd, d->old.st_mode & 01777) < 0 ||
	    (n > 0 && fsetxattr(d->fd, ACL, acl, (size_t)n, 0) < 0))
		return refuse_errno(j, errno);
	return 0;
}

int check_same(struct job *j, const struct place *p)
{
	uint8_t hash[SHA256_SIZE];
	FD_OWNED int fd = -EBADF;

	if (!wants(j, FILES_SAME))
		return 0;
	fd = openat(p->dir, p->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return refuse_errno(j, errno);
	if (hash_file(j, fd, hash) < 0)
		return -EINVAL;
	return memcmp(hash, j->request.hash, sizeof(hash)) == 0 ?
		       0 :
		       refuse_job(j, MOAT_E_FILE_CHANGED);
}

/* What is there now, and whether it may be written. 0 or -EINVAL. */
static int look(struct job *j, const struct place *p, struct draft *d)
{
	int r = place_stat(j, p, &d->old);

	if (r < 0)
		return r;
	d->existed = r == 1;
	if (d->existed && wants(j, FILES_NEW))
		return refuse_job(j, MOAT_E_FILE_EXISTS);
	if (!d->existed)
		return wants(j, FILES_SAME) ? refuse_job(j, MOAT_E_NO_SUCH_FILE) : 0;
	if (code_of_type(d->old.st_mode))
		return refuse_job(j, code_of_type(d->old.st_mode));
	/* Whoever may not write the file may not put another in its place either. */
	if (faccessat(p->dir, p->name, W_OK, AT_EACCESS) < 0)
		return refuse_errno(j, errno);
	return check_same(j, p);
}

int draft_open(struct job *j, const struct place *p, struct draft *ret)
{
	int r;

	*ret = (struct draft){ .fd = -EBADF };
	if (look(j, p, ret) < 0)
		return -EINVAL;
	ret->fd = openat(p->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	r = ret->fd < 0 ? -errno : 0;
	if (r == -EOPNOTSUPP || r == -EISDIR || r == -EINVAL || r == -ENOENT)
		r = open_named(p, ret);
	if (r < 0)
		return refuse_errno(j, -r);
	if (ret->existed)
		r = take_over(j, p, ret);
	else if (fchmod(ret->fd, j->request.mode) < 0)
		r = refuse_errno(j, errno);
	if (r < 0)
		draft_drop(p, ret);
	return r;
}

void draft_drop(const struct place *p, struct draft *d)
{
	if (d->name[0])
		unlinkat(p->dir, d->name, 0);
	d->name[0] = '\0';
	close_fd(&d->fd);
}

static int link_draft(const struct place *p, const struct draft *d, const char *name)
{
	char path[64];

	if (linkat(d->fd, "", p->dir, name, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT && errno != EPERM)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", d->fd); /* without CAP_DAC_READ_SEARCH */
	return linkat(AT_FDCWD, path, p->dir, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Conditions were looked at before the content came, which may have taken long. */
static int look_again(struct job *j, const struct place *p, const struct draft *d)
{
	struct stat now;
	int r;

	if (!wants(j, FILES_SAME) && j->request.operation != FILES_REPLACE)
		return 0;
	r = place_stat(j, p, &now);
	if (r < 0)
		return r;
	return r == 1 && is_same(&now, &d->old) ? 0 : refuse_job(j, MOAT_E_FILE_CHANGED);
}

int draft_commit(struct job *j, const struct place *p, struct draft *d)
{
	unsigned flags = wants(j, FILES_NEW) ? RENAME_NOREPLACE : 0;
	int r;

	if (look_again(j, p, d) < 0)
		return -EINVAL;
	if (!d->name[0]) {
		r = draft_name(d->name);
		if (r == 0)
			r = link_draft(p, d, d->name);
		if (r < 0) {
			d->name[0] = '\0';
			return refuse_errno(j, -r);
		}
	}
	if (renameat2(p->dir, d->name, p->dir, p->name, flags) < 0)
		return refuse_errno(j, errno);
	d->name[0] = '\0';
	return 0;
}

int write_content(struct job *j, int fd, const void *data, size_t n)
{
	int r = write_all(fd, data, n);

	return r < 0 ? refuse_errno(j, -r) : 0;
}

/* All that comes; its hash. */
static int gather(struct job *j, int fd, uint8_t hash[SHA256_SIZE])
{
	struct sha256 state;
	ssize_t n;

	sha256_begin(&state);
	while ((n = take_content(j, buffer, sizeof(buffer))) > 0) {
		sha256_add(&state, buffer, (size_t)n);
		if (write_content(j, fd, buffer, (size_t)n) < 0)
			return -EINVAL;
	}
	sha256_end(&state, hash);
	return (int)n;
}

int tell_place(struct job *j, const struct place *p, const uint8_t *hash, bool created)
{
	struct files_entry entry;
	struct stat st;
	int r = place_stat(j, p, &st);

	if (r <= 0)
		return r < 0 ? r : refuse_job(j, MOAT_E_FILE_CHANGED); /* gone already */
	fill_entry(&st, &entry);
	if (hash) {
		memcpy(entry.hash, hash, sizeof(entry.hash));
		entry.has_hash = 1;
	}
	tell_entry(&entry, "", "");
	tell_end(created, false);
	return 0;
}

int tell_directory(struct job *j, bool created)
{
	FD_OWNED int fd = open_beneath(j, j->path, O_PATH | O_DIRECTORY);
	struct files_entry entry;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return refuse_errno(j, errno);
	fill_entry(&st, &entry);
	tell_entry(&entry, "", "");
	tell_end(created, false);
	return 0;
}

/* The draft's content to the end of the file, or in the place of its content. What does not fit is taken back. */
static int copy_into(struct job *j, int from, int to, bool append)
{
	struct stat before;
	off_t at = 0, size;
	ssize_t n;
	int r = 0;

	size = lseek(from, 0, SEEK_END);
	if (size < 0 || fstat(to, &before) < 0 || (!append && ftruncate(to, 0) < 0))
		return refuse_errno(j, errno);
	if (lseek(to, 0, append ? SEEK_END : SEEK_SET) < 0)
		return refuse_errno(j, errno);
	while (r == 0 && at < size) {
		n = sendfile(to, from, &at, (size_t)(size - at));
		if (n <= 0)
			r = refuse_errno(j, n < 0 ? errno : EIO);
		tell_frame(FILES_KEEP, NULL, 0);
	}
	if (r < 0 && append && lseek(to, 0, SEEK_END) == before.st_size + at)
		(void)!ftruncate(to, before.st_size);
	return r;
}

/* Into the file itself, which is made if it is not there. */
static int write_into(struct job *j, const struct place *p, const struct draft *d, bool append)
{
	int flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	FD_OWNED int to = -EBADF;
	struct stat st;

	to = openat(p->dir, p->name, flags | (d->existed ? 0 : O_CREAT | O_EXCL), j->request.mode);
	if (to < 0 || fstat(to, &st) < 0)
		return refuse_errno(j, errno);
	if (code_of_type(st.st_mode))
		return refuse_job(j, code_of_type(st.st_mode));
	return copy_into(j, d->fd, to, append);
}

static int write_place(struct job *j, const struct place *p, bool append)
{
	bool into = append || wants(j, FILES_IN_PLACE);
	uint8_t hash[SHA256_SIZE];
	struct draft d;
	int r = draft_open(j, p, &d);

	if (r < 0)
		return r;
	r = gather(j, d.fd, hash);
	if (r == 0 && into)
		r = look_again(j, p, &d);
	if (r == 0)
		r = into ? write_into(j, p, &d, append) : draft_commit(j, p, &d);
	draft_drop(p, &d);
	return r < 0 ? r : tell_place(j, p, append ? NULL : hash, !d.existed);
}

int files_write(struct job *j)
{
	PLACE_OWNED struct place p = { .dir = -EBADF };
	int r = place_open(j, j->path, true, wants(j, FILES_PARENTS), &p);

	return r < 0 ? r : write_place(j, &p, false);
}

int files_append(struct job *j)
{
	PLACE_OWNED struct place p = { .dir = -EBADF };
	int r = place_open(j, j->path, true, wants(j, FILES_PARENTS), &p);

	return r < 0 ? r : write_place(j, &p, true);
}
