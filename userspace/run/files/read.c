/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "run/files/internal.h"

#define UNSIZED_MAX                                                                                \
	(1024u * 1024) /* of a file that does not say how large it is, as those of procfs */

static char buffer[UNSIZED_MAX];

/* Up to n bytes, less only at the end. */
static ssize_t read_at(int fd, char *buf, size_t n, uint64_t offset)
{
	size_t have = 0;

	while (have < n) {
		ssize_t some = pread(fd, buf + have, n - have, (off_t)(offset + have));

		if (some < 0 && errno == EINTR)
			continue;
		if (some < 0)
			return -errno;
		if (some == 0)
			break;
		have += (size_t)some;
	}
	return (ssize_t)have;
}

int hash_file(struct job *j, int fd, uint8_t ret[SHA256_SIZE])
{
	struct sha256 hash;
	uint64_t at = 0;
	ssize_t n;

	sha256_begin(&hash);
	while ((n = read_at(fd, buffer, sizeof(buffer), at)) > 0) {
		sha256_add(&hash, buffer, (size_t)n);
		at += (size_t)n;
		tell_frame(FILES_KEEP, NULL, 0);
	}
	if (n < 0)
		return refuse_errno(j, (int)-n);
	sha256_end(&hash, ret);
	return 0;
}

/* Which bytes are wanted of so many. 0 or -EINVAL. */
static int choose_range(struct job *j, struct files_entry *e)
{
	const struct files_request *r = &j->request;

	e->offset = 0;
	e->length = e->size;
	if (wants(j, FILES_SUFFIX)) {
		if (r->length == 0)
			return refuse_job(j, MOAT_E_RANGE_NOT_SATISFIABLE);
		e->length = r->length < e->size ? r->length : e->size;
		e->offset = e->size - e->length;
	} else if (wants(j, FILES_RANGE)) {
		if (r->offset >= e->size)
			return refuse_job(j, MOAT_E_RANGE_NOT_SATISFIABLE);
		e->offset = r->offset;
		e->length = r->length < e->size - r->offset ? r->length : e->size - r->offset;
	}
	return 0;
}

static int send_content(struct job *j, int fd, const struct files_entry *e)
{
	for (uint64_t sent = 0; sent < e->length;) {
		uint64_t left = e->length - sent;
		size_t want = left < FILES_DATA_MAX ? (size_t)left : FILES_DATA_MAX;
		ssize_t n = read_at(fd, buffer, want, e->offset + sent);

		if (n < 0)
			return refuse_errno(j, (int)-n);
		if ((size_t)n < want)
			return refuse_job(j, MOAT_E_FILE_CHANGED); /* shorter than it was */
		tell_frame(FILES_DATA, buffer, want);
		sent += want;
	}
	return 0;
}

/* It has been read whole already. */
static int send_unsized(struct job *j, struct files_entry *e, size_t n)
{
	e->size = n;
	if (choose_range(j, e) < 0)
		return -EINVAL;
	tell_entry(e, "", "");
	for (size_t sent = 0; sent < e->length;) {
		size_t some = e->length - sent < FILES_DATA_MAX ? e->length - sent : FILES_DATA_MAX;

		tell_frame(FILES_DATA, buffer + e->offset + sent, some);
		sent += some;
	}
	return 0;
}

int files_read(struct job *j)
{
	struct files_entry entry;
	struct stat st;
	FD_OWNED int fd = open_regular(j, j->path, &st);
	ssize_t n;
	int r;

	if (fd < 0)
		return fd;
	fill_entry(&st, &entry);
	if (st.st_size == 0) {
		n = read_at(fd, buffer, sizeof(buffer), 0);
		r = n < 0 ? refuse_errno(j, (int)-n) : send_unsized(j, &entry, (size_t)n);
	} else {
		r = choose_range(j, &entry);
		if (r == 0) {
			tell_entry(&entry, "", "");
			r = send_content(j, fd, &entry);
		}
	}
	if (r == 0)
		tell_end(false, false);
	return r;
}

int files_stat(struct job *j)
{
	FD_OWNED int seen = open_beneath(j, j->path, O_PATH | O_NOFOLLOW);
	char target[FILES_PATH_MAX + 1] = "";
	struct files_entry entry;
	FD_OWNED int fd = -EBADF;
	struct stat st;

	if (seen < 0)
		return seen;
	if (fstat(seen, &st) < 0)
		return refuse_errno(j, errno);
	if (S_ISLNK(st.st_mode) && readlinkat(seen, "", target, sizeof(target) - 1) < 0)
		return refuse_errno(j, errno);
	if (wants(j, FILES_HASH) && S_ISREG(st.st_mode)) {
		fd = open_regular(j, j->path, &st);
		if (fd < 0)
			return fd;
	}
	fill_entry(&st, &entry);
	if (fd >= 0 && hash_file(j, fd, entry.hash) < 0)
		return -EINVAL;
	entry.has_hash = fd >= 0;
	tell_entry(&entry, "", target);
	tell_end(false, false);
	return 0;
}
