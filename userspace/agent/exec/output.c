/* SPDX-License-Identifier: Apache-2.0 */
/* Stdio of a command: its pipes, and the bounded capture of what comes out of them. */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "agent/exec/internal.h"
#include "base/held.h"

#define CAPTURE_FIRST 4096u
/* Of each pipe in one turn of the loop: four times what it holds unless the command has made it
 * larger, which can be by far. */
#define DRAIN_TURN (256u * 1024)
#define EXEC_CHUNK_SCARCE 4096u

/* A file of its own in memory, which goes with the command. 0 or -errno. */
int exec_stdin_open(struct exec *x, const void *data, size_t n)
{
	int r;

	x->stdin_fd = memfd_create("stdin", MFD_CLOEXEC);
	if (x->stdin_fd < 0)
		return -errno;
	r = write_all(x->stdin_fd, data, n);
	if (r == 0 && lseek(x->stdin_fd, 0, SEEK_SET) < 0)
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

struct exec_block *exec_block_ref(struct exec_block *block)
{
	if (block)
		block->refs++;
	return block;
}

void exec_block_unref(struct exec_block *block)
{
	size_t size;

	if (!block || --block->refs > 0)
		return;
	size = block->size;
	free_wiped(block, sizeof(*block) + block->used);
	held_give(size);
}

/* Makes room for n bytes more, by doubling. False when nothing more is to be kept. Not realloc():
 * it would leave a copy behind, and answers read from the old one. */
static bool pipe_reserve(struct exec *x, struct exec_pipe *p, size_t n)
{
	size_t size = p->block ? p->block->size : CAPTURE_FIRST;
	struct exec_block *grown;

	while (size < p->kept + n)
		size *= 2;
	if (p->block && size == p->block->size)
		return true;
	if (!held_take(size)) {
		execs_make_room(x->execs, size, x);
		if (!held_take(size))
			return false;
	}
	grown = malloc(sizeof(*grown) + size);
	if (!grown) {
		held_give(size);
		return false;
	}
	*grown = (struct exec_block){ .refs = 1, .size = size, .used = p->kept };
	if (p->kept)
		memcpy(grown->data, p->block->data, p->kept);
	exec_block_unref(p->block);
	p->block = grown;
	return true;
}

/* Counts and keeps the n bytes in the chunk, and shows them to the observer. */
static void pipe_take(struct exec *x, enum exec_stream stream, size_t n)
{
	struct exec_pipe *p = &x->out[stream];
	char *data = x->execs->chunk;
	struct exec_observer *o = x->observer;
	size_t keep = p->full ? 0 : EXEC_OUTPUT_DEFAULT - p->kept;

	p->total += n;
	p->owed -= n < p->owed ? n : p->owed;
	if (keep > n)
		keep = n;
	if (keep > 0 && !pipe_reserve(x, p, keep))
		keep = 0;
	if (keep > 0) {
		memcpy(p->block->data + p->kept, data, keep);
		p->kept += keep;
		p->block->used = p->kept;
	}
	/* What is kept is the beginning, without a hole: once short, for ever full. */
	p->full = p->full || keep < n;
	if (o && o->on_output && x->state != EXEC_ENDED)
		o->on_output(o, x, stream, data, n);
	explicit_bzero(data, n);
}

static void on_readable(struct exec *x, enum exec_stream stream)
{
	struct exec_pipe *p = &x->out[stream];
	/* Where memory is short a stream gets little at a time. */
	ssize_t n = read(p->fd, x->execs->chunk, held_scarce() ? EXEC_CHUNK_SCARCE : EXEC_CHUNK);

	if (n > 0)
		pipe_take(x, stream, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		pipe_close(x, p);
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

/* A source that is only masked would still report the end of the pipe, again and again. */
static void pipes_listen(struct exec *x, bool on)
{
	static const loop_io_fn callbacks[] = { on_stdout, on_stderr };

	for (int i = 0; i < 2; i++) {
		struct exec_pipe *p = &x->out[i];

		if (p->fd < 0)
			continue;
		loop_remove(x->execs->loop, &p->source);
		/* Without a place in the loop the output is taken when the exec ends. */
		if (on)
			(void)loop_add(x->execs->loop, &p->source, p->fd, EPOLLIN, callbacks[i]);
	}
}

static void close_child_ends(struct exec *x)
{
	close_fd(&x->stdin_fd);
	for (int i = 0; i < 2; i++)
		close_fd(&x->out[i].child_end);
}

void exec_output_started(struct exec *x)
{
	close_child_ends(x);
	if (!x->paused)
		pipes_listen(x, true);
}

void exec_output_owed(struct exec *x)
{
	for (int i = 0; i < 2; i++) {
		int held = 0; /* the kernel's sum has 32 bits, and 2^31 is possible */

		if (x->out[i].fd < 0 || ioctl(x->out[i].fd, FIONREAD, &held) < 0)
			held = 0;
		x->out[i].owed = (unsigned)held;
	}
}

bool exec_output_drain(struct exec *x)
{
	size_t left = 0;

	for (int i = 0; i < 2; i++) {
		struct exec_pipe *p = &x->out[i];

		for (size_t turn = 0; p->owed > 0 && turn < DRAIN_TURN;) {
			size_t want = p->owed < EXEC_CHUNK ? p->owed : EXEC_CHUNK;
			ssize_t n = p->fd < 0 ? 0 : read(p->fd, x->execs->chunk, want);

			if (n <= 0) {
				p->owed = 0;
				break;
			}
			turn += (size_t)n;
			pipe_take(x, (enum exec_stream)i, (size_t)n);
		}
		left += p->owed;
	}
	return left == 0;
}

void exec_output_close(struct exec *x)
{
	close_child_ends(x);
	for (int i = 0; i < 2; i++)
		pipe_close(x, &x->out[i]);
}

void exec_pause(struct exec *x, bool paused)
{
	if (x->paused == paused)
		return;
	x->paused = paused;
	if (x->state != EXEC_STARTING)
		pipes_listen(x, !paused);
	if (x->draining && !paused &&
	    loop_timer_set(x->execs->loop, &x->again, 0, exec_on_again) < 0)
		exec_on_again(&x->again);
}
