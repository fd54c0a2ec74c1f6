/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What user code is limited to, and where the agent and others are moved for it: in a cgroup of the
 * test's own beneath its present one. Skipped where there are no controllers, as on hybrid set-ups.
 */
#include "cgroup/fixture.h"

static char *read_text(const char *dir, const char *file)
{
	PTR_OWNED char *path = NULL;
	char *text = NULL;

	assert_true(asprintf(&path, "%s/%s", dir, file) > 0);
	assert_int_equal(read_file_at(AT_FDCWD, path, 4096, &text, NULL), 0);
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static void file_is(const char *dir, const char *file, const char *expected)
{
	PTR_OWNED char *text = read_text(dir, file);

	assert_string_equal(text, expected);
}

static void limit_is(const char *file, const char *expected)
{
	file_is(cgroups_path(t.cgroups), file, expected);
}

static void write_base(const char *file, const char *text)
{
	PTR_OWNED char *path = NULL;

	assert_true(asprintf(&path, "%s/%s", t.base, file) > 0);
	assert_int_equal(write_file_at(AT_FDCWD, path, text), 0);
}

static char *own_cgroup(void)
{
	char *own = NULL;

	assert_int_equal(cgroup_find_own(&own, NULL), 0);
	return own;
}

static bool make_base(void)
{
	PTR_OWNED char *own = own_cgroup(), *control = NULL, *offered = NULL;

	assert_true(asprintf(&control, "%s/cgroup.subtree_control", own) > 0);
	(void)write_file_at(AT_FDCWD, control, "+memory +pids +cpu");
	assert_true(asprintf(&t.base, "%s/unit-base-%d", own, (int)getpid()) > 0);
	assert_int_equal(mkdir(t.base, 0755), 0);
	offered = read_text(t.base, "cgroup.controllers");
	return strstr(offered, "memory") && strstr(offered, "pids") && strstr(offered, "cpu");
}

/* Before the caller owns anything: skip() does not return, and nothing is freed then. */
static void need_base(void)
{
	if (!make_base())
		skip();
}

static void open_limited(struct config *c)
{
	struct failure f = { 0 };

	c->instance = (char *)"unit-limits";
	c->cgroup_dir = t.base;
	if (cgroups_open(c, t.loop, &t.cgroups, &f) < 0 || add_group() < 0)
		fail_msg("%s", f.msg);
}

static void user_code_is_limited_and_the_control_plane_has_the_rest(void **state)
{
	struct config c = { .user_limits = { 100 << 20, 77, 1500 }, .memory_reserve = 80 << 20 };
	PTR_OWNED char *home = NULL, *in = NULL, *control = NULL;

	(void)state;
	need_base();
	home = own_cgroup();
	open_limited(&c);
	limit_is("user/memory.max", "104857600");
	limit_is("user/memory.swap.max", "0");
	limit_is("user/pids.max", "77");
	limit_is("user/cpu.max", "150000 100000");
	limit_is("user/cpu.weight", "100");
	limit_is("control/cpu.weight", "1000");
	limit_is("control/memory.min", "83886080");
	limit_is("memory.min", "83886080");
	limit_is("control/memory.max", "max");
	limit_is("control/pids.max", "max");
	assert_int_equal(cgroups_reserve(t.cgroups), 80 << 20);
	assert_null(cgroups_missing(t.cgroups, LIMIT_CPU));
	in = own_cgroup();
	assert_true(asprintf(&control, "%s/control", cgroups_path(t.cgroups)) > 0);
	assert_string_equal(in, control);
	cgroups_close(t.cgroups);
	t.cgroups = NULL;
	/* As it was before. */
	free_ptr(&in);
	in = own_cgroup();
	assert_string_equal(in, home);
	file_is(t.base, "cgroup.subtree_control", "");
}

static void infinity_is_no_limit(void **state)
{
	struct config c = { .user_limits = { CONFIG_NO_LIMIT, CONFIG_NO_LIMIT, CONFIG_NO_LIMIT },
			    .memory_reserve = CONFIG_NO_LIMIT };

	(void)state;
	need_base();
	open_limited(&c);
	limit_is("user/memory.max", "max");
	limit_is("user/pids.max", "max");
	limit_is("user/cpu.max", "max 100000");
	limit_is("control/memory.min", "0");
	assert_int_equal(cgroups_reserve(t.cgroups), 0);
}

static void defaults_follow_the_limits_around_the_agent(void **state)
{
	struct config c = { 0 };

	(void)state;
	need_base();
	write_base("memory.max", "536870912");
	write_base("pids.max", "100");
	open_limited(&c);
	limit_is("user/memory.max", "469762048"); /* less 64 MiB */
	limit_is("control/memory.min", "67108864");
	limit_is("user/pids.max", "51");
	limit_is("user/cpu.max", "max 100000");
}

static void a_reserve_that_leaves_nothing_is_refused(void **state)
{
	struct config c = { .instance = (char *)"unit-limits", .memory_reserve = 600 << 20 };
	struct failure f = { 0 };

	(void)state;
	need_base();
	write_base("memory.max", "536870912");
	c.cgroup_dir = t.base;
	assert_int_equal(cgroups_open(&c, t.loop, &t.cgroups, &f), -EINVAL);
	assert_string_equal(f.msg, "memory_reserve leaves nothing of 512 MiB to user code");
}

static void a_context_has_limits_and_a_pool_of_its_own(void **state)
{
	const uint64_t limits[LIMIT_COUNT] = { 64 << 20, 2, 250 };
	struct cgroup_group *group;
	struct cgroup *first, *again, *other;
	struct stat a, b, c;
	struct config empty = { 0 };
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
	pid_t one, two;

	(void)state;
	need_base();
	open_limited(&empty);
	assert_int_equal(cgroup_group_add(t.cgroups, "x", limits, false, &group, NULL), 0);
	limit_is("user/context-x/memory.max", "67108864");
	limit_is("user/context-x/memory.swap.max", "0");
	limit_is("user/context-x/pids.max", "2");
	limit_is("user/context-x/cpu.max", "25000 100000");
	assert_int_equal(cgroup_get_exec(t.cgroups, group, &first, NULL), 0);
	assert_true(exists("user/context-x/exec-1"));
	assert_int_equal(fstat(cgroup_fd(first), &a), 0);
	cgroup_put(first);
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &other, NULL), 0);
	assert_int_equal(cgroup_get_exec(t.cgroups, group, &again, NULL), 0);
	assert_int_equal(fstat(cgroup_fd(again), &b), 0);
	assert_int_equal(fstat(cgroup_fd(other), &c), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_not_equal(a.st_ino, c.st_ino);
	one = spawn_in(again, 0);
	two = spawn_in(again, 0);
	args.cgroup = (uint64_t)cgroup_fd(again);
	assert_int_equal(syscall(SYS_clone3, &args, sizeof(args)), -1);
	assert_int_equal(errno, EAGAIN);
	cgroup_put(again);
	cgroup_put(other);
	assert_int_equal(wait_for(one), SIGKILL);
	assert_int_equal(wait_for(two), SIGKILL);
}

static void a_context_without_limits_has_a_share(void **state)
{
	struct config c = { .user_limits = { 100 << 20, 2000, 0 } };
	struct cgroup *g;

	(void)state;
	need_base();
	open_limited(&c);
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	limit_is("user/context-unit/memory.max", "78643200"); /* three quarters */
	limit_is("user/context-unit/memory.swap.max", "0");
	limit_is("user/context-unit/exec-1/memory.max", "78643200");
	limit_is("user/context-unit/pids.max", "872"); /* two leave 256 */
	limit_is("user/context-unit/cpu.max", "max 100000");
	limit_is("user/context-unit/cpu.weight", "100");
	cgroup_put(g);
}

/* Writes so much into a file in memory, from a process in the cgroup that is gone then. */
static void fill_in(struct cgroup *g, int file, size_t size)
{
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD,
				   .cgroup = (uint64_t)cgroup_fd(g) };
	static char page[4096];
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0) {
		for (size_t n = 0; n < size; n += sizeof(page))
			if (write(file, page, sizeof(page)) != sizeof(page))
				_exit(1);
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(wait_for(pid), 0);
}

static void what_a_command_leaves_in_memory_stays_with_its_context(void **state)
{
	static const uint64_t none[LIMIT_COUNT];
	struct config c = { .user_limits = { 100 << 20, 2000, 0 } };
	FD_OWNED int file = memfd_create("left", MFD_CLOEXEC);
	struct cgroup_group *group;
	struct cgroup *g, *other;
	char name[64];

	(void)state;
	assert_true(file >= 0);
	need_base();
	open_limited(&c);
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	fill_in(g, file, 8 << 20);
	assert_true(cgroup_files(g) >= 8 << 20);
	cgroup_put(g);
	/* Another context does not get its cgroup, nor is it among the idle ones that go. */
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "many-%d", i);
		assert_int_equal(cgroup_group_add(t.cgroups, name, none, false, &group, NULL), 0);
		assert_int_equal(cgroup_get_exec(t.cgroups, group, &other, NULL), 0);
		assert_true(cgroup_files(other) < 1 << 20);
		cgroup_put(other);
	}
	assert_false(exists("user/context-many-0"));
	assert_true(exists("user/context-unit"));
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	assert_true(cgroup_files(g) >= 8 << 20);
	cgroup_put(g);
}

static void files_in_memory_stay_charged_while_no_descriptor_is_left(void **state)
{
	struct config c = { .user_limits = { 100 << 20, 2000, 0 } };
	int file = memfd_create("left", MFD_CLOEXEC);
	struct cgroup *g;

	(void)state;
	need_base();
	open_limited(&c);
	cgroups_limit(t.cgroups, 0, 0);
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	fill_in(g, file, 8 << 20);
	cgroup_put(g);
	assert_true(exists("user/context-unit"));
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	assert_true(cgroup_files(g) >= 8 << 20);
	cgroup_put(g);
	assert_true(exists("user/context-unit"));
	/* The next that idles finds it without files. */
	close(file);
	assert_int_equal(cgroup_get_exec(t.cgroups, t.group, &g, NULL), 0);
	cgroup_put(g);
	assert_false(exists("user/context-unit"));
}

/* A process in base; orphan: not a child of ours. The caller kills it. */
static pid_t sit_in_base(bool orphan)
{
	int pipe_fds[2];
	char text[16];
	pid_t pid, child;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	child = fork();
	if (child == 0 && (!orphan || fork() == 0)) {
		pid = getpid();
		(void)!write(pipe_fds[1], &pid, sizeof(pid));
		for (;;)
			pause();
	}
	if (child == 0)
		_exit(0);
	assert_int_equal(read(pipe_fds[0], &pid, sizeof(pid)), sizeof(pid));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	if (orphan)
		wait_for(child);
	snprintf(text, sizeof(text), "%d", (int)pid);
	write_base("cgroup.procs", text);
	return pid;
}

static void a_limit_that_somebody_stands_in_the_way_of_is_refused(void **state)
{
	struct config c = { .instance = (char *)"unit-limits", .user_limits = { [LIMIT_PIDS] = 7 } };
	PTR_OWNED char *home = NULL, *now = NULL;
	struct failure f = { 0 };
	char expected[600];
	pid_t pid;

	(void)state;
	need_base();
	home = own_cgroup();
	pid = sit_in_base(true);
	c.cgroup_dir = t.base;
	assert_int_equal(cgroups_open(&c, t.loop, &t.cgroups, &f), -EINVAL);
	snprintf(expected, sizeof(expected),
		 "the pids of user code cannot be limited: process %d sits in %s itself", (int)pid,
		 t.base);
	assert_memory_equal(f.msg, expected, strlen(expected));
	assert_null(t.cgroups);
	now = own_cgroup();
	assert_string_equal(now, home);
	/* Without a limit that the configuration names it goes on, and says so. */
	c.user_limits[LIMIT_PIDS] = 0;
	open_limited(&c);
	assert_non_null(cgroups_missing(t.cgroups, LIMIT_PIDS));
	assert_false(cgroups_have_memory(t.cgroups));
	cgroups_close(t.cgroups);
	/* As with best-effort. */
	c.user_limits[LIMIT_PIDS] = 7;
	c.enforce = ENFORCE_BEST_EFFORT;
	open_limited(&c);
	cgroups_close(t.cgroups);
	t.cgroups = NULL;
	kill(pid, SIGKILL);
	for (int i = 0; i < 1000 && kill(pid, 0) == 0; i++)
		poll(NULL, 0, 10);
}

static void own_children_come_along_and_go_back(void **state)
{
	struct config c = { .user_limits = { [LIMIT_PIDS] = 7 } };
	char expected[16];
	pid_t pid;

	(void)state;
	need_base();
	pid = sit_in_base(false);
	snprintf(expected, sizeof(expected), "%d", (int)pid);
	open_limited(&c);
	limit_is("user/pids.max", "7");
	file_is(t.base, "cgroup.procs", "");
	cgroups_close(t.cgroups);
	t.cgroups = NULL;
	file_is(t.base, "cgroup.procs", expected);
	kill(pid, SIGKILL);
	wait_for(pid);
}

#define EXPECT(condition)                \
	do {                             \
		if (!(condition))        \
			return __LINE__; \
	} while (0)

static size_t processes_in(const char *procs)
{
	PTR_OWNED char *text = NULL;
	size_t n = 0;

	if (read_file_at(AT_FDCWD, procs, 4096, &text, NULL) == 0)
		for (const char *p = text; (p = strchr(p, '\n')); p++)
			n++;
	return n;
}

/* What a container's first process sees; then the agent there. 0, or the line that is not so. */
static int run_as_pid_1(void)
{
	const struct config c = { .instance = (char *)"unit-limits",
				  .user_limits = { [LIMIT_PIDS] = 7 } };
	PTR_OWNED char *own = NULL, *max = NULL;
	struct cgroups *cgroups = NULL;

	EXPECT(unshare(CLONE_NEWCGROUP) == 0);
	EXPECT(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	EXPECT(mount("proc", "/proc", "proc", 0, NULL) == 0);
	(void)umount2("/sys/fs/cgroup", MNT_DETACH); /* the same one twice would be EBUSY */
	EXPECT(mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) == 0);
	/* A process that was here before, with a child that is not ours. */
	if (fork() == 0) {
		(void)!fork();
		for (;;)
			pause();
	}
	while (processes_in("/sys/fs/cgroup/cgroup.procs") < 3)
		poll(NULL, 0, 1);
	EXPECT(cgroups_open(&c, t.loop, &cgroups, NULL) == 0);
	EXPECT(cgroup_find_own(&own, NULL) == 0);
	EXPECT(strcmp(own, "/sys/fs/cgroup/moat-unit-limits/control") == 0);
	EXPECT(processes_in("/sys/fs/cgroup/cgroup.procs") == 0);
	EXPECT(processes_in("/sys/fs/cgroup/moat-unit-limits/control/cgroup.procs") == 3);
	EXPECT(read_file_at(AT_FDCWD, "/sys/fs/cgroup/moat-unit-limits/user/pids.max", 64, &max,
			    NULL) == 0);
	EXPECT(strcmp(max, "7\n") == 0);
	cgroups_close(cgroups);
	EXPECT(processes_in("/sys/fs/cgroup/cgroup.procs") == 3);
	return 0;
}

static void as_pid_1_of_a_container_it_takes_everything_along(void **state)
{
	struct clone_args args = { .flags = CLONE_INTO_CGROUP | CLONE_NEWPID | CLONE_NEWNS,
				   .exit_signal = SIGCHLD };
	FD_OWNED int base = -EBADF;
	pid_t pid;
	int line;

	(void)state;
	need_base();
	base = open(t.base, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(base >= 0);
	args.cgroup = (uint64_t)base;
	fflush(NULL);
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0) {
		line = run_as_pid_1();
		if (line)
			fprintf(stderr, "line %d: %s\n", line, strerror(errno));
		_exit(line != 0);
	}
	assert_true(pid > 0);
	assert_int_equal(wait_for(pid), 0);
}

static void a_threaded_cgroup_is_refused(void **state)
{
	struct config c = { .instance = (char *)"unit-limits" };
	struct failure f = { 0 };

	(void)state;
	need_base();
	write_base("cgroup.type", "threaded");
	c.cgroup_dir = t.base;
	assert_int_equal(cgroups_open(&c, t.loop, &t.cgroups, &f), -EINVAL);
	assert_non_null(strstr(f.msg, "is threaded"));
	assert_null(t.cgroups);
}

static void controllers_of_a_dead_agent_are_given_back(void **state)
{
	struct config c = { .instance = (char *)"unit-limits" };

	(void)state;
	need_base();
	c.cgroup_dir = t.base;
	close(die_as_an_agent(&c));
	open_limited(&c);
	cgroups_close(t.cgroups);
	t.cgroups = NULL;
	file_is(t.base, "cgroup.subtree_control", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define LIMIT_TEST(name) cmocka_unit_test_setup_teardown(name, setup_loop, teardown)
		LIMIT_TEST(user_code_is_limited_and_the_control_plane_has_the_rest),
		LIMIT_TEST(infinity_is_no_limit),
		LIMIT_TEST(defaults_follow_the_limits_around_the_agent),
		LIMIT_TEST(a_reserve_that_leaves_nothing_is_refused),
		LIMIT_TEST(a_context_has_limits_and_a_pool_of_its_own),
		LIMIT_TEST(a_context_without_limits_has_a_share),
		LIMIT_TEST(what_a_command_leaves_in_memory_stays_with_its_context),
		LIMIT_TEST(files_in_memory_stay_charged_while_no_descriptor_is_left),
		LIMIT_TEST(a_limit_that_somebody_stands_in_the_way_of_is_refused),
		LIMIT_TEST(own_children_come_along_and_go_back),
		LIMIT_TEST(as_pid_1_of_a_container_it_takes_everything_along),
		LIMIT_TEST(a_threaded_cgroup_is_refused),
		LIMIT_TEST(controllers_of_a_dead_agent_are_given_back),
	};

	return cmocka_run_group_tests_name("cgroup limits", tests, NULL, NULL);
}
