// SPDX-License-Identifier: Apache-2.0
/* The one packet that is dealt with at a time, and the pointers to its strings. */
#include <sys/mman.h>
#include <sys/socket.h>

#include "init/init.h"

#define KEEP_MAX 65536 /* bytes of buffer that stay resident between requests */

/* Aligned so that the headers can be read in place. */
char packet[INIT_PACKET_MAX] __attribute__((aligned(4096)));
/* Whole pages: what is given back with them must be nothing else's. */
#define PER_PAGE (4096 / sizeof(char *))
static char *strings[(INIT_STRINGS_MAX + 3 + PER_PAGE - 1) / PER_PAGE * PER_PAGE]
	__attribute__((aligned(4096)));
_Static_assert(sizeof(strings) % 4096 == 0 && sizeof(packet) % 4096 == 0, "madvise() rounds up");
static size_t n_strings;

void packet_open(void)
{
	/* Large for the worst case, and hardly touched: a huge page would cost 2 MiB for it. */
	madvise(packet, sizeof(packet), MADV_NOHUGEPAGE);
	madvise(strings, sizeof(strings), MADV_NOHUGEPAGE);
}

void packet_wipe(size_t len)
{
	explicit_bzero(packet, len);
	if (len > KEEP_MAX)
		madvise(packet, sizeof(packet), MADV_DONTNEED);
	if (n_strings * sizeof(*strings) > KEEP_MAX)
		madvise(strings, sizeof(strings), MADV_DONTNEED);
}

size_t packet_receive(int fds[PACKET_FDS_MAX], size_t *ret_n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)];
	} control;
	struct iovec iov = { packet, sizeof(packet) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;
	ssize_t n;

	do
		n = recvmsg(INIT_SOCKET_FD, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*ret_n_fds = 0;
	if (n <= 0 || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return 0;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			return 0;
		*ret_n_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(cmsg), *ret_n_fds * sizeof(int));
	}
	return (size_t)n;
}

void packet_drop_fds(const int *fds, size_t n)
{
	while (n-- > 0)
		close(fds[n]);
}

/* Splits len bytes into exactly n strings, with a NULL after the first `first` + 1 and at the end. */
static bool split(char *text, size_t len, size_t first, size_t n)
{
	char **out = strings;

	if (n > INIT_STRINGS_MAX || (len > 0 && text[len - 1] != '\0'))
		return false;
	for (size_t i = 0; i < n; i++) {
		size_t used;

		if (len == 0)
			return false;
		*out++ = text;
		if (i == first)
			*out++ = NULL;
		used = strlen(text) + 1;
		text += used;
		len -= used;
	}
	*out = NULL;
	return len == 0;
}

bool packet_spawn(size_t len, const int *fds, size_t n_fds, struct spawn_request *ret)
{
	const struct init_spawn *m = (const void *)packet;

	if (len < sizeof(*m) || m->strings_len != len - sizeof(*m) || m->by_descriptor > 1 ||
	    m->n_given > (m->by_descriptor ? INIT_GIVEN_MAX : 0) ||
	    n_fds != SPAWN_FDS + m->by_descriptor + m->n_given || m->argc < 1 ||
	    m->argc > INIT_STRINGS_MAX || m->envc > INIT_STRINGS_MAX)
		return false;
	n_strings = 1 + (size_t)m->argc + m->envc;
	if (!split(packet + sizeof(*m), m->strings_len, m->argc, n_strings))
		return false;
	*ret = (struct spawn_request){
		.cwd = strings[0],
		.argv = strings + 1,
		.env = strings + m->argc + 2,
		.stdio = { m->null_stdin && !m->rows ? -EBADF : fds[0], fds[1], fds[2] },
		.cgroup_fd = m->in_cgroup ? fds[3] : -EBADF,
		.program = m->by_descriptor ? fds[4] : -EBADF,
		.given = { m->n_given > 0 ? fds[5] : -EBADF, m->n_given > 1 ? fds[6] : -EBADF },
		.capabilities = m->capabilities,
		.no_new_privs = m->no_new_privs,
		.own_tmp = m->own_tmp,
		.on_terminal = m->rows,
	};
	return true;
}
