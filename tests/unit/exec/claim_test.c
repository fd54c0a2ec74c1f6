/* SPDX-License-Identifier: Apache-2.0 */
/* Ids that clients chose, as long as they are taken. Needs root. */
#include "exec/fixture.h"

static struct exec_request with_id(const char *id, const char *body)
{
	static const char *const argv[] = { "/bin/sh", "-c", "exit 9", NULL };

	return (struct exec_request){
		.argv = (char **)argv, .id = id, .body = body, .body_len = strlen(body)
	};
}

static int recall(const char *id, const char *body, struct exec **ret, struct refusal *e)
{
	struct exec_request request = { .id = id, .body = body, .body_len = strlen(body) };

	return execs_recall(fx.execs, &request, ret, e);
}

static void an_id_is_taken_from_the_start_to_an_hour_after_its_result(void **state)
{
	struct exec_request request = with_id("job", "body");
	struct exec *exec;
	struct refusal e;
	OUTCOME r = { 0 };
	OUTCOME again = { 0 };

	(void)state;
	assert_int_equal(recall("job", "body", &exec, &e), 0);
	assert_null(exec);
	assert_int_equal(start(&r, &request), 0);
	assert_int_equal(recall("job", "body", &exec, &e), 0);
	assert_ptr_equal(exec, r.exec);
	assert_int_equal(start(&again, &request), -EINVAL);
	assert_int_equal(again.error.code, MOAT_E_ID_TAKEN);
	run_loop();
	assert_ptr_equal(exec_find(fx.execs, "job"), r.exec);
	assert_int_equal(recall("job", "other", &exec, &e), -EINVAL);
	assert_int_equal(e.code, MOAT_E_ID_TAKEN);
	for (unsigned i = 0;
	     i < EXEC_ENDED_CLAIMED_MAX + EXEC_ENDED_MAX && exec_find(fx.execs, "job"); i++) {
		OUTCOME other = { 0 };
		char id[32];

		snprintf(id, sizeof(id), "other-%u", i);
		request = with_id(id, "body");
		request.argv = ARGV("/bin/sh", "-c", "head -c 1048576 /dev/zero");
		run_request(&other, &request);
	}
	assert_null(exec_find(fx.execs, "job"));
	assert_int_equal(recall("job", "body", &exec, &e), -EINVAL);
	assert_int_equal(e.code, MOAT_E_RESULT_GONE);
	assert_int_equal(e.exit_code, 9);
	assert_int_equal(recall("job", "other", &exec, &e), -EINVAL);
	assert_int_equal(e.code, MOAT_E_ID_TAKEN);
}

static void what_never_ran_leaves_its_id_free(void **state)
{
	struct exec_request request = with_id("never", "body");
	struct exec *exec;
	struct refusal e;
	OUTCOME r = { 0 };
	OUTCOME other = { 0 };

	(void)state;
	request.argv = ARGV("/no/such/program");
	run_request(&r, &request);
	assert_int_equal(r.failed, 1);
	assert_int_equal(recall("never", "body", &exec, &e), 0);
	assert_null(exec);
	request = with_id("never", "another body");
	run_request(&other, &request);
	assert_int_equal(other.info.exit_code, 9);
}

static void too_many_ids_are_refused_and_none_is_forgotten(void **state)
{
	struct exec_request request = with_id("last", "body");
	struct exec *exec;
	struct refusal e;
	OUTCOME first = { 0 };
	OUTCOME r = { 0 };
	OUTCOME without = { 0 };

	(void)state;
	run_request(&first, &request);
	execs_limit_claims(fx.execs, 1);
	request.id = "one-too-many";
	assert_int_equal(start(&r, &request), -EINVAL);
	assert_int_equal(r.error.code, MOAT_E_TOO_MANY_IDS);
	assert_int_equal(r.error.limit, 1);
	run(&without, ARGV("/bin/true"));
	assert_int_equal(without.info.exit_code, 0);
	assert_int_equal(recall("last", "body", &exec, &e), 0);
	assert_ptr_equal(exec, first.exec);
	execs_limit_claims(fx.execs, EXEC_CLAIMS_MAX);
	assert_int_equal(start(&r, &request), 0);
	run_loop();
}

static void ids_are_short_words_that_no_agent_gives(void **state)
{
	static const char *const good[] = { "a", "A.b_c-9", "x", "x-1", "xy1", "...", "-" };
	static const char *const bad[] = { "",    ".",   "..",  "x1",      "x1-k3f9qa",
					   "a b", "a/b", "a\n", "\xc3\xa4" };
	char longest[EXEC_ID_MAX + 2];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(exec_id_valid(good[i]));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(exec_id_valid(bad[i]));
	memset(longest, 'a', sizeof(longest));
	longest[EXEC_ID_MAX + 1] = '\0';
	assert_false(exec_id_valid(longest));
	longest[EXEC_ID_MAX] = '\0';
	assert_true(exec_id_valid(longest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_id_is_taken_from_the_start_to_an_hour_after_its_result),
		cmocka_unit_test(what_never_ran_leaves_its_id_free),
		cmocka_unit_test(too_many_ids_are_refused_and_none_is_forgotten),
		cmocka_unit_test(ids_are_short_words_that_no_agent_gives),
	};

	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
