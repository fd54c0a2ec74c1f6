/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command strings: how they get to moat-run, and what it hands back; see run/protocol.h. The text waits in memory that
 * is counted; the descriptors are there from its turn until it executes, but for our end of the socket, which is
 * looked at once, when the command has ended.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "agent/context/state.h"
#include "agent/exec/internal.h"
#include "base/held.h"

#ifndef MFD_NOEXEC_SEAL /* 6.3 */
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static struct exec_string none = { .file = -EBADF, .end = -EBADF, .socket = -EBADF };

void exec_string_init(struct exec *x)
{
	x->string = none;
}

static void forget_words(struct exec_string *s)
{
	free_wiped(s->words, s->words_size);
	s->words = NULL;
}

static void forget_text(struct exec_string *s)
{
	forget_words(s);
	free_wiped(s->text, s->len);
	if (s->text)
		held_give(s->len);
	s->text = NULL;
	free_wiped(s->entries, s->entries_len);
	s->entries = NULL;
}

int exec_string_copy(struct exec *x, const char *text, const char *directory, bool sees,
		     bool changes)
{
	struct exec_string *s = &x->string;
	size_t n = strlen(text);

	s->wants_state = changes;
	s->shown = strndup(text, EXEC_COMMAND_SHOWN);
	if (!s->shown ||
	    context_state_entries(x->context, directory, sees, &s->entries, &s->entries_len) < 0)
		return -ENOMEM;
	if (!held_take(n))
		return -ENOBUFS;
	s->len = n;
	s->text = malloc(n + 1);
	if (!s->text) {
		held_give(n);
		return -ENOMEM;
	}
	memcpy(s->text, text, n + 1);
	return 0;
}

int exec_string_copy_words(struct exec *x, char *const *words)
{
	return context_env_build(NULL, words, &x->string.words, &x->string.words_size);
}

bool exec_string_leave_words(struct exec *x)
{
	if (!x->string.words)
		return false;
	forget_words(&x->string);
	x->spawn.argv = x->argv;
	x->spawn.program = x->execs->runner;
	x->spawn.missing[0] = '\0';
	return true;
}

static int new_file(void)
{
	static bool
		plain; /* a kernel that does not know the flag, without which it would be asked each time */
	int fd = plain ? -1 :
			 memfd_create("string", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	plain = plain || (fd < 0 && errno == EINVAL);
	if (plain)
		fd = memfd_create("string", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

static int write_input(int fd, const struct exec_string *s)
{
	struct run_input head = {
		.magic = RUN_MAGIC,
		.has_state = s->wants_state || s->interpreted,
		.returns_state = s->wants_state,
		.interpreter = s->interpreted,
		.variables_len = (uint32_t)s->entries_len,
		.string_len = (uint32_t)s->len,
	};
	struct iovec parts[] = { { &head, sizeof(head) },
				 { s->entries, s->entries_len },
				 { s->text, s->len } };
	ssize_t n = pwritev(fd, parts, ARRAY_LEN(parts), 0); /* it is read from its beginning */

	if (n != (ssize_t)(sizeof(head) + s->entries_len + s->len))
		return n < 0 ? -errno : -ENOSPC;
	return fcntl(fd, F_ADD_SEALS, SEALS) < 0 ? -errno : 0;
}

int exec_string_open(struct exec *x)
{
	struct exec_string *s = &x->string;
	FD_OWNED int file = -EBADF;
	int ends[2], r;

	if (s->file >= 0 || s->words)
		return 0;
	file = new_file();
	r = file < 0 ? file : write_input(file, s);
	if (r < 0)
		return r;
	if (s->wants_state || s->interpreted) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
			return -errno;
		s->socket = ends[0];
		s->end = ends[1];
	}
	s->file = take_fd(&file);
	return 0;
}

void exec_string_started(struct exec *x)
{
	forget_text(&x->string);
	close_fd(&x->string.file);
	close_fd(&x->string.end);
}

/* Which shell it was; false: the packet says something else. */
static bool take_name(struct exec_string *s, const void *packet, size_t n)
{
	struct run_packet head;

	if (!s->interpreted || s->interpreter || n != sizeof(head))
		return false;
	memcpy(&head, packet, n);
	if (head.magic != RUN_MAGIC || (head.says != RUN_SAYS_BASH && head.says != RUN_SAYS_SH))
		return false;
	s->interpreter = head.says == RUN_SAYS_BASH ? "bash" : "sh";
	return true;
}

void exec_string_ended(struct exec *x)
{
	static char packet[sizeof(struct run_packet) + RUN_ENTRIES_MAX];
	struct exec_string *s = &x->string;
	struct iovec iov = { packet, sizeof(packet) };
	/* No room for descriptors: they are closed by the kernel. */
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (s->socket < 0)
		return;
	n = recvmsg(s->socket, &msg, MSG_DONTWAIT);
	if (n > 0 && take_name(s, packet, (size_t)n))
		n = recvmsg(s->socket, &msg, MSG_DONTWAIT);
	if (s->wants_state)
		s->fate = CONTEXT_STATE_NOT_RETURNED;
	if (n > 0 && s->wants_state && !(msg.msg_flags & MSG_TRUNC) && !x->context->ending) {
		const struct context_state *before = x->context->state;

		s->fate = context_state_apply(x->execs->contexts, x->context, packet, (size_t)n);
		if (x->context->state != before)
			kept_put(x->execs->kept, x->context);
	}
	if (n > 0)
		explicit_bzero(packet, (size_t)n);
	close_fd(&s->socket);
}

void exec_string_close(struct exec *x)
{
	exec_string_started(x);
	close_fd(&x->string.socket);
}

void exec_string_free(struct exec *x)
{
	char *shown = take_ptr(x->string.shown);

	if (shown)
		free_wiped(shown, strlen(shown));
}
