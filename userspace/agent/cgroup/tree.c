/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup/tree.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "agent/cgroup/file.h"
#include "agent/process/lineage.h"
#include "base/log.h"

#define GONE_MS 5000
#define MOVE_ROUNDS 16 /* what is moved may fork meanwhile */

/* In this order, because memory alone makes the kernel refuse BASE while processes sit in it. */
_Static_assert(LIMIT_MEMORY == 0, "see enable()");

static int make_dir(int parent, const char *name, int *ret_dir)
{
	if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	*ret_dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_dir < 0 ? -errno : 0;
}

/* The end of what is in it */

static int kill_child(int dir, const char *name, void *data)
{
	FD_OWNED int child = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = child < 0 ? -errno : write_file_at(child, "cgroup.kill", "1");

	(void)data;
	if (r < 0 && r != -ENOENT)
		log_warning("cannot kill cgroup %s: %s", name, strerror(-r));
	return 0;
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

static int wait_child(int dir, const char *name, void *data)
{
	FD_OWNED int child = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)data;
	if (child >= 0 && wait_empty(child) == -ETIMEDOUT)
		log_warning("processes do not die in cgroup %s", name);
	return 0;
}

/*
 * A directory that an agent died in: whatever still runs there is of an instance that is gone. It is made
 * anew, because nothing can be born in one that was killed (see cgroup_kill()).
 */
static int clear_dead(struct cgroup_tree *t, struct failure *f)
{
	int r;

	(void)write_file_at(t->dir, "cgroup.kill", "1");
	r = wait_empty(t->dir);
	if (r < 0)
		return fail(f, -r, "processes of an earlier agent do not die in %s", t->path);
	cgroup_remove_children(t->dir);
	close_fd(&t->dir);
	if (unlinkat(t->base.dir, t->name, AT_REMOVEDIR) < 0)
		return fail(f, errno, "cannot remove %s of an earlier agent", t->path);
	r = make_dir(t->base.dir, t->name, &t->dir);
	return r < 0 ? fail(f, -r, "cannot make cgroup %s", t->path) : 0;
}

/* Moving */

static int enter(int dir, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	return write_file_at(dir, "cgroup.procs", text);
}

static pid_t parent_of(pid_t pid)
{
	PTR_OWNED char *text = NULL;
	const char *line = NULL;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (read_file_at(AT_FDCWD, path, 65536, &text, NULL) == 0)
		line = strstr(text, "\nPPid:");
	return line ? (pid_t)atoi(line + 6) : -1;
}

/*
 * Moves every process of one cgroup to another. own_only: but for what is not a child of the agent,
 * which is left. ret_left is one that stays (0: in a PID namespace out of sight), or -1.
 */
static int move_all(int from, int to, bool own_only, pid_t *ret_left)
{
	*ret_left = -1;
	for (int round = 0; round < MOVE_ROUNDS; round++) {
		PTR_OWNED char *text = NULL;
		char *save = NULL;
		int r = read_file_at(from, "cgroup.procs", 1u << 20, &text, NULL);

		if (r < 0 || !*text)
			return r;
		*ret_left = -1;
		for (char *p = strtok_r(text, "\n", &save); p; p = strtok_r(NULL, "\n", &save)) {
			pid_t pid = atoi(p);

			if (pid <= 0 || (own_only && parent_of(pid) != getpid()))
				*ret_left = pid;
			else if ((r = enter(to, pid)) < 0 && r != -ESRCH)
				return r;
		}
		if (*ret_left >= 0)
			return -EBUSY;
	}
	return -EBUSY;
}

/*
 * A cgroup that gives controllers to its children may hold no process itself, but for the root
 * ("no internal processes" in the kernel's cgroup-v2.rst). Where BASE is the agent's own cgroup, it
 * leaves for control; what else sits there goes along if it is the agent's to move: its children,
 * and as PID 1 in the root of a container's cgroup namespace everything. 0 or -errno with why filled.
 */
static int move_in(struct cgroup_tree *t, struct failure *why)
{
	bool root = faccessat(t->base.dir, "cgroup.type", F_OK, 0) < 0;
	bool all = false;
	pid_t left;
	int r = cgroup_place_open(NULL, &t->home, why);

	if (r < 0)
		return r;
	all = getpid() == 1 && cgroup_own_is_root() && cgroup_place_equal(&t->home, &t->base);
	r = enter(t->control, getpid());
	if (r < 0) {
		cgroup_place_close(&t->home);
		return fail(why, -r, "the agent cannot move to %s/control", t->path);
	}
	if (root)
		return 0;
	r = move_all(t->base.dir, t->control, !all, &left);
	if (r == -EBUSY && left > 0)
		return fail(why, EBUSY, "process %d sits in %s itself", (int)left, t->base.path);
	return r < 0 ? fail(why, -r, "processes sit in %s itself", t->base.path) : 0;
}

static void move_out(struct cgroup_tree *t)
{
	pid_t left;
	int r;

	if (t->home.dir < 0)
		return;
	r = enter(t->home.dir, getpid());
	if (r == 0)
		r = move_all(t->control, t->base.dir, false, &left);
	if (r < 0)
		log_warning("cannot leave cgroup %s/control: %s", t->path, strerror(-r));
	cgroup_place_close(&t->home);
}

/* Controllers */

int cgroup_tree_enable(int dir, enum config_limit limit)
{
	char text[16];

	snprintf(text, sizeof(text), "+%s", config_limit_name(limit));
	return write_file_at(dir, "cgroup.subtree_control", text);
}

static void disable(int dir, enum config_limit limit)
{
	char text[16];

	snprintf(text, sizeof(text), "-%s", config_limit_name(limit));
	/* Not if a child still gives it on, of ours or of somebody else's: then it has to stay. */
	(void)write_file_at(dir, "cgroup.subtree_control", text);
}

static void none_is_on(struct cgroup_tree *t, const char *reason)
{
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++)
		if (!t->missing[i][0])
			snprintf(t->missing[i], sizeof(t->missing[i]), "%.*s",
				 (int)sizeof(t->missing[i]) - 1, reason);
}

/*
 * One by one: each can be refused for a reason of its own (cpu, where a realtime process is in a
 * cgroup). BASE holds no process now: pids and cpu are "threaded" controllers, and the kernel would
 * not refuse them beside a process, but make BASE's children unfit to hold any (cgroup.c,
 * cgroup_vet_subtree_control_enable() and cgroup_is_valid_domain()).
 */
static void enable(struct cgroup_tree *t, const char *offered, const char *on, bool inherited)
{
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++) {
		int r;

		if (!cgroup_offers(offered, i))
			continue;
		r = cgroup_tree_enable(t->base.dir, i);
		/* What is on since an agent that died without giving it back is ours, too. */
		t->give_back[i] = r == 0 && (inherited || !cgroup_offers(on, i));
		if (r == 0)
			r = cgroup_tree_enable(t->dir, i);
		t->have[i] = r == 0;
		if (r < 0)
			snprintf(t->missing[i], sizeof(t->missing[i]),
				 "no controller beneath %.100s: %s", t->base.path, strerror(-r));
	}
}

static void get_controllers(struct cgroup_tree *t, bool inherited)
{
	PTR_OWNED char *offered = NULL, *on = NULL;
	struct failure why = { 0 };
	bool any = false;

	if (read_file_at(t->base.dir, "cgroup.controllers", 4096, &offered, NULL) < 0 ||
	    read_file_at(t->base.dir, "cgroup.subtree_control", 4096, &on, NULL) < 0) {
		none_is_on(t, "the controllers of its cgroup cannot be read");
		return;
	}
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++) {
		if (cgroup_offers(offered, i))
			any = true;
		else
			snprintf(t->missing[i], sizeof(t->missing[i]), "no controller in %.100s",
				 t->base.path);
	}
	if (!any)
		return;
	if (move_in(t, &why) < 0)
		none_is_on(t, why.msg);
	else
		enable(t, offered, on, inherited);
	if (!t->have[LIMIT_MEMORY] && !t->have[LIMIT_PIDS] && !t->have[LIMIT_CPU])
		move_out(t);
}

static void give_controllers_back(struct cgroup_tree *t)
{
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++) {
		if (t->have[i])
			disable(t->dir, i);
		if (t->give_back[i])
			disable(t->base.dir, i);
	}
}

/* Opening and closing */

/* Leaves it as it is: nothing of it may be killed, or removed. */
static int give_up(struct cgroup_tree *t, int r)
{
	close_fd(&t->dir);
	return r;
}

/* BASE, and the instance's directory in it. */
static int make_instance(struct cgroup_tree *t, const struct config *config, bool *ret_inherited,
			 struct failure *f)
{
	int r = cgroup_place_open(config->cgroup_dir, &t->base, f);

	if (r < 0)
		return r;
	if (asprintf(&t->name, "moat-%s", config->instance) < 0 ||
	    asprintf(&t->path, "%s/%s", t->base.path, t->name) < 0)
		return fail(f, ENOMEM, "cannot set up cgroups");
	*ret_inherited = faccessat(t->base.dir, t->name, F_OK, 0) == 0;
	r = make_dir(t->base.dir, t->name, &t->dir);
	return r < 0 ? fail(f, -r, "cannot make cgroup %s", t->path) : 0;
}

/* It becomes empty, and fit to hold processes. */
static int open_instance(struct cgroup_tree *t, bool inherited, struct failure *f)
{
	PTR_OWNED char *type = NULL;
	int r;

	if (inherited) {
		r = cgroup_has_self(t->dir);
		if (r > 0)
			return give_up(t, fail(f, EBUSY, "the agent itself runs in %s", t->path));
		if (r < 0)
			return give_up(t, fail(f, -r, "cannot tell whether the agent itself runs in %s",
					       t->path));
		r = clear_dead(t, f);
		if (r < 0)
			return r;
	}
	if (faccessat(t->dir, "cgroup.kill", W_OK, AT_EACCESS) < 0)
		return fail(f, errno, "no cgroup.kill in %s (it came with Linux 5.14)", t->path);
	r = read_file_at(t->dir, "cgroup.type", 64, &type, NULL);
	if (r < 0)
		return fail(f, -r, "cannot read cgroup.type of %s", t->path);
	if (strcmp(type, "domain\n") != 0)
		return fail(f, EINVAL,
			    "%s is threaded, so that no process can be started beneath it: set "
			    "cgroup_dir to another cgroup", t->base.path);
	r = cgroup_view_open(t->dir, &t->view);
	if (r < 0)
		return fail(f, -r, "cannot make a cgroup namespace of %s", t->path);
	r = make_dir(t->dir, "control", &t->control);
	if (r == 0)
		r = make_dir(t->dir, "user", &t->user);
	return r < 0 ? fail(f, -r, "cannot make cgroups in %s", t->path) : 0;
}

/* Without any. view: where user code begins to see cgroups. */
static int open_none(struct cgroup_tree *t, int view, const char *reason, struct failure *f)
{
	t->view = view;
	t->path = strdup("");
	if (!t->path || t->view < 0)
		return fail(f, t->path ? -view : ENOMEM, "cannot set up cgroups");
	none_is_on(t, reason);
	return 0;
}

/* An ordinary user has none. What user code may take is not limited, what the agent holds for clients is. */
static int open_dev(struct cgroup_tree *t, const struct config *config, struct failure *f)
{
	struct config unlimited = *config;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC); /* nobody enters it */
	int r = open_none(t, null, "an ordinary user has no cgroup (--dev)", f);

	unlimited.memory_reserve = CONFIG_NO_LIMIT;
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++)
		t->user_max[i] = unlimited.user_limits[i] = CONFIG_NO_LIMIT;
	return r < 0 ? r : cgroup_memory_divide(t, &unlimited, f);
}

/* Whether that it cannot write a cgroup of its own is what an agent may go on without. */
static bool may_lack(const struct config *config, int error)
{
	return config->enforce == ENFORCE_BEST_EFFORT && !config->cgroup_dir &&
	       (error == -EROFS || error == -EACCES || error == -EPERM || error == -ENOENT ||
		error == -ENODEV);
}

/*
 * A tree of processes is then whoever descends from its first one. Who leaves that by a session of his own ends with
 * the PID namespace of his context: so each context has to have one.
 */
static int open_without(struct cgroup_tree *t, const struct config *config, const char *reason,
			struct failure *f)
{
	int view, r;

	for (size_t i = 0; i < config->n_contexts; i++)
		if (config->contexts[i].shared_pid)
			return fail(
				f, EINVAL,
				"context %s: pid = shared needs a cgroup, to end what it starts, and %s",
				config->contexts[i].name, reason);
	log_warning(
		"there is no cgroup for what is started: %s; a command that is killed leaves behind what has "
		"made a session of its own, until its context is removed",
		reason);
	r = cgroup_view_open(-EBADF, &view);
	r = open_none(t, r < 0 ? r : view, reason, f);
	return r < 0 ? r : cgroup_limits_divide(t, config, f);
}

int cgroup_tree_open(const struct config *config, struct cgroup_tree *t, struct failure *f)
{
	struct failure why = { 0 };
	bool inherited = false;
	int r;

	*t = (struct cgroup_tree){ .base = CGROUP_PLACE_NONE, .home = CGROUP_PLACE_NONE,
				   .dir = -EBADF, .control = -EBADF, .user = -EBADF,
				   .view = -EBADF };
	if (config->dev)
		return open_dev(t, config, f);
	r = make_instance(t, config, &inherited, &why);
	if (r < 0) {
		cgroup_tree_close(t);
		if (may_lack(config, r))
			r = open_without(t, config, why.msg, f);
		else
			fail(f, -r, "%s", why.msg);
		if (r < 0)
			cgroup_tree_close(t);
		return r;
	}
	r = open_instance(t, inherited, f);
	if (r == 0) {
		get_controllers(t, inherited);
		r = cgroup_limits_divide(t, config, f);
	}
	/* Contexts have their share of each. */
	for (enum config_limit i = 0; i < LIMIT_COUNT && r == 0; i++)
		if (t->have[i] && (r = cgroup_tree_enable(t->user, i)) < 0)
			fail(f, -r, "cannot share out %s in %s/user", config_limit_name(i), t->path);
	if (r < 0)
		cgroup_tree_close(t);
	return r;
}

/* Whatever still descends from the agent: what has made a session of its own among it. */
static void kill_descendants(void)
{
	struct lineage own;

	if (lineage_of(getpid(), &own) == 0)
		(void)lineage_signal(&own, SIGKILL);
}

void cgroup_tree_close(struct cgroup_tree *t)
{
	if (t->dir < 0 && t->path && !*t->path)
		kill_descendants();
	if (t->control >= 0) {
		(void)cgroup_for_each_child(t->control, kill_child, NULL);
		(void)kill_child(t->dir, "user", NULL);
		(void)cgroup_for_each_child(t->control, wait_child, NULL);
		(void)wait_child(t->dir, "user", NULL);
		cgroup_remove_children(t->control);
		cgroup_remove(t->dir, "user");
		give_controllers_back(t);
		move_out(t);
	}
	close_fd(&t->control);
	close_fd(&t->user);
	close_fd(&t->view);
	if (t->dir >= 0) {
		cgroup_remove_children(t->dir);
		close_fd(&t->dir);
		if (unlinkat(t->base.dir, t->name, AT_REMOVEDIR) < 0)
			log_warning("cannot remove cgroup %s: %s", t->path, strerror(errno));
	}
	cgroup_place_close(&t->base);
	cgroup_place_close(&t->home);
	free_ptr(&t->name);
	free_ptr(&t->path);
}
