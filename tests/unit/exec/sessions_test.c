/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts that an exec makes by naming a session. */
#include "exec/contexts.h"

static void the_first_command_of_a_session_makes_its_context(void **state)
{
	struct exec_request request = { .session = "abc", .argv = ARGV("/bin/sh", "-c", "echo $LAYER") };
	OUTCOME first = { 0 }, second = { 0 };
	struct gone gone = { 0 };

	(void)state;
	run_request(&first, &request);
	assert_string_equal(first.out, "context\n");
	assert_string_equal(first.info.context, "session-abc");
	assert_true(first.info.created);
	assert_ptr_equal(find("session-abc")->settings, find("default")->settings);
	run_request(&second, &request);
	assert_string_equal(second.info.context, "session-abc");
	assert_false(second.info.created);
	assert_int_equal(remove_context("session-abc", false, &gone), 0);
}

static void a_refused_command_makes_no_session(void **state)
{
	char *const env[] = { (char *)"novalue", NULL };
	static char large[INIT_STRINGS_MAX + 1];
	OUTCOME r = { 0 };

	(void)state;
	memset(large, 'x', sizeof(large) - 1);
	assert_int_equal(start(&r, &(struct exec_request){ .session = "no", .argv = ARGV("/bin/true"), .env = env }),
			 -EINVAL);
	assert_null(find("session-no"));
	assert_int_equal(start(&r, &(struct exec_request){ .session = "no", .argv = ARGV("/bin/true", large) }),
			 -EINVAL);
	assert_int_equal(r.error.code, MOAT_E_ARGUMENTS_TOO_LARGE);
	assert_null(find("session-no"));
}

/* What is wrong with it is known only when the namespace is there. */
static void a_command_that_cannot_be_started_makes_no_session(void **state)
{
	struct exec_request request = { .session = "typo", .argv = ARGV("/no/such/command") };
	OUTCOME r = { 0 };
	OUTCOME right = { .keep_running = true };
	OUTCOME wrong = { 0 };
	struct gone gone = { 0 };

	(void)state;
	run_request(&r, &request);
	assert_int_equal(r.error.code, MOAT_E_COMMAND_NOT_FOUND);
	assert_null(find("session-typo"));
	/* unless another one is on its way in it */
	assert_int_equal(start(&wrong, &request), 0);
	request.argv = ARGV("/bin/true");
	assert_int_equal(start(&right, &request), 0);
	RUN_UNTIL(wrong.failed == 1 && right.ended == 1);
	assert_non_null(find("session-typo"));
	assert_int_equal(remove_context("session-typo", false, &gone), 0);
}

static void ids_of_sessions_are_text_without_control_characters(void **state)
{
	char longest[EXEC_SESSION_MAX + 2];

	(void)state;
	memset(longest, 'x', sizeof(longest));
	longest[EXEC_SESSION_MAX + 1] = '\0';
	assert_false(exec_session_id_valid(longest));
	longest[EXEC_SESSION_MAX] = '\0';
	assert_true(exec_session_id_valid(longest));
	assert_true(exec_session_id_valid("a/../b \xc3\xa4 \xf0\x9f\x98\x80"));
	assert_true(exec_session_id_valid("\xc2\xa0"));
	assert_false(exec_session_id_valid(""));
	assert_false(exec_session_id_valid("a\nb"));
	assert_false(exec_session_id_valid("\x7f"));
	assert_false(exec_session_id_valid("\xc2\x9b"));
	assert_false(exec_session_id_valid("\xff"));
}

struct expired {
	char name[64];
	int n;
};

static void on_expired(const char *context, void *data)
{
	struct expired *expired = data;

	expired->n++;
	snprintf(expired->name, sizeof(expired->name), "%s", context);
}

static void a_session_in_which_nothing_runs_expires(void **state)
{
	OUTCOME idle = { 0 }, busy = { .keep_running = true }, other = { 0 };
	struct expired expired = { 0 };
	struct gone gone = { 0 };

	(void)state;
	execs_watch_sessions(fx.execs, on_expired, &expired);
	run_request(&idle, &(struct exec_request){ .session = "idle", .argv = ARGV("/bin/true") });
	assert_int_equal(start(&busy, &(struct exec_request){ .session = "busy",
							      .argv = ARGV("/bin/sleep", "86435") }), 0);
	add_default("no-session");
	RUN_UNTIL(expired.n == 1);
	assert_string_equal(expired.name, "session-idle");
	assert_null(find("session-idle"));
	run_for(2500);
	assert_non_null(find("session-busy"));
	assert_non_null(find("no-session"));
	assert_int_equal(exec_kill(busy.exec), 0);
	RUN_UNTIL(expired.n == 2);
	assert_string_equal(expired.name, "session-busy");
	run_request(&other, &(struct exec_request){ .session = "idle", .argv = ARGV("/bin/true") });
	assert_true(other.info.created);
	execs_watch_sessions(fx.execs, NULL, NULL);
	assert_int_equal(remove_context("session-idle", false, &gone), 0);
	assert_int_equal(remove_context("no-session", false, &gone), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_command_of_a_session_makes_its_context),
		cmocka_unit_test(a_refused_command_makes_no_session),
		cmocka_unit_test(a_command_that_cannot_be_started_makes_no_session),
		cmocka_unit_test(ids_of_sessions_are_text_without_control_characters),
		cmocka_unit_test(a_session_in_which_nothing_runs_expires),
	};

	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
