/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroup of a context. What its commands take is shared out here, and what they leave (files in
 * memory, pages of files) stays charged here when they are gone: so that another context is not the
 * one who cannot start anything.
 *
 * It has a directory from its first command on, and loses it when it has been idle longest of too
 * many. While files in memory are charged to it the directory stays, and only the descriptors go:
 * they would be charged to nobody's limit.
 */
#include "agent/cgroup/internal.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/cgroup/file.h"
#include "agent/config/value.h"
#include "base/log.h"

#define GROUPS_IDLE_MAX 64u
#define FILES_SMALL (64u * 1024)
#define PIDS_LEFT 256u
#define SHM_LEAST (1024u * 1024ull)

static bool has_directory(const struct cgroup_group *g)
{
	return g->dir >= 0 || g->parked;
}

/* A file of its directory, opened also where it is parked; -1. */
static int open_file(const struct cgroup_group *g, const char *file)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", g->name, file);
	return openat(g->cgroups->tree.user, path, O_RDONLY | O_CLOEXEC);
}

/* What is charged to it for tmpfs and shared memory; 0 when that cannot be told. */
static uint64_t files_of(const struct cgroup_group *g)
{
	FD_OWNED int fd = -EBADF;
	uint64_t bytes = 0;

	if (!has_directory(g) || !g->cgroups->tree.have[LIMIT_MEMORY])
		return 0;
	fd = open_file(g, "memory.stat");
	if (fd >= 0)
		(void)cgroup_read_key(fd, "shmem", &bytes);
	return bytes;
}

/* Usage */

static uint64_t read_now(const struct cgroup_group *g, enum config_limit limit, const char *file)
{
	FD_OWNED int fd = -EBADF;
	char text[32];
	ssize_t n;

	if (!g->cgroups->tree.have[limit])
		return CGROUP_UNKNOWN;
	if (!has_directory(g))
		return 0;
	fd = open_file(g, file);
	n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return CGROUP_UNKNOWN;
	text[n] = '\0';
	return strtoull(text, NULL, 10);
}

/* Of this directory; every cgroup counts it, whichever controllers are on. */
static uint64_t cpu_now(const struct cgroup_group *g)
{
	FD_OWNED int fd = has_directory(g) ? open_file(g, "cpu.stat") : -EBADF;
	uint64_t us = 0;

	if (fd >= 0)
		(void)cgroup_read_key(fd, "usage_usec", &us);
	return us;
}

void cgroup_group_usage(const struct cgroup_group *g, struct cgroup_usage *ret)
{
	*ret = (struct cgroup_usage){
		.memory = read_now(g, LIMIT_MEMORY, "memory.current"),
		.processes = read_now(g, LIMIT_PIDS, "pids.current"),
		.cpu_us = cgroups_are_there(g->cgroups) ? g->cpu_us + cpu_now(g) : CGROUP_UNKNOWN,
	};
}

/* Limits */

static uint64_t default_limit(const struct cgroups *c, enum config_limit limit)
{
	uint64_t all = c->tree.user_max[limit];

	if (all == CONFIG_NO_LIMIT)
		return CONFIG_NO_LIMIT;
	switch (limit) {
	case LIMIT_MEMORY:
		return all / 4 * 3;
	case LIMIT_PIDS:
		/* Two contexts that have all they may leave some to a third. */
		return all > 4 * PIDS_LEFT ? (all - PIDS_LEFT) / 2 : (all + 1) / 2;
	case LIMIT_CPU: /* by weight */
	case LIMIT_COUNT:
		break;
	}
	return CONFIG_NO_LIMIT;
}

void cgroups_for_each_limits(const struct cgroups *cgroups,
			     void (*fn)(const struct cgroup_limits *limits, void *data), void *data)
{
	struct cgroup_limits limits = { 0 };

	memcpy(limits.max, cgroups->tree.user_max, sizeof(limits.max));
	fn(&limits, data);
	list_for_each(pos, &cgroups->groups) {
		const struct cgroup_group *g = list_entry(pos, struct cgroup_group, link);

		limits.context = g->context;
		memcpy(limits.max, g->max, sizeof(limits.max));
		limits.files = files_of(g);
		limits.used = has_directory(g);
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

uint64_t cgroups_for_clients(const struct cgroups *cgroups)
{
	return cgroups->tree.for_clients;
}

uint64_t cgroups_shm_take(struct cgroups *c, uint64_t wanted)
{
	uint64_t most = c->tree.user_memory / 8, half = c->shm < most ? (most - c->shm) / 2 : 0;
	uint64_t size = wanted < half ? wanted : half;

	if (size < SHM_LEAST)
		size = SHM_LEAST;
	size &= ~(SHM_LEAST - 1);
	c->shm += size;
	return size;
}

void cgroups_shm_give_back(struct cgroups *c, uint64_t size)
{
	c->shm -= size;
}

int cgroup_group_limit(const struct cgroup_group *g, const char *name)
{
	FD_OWNED int dir = openat(g->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct cgroup_tree *tree = &g->cgroups->tree;
	uint64_t limits[LIMIT_COUNT], set[LIMIT_COUNT];

	if (dir < 0)
		return -errno;
	memcpy(limits, g->max, sizeof(limits));
	limits[LIMIT_PIDS] = CONFIG_NO_LIMIT; /* no program asks for it */
	return cgroup_limits_set(tree, dir, g->context, g->best_effort, limits, set, NULL);
}

/* The directory */

static bool is_forgotten(const struct cgroups *c, const char *name)
{
	list_for_each(pos, &c->forgotten)
		if (strcmp(list_entry(pos, struct cgroup_group, link)->name, name) == 0)
			return true;
	return false;
}

/* After its context, if that can be; never one that another has, or whose processes still die. */
static void name_dir(struct cgroup_group *g)
{
	struct cgroups *c = g->cgroups;

	if (config_value_is_name(g->context)) {
		snprintf(g->name, sizeof(g->name), "context-%s", g->context);
		if (is_forgotten(c, g->name))
			snprintf(g->name, sizeof(g->name), "context-%s_%llu", g->context,
				 (unsigned long long)++c->next_group);
	} else {
		snprintf(g->name, sizeof(g->name), "context-session_%llu",
			 (unsigned long long)++c->next_group);
	}
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
	const struct cgroup_tree *tree = &g->cgroups->tree;
	FD_OWNED int shown = -EBADF;
	char path[192];

	/* Before Linux 6.15 what is detached itself cannot be cloned. */
	if (tree->base.shown >= 0) {
		snprintf(path, sizeof(path), "%s/user/%s", tree->name, g->name);
		shown = openat(tree->base.shown, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (shown < 0)
			return -errno;
	}
	g->readonly = open_tree(shown >= 0 ? shown : g->dir, "",
				OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (g->readonly < 0 ||
	    mount_setattr(g->readonly, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

/*
 * None beneath those of its execs: user code that has a cgroup namespace of its own makes as many as it likes there, and
 * the agent would have to remove them all.
 */
static int forbid_more(const struct cgroup_group *g)
{
	int r = write_file_at(g->dir, "cgroup.max.depth", "1");

	return r == -ENOENT ? 0 : r;
}

/* Or the parked ones. */
static void leave_idle(struct cgroup_group *g)
{
	if (list_empty(&g->idle))
		return;
	list_remove(&g->idle);
	if (!g->parked)
		g->cgroups->n_idle--;
	g->parked = false;
}

/* Beneath it: memory, which counts OOM kills, and what its execs are shown of their limits. */
static int group_open(struct cgroup_group *g, struct failure *f)
{
	struct cgroups *c = g->cgroups;
	uint64_t set[LIMIT_COUNT];
	const char *name = g->name;
	char of[64];
	int r = 0;

	if (mkdirat(c->tree.user, name, 0755) < 0 && errno != EEXIST)
		return fail(f, errno, "cannot make cgroup %s/user/%s", c->tree.path, name);
	g->dir = openat(c->tree.user, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->dir < 0)
		r = -errno;
	if (r == 0)
		r = forbid_more(g);
	if (r == 0)
		r = open_readonly(g);
	if (r == 0 && c->tree.have[LIMIT_MEMORY])
		r = cgroup_tree_enable(g->dir, LIMIT_MEMORY);
	if (r == 0 && c->tree.have[LIMIT_CPU] && g->max[LIMIT_CPU] != CONFIG_NO_LIMIT)
		r = cgroup_tree_enable(g->dir, LIMIT_CPU);
	if (r < 0) {
		fail(f, -r, "cannot make cgroup %s/user/%s", c->tree.path, name);
	} else {
		snprintf(of, sizeof(of), "context %s", g->context);
		r = cgroup_limits_set(&c->tree, g->dir, of, g->best_effort, g->max, set, f);
	}
	if (r == 0)
		memcpy(g->max, set, sizeof(set));
	if (r < 0) {
		close_fd(&g->dir);
		close_fd(&g->readonly);
		if (!g->parked)
			(void)unlinkat(c->tree.user, name, AT_REMOVEDIR);
		return r;
	}
	leave_idle(g);
	c->n_open++;
	return 0;
}

static void enter_idle(struct cgroup_group *g)
{
	list_append(&g->cgroups->idle, &g->idle);
	g->cgroups->n_idle++;
}

static void close_dirs(struct cgroup_group *g)
{
	while (!list_empty(&g->pool)) {
		struct cgroup *exec = list_entry(g->pool.next, struct cgroup, link);

		cgroup_remove(g->dir, exec->name);
		cgroup_free(exec);
		g->cgroups->n_pool--;
	}
	leave_idle(g);
	if (g->dir >= 0)
		g->cgroups->n_open--;
	close_fd(&g->dir);
	close_fd(&g->readonly);
}

static void group_close(struct cgroup_group *g)
{
	g->cpu_us += cpu_now(g);
	close_dirs(g);
	if (cgroups_are_there(g->cgroups))
		cgroup_remove(g->cgroups->tree.user, g->name);
}

static void park(struct cgroup_group *g)
{
	close_dirs(g);
	g->parked = true;
	list_append(&g->cgroups->parked, &g->idle);
}

/* One goes for each that comes. */
static void close_idle(struct cgroups *c)
{
	while (!list_empty(&c->idle) && (c->n_idle > GROUPS_IDLE_MAX || c->n_open > c->open_max)) {
		struct cgroup_group *g = list_entry(c->idle.next, struct cgroup_group, idle);

		if (files_of(g) < FILES_SMALL)
			group_close(g);
		else
			park(g);
	}
}

/* One at a time, whose files may be gone. */
static void look_at_parked(struct cgroups *c)
{
	struct cgroup_group *g;

	if (list_empty(&c->parked))
		return;
	g = list_entry(c->parked.next, struct cgroup_group, idle);
	if (files_of(g) < FILES_SMALL) {
		group_close(g);
	} else {
		list_remove(&g->idle);
		list_append(&c->parked, &g->idle);
	}
}

void cgroups_limit(struct cgroups *c, size_t pool, size_t groups)
{
	if (pool < c->pool_max)
		c->pool_max = pool;
	if (groups < c->open_max)
		c->open_max = groups;
	close_idle(c);
}

int cgroup_group_take(struct cgroup_group *g, struct failure *f)
{
	int r = g->dir < 0 && cgroups_are_there(g->cgroups) ? group_open(g, f) : 0;

	if (r < 0)
		return r;
	leave_idle(g);
	g->n_busy++;
	close_idle(g->cgroups);
	return 0;
}

void cgroup_group_put(struct cgroup_group *g)
{
	if (--g->n_busy > 0)
		return;
	if (g->forgotten) {
		group_close(g);
		cgroup_group_free(g);
		return;
	}
	enter_idle(g);
	look_at_parked(g->cgroups);
	close_idle(g->cgroups);
}

uint64_t cgroup_files(const struct cgroup *cgroup)
{
	return cgroup->group ? files_of(cgroup->group) : 0;
}

/* Coming and going */

/* Where there are no cgroups. */
static int limit_nothing(struct cgroup_group *g, const uint64_t limits[LIMIT_COUNT],
			 struct failure *f)
{
	char of[64];

	snprintf(of, sizeof(of), "context %s", g->context);
	return cgroup_limits_set(&g->cgroups->tree, -EBADF, of, g->best_effort, limits, g->max, f);
}

void cgroup_group_free(struct cgroup_group *g)
{
	leave_idle(g);
	list_remove(&g->link);
	close_fd(&g->dir);
	close_fd(&g->readonly);
	free(g->context);
	free(g);
}

int cgroup_group_add(struct cgroups *c, const char *context, const uint64_t limits[LIMIT_COUNT],
		     bool best_effort, struct cgroup_group **ret, struct failure *f)
{
	struct cgroup_group *g = calloc(1, sizeof(*g));
	bool named = false;
	int r = 0;

	if (!g || !(g->context = strdup(context))) {
		free(g);
		return fail(f, ENOMEM, "cannot make a cgroup for context %s", context);
	}
	list_init(&g->link);
	list_init(&g->idle);
	list_init(&g->pool);
	g->cgroups = c;
	g->dir = g->readonly = -EBADF;
	g->best_effort = best_effort;
	name_dir(g);
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++) {
		g->max[i] = limits[i] ? limits[i] : default_limit(c, i);
		named = named || (limits[i] && limits[i] != CONFIG_NO_LIMIT);
	}
	/* At once, so that a limit that cannot be is told at the start. */
	if (!cgroups_are_there(c))
		r = limit_nothing(g, limits, f);
	else if (named)
		r = group_open(g, f);
	if (r < 0) {
		cgroup_group_free(g);
		return r;
	}
	list_append(&c->groups, &g->link);
	*ret = g;
	if (named && has_directory(g)) {
		enter_idle(g);
		close_idle(c);
	}
	return 0;
}

void cgroup_group_forget(struct cgroup_group *g)
{
	g->forgotten = true;
	list_remove(&g->link);
	if (g->n_busy) {
		list_append(&g->cgroups->forgotten, &g->link);
		return;
	}
	if (has_directory(g))
		group_close(g);
	cgroup_group_free(g);
}
