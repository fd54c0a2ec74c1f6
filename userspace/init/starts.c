// SPDX-License-Identifier: Apache-2.0
/* The children on their way to execve: some few, in no order. */
#include <poll.h>

#include "init/init.h"

static struct {
	pid_t pid;
	int report;
} starts[INIT_STARTS_MAX];
static size_t n_starts;

bool starts_full(void)
{
	return n_starts == INIT_STARTS_MAX;
}

void starts_add(pid_t pid, int report)
{
	starts[n_starts].pid = pid;
	starts[n_starts++].report = report;
}

size_t starts_poll(struct pollfd *fds)
{
	for (size_t i = 0; i < n_starts; i++)
		fds[i] = (struct pollfd){ .fd = starts[i].report, .events = POLLIN };
	return n_starts;
}

/* Its pipe has ended, or holds what the child wrote with one write(2). */
static void settle(size_t i, start_fn on_started)
{
	struct spawn_report told = { 0 };
	pid_t pid = starts[i].pid;
	ssize_t n = read(starts[i].report, &told, sizeof(told));

	close(starts[i].report);
	starts[i] = starts[--n_starts];
	/* A child that was killed on the way is a command like any other. */
	if (n != (ssize_t)sizeof(told))
		told = (struct spawn_report){ 0 };
	on_started(pid, &told);
}

void starts_look(const struct pollfd *fds, size_t n, start_fn on_started)
{
	/* From the end: settling puts the last one, which was looked at, in the place of this one. */
	while (n-- > 0)
		if (fds[n].revents)
			settle(n, on_started);
}

void starts_settle(pid_t pid, start_fn on_started)
{
	for (size_t i = 0; i < n_starts; i++)
		if (starts[i].pid == pid) {
			settle(i, on_started);
			return;
		}
}
