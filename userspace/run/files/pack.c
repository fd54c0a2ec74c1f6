/* SPDX-License-Identifier: Apache-2.0 */
/* A directory as a tar archive: its files, directories and links. What else is there is left out. */
#include <dirent.h>
#include <fcntl.h>

#include "run/files/internal.h"
#include "run/files/tar.h"

/* What the fields of a header hold, in octal digits. */
#define SIZE_BITS 33
#define OWNER_BITS 21

struct pack {
	struct job *j;
	char path[FILES_PATH_MAX + 2]; /* of where we are; "" or with a '/' behind */
	char out[FILES_DATA_MAX];
	size_t n;
};

static void put(struct pack *p, const void *data, size_t n)
{
	for (const char *at = data; n > 0;) {
		size_t some = sizeof(p->out) - p->n < n ? sizeof(p->out) - p->n : n;

		memcpy(p->out + p->n, at, some);
		p->n += some;
		at += some;
		n -= some;
		if (p->n == sizeof(p->out)) {
			tell_frame(FILES_DATA, p->out, p->n);
			p->n = 0;
		}
	}
}

static void put_padding(struct pack *p, uint64_t size)
{
	static const char zeros[TAR_BLOCK];

	put(p, zeros, tar_padding(size));
}

static void put_header(struct pack *p, struct tar_header *h, char type, uint64_t size)
{
	h->type = type;
	snprintf(h->size, sizeof(h->size), "%011llo", (unsigned long long)size);
	memcpy(h->magic, "ustar", sizeof(h->magic));
	memcpy(h->version, "00", sizeof(h->version));
	snprintf(h->checksum, sizeof(h->checksum), "%06o", tar_checksum(h));
	h->checksum[7] = ' ';
	put(p, h, sizeof(*h));
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts its own digits. */
static size_t add_record(char *to, size_t size, const char *key, const char *value)
{
	size_t rest = strlen(key) + strlen(value) + strlen(" =\n"), digits = 1;
	char number[24];

	while ((size_t)snprintf(number, sizeof(number), "%zu", rest + digits) > digits)
		digits++;
	return (size_t)snprintf(to, size, "%zu %s=%s\n", rest + digits, key, value);
}

static size_t add_number(char *to, size_t size, const char *key, uint64_t value, unsigned bits)
{
	char number[24];

	snprintf(number, sizeof(number), "%llu", (unsigned long long)value);
	return value >> bits ? add_record(to, size, key, number) : 0;
}

/* What the header of an entry has no room for stands in one before it. */
static void put_long(struct pack *p, const char *name, const char *link, const struct stat *st,
		     uint64_t size)
{
	static char text[2 * FILES_PATH_MAX + 256];
	struct tar_header h = { .name = "pax", .mode = "0000600" };
	size_t n = 0;

	if (strlen(name) > sizeof(h.name))
		n += add_record(text + n, sizeof(text) - n, "path", name);
	if (strlen(link) > sizeof(h.link))
		n += add_record(text + n, sizeof(text) - n, "linkpath", link);
	n += add_number(text + n, sizeof(text) - n, "size", size, SIZE_BITS);
	n += add_number(text + n, sizeof(text) - n, "uid", st->st_uid, OWNER_BITS);
	n += add_number(text + n, sizeof(text) - n, "gid", st->st_gid, OWNER_BITS);
	if (n == 0)
		return;
	put_header(p, &h, TAR_NEXT, n);
	put(p, text, n);
	put_padding(p, n);
}

static void put_entry(struct pack *p, const char *name, const struct stat *st, char type, const char *link)
{
	uint64_t size = type == TAR_FILE ? (uint64_t)st->st_size : 0;
	struct tar_header h = { 0 };

	put_long(p, name, link, st, size);
	memcpy(h.name, name, strnlen(name, sizeof(h.name)));
	memcpy(h.link, link, strnlen(link, sizeof(h.link)));
	snprintf(h.mode, sizeof(h.mode), "%07o", st->st_mode & 01777);
	snprintf(h.uid, sizeof(h.uid), "%07o", st->st_uid & ((1u << OWNER_BITS) - 1));
	snprintf(h.gid, sizeof(h.gid), "%07o", st->st_gid & ((1u << OWNER_BITS) - 1));
	snprintf(h.mtime, sizeof(h.mtime), "%011llo",
		 st->st_mtim.tv_sec > 0 ?
			 (unsigned long long)st->st_mtim.tv_sec & ((1ull << SIZE_BITS) - 1) :
			 0);
	put_header(p, &h, type, size >> SIZE_BITS ? 0 : size);
}

static int put_file(struct pack *p, int dir, const char *name, const char *path)
{
	static char buffer[FILES_DATA_MAX];
	FD_OWNED int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	uint64_t left;

	if (fd < 0 && (errno == ENOENT || errno == ELOOP))
		return 0; /* gone meanwhile, or another thing */
	if (fd < 0 || fstat(fd, &st) < 0)
		return refuse_errno(p->j, errno);
	if (!S_ISREG(st.st_mode))
		return 0;
	put_entry(p, path, &st, TAR_FILE, "");
	for (left = (uint64_t)st.st_size; left > 0;) {
		ssize_t n = read(fd, buffer, left < sizeof(buffer) ? (size_t)left : sizeof(buffer));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? refuse_errno(p->j, errno) : refuse_job(p->j, MOAT_E_FILE_CHANGED);
		put(p, buffer, (size_t)n);
		left -= (uint64_t)n;
	}
	put_padding(p, (uint64_t)st.st_size);
	return 0;
}

static int put_directory(struct pack *p, int fd, unsigned depth);

static int go_down(struct pack *p, int dir, const char *name, const struct stat *st, size_t n, unsigned depth)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), r;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : refuse_errno(p->j, errno);
	put_entry(p, p->path, st, TAR_DIRECTORY, "");
	r = put_directory(p, fd, depth - 1);
	p->path[n] = '\0';
	return r;
}

static int put_one(struct pack *p, int dir, const char *name, unsigned depth)
{
	size_t n = strlen(p->path);
	char target[FILES_PATH_MAX + 1];
	struct stat st;
	ssize_t len;
	int r = 0;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; /* gone meanwhile, or hidden */
	if (depth == 0 || snprintf(p->path + n, sizeof(p->path) - n, S_ISDIR(st.st_mode) ? "%s/" : "%s", name) >=
				  (int)(sizeof(p->path) - n))
		r = refuse_errno(p->j, ENAMETOOLONG);
	else if (S_ISDIR(st.st_mode))
		r = go_down(p, dir, name, &st, n, depth);
	else if (S_ISREG(st.st_mode))
		r = put_file(p, dir, name, p->path);
	else if (S_ISLNK(st.st_mode) && (len = readlinkat(dir, name, target, sizeof(target) - 1)) > 0) {
		target[len] = '\0';
		put_entry(p, p->path, &st, TAR_LINK, target);
	}
	p->path[n] = '\0';
	return r;
}

/* Consumes fd. */
static int put_directory(struct pack *p, int fd, unsigned depth)
{
	DIR *d = fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!d) {
		close(fd);
		return refuse_errno(p->j, ENOMEM);
	}
	while (r == 0 && (e = readdir(d))) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = put_one(p, fd, e->d_name, depth);
		tell_frame(FILES_KEEP, NULL, 0);
	}
	closedir(d);
	return r;
}

int files_pack(struct job *j)
{
	static struct pack p;
	static const char end[2 * TAR_BLOCK];
	int fd = open_beneath(j, j->path, O_RDONLY | O_DIRECTORY | O_NONBLOCK), r;
	struct files_entry entry;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0) {
		r = refuse_errno(j, errno);
		close(fd);
		return r;
	}
	fill_entry(&st, &entry);
	tell_entry(&entry, "", "");
	p.j = j;
	if (put_directory(&p, fd, FILES_DEPTH_MAX) < 0)
		return -EINVAL;
	put(&p, end, sizeof(end));
	if (p.n > 0)
		tell_frame(FILES_DATA, p.out, p.n);
	tell_end(false, false);
	return 0;
}
