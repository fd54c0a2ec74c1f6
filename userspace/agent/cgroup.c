/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include "agent/cgroup_file.h"
#include "agent/cgroup_find.h"
#include "base/list.h"
#include "base/log.h"

/* Empty exec cgroups kept for the next commands. The kernel tells that a cgroup has become empty up
 * to 10 ms late (CGROUP_FILE_NOTIFY_MIN_INTV), so that this many are enough for 25,000 execs/s. */
#define POOL_MAX 256u
#define GONE_MS 5000
#define LINGER_NS (100 * NSEC_PER_MSEC)
#define AGENT_DIR "agent"

struct cgroups {
	struct loop *loop;
	char *base, *path; /* path: BASE/moat-INSTANCE */
	int dir;
	bool memory;        /* the memory controller counts in our children */
	bool moved;         /* the agent sits in path/agent and goes back to base at the end */
	char *enabled;      /* what we wrote to base/cgroup.subtree_control; NULL: nothing */
	uint64_t next_exec;
	struct list pool;   /* empty exec cgroups */
	size_t n_pool;
	struct list in_use; /* given out */
	struct list dying;  /* put while not empty: killed, wait to be empty */
};

struct cgroup {
	struct list link;
	struct cgroups *cgroups;
	char *name;
	bool named;            /* has an owner's name: removed rather than pooled */
	bool killed;           /* never to be used again, see cgroup_kill() */
	int dir, events;       /* the directory, and cgroup.events in it */
	uint64_t oom_base;     /* oom_kill of memory.events when it was given out */
	struct loop_source source;
	struct loop_timer soon; /* calls back when it was empty from the start; dying: see put */
	cgroup_empty_fn on_empty;
	void *data;
};

/* Directories and files */

/* Everything but the agent's own place, which a kill of the whole instance would include. */
static void kill_child(int dir, const char *name)
{
	FD_OWNED int child = -EBADF;
	int r;

	if (strcmp(name, AGENT_DIR) == 0)
		return;
	child = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = child < 0 ? -errno : write_file_at(child, "cgroup.kill", "1");
	if (r < 0 && r != -ENOENT)
		log_warning("cannot kill cgroup %s: %s", name, strerror(-r));
}

/* Removes a cgroup and its descendants, which services may have made. */
static void remove_child(int dir, const char *name)
{
	FD_OWNED int child = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (child >= 0)
		(void)cgroup_for_each_child(child, remove_child);
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		log_warning("cannot remove cgroup %s: %s", name, strerror(errno));
}

/* Blocks, at start and stop only, until nothing is left in dir. 0 or -ETIMEDOUT. */
static int wait_empty(int dir)
{
	FD_OWNED int events = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
	uint64_t end = now_ns() + GONE_MS * NSEC_PER_MSEC;

	if (events < 0)
		return -errno;
	while (cgroup_events_populated(events)) {
		struct pollfd p = { .fd = events, .events = POLLPRI };
		uint64_t now = now_ns();

		if (now >= end)
			return -ETIMEDOUT;
		(void)poll(&p, 1, (int)((end - now) / NSEC_PER_MSEC) + 1);
	}
	return 0;
}

/* Controllers */

/*
 * A cgroup with controllers for its children may hold no process itself ("no internal processes"
 * in the kernel's cgroup-v2.rst). Where the agent is what stands in the way, as in a container, it
 * moves to a leaf of its own; if others are there too, all stays as it was.
 */
static void get_controllers(struct cgroups *c, int base)
{
	FD_OWNED int leaf = -EBADF;
	PTR_OWNED char *on = NULL;
	int r = cgroup_enable_controllers(base, &c->enabled);

	if (r == -EBUSY) {
		if (mkdirat(c->dir, AGENT_DIR, 0755) < 0 && errno != EEXIST)
			return;
		leaf = openat(c->dir, AGENT_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (leaf >= 0 && write_file_at(leaf, "cgroup.procs", "0") == 0) {
			r = cgroup_enable_controllers(base, &c->enabled);
			c->moved = r == 0;
			if (r < 0)
				(void)write_file_at(base, "cgroup.procs", "0");
		}
		if (!c->moved)
			(void)unlinkat(c->dir, AGENT_DIR, AT_REMOVEDIR);
	}
	if (r == 0)
		r = cgroup_enable_controllers(c->dir, NULL);
	if (r < 0)
		log_info("no memory and pids controllers for %s: %s", c->path, strerror(-r));
	if (read_file_at(c->dir, "cgroup.subtree_control", 4096, &on, NULL) == 0)
		c->memory = strstr(on, "memory") != NULL;
}

static void give_controllers_back(struct cgroups *c)
{
	FD_OWNED int base = open(c->base, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (base < 0)
		return;
	if (c->enabled && *c->enabled) {
		/* Ours first: a controller cannot be taken from a parent that still gives it on. */
		(void)write_file_at(c->dir, "cgroup.subtree_control", c->enabled);
		(void)write_file_at(base, "cgroup.subtree_control", c->enabled);
	}
	if (c->moved && write_file_at(base, "cgroup.procs", "0") < 0)
		log_warning("cannot leave cgroup %s/" AGENT_DIR ": %s", c->path, strerror(errno));
}

/* The instance */

/* A directory that an agent died in: whatever still runs there is of an instance that is gone. */
static int clear_instance(struct cgroups *c, struct failure *f)
{
	int r;

	(void)cgroup_for_each_child(c->dir, kill_child);
	r = wait_empty(c->dir);
	if (r < 0)
		return fail(f, -r, "processes of an earlier agent do not die in %s", c->path);
	(void)cgroup_for_each_child(c->dir, remove_child);
	return 0;
}

/* Refuses a base inside which the agent itself would be killed. */
static int check_not_inside(const struct cgroups *c, struct failure *f)
{
	PTR_OWNED char *own = NULL;
	size_t n = strlen(c->path);

	if (cgroup_find_own(&own, NULL) == 0 && strncmp(own, c->path, n) == 0 &&
	    (own[n] == '/' || own[n] == '\0'))
		return fail(f, EBUSY, "the agent itself runs in %s", c->path);
	return 0;
}

static int open_instance(struct cgroups *c, struct failure *f)
{
	FD_OWNED int base = open(c->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;
	int r;

	if (base < 0)
		return fail(f, errno, "cannot open cgroup directory %s", c->base);
	if (fstatfs(base, &fs) < 0)
		return fail(f, errno, "cannot examine %s", c->base);
	if (fs.f_type != CGROUP2_SUPER_MAGIC)
		return fail(f, EINVAL, "%s is not on a cgroup2 file system", c->base);
	r = check_not_inside(c, f);
	if (r < 0)
		return r;
	if (mkdir(c->path, 0755) < 0 && errno != EEXIST)
		return fail(f, errno, "cannot make cgroup %s", c->path);
	c->dir = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir < 0)
		return fail(f, errno, "cannot open cgroup %s", c->path);
	r = clear_instance(c, f);
	if (r < 0)
		return r;
	if (faccessat(c->dir, "cgroup.kill", W_OK, AT_EACCESS) < 0)
		return fail(f, errno, "no cgroup.kill in %s (it came with Linux 5.14)", c->path);
	get_controllers(c, base);
	return 0;
}

int cgroups_open(const char *instance, const char *base, struct loop *loop, struct cgroups **ret,
		 struct failure *f)
{
	struct cgroups *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return fail(f, ENOMEM, "cannot set up cgroups");
	c->loop = loop;
	c->dir = -EBADF;
	list_init(&c->pool);
	list_init(&c->in_use);
	list_init(&c->dying);
	if (base) {
		c->base = strdup(base);
		r = c->base ? 0 : fail(f, ENOMEM, "cannot set up cgroups");
	} else {
		r = cgroup_find_own(&c->base, f);
	}
	if (r == 0 && asprintf(&c->path, "%s/moat-%s", c->base, instance) < 0) {
		c->path = NULL;
		r = fail(f, ENOMEM, "cannot set up cgroups");
	}
	if (r == 0)
		r = open_instance(c, f);
	if (r < 0) {
		cgroups_close(c);
		return r;
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

void cgroups_close(struct cgroups *c)
{
	if (!c)
		return;
	free_all(&c->pool);
	free_all(&c->in_use);
	free_all(&c->dying);
	if (c->dir >= 0) {
		(void)cgroup_for_each_child(c->dir, kill_child);
		give_controllers_back(c);
		if (wait_empty(c->dir) == -ETIMEDOUT)
			log_warning("processes do not die in %s", c->path);
		(void)cgroup_for_each_child(c->dir, remove_child);
		close_fd(&c->dir);
		if (rmdir(c->path) < 0)
			log_warning("cannot remove cgroup %s: %s", c->path, strerror(errno));
	}
	free(c->enabled);
	free(c->base);
	free(c->path);
	free(c);
}

const char *cgroups_path(const struct cgroups *cgroups)
{
	return cgroups->path;
}

bool cgroups_have_memory(const struct cgroups *cgroups)
{
	return cgroups->memory;
}

/* One cgroup */

static uint64_t oom_kills(const struct cgroup *g)
{
	FD_OWNED int fd = -EBADF;
	uint64_t count = 0;

	if (!g->cgroups->memory)
		return 0;
	fd = openat(g->dir, "memory.events", O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)cgroup_read_key(fd, "oom_kill", &count);
	return count;
}

/* Makes BASE/…/name, which may be there already, and opens it. */
static int cgroup_make(struct cgroups *c, const char *name, struct cgroup **ret, struct failure *f)
{
	struct cgroup *g = calloc(1, sizeof(*g));

	if (!g)
		return fail(f, ENOMEM, "cannot make cgroup %s", name);
	g->cgroups = c;
	list_init(&g->link);
	g->source.fd = g->dir = g->events = -EBADF;
	g->name = strdup(name);
	if (!g->name || (mkdirat(c->dir, name, 0755) < 0 && errno != EEXIST)) {
		int r = fail(f, errno, "cannot make cgroup %s/%s", c->path, name);

		cgroup_free(g);
		return r;
	}
	g->dir = openat(c->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->dir >= 0)
		g->events = openat(g->dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
	if (g->dir < 0 || g->events < 0) {
		int r = fail(f, errno, "cannot open cgroup %s/%s", c->path, name);

		cgroup_free(g);
		(void)unlinkat(c->dir, name, AT_REMOVEDIR);
		return r;
	}
	g->oom_base = oom_kills(g);
	*ret = g;
	return 0;
}

static void give_out(struct cgroup *g, struct cgroup **ret)
{
	list_remove(&g->link);
	list_append(&g->cgroups->in_use, &g->link);
	*ret = g;
}

static bool is_dying(struct cgroups *c, const char *name)
{
	list_for_each(pos, &c->dying)
		if (strcmp(list_entry(pos, struct cgroup, link)->name, name) == 0)
			return true;
	return false;
}

int cgroup_get(struct cgroups *c, const char *name, struct cgroup **ret, struct failure *f)
{
	struct cgroup *g = NULL;
	char full[128];
	int r;

	if (!name && !list_empty(&c->pool)) {
		/* The last one put: its pages are the warmest. */
		g = list_entry(c->pool.prev, struct cgroup, link);
		c->n_pool--;
		give_out(g, ret);
		return 0;
	}
	if (name)
		snprintf(full, sizeof(full), "%s", name);
	else
		snprintf(full, sizeof(full), "exec-%llu", (unsigned long long)++c->next_exec);
	/* What its last user left in it may take its time to die. */
	for (unsigned i = 2; is_dying(c, full); i++)
		snprintf(full, sizeof(full), "%s.%u", name, i);
	r = cgroup_make(c, full, &g, f);
	if (r < 0)
		return r;
	g->named = name != NULL;
	give_out(g, ret);
	return 0;
}

/* An empty cgroup goes to the pool or away. */
static void reclaim(struct cgroup *g)
{
	struct cgroups *c = g->cgroups;

	if (!g->named && !g->killed && c->n_pool < POOL_MAX) {
		g->oom_base = oom_kills(g);
		list_remove(&g->link);
		list_append(&c->pool, &g->link);
		c->n_pool++;
		return;
	}
	remove_child(c->dir, g->name);
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
	cgroup->killed = true;
	return write_file_at(cgroup->dir, "cgroup.kill", "1");
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
	if (!cgroup->cgroups->memory)
		return -ENOTSUP;
	*ret_count = oom_kills(cgroup) - cgroup->oom_base;
	return 0;
}
