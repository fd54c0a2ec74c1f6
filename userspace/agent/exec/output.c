/* SPDX-License-Identifier: Apache-2.0 */
/* Stdio of a command: its pipes. */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "agent/exec/internal.h"
#include "base/held.h"

/* Of each pipe in one turn of the loop: four times what it holds unless the command has made it
 * larger, which can be by far. */
#define DRAIN_TURN (256u * 1024)
#define EXEC_CHUNK_SCARCE 4096u

/*
 * A file of its own in memory, which goes with the command. As one to be opened it is its owner's alone, as programs
 * want it that find a secret there, and read on from descriptor 0 it has nothing. 0 or -errno.
 */
int exec_stdin_open(struct exec *x, const void *data, size_t n, bool as_file)
{
	int r;

	x->stdin_fd = memfd_create("stdin", MFD_CLOEXEC);
	if (x->stdin_fd < 0)
		return -errno;
	if (as_file && fchmod(x->stdin_fd, 0600) < 0)
		return -errno;
	r = write_all(x->stdin_fd, data, n);
	if (r == 0 && !as_file && lseek(x->stdin_fd, 0, SEEK_SET) < 0)
		r = -errno;
	return r;
}

/* Our end alone is non-blocking: the flag belongs to the open file, and each end is one. */
static int pipe_open(int *ret_ours, int *ret_child_end)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	if (fcntl(ends[0], F_SETFL, O_RDONLY | O_NONBLOCK) < 0) {
		int r = -errno;

		close(ends[0]);
		close(ends[1]);
		return r;
	}
	*ret_ours = ends[0];
	*ret_child_end = ends[1];
	return 0;
}

int exec_output_open(struct exec *x)
{
	struct execs *execs = x->execs;
	int r = 0;

	for (int i = 0; i < 2 && r == 0; i++) {
		struct exec_pipe *p = &x->out[i];

		if (p->fd >= 0)
			continue;
		if (execs->spare[i][0] >= 0) {
			p->fd = take_fd(&execs->spare[i][0]);
			p->child_end = take_fd(&execs->spare[i][1]);
		} else {
			r = pipe_open(&p->fd, &p->child_end);
		}
	}
	return r;
}

/* While a command runs there is time to make the pipes of the next one. */
void exec_output_spare(struct execs *execs)
{
	for (int i = 0; i < 2; i++)
		if (execs->spare[i][0] < 0)
			(void)pipe_open(&execs->spare[i][0], &execs->spare[i][1]);
}

static void pipe_close(struct exec *x, struct exec_pipe *p)
{
	loop_remove(x->execs->loop, &p->source);
	close_fd(&p->fd);
}

/* What of n more bytes its request allows; beyond that they are not of its output, and it has to end. */
static size_t allowed(struct exec *x, size_t n)
{
	uint64_t room = x->output_limit - exec_written(x);

	if (!x->output_limit || n <= room)
		return n;
	x->output_limited = true;
	if (!x->killed && !x->asked && !exec_is_closing(x))
		(void)exec_end(x);
	return (size_t)room;
}

/* Counts and keeps the n bytes in the chunk. */
static void pipe_take(struct exec *x, enum exec_stream stream, size_t n)
{
	struct exec_pipe *p = &x->out[stream];
	size_t kept = allowed(x, n);

	p->owed -= n < p->owed ? n : p->owed;
	if (kept)
		exec_keep(x, stream, x->execs->chunk, kept);
	explicit_bzero(x->execs->chunk, n);
}

static void on_readable(struct exec *x, enum exec_stream stream)
{
	struct exec_pipe *p = &x->out[stream];
	/* Where memory is short a stream gets little at a time. */
	size_t room = exec_room(x, stream, held_scarce() ? EXEC_CHUNK_SCARCE : EXEC_CHUNK);
	ssize_t n;

	/* A source that is only masked would still report the end of the pipe, again and again. */
	if (room == 0) {
		p->stalled = true;
		loop_remove(x->execs->loop, &p->source);
		return;
	}
	n = read(p->fd, x->execs->chunk, room);
	if (n > 0) {
		pipe_take(x, stream, (size_t)n);
		exec_tell_output(x);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		pipe_close(x, p);
	}
}

static void on_stdout(struct loop_source *source, uint32_t events)
{
	(void)events;
	on_readable(container_of(source, struct exec, out[EXEC_STDOUT].source), EXEC_STDOUT);
}

static void on_stderr(struct loop_source *source, uint32_t events)
{
	(void)events;
	on_readable(container_of(source, struct exec, out[EXEC_STDERR].source), EXEC_STDERR);
}

static void pipe_listen(struct exec *x, enum exec_stream stream)
{
	static const loop_io_fn callbacks[] = { on_stdout, on_stderr };
	struct exec_pipe *p = &x->out[stream];

	p->stalled = false;
	/* Without a place in the loop the output is taken when the exec ends. */
	if (p->fd >= 0)
		(void)loop_add(x->execs->loop, &p->source, p->fd, EPOLLIN, callbacks[stream]);
}

static void close_child_ends(struct exec *x)
{
	close_fd(&x->stdin_fd);
	for (int i = 0; i < 2; i++)
		close_fd(&x->out[i].child_end);
}

void exec_output_go_on(struct exec *x)
{
	for (int i = 0; i < 2; i++) {
		loop_remove(x->execs->loop, &x->out[i].source); /* where its reader was not waited for */
		pipe_listen(x, (enum exec_stream)i);
	}
}

void exec_output_started(struct exec *x)
{
	close_child_ends(x);
	for (int i = 0; i < 2; i++)
		pipe_listen(x, (enum exec_stream)i);
}

void exec_output_owed(struct exec *x)
{
	for (int i = 0; i < 2; i++) {
		int held = 0; /* the kernel's sum has 32 bits, and 2^31 is possible */

		/* Of a terminal it does not count what is on its way: all of it, until there is none. */
		if (x->is_terminal) {
			x->out[i].owed = x->out[i].fd >= 0 ? DRAIN_TURN : 0;
			continue;
		}
		if (x->out[i].fd < 0 || ioctl(x->out[i].fd, FIONREAD, &held) < 0)
			held = 0;
		x->out[i].owed = (unsigned)held;
	}
}

bool exec_output_drain(struct exec *x)
{
	size_t left = 0;
	bool taken = false;

	for (int i = 0; i < 2; i++) {
		struct exec_pipe *p = &x->out[i];

		for (size_t turn = 0; p->owed > 0 && turn < DRAIN_TURN;) {
			size_t want = exec_room(x, (enum exec_stream)i,
						p->owed < EXEC_CHUNK ? p->owed : EXEC_CHUNK);
			ssize_t n;

			if (want == 0) {
				p->stalled = true;
				break;
			}
			n = p->fd < 0 ? 0 : read(p->fd, x->execs->chunk, want);
			if (n <= 0) {
				p->owed = 0;
				break;
			}
			turn += (size_t)n;
			pipe_take(x, (enum exec_stream)i, (size_t)n);
			taken = true;
		}
		left += p->owed;
	}
	if (taken)
		exec_tell_output(x);
	return left == 0;
}

void exec_output_close(struct exec *x)
{
	close_child_ends(x);
	for (int i = 0; i < 2; i++)
		pipe_close(x, &x->out[i]);
}

/* While there is hardly any room it is not worth the turns of the loop. */
#define ROOM_TO_RESUME (64u * 1024)

static bool has_room(struct exec *x, enum exec_stream stream)
{
	const struct capture *c = &x->out[stream].kept;
	size_t room = exec_room(x, stream, ROOM_TO_RESUME);

	return room == ROOM_TO_RESUME || (c->block && room >= c->block->size / 2);
}

void exec_output_resume(struct exec *x)
{
	for (int i = 0; i < 2; i++) {
		struct exec_pipe *p = &x->out[i];

		if (!p->stalled || !has_room(x, (enum exec_stream)i))
			continue;
		if (!exec_is_closing(x)) {
			pipe_listen(x, (enum exec_stream)i);
			continue;
		}
		p->stalled = false;
		if (loop_timer_set(x->execs->loop, &x->again, 0, exec_on_again) < 0)
			exec_on_again(&x->again);
	}
}
