/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edit of coding agents: a text in a file by another, if it is there exactly so many times. The file goes through
 * a window into a draft, so that its size does not matter.
 */
#include <fcntl.h>

#include "run/files/internal.h"

#define WINDOW (256u * 1024)

struct window {
	char *data; /* WINDOW bytes more than what is looked for. Owned */
	size_t size, len;
	bool end; /* nothing comes behind it */
};

static int fill(struct job *j, int fd, struct window *w)
{
	while (!w->end && w->len < w->size) {
		ssize_t n = read(fd, w->data + w->len, w->size - w->len);

		if (n < 0 && errno != EINTR)
			return refuse_errno(j, errno);
		w->end = n == 0;
		w->len += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

struct edit {
	struct job *j;
	struct draft *draft;
	struct sha256 hash;
	uint64_t found;
};

static int put(struct edit *e, const char *data, size_t n)
{
	sha256_add(&e->hash, data, n);
	return write_content(e->j, e->draft->fd, data, n);
}

/* Everything in the window but what may be the beginning of a match, which stays. */
static int edit_window(struct edit *e, struct window *w)
{
	const struct files_request *r = &e->j->request;
	size_t at = 0, keep;
	const char *match;

	while ((match = memmem(w->data + at, w->len - at, e->j->old_text, r->old_len))) {
		size_t before = (size_t)(match - w->data) - at;

		/* More than are wanted are counted, but not written: that may be very much. */
		if (++e->found <= r->count &&
		    (put(e, w->data + at, before) < 0 || put(e, e->j->new_text, r->new_len) < 0))
			return -EINVAL;
		at += before + r->old_len;
	}
	keep = w->end ? 0 : r->old_len - 1;
	keep = keep < w->len - at ? keep : w->len - at;
	if (e->found <= r->count && put(e, w->data + at, w->len - at - keep) < 0)
		return -EINVAL;
	memmove(w->data, w->data + w->len - keep, keep);
	w->len = keep;
	tell_frame(FILES_KEEP, NULL, 0);
	return 0;
}

static int edit(struct edit *e, int fd)
{
	struct window w = { .size = WINDOW + e->j->request.old_len };
	int r = 0;

	w.data = malloc(w.size);
	if (!w.data)
		return refuse_errno(e->j, ENOMEM);
	while (r == 0 && !(w.end && w.len == 0)) {
		r = fill(e->j, fd, &w);
		if (r == 0)
			r = edit_window(e, &w);
	}
	free(w.data);
	return r;
}

static int replace_at(struct job *j, const struct place *p, int fd)
{
	struct draft d;
	struct edit e = { .j = j, .draft = &d };
	uint8_t hash[SHA256_SIZE];
	int r = draft_open(j, p, &d);

	if (r < 0)
		return r;
	sha256_begin(&e.hash);
	r = d.existed ? edit(&e, fd) : refuse_job(j, MOAT_E_FILE_CHANGED);
	sha256_end(&e.hash, hash);
	if (r == 0 && e.found != j->request.count) {
		r = refuse_job(j, MOAT_E_NOT_REPLACED);
		j->number = e.found;
	}
	if (r == 0)
		r = draft_commit(j, p, &d);
	draft_drop(p, &d);
	return r < 0 ? r : tell_place(j, p, hash, false);
}

int files_replace(struct job *j)
{
	PLACE_OWNED struct place p = { .dir = -EBADF };
	FD_OWNED int fd = -EBADF;
	struct stat st;
	int r = place_open(j, j->path, true, false, &p);

	if (r < 0)
		return r;
	r = place_stat(j, &p, &st);
	if (r <= 0)
		return r < 0 ? r : refuse_job(j, MOAT_E_NO_SUCH_FILE);
	if (code_of_type(st.st_mode))
		return refuse_job(j, code_of_type(st.st_mode));
	fd = openat(p.dir, p.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return refuse_errno(j, errno);
	if (code_of_type(st.st_mode))
		return refuse_job(j, code_of_type(st.st_mode));
	return replace_at(j, &p, fd);
}
