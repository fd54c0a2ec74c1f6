/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process/harden.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#define MANY 2000 /* more descriptors than the children are allowed */

static int score(void)
{
	PTR_OWNED char *text = NULL;

	return read_file_at(AT_FDCWD, "/proc/self/oom_score_adj", 16, &text, NULL) < 0 ? 9999 :
											 atoi(text);
}

static void expect_score_of_child(enum harden_child child, int expected)
{
	struct rlimit nofile;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int r = harden_undo_in_child(child, false);

		/* What the test has raised is not closed: the limit is for what comes. */
		if (r < 0 || getrlimit(RLIMIT_NOFILE, &nofile) < 0 ||
		    (child == HARDEN_SERVICE && nofile.rlim_cur >= MANY))
			_exit(1);
		/* Reading it takes a descriptor. */
		nofile.rlim_cur = nofile.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &nofile) < 0)
			_exit(2);
		_exit(score() == expected ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Ends as the agent would begin: in a process of its own. */
static void agent_with(int own, int agent, int service, int init)
{
	struct rlimit limit = { .rlim_cur = 1024, .rlim_max = 2 * MANY };
	char text[16];

	snprintf(text, sizeof(text), "%d", own);
	assert_int_equal(write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", text), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	harden_self();
	assert_int_equal(score(), agent);
	for (int i = 0; i < MANY; i++)
		assert_true(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
	expect_score_of_child(HARDEN_SERVICE, service);
	expect_score_of_child(HARDEN_INIT, init);
}

static bool may_lower(void)
{
	cap_flag_value_t value = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	(void)cap_get_flag(caps, CAP_SYS_RESOURCE, CAP_EFFECTIVE, &value);
	cap_free(caps);
	return value == CAP_SET;
}

static void in_a_process_of_its_own(int own, int agent, int service, int init)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		agent_with(own, agent, service, init);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void without_the_right_scores_stay_and_limits_come_back(void **state)
{
	int own = score();

	(void)state;
	if (may_lower())
		skip();
	in_a_process_of_its_own(own, own, own, own < 0 ? 0 : own);
}

static void user_code_goes_first_then_services_then_the_agent(void **state)
{
	(void)state;
	if (!may_lower())
		skip();
	in_a_process_of_its_own(0, -900, -500, 0);
}

static bool limit_is(int resource, rlim_t soft, rlim_t hard)
{
	struct rlimit limit;

	return getrlimit(resource, &limit) == 0 && limit.rlim_cur == soft && limit.rlim_max == hard;
}

static bool filter_is(const char *expected)
{
	PTR_OWNED char *text = NULL;

	return read_file_at(AT_FDCWD, "/proc/self/coredump_filter", 16, &text, NULL) == 0 &&
	       strcmp(text, expected) == 0;
}

/* The number of the expectation that failed. */
static int check_limits(enum harden_child child, bool core)
{
	bool user = child == HARDEN_INIT;

	if (harden_undo_in_child(child, core) < 0)
		return 1;
	if (!limit_is(RLIMIT_CORE, core ? 4096 : 1, core ? 8192 : 1))
		return 2;
	if (!filter_is(core ? "00000033\n" : "00000000\n"))
		return 3;
	if (!limit_is(RLIMIT_SIGPENDING, user ? 500 : 800, user ? 500 : 1000))
		return 4;
	if (!limit_is(RLIMIT_MSGQUEUE, user ? 4000 : 8000, user ? 4000 : 8000))
		return 5;
	if (!limit_is(RLIMIT_MEMLOCK, user ? 4 << 20 : 65536, 4 << 20))
		return 6;
	return limit_is(RLIMIT_NOFILE, user ? 2000 : 1024, 2000) ? 0 : 7;
}

static void limits_of(enum harden_child child, bool core)
{
	static const struct {
		int resource;
		struct rlimit limit;
	} found[] = {
		{ RLIMIT_CORE, { 4096, 8192 } },     { RLIMIT_NOFILE, { 1024, 2000 } },
		{ RLIMIT_SIGPENDING, { 800, 1000 } }, { RLIMIT_MSGQUEUE, { 8000, 8000 } },
		{ RLIMIT_MEMLOCK, { 65536, 4 << 20 } },
	};
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		(void)write_file_at(AT_FDCWD, "/proc/self/coredump_filter", "0x33");
		for (size_t i = 0; i < ARRAY_LEN(found); i++)
			if (setrlimit(found[i].resource, &found[i].limit) < 0)
				_exit(100);
		harden_self();
		_exit(check_limits(child, core));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void user_code_has_limits_of_its_own_and_leaves_no_core(void **state)
{
	(void)state;
	limits_of(HARDEN_INIT, false);
}

static void services_have_those_of_the_container_and_cores_only_if_they_say_so(void **state)
{
	(void)state;
	limits_of(HARDEN_SERVICE, false);
	limits_of(HARDEN_SERVICE, true);
}

/* As engines start containers: spared, or first of all. */
static void the_order_holds_whatever_the_container_has(void **state)
{
	(void)state;
	if (!may_lower())
		skip();
	in_a_process_of_its_own(-998, -998, -998, 0);
	in_a_process_of_its_own(-700, -900, -700, 0);
	in_a_process_of_its_own(1000, -900, -500, 1000);
}

/* What the agent says of a process that began as a child of that kind, who is not privileged and wants to be rid of it. */
static int mark_of(enum harden_child child)
{
	static const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	int ready[2], end[2], r;
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(end), 0);
	pid = fork();
	if (pid == 0) {
		close(end[1]);
		if (harden_undo_in_child(child, false) < 0 || (geteuid() == 0 && setuid(65534) < 0) ||
		    (child == HARDEN_INIT && setrlimit(RLIMIT_LOCKS, &none) == 0))
			_exit(1);
		if (write(ready[1], &byte, 1) == 1)
			(void)!read(end[0], &byte, 1);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	r = harden_is_marked(pid);
	close(ready[0]);
	close(end[1]);
	close(end[0]);
	waitpid(pid, NULL, 0);
	return r;
}

static void user_code_is_told_from_services_by_a_limit_that_it_cannot_raise(void **state)
{
	static const struct rlimit own[] = { { RLIM_INFINITY, RLIM_INFINITY }, { 1000, 1000 }, { 1, 1 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			if (setrlimit(RLIMIT_LOCKS, &own[i]) < 0)
				_exit(100);
			harden_self();
			harden_mark_user_code();
			_exit(mark_of(HARDEN_INIT) == 1 && mark_of(HARDEN_SERVICE) == 0 &&
					      harden_is_marked(getpid()) == 0 ?
				      0 :
				      2);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_the_right_scores_stay_and_limits_come_back),
		cmocka_unit_test(user_code_goes_first_then_services_then_the_agent),
		cmocka_unit_test(user_code_has_limits_of_its_own_and_leaves_no_core),
		cmocka_unit_test(services_have_those_of_the_container_and_cores_only_if_they_say_so),
		cmocka_unit_test(the_order_holds_whatever_the_container_has),
		cmocka_unit_test(user_code_is_told_from_services_by_a_limit_that_it_cannot_raise),
	};

	return cmocka_run_group_tests_name("harden", tests, NULL, NULL);
}
