/* SPDX-License-Identifier: Apache-2.0 */
/* The rulesets, that of this kernel and that for older ones: what a domain of each keeps apart, and what it leaves alone. */
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/process/landlock.h"

#include <cmocka.h>

#define BEFORE_SCOPES (LANDLOCK_SCOPES - 1)

static int ruleset = -EBADF;
static pid_t stranger;

/* Whether there is Landlock here; else the test is skipped. */
static void make(int abi)
{
	int here = landlock_abi();

	if (here < abi)
		skip();
	assert_int_equal(landlock_make_ruleset(abi, &ruleset), 0);
}

/* In a child, inside a domain: what do_it() answers. confined false: outside of any. */
static int answer(bool confined, int (*do_it)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (confined && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
				 syscall(SYS_landlock_restrict_self, ruleset, 0) < 0))
			_exit(255);
		_exit(do_it());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), 255);
	return WEXITSTATUS(status);
}

static int signal_stranger(void)
{
	return kill(stranger, 0) < 0 ? errno : 0;
}

static int trace_stranger(void)
{
	int status;

	if (ptrace(PTRACE_ATTACH, stranger, NULL, NULL) < 0)
		return errno;
	waitpid(stranger, &status, 0);
	ptrace(PTRACE_DETACH, stranger, NULL, NULL);
	return 0;
}

static int signal_own_child(void)
{
	pid_t child = fork();

	if (child == 0)
		for (;;)
			pause();
	return kill(child, SIGKILL) < 0 || waitpid(child, NULL, 0) != child ? errno : 0;
}

static int rename_and_link_elsewhere(void)
{
	char place[] = "/tmp/moat-unit-XXXXXX", from[64], to[64], linked[64];
	int r = 0;

	if (!mkdtemp(place))
		return errno;
	snprintf(from, sizeof(from), "%s/a", place);
	snprintf(to, sizeof(to), "%s/b", place);
	if (mkdir(from, 0700) < 0 || mkdir(to, 0700) < 0)
		return errno;
	snprintf(from, sizeof(from), "%s/a/file", place);
	snprintf(to, sizeof(to), "%s/b/file", place);
	snprintf(linked, sizeof(linked), "%s/a/linked", place);
	close(open(from, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	if (rename(from, to) < 0 || link(to, linked) < 0)
		r = errno;
	unlink(linked);
	unlink(to);
	from[strlen(place) + 2] = to[strlen(place) + 2] = '\0';
	rmdir(from);
	rmdir(to);
	rmdir(place);
	return r;
}

static int mount_own(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		return 0; /* the tests may not: nothing is shown */
	return mount("none", "/tmp", "tmpfs", 0, NULL) < 0 ? errno : 0;
}

static int open_stranger(void **state)
{
	(void)state;
	stranger = fork();
	if (stranger == 0)
		for (;;)
			pause();
	return stranger < 0 ? -1 : 0;
}

static int close_stranger(void **state)
{
	(void)state;
	kill(stranger, SIGKILL);
	waitpid(stranger, NULL, 0);
	close_fd(&ruleset);
	return 0;
}

static void
with_scopes_who_is_outside_is_neither_signalled_nor_traced_and_all_can_be_mounted(void **state)
{
	(void)state;
	make(LANDLOCK_SCOPES);
	assert_int_equal(answer(false, signal_stranger), 0);
	assert_int_equal(answer(true, signal_stranger), EPERM);
	assert_int_equal(answer(false, trace_stranger), 0);
	assert_int_equal(answer(true, trace_stranger), EPERM);
	assert_int_equal(answer(true, signal_own_child), 0);
	assert_int_equal(answer(true, rename_and_link_elsewhere), 0);
	assert_int_equal(answer(false, mount_own), 0);
	assert_int_equal(answer(true, mount_own), 0);
}

static void before_scopes_who_is_outside_is_not_traced_and_renames_go_on(void **state)
{
	(void)state;
	make(BEFORE_SCOPES);
	assert_int_equal(answer(false, trace_stranger), 0);
	assert_int_equal(answer(true, trace_stranger), EPERM);
	assert_int_equal(answer(true, signal_stranger),
			 0); /* why status says something else of such a kernel */
	assert_int_equal(answer(true, rename_and_link_elsewhere), 0);
	assert_int_equal(answer(true, mount_own), EPERM); /* why who may mount is in no domain */
}

static void the_first_abi_is_of_no_use(void **state)
{
	int r;

	(void)state;
	assert_int_equal(landlock_make_ruleset(1, &r), -EOPNOTSUPP);
}

static void each_row_of_the_table_is_of_a_later_abi_or_of_an_erratum(void **state)
{
	int abi, before = 0;
	const char *gives;
	unsigned erratum;
	size_t n = 0;

	(void)state;
	for (; landlock_abi_at(n, &abi, &erratum, &gives); n++) {
		assert_true(abi > before || erratum);
		assert_true(*gives);
		before = abi;
	}
	assert_true(n >= 3);
}

/* A needle in what is said of an ABI. */
static bool says(int abi, unsigned errata, const char *needle)
{
	char text[256];

	landlock_describe(abi, errata, text, sizeof(text));
	return strstr(text, needle) != NULL;
}

static void
what_an_abi_gives_is_said_by_the_last_row_that_changed_it_and_by_the_errata(void **state)
{
	char small[8];

	(void)state;
	assert_true(says(1, 0, "but also from renames"));
	assert_true(says(LANDLOCK_USED, 0, "not who may mount"));
	assert_true(says(LANDLOCK_SCOPES - 1, 2, "not who may mount"));
	assert_false(says(LANDLOCK_SCOPES - 1, 2, "threads of one process"));
	assert_true(says(LANDLOCK_SCOPES, 0, "from signals"));
	assert_false(says(LANDLOCK_SCOPES, 1, "threads of one process"));
	assert_true(says(1000, 2, "from signals"));
	assert_true(says(1000, 2, "; threads of one process"));
	landlock_describe(1000, 2, small, sizeof(small));
	assert_string_equal(small, "keeps u");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_an_abi_gives_is_said_by_the_last_row_that_changed_it_and_by_the_errata),
		cmocka_unit_test_setup_teardown(
			with_scopes_who_is_outside_is_neither_signalled_nor_traced_and_all_can_be_mounted,
			open_stranger, close_stranger),
		cmocka_unit_test_setup_teardown(
			before_scopes_who_is_outside_is_not_traced_and_renames_go_on, open_stranger,
			close_stranger),
		cmocka_unit_test(the_first_abi_is_of_no_use),
		cmocka_unit_test(each_row_of_the_table_is_of_a_later_abi_or_of_an_erratum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
