/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent gives: see protocol.h. */
#include <fcntl.h>
#include <sys/stat.h>

#include "run/internal.h"
#include "run/protocol.h"

/* Above the descriptors that a string can name, and not for what it starts. */
static int move_up(int fd)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, 10);

	close(fd);
	return moved < 0 ? -errno : moved;
}

static int read_all(int fd, char *data, size_t n)
{
	while (n > 0) {
		ssize_t got = read(fd, data, n);

		if (got <= 0)
			return got < 0 ? -errno : -EPROTO;
		data += got;
		n -= (size_t)got;
	}
	return 0;
}

/* The lengths add up, and the entries are whole. */
static bool is_whole(const struct run_input *head, const char *data, size_t n)
{
	return head->magic == RUN_MAGIC && head->variables_len <= RUN_ENTRIES_MAX &&
	       head->string_len <= COMMAND_LENGTH_MAX &&
	       (size_t)head->variables_len + head->string_len == n &&
	       (head->variables_len == 0 || data[head->variables_len - 1] == '\0');
}

static int load(int fd, struct input *ret)
{
	struct run_input head;
	struct stat st;
	size_t n;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	if (st.st_size < (off_t)sizeof(head) ||
	    st.st_size > (off_t)(sizeof(head) + RUN_ENTRIES_MAX + COMMAND_LENGTH_MAX))
		return -EPROTO;
	n = (size_t)st.st_size;
	ret->data = malloc(n);
	if (!ret->data)
		return -ENOMEM;
	ret->size = n;
	r = read_all(fd, ret->data, n);
	if (r < 0)
		return r;
	memcpy(&head, ret->data, sizeof(head));
	ret->entries = ret->data + sizeof(head);
	if (!is_whole(&head, ret->entries, n - sizeof(head)))
		return -EPROTO;
	ret->entries_len = head.variables_len;
	ret->string = ret->entries + head.variables_len;
	ret->string_len = head.string_len;
	ret->has_state = head.has_state;
	return 0;
}

int input_read(struct input *ret)
{
	FD_OWNED int fd = move_up(RUN_INPUT_FD);

	*ret = (struct input){ .state_fd = -EBADF };
	if (load(fd, ret) < 0)
		return -EPROTO;
	if (ret->has_state)
		ret->state_fd = move_up(RUN_STATE_FD);
	return ret->state_fd < 0 && ret->has_state ? ret->state_fd : 0;
}

void input_wipe(struct input *in)
{
	free_wiped(in->data, in->size);
	*in = (struct input){ .state_fd = -EBADF };
}
