/* SPDX-License-Identifier: Apache-2.0 */
/* Who descends from whom, as /proc tells. */
#include "agent/process/clone.h"
#include "agent/process/lineage.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

/* A process in a session of its own, its child, an orphan of its session and one with its own. */
enum member { ROOT, CHILD, ORPHAN, LOST, MEMBERS };

struct family {
	pid_t pids[MEMBERS];
	struct lineage lineage;
};

struct word {
	enum member member;
	pid_t pid;
};

static _Noreturn void sleep_on(int pipe, enum member member)
{
	struct word self = { member, getpid() };

	if (member == LOST)
		setsid();
	if (write(pipe, &self, sizeof(self)) != sizeof(self))
		_exit(1);
	close(pipe);
	for (;;)
		pause();
}

static void orphan(int pipe, enum member member)
{
	pid_t between = fork();

	if (between == 0) {
		if (fork() == 0)
			sleep_on(pipe, member);
		_exit(0);
	}
	waitpid(between, NULL, 0);
}

static void make_family(struct family *f)
{
	int fds[2];

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	if (fork() == 0) {
		setsid();
		orphan(fds[1], ORPHAN);
		orphan(fds[1], LOST);
		if (fork() == 0)
			sleep_on(fds[1], CHILD);
		sleep_on(fds[1], ROOT);
	}
	for (int i = 0; i < MEMBERS; i++) {
		struct word word;

		assert_int_equal(read(fds[0], &word, sizeof(word)), sizeof(word));
		f->pids[word.member] = word.pid;
	}
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(lineage_of(f->pids[ROOT], &f->lineage), 0);
}

static void end_family(const struct family *f)
{
	for (int i = 0; i < MEMBERS; i++)
		kill(f->pids[i], SIGKILL);
	while (wait(NULL) > 0)
		;
}

static bool is_in(const struct lineage *lineage, pid_t pid)
{
	PTR_OWNED pid_t *pids = NULL;
	size_t n;

	assert_int_equal(lineage_find(lineage, &pids, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

static void children_and_orphans_of_the_session_belong_to_it_and_who_left_it_does_not(void **state)
{
	struct family f = { 0 };

	(void)state;
	make_family(&f);
	assert_true(is_in(&f.lineage, f.pids[ROOT]));
	assert_true(is_in(&f.lineage, f.pids[CHILD]));
	assert_true(is_in(&f.lineage, f.pids[ORPHAN]));
	assert_false(is_in(&f.lineage, f.pids[LOST]));
	assert_false(is_in(&f.lineage, getpid()));
	end_family(&f);
	assert_false(is_in(&f.lineage, f.pids[CHILD]));
}

static void a_signal_reaches_all_of_them_and_nobody_else(void **state)
{
	struct family f = { 0 };
	int status;

	(void)state;
	make_family(&f);
	assert_int_equal(lineage_signal(&f.lineage, SIGKILL), 0);
	for (int i = 0; i < 2; i++) { /* the child has another parent now, or had */
		assert_true(waitpid(i ? f.pids[ORPHAN] : f.pids[ROOT], &status, 0) > 0);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	assert_false(is_in(&f.lineage, f.pids[CHILD]));
	assert_int_equal(kill(f.pids[LOST], 0), 0);
	end_family(&f);
}

static void everything_beneath_the_caller_is_signalled_but_the_caller(void **state)
{
	struct family f = { 0 };
	struct lineage own;

	(void)state;
	make_family(&f);
	assert_int_equal(lineage_of(getpid(), &own), 0);
	assert_int_equal(lineage_signal(&own, SIGKILL), 0);
	while (wait(NULL) > 0)
		;
	assert_int_equal(kill(f.pids[LOST], 0), -1);
	assert_int_equal(errno, ESRCH);
}

static void a_number_that_is_anothers_by_now_names_nobody(void **state)
{
	struct family f = { 0 };
	struct lineage gone;

	(void)state;
	make_family(&f);
	gone = (struct lineage){ .root = f.pids[ROOT], .since = f.lineage.since + 1 };
	assert_false(is_in(&gone, f.pids[ROOT]));
	assert_false(is_in(&gone, f.pids[CHILD]));
	assert_false(is_in(&(struct lineage){ 0 }, f.pids[ROOT]));
	end_family(&f);
	assert_int_equal(lineage_of(f.pids[ROOT], &gone), -ESRCH);
}

static void who_is_beneath_is_told_from_who_is_it_or_beside(void **state)
{
	struct family f = { 0 };
	pid_t roots[2];

	(void)state;
	make_family(&f);
	roots[0] = 1;
	roots[1] = f.pids[ROOT];
	assert_int_equal(lineage_beneath(f.pids[CHILD], &roots[1], 1), 1);
	assert_int_equal(lineage_beneath(f.pids[ROOT], &roots[1], 1), 0);
	assert_int_equal(lineage_beneath(f.pids[ORPHAN], &roots[1], 1), 0);
	assert_int_equal(lineage_beneath(getpid(), &roots[1], 1), 0);
	assert_int_equal(lineage_beneath(f.pids[CHILD], roots, 2), 1);
	end_family(&f);
	assert_int_equal(lineage_beneath(f.pids[CHILD], roots, 2), -ESRCH);
}

static void who_has_a_number_in_another_pid_namespace_is_found(void **state)
{
	struct process child;
	pid_t init, found = 0;
	int fds[2];
	char byte;

	(void)state;
	if (geteuid() != 0)
		skip(); /* it takes a PID namespace */
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	if (process_clone(CLONE_NEWPID, -1, &child) == 0) {
		if (fork() == 0) { /* 2 */
			if (write(fds[1], "x", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		for (;;)
			pause();
	}
	init = child.pid;
	assert_int_equal(read(fds[0], &byte, 1), 1);
	assert_int_equal(lineage_named(init, 1, &found), 0);
	assert_int_equal(found, init);
	assert_int_equal(lineage_named(init, 2, &found), 0);
	assert_int_equal(lineage_beneath(found, &init, 1), 1);
	assert_int_equal(lineage_named(init, 3, &found), -ESRCH);
	assert_int_equal(lineage_named(getpid(), getpid(), &found), 0);
	assert_int_equal(found, getpid());
	kill(init, SIGKILL);
	assert_int_equal(waitpid(init, NULL, 0), init);
	assert_int_equal(lineage_named(init, 2, &found), -ESRCH);
	close(child.pidfd);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			children_and_orphans_of_the_session_belong_to_it_and_who_left_it_does_not),
		cmocka_unit_test(a_signal_reaches_all_of_them_and_nobody_else),
		cmocka_unit_test(everything_beneath_the_caller_is_signalled_but_the_caller),
		cmocka_unit_test(a_number_that_is_anothers_by_now_names_nobody),
		cmocka_unit_test(who_is_beneath_is_told_from_who_is_it_or_beside),
		cmocka_unit_test(who_has_a_number_in_another_pid_namespace_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
