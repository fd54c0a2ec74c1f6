/* SPDX-License-Identifier: Apache-2.0 */
/* How the cgroup hierarchy is mounted in containers: each in a child with mounts of its own. */
#include "fixture.h"

#include "base/mountinfo.h"

#define EXPECT(cond)                                                                \
	do {                                                                        \
		if (!(cond)) {                                                      \
			fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #cond, f.msg); \
			return 1;                                                   \
		}                                                                   \
	} while (0)

/* fn with each mount of a type that begins so, until one fails. */
static int for_each_mount(const char *type, int (*fn)(const char *path))
{
	PTR_OWNED char *text = NULL;
	char *save = NULL;

	if (read_file_at(AT_FDCWD, "/proc/self/mountinfo", 4u << 20, &text, NULL) < 0)
		return -1;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct mountinfo info;

		if (mountinfo_parse(line, &info) == 0 &&
		    strncmp(info.type, type, strlen(type)) == 0 && fn(info.path) < 0)
			return -1;
	}
	return 0;
}

static int unmount(const char *path)
{
	return umount2(path, MNT_DETACH);
}

static int remount(const char *path)
{
	return mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
}

static int unmount_cgroups(void)
{
	return for_each_mount("cgroup", unmount);
}

static int remount_readonly(void)
{
	return for_each_mount("cgroup2", remount);
}

/* An agent's whole life there. 0, or 1 after a message. */
static int live(bool named)
{
	struct config c = { .instance = (char *)"unit-place" };
	struct cgroups *cgroups = NULL;
	struct cgroup_group *group = NULL;
	static const uint64_t none[LIMIT_COUNT];
	struct failure f = { 0 };
	struct cgroup *g;
	int fd;

	EXPECT(cgroups_open(&c, t.loop, &cgroups, &f) == 0);
	EXPECT((strncmp(cgroups_path(cgroups), "/", 1) == 0) == named);
	EXPECT(cgroup_group_add(cgroups, "unit", none, false, &group, &f) == 0);
	EXPECT(cgroup_get_exec(cgroups, group, &g, &f) == 0);
	(void)spawn_in(g, 2);
	EXPECT(cgroup_populated(g));
	/* what moat-init is handed writes nothing */
	fd = openat(cgroup_fd(g), "cgroup.kill", O_WRONLY);
	EXPECT(fd < 0 && errno == EROFS);
	EXPECT(cgroup_kill(g) == 0);
	while (waitpid(-1, NULL, 0) > 0)
		;
	for (int i = 0; cgroup_populated(g) && i < 1000; i++)
		poll(NULL, 0, 10);
	EXPECT(!cgroup_populated(g));
	cgroup_put(g);
	cgroups_close(cgroups);
	return 0;
}

/* named: its directory has a path there. */
static void in_child(int (*prepare)(void), bool named)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || prepare() < 0)
			_exit(77);
		_exit(live(named));
	}
	assert_true(pid > 0);
	assert_int_equal(wait_for(pid), 0);
}

static void where_it_is_mounted_read_only(void **state)
{
	(void)state;
	in_child(remount_readonly, true);
}

static void where_it_is_mounted_nowhere(void **state)
{
	struct utsname uts;
	int major = 0, minor = 0;

	(void)state;
	assert_int_equal(uname(&uts), 0);
	(void)sscanf(uts.release, "%d.%d", &major, &minor);
	if (major < 6 || (major == 6 && minor < 15))
		skip(); /* what is detached cannot be cloned */
	in_child(unmount_cgroups, false);
}

static char *below; /* a cgroup for a namespace to begin in */

static int begin_below(void)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)getpid());
	return write_file_at(AT_FDCWD, below, text) < 0 || unshare(CLONE_NEWCGROUP) < 0 ? -1 :
											   remount_readonly();
}

/* As with -v /sys/fs/cgroup:/sys/fs/cgroup:ro: what is mounted begins further up than its names. */
static void where_the_mount_begins_above_the_namespace(void **state)
{
	CLEANUP(cgroup_place_close) struct cgroup_place own = CGROUP_PLACE_NONE;

	(void)state;
	assert_int_equal(cgroup_place_open(NULL, &own, NULL), 0);
	assert_true(mkdirat(own.dir, "unit-below", 0755) == 0 || errno == EEXIST);
	assert_true(asprintf(&below, "%s/unit-below/cgroup.procs", own.path) > 0);
	in_child(begin_below, false);
	*strrchr(below, '/') = '\0';
	assert_int_equal(remove_cgroup(below), 0);
	free_ptr(&below);
}

static void an_agent_inside_of_what_it_would_clear_is_refused(void **state)
{
	CLEANUP(cgroup_place_close) struct cgroup_place own = CGROUP_PLACE_NONE;
	struct config c = { .instance = (char *)"unit-place" };
	PTR_OWNED char *procs = NULL, *dir = NULL;
	pid_t pid;

	(void)state;
	assert_int_equal(cgroup_place_open(NULL, &own, NULL), 0);
	assert_true(asprintf(&dir, "%s/moat-unit-place", own.path) > 0);
	assert_true(mkdir(dir, 0755) == 0 || errno == EEXIST);
	assert_true(asprintf(&procs, "%s/inner", dir) > 0);
	assert_true(mkdir(procs, 0755) == 0 || errno == EEXIST);
	free_ptr(&procs);
	assert_true(asprintf(&procs, "%s/inner/cgroup.procs", dir) > 0);
	pid = fork();
	if (pid == 0) {
		struct failure f = { 0 };
		char text[16];

		snprintf(text, sizeof(text), "%d", (int)getpid());
		c.cgroup_dir = own.path;
		/* where it is, no name tells it: its namespace begins there */
		if (write_file_at(AT_FDCWD, procs, text) < 0 || unshare(CLONE_NEWCGROUP) < 0)
			_exit(2);
		_exit(cgroups_open(&c, t.loop, &t.cgroups, &f) == -EBUSY &&
				      strstr(f.msg, "the agent itself runs in") ? 0 : 1);
	}
	assert_int_equal(wait_for(pid), 0);
	*strrchr(procs, '/') = '\0';
	assert_int_equal(remove_cgroup(procs), 0);
	assert_int_equal(remove_cgroup(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define PLACE_TEST(name) cmocka_unit_test_setup_teardown(name, setup_loop, teardown)
		PLACE_TEST(where_it_is_mounted_read_only),
		PLACE_TEST(where_it_is_mounted_nowhere),
		PLACE_TEST(where_the_mount_begins_above_the_namespace),
		PLACE_TEST(an_agent_inside_of_what_it_would_clear_is_refused),
	};

	return cmocka_run_group_tests_name("where cgroups are", tests, NULL, NULL);
}
