/* SPDX-License-Identifier: Apache-2.0 */
/* Where there are no cgroups: the same, of who descends from the process that was put there. */
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "agent/cgroup/internal.h"

void cgroup_lead(struct cgroup *g, pid_t pid)
{
	if (g->dir < 0 && lineage_of(pid, &g->lineage) < 0)
		g->lineage = (struct lineage){ 0 }; /* it has ended already */
}

bool cgroup_has_lineage(const struct cgroup *g)
{
	PTR_OWNED pid_t *pids = NULL;
	size_t n;

	return lineage_find(&g->lineage, &pids, &n) < 0 || n > 0;
}

static void on_end(struct loop_source *source, uint32_t events)
{
	struct cgroup *g = container_of(source, struct cgroup, source);

	(void)events;
	if (cgroup_watch_lineage(g) == 0 && g->source.fd < 0)
		cgroup_tell_empty(g);
}

/* One is watched at a time: when it ends the others are looked for. */
int cgroup_watch_lineage(struct cgroup *g)
{
	PTR_OWNED pid_t *pids = NULL;
	int fd = -EBADF, r;
	size_t n;

	cgroup_unwatch_lineage(g);
	r = lineage_find(&g->lineage, &pids, &n);
	for (size_t i = 0; i < n && fd < 0; i++)
		fd = (int)syscall(SYS_pidfd_open, pids[i], 0);
	if (r < 0 || fd < 0)
		return r;
	r = loop_add(g->cgroups->loop, &g->source, fd, EPOLLIN, on_end);
	if (r < 0)
		close_fd(&fd);
	return r;
}

void cgroup_unwatch_lineage(struct cgroup *g)
{
	int fd = g->source.fd;

	loop_remove(g->cgroups->loop, &g->source);
	if (g->dir < 0)
		close_fd(&fd);
	g->source.fd = -EBADF;
}
