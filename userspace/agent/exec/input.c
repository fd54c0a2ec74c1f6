/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard input that is written as the command goes. Who writes waits as long as the pipe is full; one waits behind the other,
 * and each says where its bytes belong, so that what is sent again is not written again.
 */
#include <fcntl.h>
#include <sys/epoll.h>

#include "agent/exec/internal.h"

static void on_writable(struct loop_source *source, uint32_t events);

int exec_input_open(struct exec *x)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	x->stdin_fd = ends[0];
	x->input.fd = ends[1];
	return fcntl(ends[1], F_SETFL, O_WRONLY | O_NONBLOCK) < 0 ? -errno : 0;
}

static struct exec_write *first_of(struct exec *x)
{
	return list_entry(x->input.writes.next, struct exec_write, link);
}

static void done(struct exec *x, struct exec_write *w, int err)
{
	list_remove(&w->link);
	w->offset = x->input.written;
	w->on_done(w, err);
}

void exec_input_close(struct exec *x)
{
	loop_remove(x->execs->loop, &x->input.source);
	close_fd(&x->input.fd);
	while (!list_empty(&x->input.writes))
		done(x, first_of(x), -EPIPE);
}

/* Where it belongs; what is there already is left out. 0 or -ERANGE. */
static int place(const struct exec *x, struct exec_write *w)
{
	uint64_t before;

	if (!w->placed && w->has_offset) {
		if (w->offset > x->input.written)
			return -ERANGE;
		before = x->input.written - w->offset;
		w->done = before < w->n ? (size_t)before : w->n;
	}
	w->placed = true;
	return 0;
}

/* 0: it is done; 1: not yet; or -errno. */
static int write_some(struct exec *x, struct exec_write *w)
{
	while (w->done < w->n) {
		ssize_t n = write(x->input.fd, w->data + w->done, w->n - w->done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 1;
		if (n < 0)
			return -errno;
		w->done += (size_t)n;
		x->input.written += (uint64_t)n;
	}
	return 0;
}

static int wait_for_room(struct exec *x)
{
	if (x->input.source.fd >= 0)
		return 0;
	return loop_add(x->execs->loop, &x->input.source, x->input.fd, EPOLLOUT, on_writable);
}

static void pump(struct exec *x)
{
	while (!list_empty(&x->input.writes)) {
		struct exec_write *w = first_of(x);
		int r = place(x, w);

		if (r == 0)
			r = write_some(x, w);
		if (r > 0)
			r = wait_for_room(x);
		if (r == 0 && w->done < w->n)
			return;
		if (r < 0 && r != -ERANGE) {
			exec_input_close(x); /* nobody reads it any more */
			return;
		}
		if (r == 0 && w->close) {
			loop_remove(x->execs->loop, &x->input.source);
			close_fd(&x->input.fd);
		}
		done(x, w, r);
		if (x->input.fd < 0)
			break;
	}
	loop_remove(x->execs->loop, &x->input.source);
	if (x->input.fd < 0)
		exec_input_close(x);
}

static void on_writable(struct loop_source *source, uint32_t events)
{
	(void)events;
	pump(container_of(source, struct exec, input.source));
}

int exec_write_input(struct exec *x, struct exec_write *w)
{
	bool first = list_empty(&x->input.writes);

	if (x->input.fd < 0)
		return -EPIPE;
	if (w->close && x->is_terminal)
		return -EOPNOTSUPP;
	list_append(&x->input.writes, &w->link);
	if (first && exec_state_of(x) != EXEC_STARTING)
		pump(x);
	return 0;
}

void exec_cancel_input(struct exec *x, struct exec_write *w)
{
	bool first = first_of(x) == w;

	list_remove(&w->link);
	if (first && x->input.fd >= 0)
		pump(x);
}

void exec_input_started(struct exec *x)
{
	pump(x);
}
