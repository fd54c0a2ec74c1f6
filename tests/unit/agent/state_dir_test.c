/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/state_dir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char top[64], dir[96];

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/moat-state-test-XXXXXX");
	if (!mkdtemp(top))
		return -1;
	snprintf(dir, sizeof(dir), "%s/a/run", top);
	return 0;
}

static int teardown(void **state)
{
	char parent[96];

	(void)state;
	snprintf(parent, sizeof(parent), "%s/a", top);
	(void)rmdir(dir);
	(void)rmdir(parent);
	return rmdir(top);
}

static void the_directory_is_made_for_its_owner_alone(void **state)
{
	struct stat st;
	int lock = -EBADF;

	(void)state;
	assert_int_equal(state_dir_lock(dir, &lock, NULL), 0);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	state_dir_unlock(dir, &lock);
	assert_int_equal(lock, -EBADF);
	assert_int_equal(access(dir, F_OK), -1);
}

static void a_second_agent_is_refused_and_told_who_runs(void **state)
{
	struct failure f = { 0 };
	int first = -EBADF, second = -EBADF;
	char expected[256];

	(void)state;
	assert_int_equal(state_dir_lock(dir, &first, NULL), 0);
	assert_int_equal(state_dir_lock(dir, &second, &f), -EBUSY);
	snprintf(expected, sizeof(expected), "another moatd, process %d, runs with %s",
		 (int)getpid(), dir);
	assert_string_equal(f.msg, expected);
	assert_int_equal(second, -EBADF);
	state_dir_unlock(dir, &first);
	assert_int_equal(state_dir_lock(dir, &second, NULL), 0);
	state_dir_unlock(dir, &second);
}

static void a_lock_left_by_a_dead_agent_is_taken_over(void **state)
{
	int lock = -EBADF;

	(void)state;
	assert_int_equal(state_dir_lock(dir, &lock, NULL), 0);
	close_fd(&lock); /* as the kernel does for the dead */
	assert_int_equal(state_dir_lock(dir, &lock, NULL), 0);
	state_dir_unlock(dir, &lock);
}

/* An agent that was killed while it made a child: that has its files until it executes something, or ends. */
static void a_dead_agent_s_children_are_waited_for(void **state)
{
	int lock = -EBADF, status, alive[2];
	char byte;
	pid_t agent;

	(void)state;
	assert_int_equal(pipe(alive), 0);
	agent = fork();
	if (agent == 0) {
		if (state_dir_lock(dir, &lock, NULL) < 0)
			_exit(1);
		if (fork() == 0) {
			usleep(300000);
			_exit(0);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(agent, &status, 0), agent);
	assert_int_equal(status, 0);
	close(alive[1]);
	assert_int_equal(state_dir_lock(dir, &lock, NULL), 0);
	assert_int_equal(read(alive[0], &byte, 1), 0); /* it is gone, not overtaken */
	close(alive[0]);
	state_dir_unlock(dir, &lock);
}

static void what_others_put_there_is_left_alone(void **state)
{
	char file[128];
	int lock = -EBADF;

	(void)state;
	assert_int_equal(state_dir_lock(dir, &lock, NULL), 0);
	snprintf(file, sizeof(file), "%s/other", dir);
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	state_dir_unlock(dir, &lock);
	assert_int_equal(access(file, F_OK), 0);
	unlink(file);
}

static void a_directory_that_others_can_write_is_refused(void **state)
{
	struct failure f = { 0 };
	int lock = -EBADF;

	(void)state;
	assert_int_equal(state_dir_lock("/tmp", &lock, &f), -EINVAL);
	assert_string_equal(f.msg, "/tmp must belong to the agent's user and be writable by nobody "
				   "else");
	assert_int_equal(access("/tmp/lock", F_OK), -1);
}

static void a_link_is_not_followed(void **state)
{
	char link[96];
	int lock = -EBADF;

	(void)state;
	snprintf(link, sizeof(link), "%s/link", top);
	assert_int_equal(symlink("/root", link), 0);
	assert_true(state_dir_lock(link, &lock, NULL) < 0);
	unlink(link);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define STATE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		STATE_TEST(the_directory_is_made_for_its_owner_alone),
		STATE_TEST(a_second_agent_is_refused_and_told_who_runs),
		STATE_TEST(a_lock_left_by_a_dead_agent_is_taken_over),
		STATE_TEST(a_dead_agent_s_children_are_waited_for),
		STATE_TEST(what_others_put_there_is_left_alone),
		STATE_TEST(a_directory_that_others_can_write_is_refused),
		STATE_TEST(a_link_is_not_followed),
	};

	return cmocka_run_group_tests_name("state_dir", tests, NULL, NULL);
}
