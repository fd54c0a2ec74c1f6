/* SPDX-License-Identifier: Apache-2.0 */
/* A command on a terminal: what it writes and reads goes through one descriptor, which moat-init has made in its namespace. */
#include <fcntl.h>
#include <sys/ioctl.h>

#include "agent/exec/internal.h"

int exec_terminal_started(struct exec *x)
{
	for (int i = 0; i < 2; i++)
		close_fd(&x->out[i].fd); /* the pipes were in its place */
	x->out[EXEC_STDOUT].fd = take_fd(&x->spawn.terminal);
	x->input.fd = fcntl(x->out[EXEC_STDOUT].fd, F_DUPFD_CLOEXEC, 3);
	return x->input.fd < 0 ? -errno : 0;
}

int exec_resize(struct exec *x, unsigned short rows, unsigned short cols)
{
	struct winsize size = { .ws_row = rows, .ws_col = cols };

	if (!x->is_terminal)
		return -ENOTTY;
	if (x->input.fd < 0)
		return -ESRCH;
	return ioctl(x->input.fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

/* The environment of a context says nothing of terminals. */
int exec_terminal_env(char *const *env, char ***ret)
{
	char **copy = NULL;
	int r = strv_copy(env, &copy);

	if (r == 0 && !env_get(copy, "TERM"))
		r = env_set(&copy, "TERM=xterm-256color");
	if (r < 0)
		strv_free_wiped(copy);
	else
		*ret = copy;
	return r;
}
