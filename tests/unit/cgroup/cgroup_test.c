/* SPDX-License-Identifier: Apache-2.0 */
/* On the real cgroup2 of this machine, in the test's own cgroup; leaves nothing there. */
#include "cgroup/fixture.h"

#include <dirent.h>

#include "agent/descriptors.h"

static const struct config config = { .instance = (char *)"unit-cgroup-test" };

static struct {
	struct loop_timer timeout;
	unsigned empties;
	struct cgroup *empty;
} seen;

static int setup(void **state)
{
	struct failure f = { 0 };

	memset(&seen, 0, sizeof(seen));
	if (setup_loop(state) < 0)
		return -1;
	if (cgroups_open(&config, t.loop, &t.cgroups, &f) < 0) {
		print_error("%s\n", f.msg);
		return -1;
	}
	return add_group();
}

static void on_timeout(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(t.loop);
}

static void on_empty(struct cgroup *g, void *data)
{
	seen.empties++;
	seen.empty = g;
	assert_ptr_equal(data, &seen);
	loop_stop(t.loop);
}

/* Runs the loop until on_empty(), or so long. */
static void run_ms(unsigned ms)
{
	assert_int_equal(loop_timer_set(t.loop, &seen.timeout, ms * NSEC_PER_MSEC, on_timeout), 0);
	assert_int_equal(loop_run(t.loop), 0);
	loop_timer_cancel(t.loop, &seen.timeout);
}

/* The kernel may report emptiness late; the directory goes with it. */
static void run_until_gone(const char *name)
{
	for (int i = 0; i < 2000 && exists(name); i++)
		run_ms(10);
	assert_false(exists(name));
}

static void a_named_cgroup_is_made_and_removed(void **state)
{
	struct cgroup *g;

	(void)state;
	assert_int_equal(cgroup_get(t.cgroups, "service-x", &g, NULL), 0);
	assert_true(exists("control/service-x"));
	assert_false(cgroup_populated(g));
	cgroup_put(g);
	assert_false(exists("control/service-x"));
}

static void kill_ends_the_whole_tree(void **state)
{
	struct cgroup *g;
	pid_t pid;

	(void)state;
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	pid = spawn_in(g, 20);
	assert_true(cgroup_populated(g));
	assert_int_equal(cgroup_kill(g), 0);
	assert_int_equal(cgroup_watch_empty(g, on_empty, &seen), 0);
	run_ms(60000);
	assert_int_equal(seen.empties, 1);
	assert_ptr_equal(seen.empty, g);
	assert_false(cgroup_populated(g));
	assert_int_equal(wait_for(pid), SIGKILL);
	cgroup_put(g);
}

static void populated_is_false_as_soon_as_the_last_one_is_reaped(void **state)
{
	(void)state;
	/* Many times: newer kernels have a window here, see cgroup_populated(). */
	for (int i = 0; i < 200; i++) {
		struct cgroup *g;
		pid_t pid;

		assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
		pid = spawn_in(g, 0);
		assert_true(cgroup_populated(g));
		kill(pid, SIGKILL);
		wait_for(pid);
		assert_false(cgroup_populated(g));
		cgroup_put(g);
	}
}

static void an_empty_cgroup_calls_back_from_the_loop(void **state)
{
	struct cgroup *g;

	(void)state;
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	assert_int_equal(cgroup_watch_empty(g, on_empty, &seen), 0);
	assert_int_equal(seen.empties, 0);
	run_ms(60000);
	assert_int_equal(seen.empties, 1);
	run_ms(30);
	assert_int_equal(seen.empties, 1); /* once */
	cgroup_put(g);
}

static void a_cancelled_watch_is_silent(void **state)
{
	struct cgroup *g;
	pid_t pid;

	(void)state;
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	pid = spawn_in(g, 0);
	assert_int_equal(cgroup_watch_empty(g, on_empty, &seen), 0);
	assert_int_equal(cgroup_watch_empty(g, NULL, NULL), 0);
	kill(pid, SIGKILL);
	wait_for(pid);
	run_ms(50);
	assert_int_equal(seen.empties, 0);
	cgroup_put(g);
}

static void an_empty_exec_cgroup_is_used_again(void **state)
{
	struct cgroup *first, *second, *third;
	struct stat a, b, c;

	(void)state;
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &first, NULL), 0);
	assert_int_equal(fstat(cgroup_fd(first), &a), 0);
	cgroup_put(first);
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &second, NULL), 0);
	assert_int_equal(fstat(cgroup_fd(second), &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &third, NULL), 0);
	assert_int_equal(fstat(cgroup_fd(third), &c), 0);
	assert_int_not_equal(b.st_ino, c.st_ino);
	cgroup_put(second);
	cgroup_put(third);
}

static void a_killed_cgroup_is_not_used_again(void **state)
{
	struct cgroup *g;
	char name[32] = "";
	pid_t pid;

	(void)state;
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	snprintf(name, sizeof(name), "user/context-unit/exec-1");
	assert_true(exists(name));
	assert_int_equal(cgroup_kill(g), 0);
	cgroup_put(g);
	run_until_gone(name);
	/* And what is started in the next one lives. */
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	pid = spawn_in(g, 0);
	run_ms(20);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGKILL);
	wait_for(pid);
	cgroup_put(g);
}

static void a_context_has_a_directory_when_it_runs_something(void **state)
{
	struct cgroup *g, *other;

	(void)state;
	assert_false(exists("user/context-unit"));
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &other, NULL), 0);
	assert_true(exists("user/context-unit/exec-1"));
	assert_true(exists("user/context-unit/exec-2"));
	cgroup_put(g);
	cgroup_put(other);
	assert_true(exists("user/context-unit/exec-1"));
}

#define MANY_CONTEXTS 80
#define IDLE_MAX 64 /* GROUPS_IDLE_MAX */

static void of_many_contexts_the_longest_idle_lose_it(void **state)
{
	static const uint64_t none[LIMIT_COUNT];
	struct cgroup_group *group;
	struct cgroup *first, *g;
	char name[64];
	int there = 0;

	(void)state;
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &first, NULL), 0);
	for (int i = 0; i < MANY_CONTEXTS; i++) {
		snprintf(name, sizeof(name), "many-%d", i);
		assert_int_equal(cgroup_group_add(t.cgroups, name, none, false, &group, NULL), 0);
		assert_int_equal(cgroup_get_exec(t.cgroups, group, &g, NULL), 0);
		cgroup_put(g);
	}
	for (int i = 0; i < MANY_CONTEXTS; i++) {
		snprintf(name, sizeof(name), "user/context-many-%d", i);
		assert_int_equal(exists(name), i >= MANY_CONTEXTS - IDLE_MAX);
		there += exists(name);
	}
	assert_int_equal(there, IDLE_MAX);
	/* But not one that is in use, and one that has lost it gets it back. */
	assert_true(exists("user/context-unit/exec-1"));
	cgroup_put(first);
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	assert_true(exists("user/context-unit"));
	cgroup_put(g);
}

static unsigned open_now(void)
{
	unsigned n, limit;

	assert_int_equal(descriptors_count(&n, &limit), 0);
	return n;
}

static void idle_contexts_hold_no_more_descriptors_than_they_may(void **state)
{
	static const uint64_t none[LIMIT_COUNT];
	struct cgroup_group *group, *first = NULL;
	struct cgroup *g, *busy[3];
	char name[64];
	unsigned before;

	(void)state;
	cgroups_limit(t.cgroups, 0, 3);
	before = open_now();
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "few-%d", i);
		assert_int_equal(cgroup_group_add(t.cgroups, name, none, false, &group, NULL), 0);
		assert_int_equal(cgroup_get_exec(t.cgroups, group, &g, NULL), 0);
		cgroup_put(g);
		assert_true(open_now() <= before + 2 * 3);
		if (i < 3)
			assert_int_equal(cgroup_get_exec(t.cgroups, group, &busy[i], NULL), 0);
		if (i == 3)
			first = group;
		before += i < 3 ? 2 : 0; /* the directory of busy[i], and its events */
	}
	/* Three are busy: none is left open, and each can be taken again. */
	assert_int_equal(open_now(), before + 2 * 3);
	assert_false(exists("user/context-few-3"));
	assert_int_equal(cgroup_get_exec(t.cgroups, first, &g, NULL), 0);
	assert_true(exists("user/context-few-3"));
	cgroup_put(g);
	for (int i = 0; i < 3; i++)
		cgroup_put(busy[i]);
}

static void put_kills_what_is_left(void **state)
{
	struct cgroup *g;
	pid_t pid;

	(void)state;
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	pid = spawn_in(g, 3);
	cgroup_put(g);
	assert_int_equal(wait_for(pid), SIGKILL);
	run_until_gone("user/context-unit/exec-1");
}

static void a_name_can_be_taken_again_while_the_old_one_dies(void **state)
{
	struct cgroup *old, *new;
	pid_t a, b;

	(void)state;
	assert_int_equal(cgroup_get(t.cgroups, "service-x", &old, NULL), 0);
	a = spawn_in(old, 3);
	cgroup_put(old);
	assert_int_equal(cgroup_get(t.cgroups, "service-x", &new, NULL), 0);
	b = spawn_in(new, 0);
	assert_int_equal(wait_for(a), SIGKILL);
	run_ms(30);
	assert_int_equal(waitpid(b, NULL, WNOHANG), 0);
	kill(b, SIGTERM);
	assert_int_equal(wait_for(b), SIGTERM);
	cgroup_put(new);
}

static void two_of_one_name_do_not_share_a_directory(void **state)
{
	struct cgroup *old, *new;
	pid_t pid;

	(void)state;
	assert_int_equal(cgroup_get(t.cgroups, "service-x", &old, NULL), 0);
	assert_int_equal(cgroup_get(t.cgroups, "service-x", &new, NULL), 0);
	assert_true(exists("control/service-x"));
	assert_true(exists("control/service-x.2"));
	pid = spawn_in(new, 0);
	assert_false(cgroup_populated(old));
	cgroup_put(old);
	assert_false(exists("control/service-x"));
	run_ms(30);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGTERM);
	assert_int_equal(wait_for(pid), SIGTERM);
	cgroup_put(new);
}

static void descendants_are_killed_and_removed_too(void **state)
{
	struct cgroup *g;
	char path[4096];
	pid_t pid;

	(void)state;
	assert_int_equal(cgroup_get(t.cgroups, "service-x", &g, NULL), 0);
	assert_int_equal(mkdirat(cgroup_fd(g), "child", 0755), 0);
	pid = spawn_in(g, 0);
	snprintf(path, sizeof(path), "%d", (int)pid);
	assert_int_equal(write_file_at(cgroup_fd(g), "child/cgroup.procs", path), 0);
	assert_true(cgroup_populated(g));
	cgroup_put(g);
	assert_int_equal(wait_for(pid), SIGKILL);
	run_until_gone("control/service-x");
}

static void opening_clears_what_a_dead_agent_left(void **state)
{
	FD_OWNED int pidfd = die_as_an_agent(&config);
	struct pollfd dead = { .fd = pidfd, .events = POLLIN };
	struct failure f = { 0 };

	(void)state;
	assert_int_equal(poll(&dead, 1, 20), 0);
	assert_int_equal(cgroups_open(&config, t.loop, &t.cgroups, &f), 0);
	assert_int_equal(poll(&dead, 1, 60000), 1);
	assert_false(exists("control/service-x"));
}

static void closing_kills_everything(void **state)
{
	struct cgroup *g, *h;
	pid_t a, b;

	(void)state;
	assert_int_equal(cgroup_get(t.cgroups, "service-x", &g, NULL), 0);
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &h, NULL), 0);
	a = spawn_in(g, 2);
	b = spawn_in(h, 2);
	cgroups_close(t.cgroups);
	t.cgroups = NULL;
	assert_int_equal(wait_for(a), SIGKILL);
	assert_int_equal(wait_for(b), SIGKILL);
}

static void a_base_that_is_no_cgroup2_is_refused(void **state)
{
	const struct config tmp = { .instance = (char *)"x", .cgroup_dir = (char *)"/tmp" };
	const struct config nowhere = { .instance = (char *)"x",
					.cgroup_dir = (char *)"/nonexistent" };
	struct cgroups *c = NULL;
	struct failure f = { 0 };

	(void)state;
	assert_int_equal(cgroups_open(&tmp, t.loop, &c, &f), -EINVAL);
	assert_string_equal(f.msg, "/tmp is not on a cgroup2 file system");
	memset(&f, 0, sizeof(f));
	assert_int_equal(cgroups_open(&nowhere, t.loop, &c, &f), -ENOENT);
	assert_null(c);
	assert_int_equal(access("/tmp/moat-x", F_OK), -1);
}

static void oom_kills_are_counted_or_said_not_to_be(void **state)
{
	struct cgroup *g;
	uint64_t count = 7;
	int r;

	(void)state;
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	r = cgroup_oom_kills(g, &count);
	if (cgroups_have_memory(t.cgroups)) {
		assert_int_equal(r, 0);
		assert_int_equal(count, 0);
	} else {
		assert_int_equal(r, -ENOTSUP);
		assert_int_equal(count, 7);
	}
	cgroup_put(g);
}

#define MOUNT_V2 "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
#define MOUNT_HYBRID                                                                \
	"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"                         \
	"32 31 0:29 / /sys/fs/cgroup/pids rw shared:5 master:2 - cgroup cgroup rw\n" \
	"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"

static void the_own_cgroup_is_found_in_every_arrangement(void **state)
{
	static const struct {
		const char *mountinfo, *cgroup, *path;
	} cases[] = {
		{ MOUNT_V2, "0::/\n", "/sys/fs/cgroup" },
		{ MOUNT_V2, "0::/a/b\n", "/sys/fs/cgroup/a/b" },
		{ MOUNT_HYBRID, "4:memory:/x\n0::/user\n", "/sys/fs/cgroup/unified/user" },
		/* A container with the host's cgroup namespace and its own part mounted. */
		{ "9 8 0:3 /docker/1f /sys/fs/cgroup ro shared:1 - cgroup2 cgroup rw\n",
		  "0::/docker/1f/sub\n", "/sys/fs/cgroup/sub" },
		{ "9 8 0:3 /docker/1f /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/1f\n",
		  "/sys/fs/cgroup" },
		{ "9 8 0:3 /docker/1f /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/1fa\n",
		  NULL },
		/* A private cgroup namespace, and a mount of the host's. */
		{ "9 8 0:3 /../.. /host rw - cgroup2 cgroup rw\n", "0::/\n", NULL },
		{ "9 8 0:3 /../.. /host rw - cgroup2 cgroup rw\n" MOUNT_V2, "0::/\n",
		  "/sys/fs/cgroup" },
		{ "9 8 0:3 / /with\\040space rw - cgroup2 cgroup rw\n", "0::/a\n",
		  "/with space/a" },
		{ MOUNT_V2 "50 24 0:30 / /other rw - cgroup2 cgroup2 rw\n", "0::/a\n", "/other/a" },
		{ "31 23 0:28 / /sys/fs/cgroup rw - tmpfs cgroup2 rw\n", "0::/\n", NULL },
		{ MOUNT_V2, "4:memory:/x\n", NULL },
		{ "", "0::/\n", NULL },
		{ "nonsense\n35 24 0:30 /\n", "0::/\n", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		PTR_OWNED char *path = NULL;
		int r = cgroup_find_in(cases[i].mountinfo, cases[i].cgroup, &path);

		if (r != (cases[i].path ? 0 : -ENOENT) ||
		    (cases[i].path && strcmp(path, cases[i].path) != 0))
			fail_msg("case %zu: %d, %s", i, r, path ? path : "none");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CGROUP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		CGROUP_TEST(a_named_cgroup_is_made_and_removed),
		CGROUP_TEST(kill_ends_the_whole_tree),
		CGROUP_TEST(populated_is_false_as_soon_as_the_last_one_is_reaped),
		CGROUP_TEST(an_empty_cgroup_calls_back_from_the_loop),
		CGROUP_TEST(a_cancelled_watch_is_silent),
		CGROUP_TEST(an_empty_exec_cgroup_is_used_again),
		CGROUP_TEST(a_killed_cgroup_is_not_used_again),
		CGROUP_TEST(a_context_has_a_directory_when_it_runs_something),
		CGROUP_TEST(of_many_contexts_the_longest_idle_lose_it),
		CGROUP_TEST(idle_contexts_hold_no_more_descriptors_than_they_may),
		CGROUP_TEST(put_kills_what_is_left),
		CGROUP_TEST(a_name_can_be_taken_again_while_the_old_one_dies),
		CGROUP_TEST(two_of_one_name_do_not_share_a_directory),
		CGROUP_TEST(descendants_are_killed_and_removed_too),
		cmocka_unit_test_setup_teardown(opening_clears_what_a_dead_agent_left, setup_loop,
						teardown),
		CGROUP_TEST(closing_kills_everything),
		CGROUP_TEST(a_base_that_is_no_cgroup2_is_refused),
		CGROUP_TEST(oom_kills_are_counted_or_said_not_to_be),
		cmocka_unit_test(the_own_cgroup_is_found_in_every_arrangement),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
