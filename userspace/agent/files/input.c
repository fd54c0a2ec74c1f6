/* SPDX-License-Identifier: Apache-2.0 */
/* What moat-run is given on its standard input: a request, then the content, as it takes it. */
#include <fcntl.h>
#include <sys/epoll.h>

#include "agent/files/internal.h"
#include "base/held.h"

void files_input_close(struct files *f)
{
	loop_remove(f->loop, &f->source);
	close_fd(&f->fd);
	free_wiped(f->out, f->size);
	held_give(f->size);
	f->out = NULL;
	f->len = f->sent = f->size = 0;
}

static void queue_end(struct files *f)
{
	const struct files_frame frame = { .type = FILES_END };

	memcpy(f->out, &frame, sizeof(frame));
	f->len = sizeof(frame);
	f->sent = 0;
	f->ending = false;
	f->parser.sending = false;
}

static void on_writable(struct loop_source *source, uint32_t events);

void files_input_flush(struct files *f)
{
	if (f->len == 0 && f->ending)
		queue_end(f);
	while (f->sent < f->len) {
		ssize_t n = write(f->fd, f->out + f->sent, f->len - f->sent);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (f->source.fd < 0 &&
			    loop_add(f->loop, &f->source, f->fd, EPOLLOUT, on_writable) < 0)
				files_input_close(f); /* the answer says that the content was cut */
			return;
		}
		if (n < 0) {
			files_input_close(f);
			return;
		}
		f->sent += (size_t)n;
		files_moved(f);
		if (f->sent == f->len) {
			f->len = f->sent = 0;
			if (f->ending)
				queue_end(f);
		}
	}
	loop_remove(f->loop, &f->source);
}

static void on_writable(struct loop_source *source, uint32_t events)
{
	struct files *f = container_of(source, struct files, source);
	bool waited = f->waited;

	(void)events;
	files_input_flush(f);
	if (!waited || f->len > 0)
		return;
	f->waited = false;
	f->observer->on_room(f->observer);
}

size_t files_send(struct files *f, const void *data, size_t n)
{
	struct files_frame frame = { .type = FILES_DATA, .len = (uint32_t)n };

	if (f->fd < 0 || n == 0)
		return n;
	if (f->len > 0 || !f->started || n > FILES_DATA_MAX) {
		f->waited = true;
		return 0;
	}
	memcpy(f->out, &frame, sizeof(frame));
	memcpy(f->out + sizeof(frame), data, n);
	f->len = sizeof(frame) + n;
	files_input_flush(f);
	return n;
}

void files_send_end(struct files *f)
{
	f->ending = true;
	if (f->fd < 0) {
		f->parser.sending = false;
		return;
	}
	if (f->started && f->len == 0)
		files_input_flush(f);
}

static char *put(char *to, const void *text, size_t n)
{
	return n ? (char *)mempcpy(to, text, n) : to;
}

int files_input_request(struct files *f, const struct files_ask *ask, const struct files_path *at,
			 const struct files_path *to)
{
	struct files_request r = {
		.magic = FILES_MAGIC,
		.operation = ask->operation,
		.flags = ask->flags,
		.mode = ask->mode,
		.offset = ask->offset,
		.length = ask->length,
		.limit = ask->limit,
		.count = ask->count,
		.root_len = (uint32_t)strlen(at->root),
		.path_len = (uint32_t)strlen(at->path),
		.to_len = (uint32_t)strlen(to->path),
		.old_len = ask->old_len,
		.new_len = ask->new_len,
	};
	char *end;

	memcpy(r.hash, ask->hash, sizeof(r.hash));
	f->len = sizeof(r) + r.root_len + r.path_len + r.to_len + r.old_len + r.new_len;
	f->size = f->len > sizeof(struct files_frame) + FILES_DATA_MAX || !f->parser.sending ?
			  f->len :
			  sizeof(struct files_frame) + FILES_DATA_MAX;
	f->out = malloc(f->size);
	if (!f->out) {
		f->size = 0;
		return -ENOMEM;
	}
	held_force(f->size);
	end = put(f->out, &r, sizeof(r));
	end = put(end, at->root, r.root_len);
	end = put(end, at->path, r.path_len);
	end = put(end, to->path, r.to_len);
	end = put(end, ask->old_text, r.old_len);
	(void)put(end, ask->new_text, r.new_len);
	return 0;
}

int files_input_open(struct files *f, int *ret_theirs)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*ret_theirs = ends[0];
	f->fd = ends[1];
	return fcntl(f->fd, F_SETFL, O_WRONLY | O_NONBLOCK) < 0 ? -errno : 0;
}
