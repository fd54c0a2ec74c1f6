/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar archive into a directory, entry by entry as it comes: each file is complete, and in its place, before the
 * next one begins. Names are beneath the directory, links lead nowhere else.
 */
#include <fcntl.h>

#include "run/files/internal.h"
#include "run/files/tar.h"

#define EXTENDED_MAX 65536u /* bytes of what stands before an entry */

struct entry {
	char type;
	char name[FILES_PATH_MAX + 1], link[FILES_PATH_MAX + 1];
	uint64_t size;
	int64_t mtime;
	mode_t mode;
};

/* What an earlier entry has said of this one. */
struct said {
	bool name, link, size;
};

/* All n bytes. 0 or -EINVAL. */
static int take_all(struct job *j, void *buf, size_t n)
{
	for (char *at = buf; n > 0;) {
		ssize_t some = take_content(j, at, n);

		if (some <= 0)
			return some < 0 ? (int)some : refuse_job(j, MOAT_E_BAD_ARCHIVE);
		at += some;
		n -= (size_t)some;
	}
	return 0;
}

static int skip(struct job *j, uint64_t n)
{
	static char buffer[FILES_DATA_MAX];
	int r = 0;

	for (; n > 0 && r == 0; n -= n < sizeof(buffer) ? n : sizeof(buffer))
		r = take_all(j, buffer, n < sizeof(buffer) ? (size_t)n : sizeof(buffer));
	return r;
}

/* Octal, or with the first bit set binary. False: neither. */
static bool number(const char *field, size_t n, uint64_t *ret)
{
	uint64_t value = 0;
	size_t i = 0;

	if ((unsigned char)field[0] == 0x80) {
		for (i = 1; i < n; i++) {
			if (value >> 55)
				return false;
			value = value << 8 | (unsigned char)field[i];
		}
		*ret = value;
		return value <= INT64_MAX;
	}
	while (i < n && field[i] == ' ')
		i++;
	for (; i < n && field[i] >= '0' && field[i] <= '7'; i++)
		value = value * 8 + (uint64_t)(field[i] - '0');
	*ret = value;
	return i == n || field[i] == ' ' || field[i] == '\0';
}

/* One before 1970, as GNU tar writes it, is the beginning of 1970. */
static bool time_of(const char *field, size_t n, uint64_t *ret)
{
	*ret = 0;
	return (unsigned char)field[0] == 0xff || number(field, n, ret);
}

static bool is_zero(const struct tar_header *h)
{
	static const struct tar_header zero;

	return memcmp(h, &zero, sizeof(zero)) == 0;
}

/* *ret_size: of what follows this header, whatever was said before. */
static int read_header(struct job *j, const struct tar_header *h, const struct said *said, struct entry *e,
		       uint64_t *ret_size)
{
	uint64_t sum, mode, mtime;
	bool posix = memcmp(h->magic, "ustar\0", 6) == 0;

	if (!number(h->checksum, sizeof(h->checksum), &sum) || sum != tar_checksum(h) ||
	    !number(h->mode, sizeof(h->mode), &mode) ||
	    !number(h->size, sizeof(h->size), ret_size) ||
	    !time_of(h->mtime, sizeof(h->mtime), &mtime))
		return refuse_job(j, MOAT_E_BAD_ARCHIVE);
	e->type = h->type == TAR_OLD_FILE || h->type == TAR_CONTIGUOUS ? TAR_FILE : h->type;
	e->mode = (mode_t)mode & 0777;
	e->mtime = (int64_t)mtime;
	if (!said->size)
		e->size = *ret_size;
	if (!said->link)
		snprintf(e->link, sizeof(e->link), "%.*s", (int)sizeof(h->link), h->link);
	if (!said->name)
		snprintf(e->name, sizeof(e->name), "%.*s%s%.*s", posix ? (int)sizeof(h->prefix) : 0, h->prefix,
			 posix && h->prefix[0] ? "/" : "", (int)sizeof(h->name), h->name);
	return 0;
}

/* --- What stands before an entry ------------------------------------------------------------ */

static bool keep_text(const char *value, size_t n, char ret[FILES_PATH_MAX + 1])
{
	if (n > FILES_PATH_MAX || memchr(value, '\0', n))
		return false;
	memcpy(ret, value, n);
	ret[n] = '\0';
	return true;
}

static bool keep_record(const char *key, size_t key_len, const char *value, size_t n, struct entry *e,
			struct said *said)
{
	if (key_len == 4 && memcmp(key, "path", 4) == 0)
		return said->name = keep_text(value, n, e->name);
	if (key_len == 8 && memcmp(key, "linkpath", 8) == 0)
		return said->link = keep_text(value, n, e->link);
	if (key_len != 4 || memcmp(key, "size", 4) != 0)
		return true;
	e->size = 0;
	for (size_t i = 0; i < n; i++) {
		if (value[i] < '0' || value[i] > '9' || e->size > INT64_MAX / 10 - 1)
			return false;
		e->size = e->size * 10 + (uint64_t)(value[i] - '0');
	}
	return said->size = n > 0;
}

/* "LENGTH KEY=VALUE\n", one after the other. */
static bool read_records(const char *text, size_t n, struct entry *e, struct said *said)
{
	while (n > 0) {
		size_t length = 0, i = 0;
		const char *key, *equals;

		for (; i < n && i < 6 && text[i] >= '0' && text[i] <= '9'; i++)
			length = length * 10 + (size_t)(text[i] - '0');
		if (i == 0 || i >= n || text[i] != ' ' || length > n || length < i + 3 ||
		    text[length - 1] != '\n')
			return false;
		key = text + i + 1;
		equals = memchr(key, '=', length - i - 2);
		if (!equals ||
		    !keep_record(key, (size_t)(equals - key), equals + 1,
				 (size_t)(text + length - 1 - equals - 1), e, said))
			return false;
		text += length;
		n -= length;
	}
	return true;
}

/* 1: it was such, and is read; 0: it is an entry itself; or -EINVAL. */
static int read_extended(struct job *j, struct entry *e, uint64_t size, struct said *said)
{
	static char text[EXTENDED_MAX];
	bool good = true;

	if (e->type != TAR_NEXT && e->type != TAR_ALL && e->type != TAR_LONG_NAME && e->type != TAR_LONG_LINK)
		return 0;
	if (size > sizeof(text))
		return refuse_job(j, MOAT_E_BAD_ARCHIVE);
	if (take_all(j, text, (size_t)size) < 0 || skip(j, tar_padding(size)) < 0)
		return -EINVAL;
	if (e->type == TAR_NEXT)
		good = read_records(text, (size_t)size, e, said);
	else if (e->type == TAR_LONG_NAME)
		good = said->name = keep_text(text, strnlen(text, (size_t)size), e->name);
	else if (e->type == TAR_LONG_LINK)
		good = said->link = keep_text(text, strnlen(text, (size_t)size), e->link);
	return good ? 1 : refuse_job(j, MOAT_E_BAD_ARCHIVE);
}

/* --- Entries -------------------------------------------------------------------------------- */

/* How deep a path ends beneath where it begins, -1: it leads above that on its way, or is absolute. */
static int depth_of(const char *path)
{
	int depth = 0;

	if (*path == '/')
		return -1;
	while (*path && depth >= 0) {
		size_t n = strcspn(path, "/");

		if (n == 2 && strncmp(path, "..", 2) == 0)
			depth--;
		else if (n > 0 && !(n == 1 && *path == '.'))
			depth++;
		path += n + (path[n] == '/');
	}
	return depth;
}

static bool has_dots(const char *path)
{
	for (; *path; path += strcspn(path, "/"), path += *path == '/')
		if (strncmp(path, "..", 2) == 0 && (path[2] == '/' || !path[2]))
			return true;
	return false;
}

/* How far the target of a link begins by leading up; -1: it is absolute, or leads up again behind a name, which may be a link. */
static int levels_up(const char *target)
{
	bool named = false;
	int up = 0;

	if (*target == '/')
		return -1;
	while (*target) {
		size_t n = strcspn(target, "/");
		bool dots = n == 2 && strncmp(target, "..", 2) == 0;

		if (dots && named)
			return -1;
		up += dots;
		named = named || (n > 0 && !dots && !(n == 1 && *target == '.'));
		target += n + (target[n] == '/');
	}
	return up;
}

/* Its name is as deep as it looks where no link stands in it, of this archive perhaps. */
static int write_link(struct job *j, const struct entry *e, const char *path, int depth)
{
	int up = levels_up(e->link), straight = 1;

	if (up > 0)
		straight = leads_straight(j, j->path, e->name);
	if (straight < 0)
		return straight;
	if (up < 0 || up >= depth || !straight)
		return refuse_job(j, MOAT_E_OUTSIDE_WORKSPACE);
	return make_link(j, path, e->link);
}

static int write_file(struct job *j, const struct entry *e, const char *path)
{
	static char buffer[FILES_DATA_MAX];
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = e->mtime } };
	PLACE_OWNED struct place p = { .dir = -EBADF };
	struct draft d;
	int r;

	j->request.mode = e->mode;
	if (place_open(j, path, true, true, &p) < 0 || draft_open(j, &p, &d) < 0)
		return -EINVAL;
	r = fchmod(d.fd, e->mode) < 0 ? refuse_errno(j, errno) : 0;
	for (uint64_t left = e->size; left > 0 && r == 0;) {
		size_t n = left < sizeof(buffer) ? (size_t)left : sizeof(buffer);

		r = take_all(j, buffer, n);
		if (r == 0)
			r = write_content(j, d.fd, buffer, n);
		left -= n;
	}
	if (r == 0 && futimens(d.fd, times) < 0)
		r = refuse_errno(j, errno);
	if (r == 0)
		r = draft_commit(j, &p, &d);
	draft_drop(&p, &d);
	return r < 0 ? r : skip(j, tar_padding(e->size));
}

static int write_entry(struct job *j, const struct entry *e)
{
	int depth = depth_of(e->name);
	char path[PATH_MAX];
	bool made;

	if (depth < 0 || has_dots(e->name))
		return refuse_job(j, MOAT_E_OUTSIDE_WORKSPACE);
	if (snprintf(path, sizeof(path), "%s%s%s", j->path, *j->path ? "/" : "", e->name) >= (int)sizeof(path))
		return refuse_job(j, MOAT_E_BAD_PATH);
	for (size_t n = strlen(path); n > 0 && path[n - 1] == '/'; n--)
		path[n - 1] = '\0';
	switch (e->type) {
	case TAR_FILE:
		return depth == 0 ? refuse_job(j, MOAT_E_BAD_PATH) : write_file(j, e, path);
	case TAR_DIRECTORY:
		return depth == 0 ? 0 : make_directories(j, path, e->mode, &made);
	case TAR_LINK:
		return write_link(j, e, path, depth);
	case TAR_FIFO:
		return refuse_job(j, MOAT_E_IS_A_FIFO);
	case TAR_CHARACTER:
	case TAR_BLOCK_DEVICE:
		return refuse_job(j, MOAT_E_IS_A_DEVICE);
	default: /* hard links among them: they would be to something that is there already */
		return refuse_job(j, MOAT_E_BAD_ARCHIVE);
	}
}

/* 1: there may be another; 0: that was the end; or -EINVAL. */
static int take_entry(struct job *j, struct entry *e)
{
	struct said said = { 0 };
	struct tar_header h;
	int r = 1;

	while (r == 1) {
		uint64_t size;

		if (take_all(j, &h, sizeof(h)) < 0)
			return -EINVAL;
		if (is_zero(&h))
			return 0;
		if (read_header(j, &h, &said, e, &size) < 0)
			return -EINVAL;
		r = read_extended(j, e, size, &said);
	}
	if (r < 0)
		return r;
	r = write_entry(j, e);
	if (r == 0 && e->type != TAR_FILE)
		r = skip(j, e->size + tar_padding(e->size));
	return r < 0 ? r : 1;
}

int files_unpack(struct job *j)
{
	static struct entry e;
	static char rest[FILES_DATA_MAX];
	ssize_t n = 1;
	bool made;
	int r = 1;

	if (make_directories(j, j->path, 0755, &made) < 0)
		return -EINVAL;
	while (r == 1)
		r = take_entry(j, &e);
	while (r == 0 && n > 0) /* what is behind the end is nothing */
		n = take_content(j, rest, sizeof(rest));
	if (r < 0 || n < 0)
		return -EINVAL;
	return tell_directory(j, made);
}
