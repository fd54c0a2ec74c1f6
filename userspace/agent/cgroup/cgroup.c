/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup/internal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/cgroup/file.h"
#include "base/log.h"

#define LINGER_NS (100 * NSEC_PER_MSEC)

/* The instance */

int cgroups_open(const struct config *config, struct loop *loop, struct cgroups **ret,
		 struct failure *f)
{
	struct cgroups *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return fail(f, ENOMEM, "cannot set up cgroups");
	c->loop = loop;
	c->pool_max = CGROUPS_POOL_MAX;
	c->open_max = SIZE_MAX;
	list_init(&c->groups);
	list_init(&c->forgotten);
	list_init(&c->idle);
	list_init(&c->parked);
	list_init(&c->in_use);
	list_init(&c->dying);
	r = cgroup_tree_open(config, &c->tree, f);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void cgroup_free(struct cgroup *g)
{
	cgroup_unwatch_lineage(g);
	loop_timer_cancel(g->cgroups->loop, &g->soon);
	list_remove(&g->link);
	close_fd(&g->dir);
	close_fd(&g->events);
	free(g->name);
	free(g);
}

static void free_all(struct list *list)
{
	while (!list_empty(list))
		cgroup_free(list_entry(list->next, struct cgroup, link));
}

static void free_groups(struct list *list)
{
	while (!list_empty(list)) {
		struct cgroup_group *g = list_entry(list->next, struct cgroup_group, link);

		free_all(&g->pool);
		cgroup_group_free(g);
	}
}

void cgroups_close(struct cgroups *c)
{
	if (!c)
		return;
	free_all(&c->in_use);
	free_all(&c->dying);
	free_groups(&c->groups);
	free_groups(&c->forgotten);
	cgroup_tree_close(&c->tree);
	free(c);
}

bool cgroups_are_there(const struct cgroups *cgroups)
{
	return cgroups->tree.dir >= 0;
}

const char *cgroups_path(const struct cgroups *cgroups)
{
	return cgroups->tree.path;
}

int cgroups_instance(const struct cgroups *cgroups)
{
	return cgroups->tree.dir;
}

int cgroups_user(const struct cgroups *cgroups)
{
	return cgroups->tree.user;
}

int cgroups_view(const struct cgroups *cgroups)
{
	return cgroups->tree.view;
}

bool cgroups_have_memory(const struct cgroups *cgroups)
{
	return cgroups->tree.have[LIMIT_MEMORY];
}

/* One cgroup */

static int parent_dir(const struct cgroup *g)
{
	return g->group ? g->group->dir : g->cgroups->tree.control;
}

static uint64_t oom_kills(const struct cgroup *g)
{
	FD_OWNED int fd = -EBADF;
	uint64_t count = 0;

	if (!g->group || !g->cgroups->tree.have[LIMIT_MEMORY])
		return 0;
	fd = openat(g->dir, "memory.events", O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)cgroup_read_key(fd, "oom_kill", &count);
	return count;
}

/* Makes the directory of g, which may be there already, and opens it. 0 or -errno. */
static int open_dirs(struct cgroup *g)
{
	int r;

	if (!cgroups_are_there(g->cgroups))
		return 0;
	if (mkdirat(parent_dir(g), g->name, 0755) < 0 && errno != EEXIST)
		return -errno;
	g->dir = openat(g->group ? g->group->readonly : parent_dir(g), g->name,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->dir >= 0)
		g->events = openat(g->dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
	if (g->dir >= 0 && g->events >= 0)
		return 0;
	r = -errno;
	(void)unlinkat(parent_dir(g), g->name, AT_REMOVEDIR);
	return r;
}

static int cgroup_make(struct cgroups *c, struct cgroup_group *group, const char *name,
		       struct cgroup **ret, struct failure *f)
{
	struct cgroup *g = calloc(1, sizeof(*g));
	int r = -ENOMEM;

	if (!g)
		return fail(f, ENOMEM, "cannot make cgroup %s", name);
	g->cgroups = c;
	g->group = group;
	list_init(&g->link);
	g->source.fd = g->dir = g->events = -EBADF;
	g->name = strdup(name);
	if (g->name)
		r = open_dirs(g);
	/* Where programs look for them; the group has them, too. */
	if (r == 0 && group && cgroups_are_there(c) && (r = cgroup_group_limit(group, name)) < 0)
		(void)unlinkat(group->dir, name, AT_REMOVEDIR);
	if (r < 0) {
		cgroup_free(g);
		return fail(f, -r, "cannot make cgroup %s/%s%s/%s", c->tree.path,
			    group ? "user/context-" : "control",
			    group ? group->context : "", name);
	}
	g->oom_base = oom_kills(g);
	list_append(&c->in_use, &g->link);
	*ret = g;
	return 0;
}

static bool has_name(struct list *list, const char *name)
{
	list_for_each(pos, list) {
		const struct cgroup *g = list_entry(pos, struct cgroup, link);

		if (!g->group && strcmp(g->name, name) == 0)
			return true;
	}
	return false;
}

int cgroup_get(struct cgroups *c, const char *name, struct cgroup **ret, struct failure *f)
{
	char full[128];

	snprintf(full, sizeof(full), "%s", name);
	/* Its last user may not have put it yet, or what it left in it takes its time to die. */
	for (unsigned i = 2; has_name(&c->dying, full) || has_name(&c->in_use, full); i++)
		snprintf(full, sizeof(full), "%s.%u", name, i);
	return cgroup_make(c, NULL, full, ret, f);
}

int cgroup_get_exec(struct cgroups *c, struct cgroup_group *group, struct cgroup **ret,
		    struct failure *f)
{
	struct cgroup *g;
	char name[32];
	int r = cgroup_group_take(group, f);

	if (r < 0)
		return r;
	if (list_empty(&group->pool)) {
		snprintf(name, sizeof(name), "exec-%llu", (unsigned long long)++c->next_exec);
		r = cgroup_make(c, group, name, ret, f);
		if (r < 0)
			cgroup_group_put(group);
		return r;
	}
	/* The last one put: its pages are the warmest. */
	g = list_entry(group->pool.prev, struct cgroup, link);
	c->n_pool--;
	list_remove(&g->link);
	list_append(&c->in_use, &g->link);
	*ret = g;
	return 0;
}

/* An empty cgroup goes to the pool or away. */
static void reclaim(struct cgroup *g)
{
	struct cgroups *c = g->cgroups;
	struct cgroup_group *group = g->group;

	if (!cgroups_are_there(c)) {
		cgroup_free(g);
	} else if (group && !g->killed && c->n_pool < c->pool_max) {
		g->oom_base = oom_kills(g);
		list_remove(&g->link);
		list_append(&group->pool, &g->link);
		c->n_pool++;
	} else {
		cgroup_remove(parent_dir(g), g->name);
		cgroup_free(g);
	}
	if (group)
		cgroup_group_put(group);
}

static void on_dead(struct cgroup *g, void *data)
{
	(void)data;
	reclaim(g);
}

static void on_linger(struct loop_timer *timer)
{
	(void)cgroup_kill(container_of(timer, struct cgroup, soon));
}

/* Also such as are dead, but not yet gone. */
static bool has_tasks(const struct cgroup *g)
{
	return g->dir >= 0 ? cgroup_events_populated(g->events) : cgroup_has_lineage(g);
}

void cgroup_put(struct cgroup *g)
{
	int r;

	if (!g)
		return;
	(void)cgroup_watch_empty(g, NULL, NULL);
	if (!has_tasks(g)) {
		reclaim(g);
		return;
	}
	list_remove(&g->link);
	list_append(&g->cgroups->dying, &g->link);
	r = cgroup_watch_empty(g, on_dead, NULL);
	/* Nothing in it but what is dead: it will be empty by itself, and can be used again. */
	if (r == 0 && !cgroup_populated(g) &&
	    (g->soon.index ||
	     loop_timer_set(g->cgroups->loop, &g->soon, LINGER_NS, on_linger) == 0))
		return;
	if (r == 0)
		r = cgroup_kill(g);
	if (r < 0)
		log_warning("cannot kill cgroup %s: %s", g->name, strerror(-r));
}

int cgroup_fd(const struct cgroup *cgroup)
{
	return cgroup->dir;
}

struct cgroup *cgroup_by_fd(struct cgroups *cgroups, int fd)
{
	list_for_each(pos, &cgroups->in_use) {
		struct cgroup *g = list_entry(pos, struct cgroup, link);

		if (fd >= 0 && g->dir == fd)
			return g;
	}
	return NULL;
}

/*
 * A cgroup that was killed once is never given out again: since the kernels that count kills (6.14
 * and the stable ones of early 2025) a child cloned into it would be killed at birth, because
 * cgroup_css_set_fork() notes the count of the parent's cgroup and cgroup_post_fork() compares it
 * with that of the child's.
 */
int cgroup_kill(struct cgroup *cgroup)
{
	char path[128];

	cgroup->killed = true;
	if (cgroup->dir < 0)
		return lineage_signal(&cgroup->lineage, SIGKILL);
	snprintf(path, sizeof(path), "%s/cgroup.kill", cgroup->name);
	return write_file_at(parent_dir(cgroup), path, "1");
}

/*
 * Since Linux 6.19 a dead task leaves its cgroup only after its parent's wait(2) may have returned,
 * and populated stays 1 so long. cgroup.procs does not show such tasks, but neither those of
 * descendants. Fails closed.
 */
bool cgroup_populated(struct cgroup *cgroup)
{
	FD_OWNED int stat = -EBADF;
	FD_OWNED int procs = -EBADF;
	uint64_t descendants;
	char byte;

	if (!has_tasks(cgroup))
		return false;
	if (cgroup->dir < 0)
		return true;
	stat = openat(cgroup->dir, "cgroup.stat", O_RDONLY | O_CLOEXEC);
	if (stat < 0 || cgroup_read_key(stat, "nr_descendants", &descendants) < 0 ||
	    descendants > 0)
		return true;
	procs = openat(cgroup->dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	return procs < 0 || read(procs, &byte, 1) != 0;
}

void cgroup_tell_empty(struct cgroup *g)
{
	cgroup_empty_fn on_empty = g->on_empty;
	void *data = g->data;

	(void)cgroup_watch_empty(g, NULL, NULL);
	on_empty(g, data); /* may free g */
}

static void on_cgroup_events(struct loop_source *source, uint32_t events)
{
	struct cgroup *g = container_of(source, struct cgroup, source);

	(void)events;
	/* Reading is also what makes the descriptor wait for the next change. */
	if (!cgroup_events_populated(g->events))
		cgroup_tell_empty(g);
}

static void on_soon(struct loop_timer *timer)
{
	cgroup_tell_empty(container_of(timer, struct cgroup, soon));
}

int cgroup_watch_empty(struct cgroup *g, cgroup_empty_fn on_empty, void *data)
{
	struct loop *loop = g->cgroups->loop;
	int r;

	cgroup_unwatch_lineage(g);
	loop_timer_cancel(loop, &g->soon);
	g->on_empty = on_empty;
	g->data = data;
	if (!on_empty)
		return 0;
	/* In this order: a change after the reading is an event, so that none is lost. */
	r = g->dir < 0 ? cgroup_watch_lineage(g) :
			 loop_add(loop, &g->source, g->events, EPOLLPRI, on_cgroup_events);
	if (r == 0 && (g->dir < 0 ? g->source.fd < 0 : !cgroup_events_populated(g->events))) {
		cgroup_unwatch_lineage(g);
		r = loop_timer_set(loop, &g->soon, 0, on_soon);
	}
	if (r < 0)
		g->on_empty = NULL;
	return r;
}

int cgroup_oom_kills(struct cgroup *cgroup, uint64_t *ret_count)
{
	if (!cgroup->group || !cgroup->cgroups->tree.have[LIMIT_MEMORY])
		return -ENOTSUP;
	*ret_count = oom_kills(cgroup) - cgroup->oom_base;
	return 0;
}
