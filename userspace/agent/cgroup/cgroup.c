/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup/cgroup.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/cgroup/file.h"
#include "agent/cgroup/tree.h"
#include "base/list.h"
#include "base/log.h"

/* Empty exec cgroups kept for the next commands, of all groups together. The kernel tells that a
 * cgroup has become empty up to 10 ms late (CGROUP_FILE_NOTIFY_MIN_INTV), so that this many are
 * enough for 25,000 execs/s. */
#define POOL_MAX 256u
#define LINGER_NS (100 * NSEC_PER_MSEC)

struct cgroup_group {
	struct list link;
	char *name;       /* relative to the instance: "user", "user/context-NAME" */
	char *context;    /* NULL: user itself */
	int dir;
	int readonly;     /* the same, see open_readonly() */
	struct list pool; /* empty exec cgroups */
	uint64_t max[LIMIT_COUNT];
};

struct cgroups {
	struct loop *loop;
	struct cgroup_tree tree;
	uint64_t next_exec;
	struct cgroup_group user;
	struct list groups; /* of contexts */
	size_t n_pool;      /* of all groups */
	struct list in_use; /* given out */
	struct list dying;  /* put while not empty: killed, wait to be empty */
};

struct cgroup {
	struct list link;
	struct cgroups *cgroups;
	struct cgroup_group *group; /* NULL: of the control plane, and removed rather than pooled */
	char *name;
	bool killed;           /* never to be used again, see cgroup_kill() */
	int dir, events;       /* the directory (of an exec: read-only), and cgroup.events in it */
	uint64_t oom_base;     /* oom_kill of memory.events when it was given out */
	struct loop_source source;
	struct loop_timer soon; /* calls back when it was empty from the start; dying: see put */
	cgroup_empty_fn on_empty;
	void *data;
};

/* The instance */

static void group_init(struct cgroup_group *g)
{
	list_init(&g->link);
	list_init(&g->pool);
	g->dir = g->readonly = -EBADF;
}

/*
 * A mount of the directory alone, attached nowhere and read-only. The descriptors that moat-init is handed lie
 * in it: CLONE_INTO_CGROUP asks the inode and not the mount whether it may be written, and user code that
 * gets hold of one of them writes nothing by it and gets no further up than here.
 */
static int open_readonly(struct cgroup_group *g)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
					       MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };

	g->readonly = open_tree(g->dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (g->readonly < 0 ||
	    mount_setattr(g->readonly, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

int cgroups_open(const struct config *config, struct loop *loop, struct cgroups **ret,
		 struct failure *f)
{
	struct cgroups *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return fail(f, ENOMEM, "cannot set up cgroups");
	c->loop = loop;
	list_init(&c->groups);
	list_init(&c->in_use);
	list_init(&c->dying);
	group_init(&c->user);
	c->user.name = (char *)"user";
	r = cgroup_tree_open(config, &c->tree, f);
	if (r < 0) {
		free(c);
		return r;
	}
	c->user.dir = c->tree.user;
	memcpy(c->user.max, c->tree.user_max, sizeof(c->user.max));
	r = open_readonly(&c->user);
	if (r < 0) {
		cgroups_close(c);
		return fail(f, -r, "cannot make a mount of the cgroups of user code");
	}
	*ret = c;
	return 0;
}

static void cgroup_free(struct cgroup *g)
{
	loop_remove(g->cgroups->loop, &g->source);
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

static void group_free(struct cgroup_group *g)
{
	free_all(&g->pool);
	list_remove(&g->link);
	close_fd(&g->dir);
	close_fd(&g->readonly);
	free(g->name);
	free(g->context);
	free(g);
}

void cgroups_close(struct cgroups *c)
{
	if (!c)
		return;
	free_all(&c->user.pool);
	free_all(&c->in_use);
	free_all(&c->dying);
	while (!list_empty(&c->groups))
		group_free(list_entry(c->groups.next, struct cgroup_group, link));
	close_fd(&c->user.readonly);
	cgroup_tree_close(&c->tree);
	free(c);
}

const char *cgroups_path(const struct cgroups *cgroups)
{
	return cgroups->tree.path;
}

bool cgroups_have_memory(const struct cgroups *cgroups)
{
	return cgroups->tree.have[LIMIT_MEMORY];
}

/* Limits */

void cgroups_for_each_limits(const struct cgroups *cgroups,
			     void (*fn)(const struct cgroup_limits *limits, void *data), void *data)
{
	struct cgroup_limits limits = { 0 };

	memcpy(limits.max, cgroups->user.max, sizeof(limits.max));
	fn(&limits, data);
	list_for_each(pos, &cgroups->groups) {
		const struct cgroup_group *g = list_entry(pos, struct cgroup_group, link);

		limits.context = g->context;
		memcpy(limits.max, g->max, sizeof(limits.max));
		fn(&limits, data);
	}
}

const char *cgroups_missing(const struct cgroups *cgroups, enum config_limit limit)
{
	return cgroups->tree.have[limit] ? NULL : cgroups->tree.missing[limit];
}

uint64_t cgroups_reserve(const struct cgroups *cgroups)
{
	return cgroups->tree.reserve;
}

/* Only what the limits need is switched on in user, and memory, which counts OOM kills, beneath. */
static int group_make(struct cgroups *c, struct cgroup_group *g, const uint64_t limits[LIMIT_COUNT],
		      bool best_effort, struct failure *f)
{
	const char *name = g->name + strlen("user/");
	char of[64];
	int r = 0;

	for (enum config_limit i = 0; i < LIMIT_COUNT && r == 0; i++)
		if (c->tree.have[i] && limits[i] != 0 && limits[i] != CONFIG_NO_LIMIT)
			r = cgroup_tree_enable(c->user.dir, i);
	if (r == 0 && mkdirat(c->user.dir, name, 0755) < 0)
		r = -errno;
	if (r == 0) {
		g->dir = openat(c->user.dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = g->dir < 0 ? -errno : 0;
	}
	if (r == 0 && c->tree.have[LIMIT_MEMORY])
		r = cgroup_tree_enable(g->dir, LIMIT_MEMORY);
	if (r == 0)
		r = open_readonly(g);
	if (r < 0)
		return fail(f, -r, "cannot make cgroup %s/%s", c->tree.path, g->name);
	snprintf(of, sizeof(of), "context %s", g->context);
	return cgroup_limits_set(&c->tree, g->dir, of, best_effort, limits, g->max, f);
}

int cgroup_group_add(struct cgroups *c, const char *context, const uint64_t limits[LIMIT_COUNT],
		     bool best_effort, struct cgroup_group **ret, struct failure *f)
{
	struct cgroup_group *g = calloc(1, sizeof(*g));
	int r = -ENOMEM;

	if (!g)
		return fail(f, ENOMEM, "cannot make a cgroup for context %s", context);
	group_init(g);
	g->context = strdup(context);
	if (!g->context || asprintf(&g->name, "user/context-%s", context) < 0) {
		g->name = NULL;
		fail(f, ENOMEM, "cannot make a cgroup for context %s", context);
	} else {
		r = group_make(c, g, limits, best_effort, f);
	}
	if (r < 0) {
		if (g->dir >= 0)
			(void)unlinkat(c->user.dir, g->name + strlen("user/"), AT_REMOVEDIR);
		group_free(g);
		return r;
	}
	list_append(&c->groups, &g->link);
	*ret = g;
	return 0;
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
	if (r < 0) {
		cgroup_free(g);
		return fail(f, -r, "cannot make cgroup %s/%s/%s", c->tree.path,
			    group ? group->name : "control", name);
	}
	g->oom_base = oom_kills(g);
	list_append(&c->in_use, &g->link);
	*ret = g;
	return 0;
}

static bool is_dying(struct cgroups *c, const char *name)
{
	list_for_each(pos, &c->dying) {
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
	/* What its last user left in it may take its time to die. */
	for (unsigned i = 2; is_dying(c, full); i++)
		snprintf(full, sizeof(full), "%s.%u", name, i);
	return cgroup_make(c, NULL, full, ret, f);
}

int cgroup_get_exec(struct cgroups *c, struct cgroup_group *group, struct cgroup **ret,
		    struct failure *f)
{
	struct cgroup *g;
	char name[32];

	if (!group)
		group = &c->user;
	if (list_empty(&group->pool)) {
		snprintf(name, sizeof(name), "exec-%llu", (unsigned long long)++c->next_exec);
		return cgroup_make(c, group, name, ret, f);
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

	if (g->group && !g->killed && c->n_pool < POOL_MAX) {
		g->oom_base = oom_kills(g);
		list_remove(&g->link);
		list_append(&g->group->pool, &g->link);
		c->n_pool++;
		return;
	}
	cgroup_remove(parent_dir(g), g->name);
	cgroup_free(g);
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

void cgroup_put(struct cgroup *g)
{
	int r;

	if (!g)
		return;
	(void)cgroup_watch_empty(g, NULL, NULL);
	if (!cgroup_events_populated(g->events)) {
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

		if (g->dir == fd)
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

	if (!cgroup_events_populated(cgroup->events))
		return false;
	stat = openat(cgroup->dir, "cgroup.stat", O_RDONLY | O_CLOEXEC);
	if (stat < 0 || cgroup_read_key(stat, "nr_descendants", &descendants) < 0 ||
	    descendants > 0)
		return true;
	procs = openat(cgroup->dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	return procs < 0 || read(procs, &byte, 1) != 0;
}

static void tell_empty(struct cgroup *g)
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
		tell_empty(g);
}

static void on_soon(struct loop_timer *timer)
{
	tell_empty(container_of(timer, struct cgroup, soon));
}

int cgroup_watch_empty(struct cgroup *g, cgroup_empty_fn on_empty, void *data)
{
	struct loop *loop = g->cgroups->loop;
	int r;

	loop_remove(loop, &g->source);
	loop_timer_cancel(loop, &g->soon);
	g->on_empty = on_empty;
	g->data = data;
	if (!on_empty)
		return 0;
	/* In this order: a change after the reading is an event, so that none is lost. */
	r = loop_add(loop, &g->source, g->events, EPOLLPRI, on_cgroup_events);
	if (r == 0 && !cgroup_events_populated(g->events)) {
		loop_remove(loop, &g->source);
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
