/* SPDX-License-Identifier: Apache-2.0 */
/* What moat-run takes for a request. It trusts the agent, but not its own reading of it. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "run/files/internal.h"

static struct files_request stat_request(void)
{
	return (struct files_request){
		.magic = FILES_MAGIC, .operation = FILES_STAT, .root_len = 1, .path_len = 3
	};
}

static void requests_within_the_limits_are_taken(void **state)
{
	struct files_request r = stat_request();

	(void)state;
	assert_true(files_request_valid(&r));
	r.path_len = FILES_PATH_MAX;
	assert_true(files_request_valid(&r));
	r.operation = FILES_LIST;
	r.limit = FILES_ENTRIES_MAX;
	assert_true(files_request_valid(&r));
	r = stat_request();
	r.operation = FILES_REPLACE;
	r.old_len = r.new_len = FILES_TEXT_MAX;
	r.count = 1;
	assert_true(files_request_valid(&r));
	r = stat_request();
	r.operation = FILES_RENAME;
	r.to_len = 5;
	assert_true(files_request_valid(&r));
}

#define REFUSED(member, value)                                                                     \
	do {                                                                                       \
		struct files_request wrong_ = stat_request();                                      \
		wrong_.member = (value);                                                           \
		assert_false(files_request_valid(&wrong_));                                        \
	} while (0)

static void numbers_beyond_the_limits_are_refused(void **state)
{
	(void)state;
	REFUSED(magic, 0);
	REFUSED(operation, FILES_OPERATION_COUNT);
	REFUSED(flags, FILES_FLAGS + 1);
	REFUSED(flags, FILES_SAME); /* a condition on what is not changed */
	REFUSED(mode, 010000);
	REFUSED(offset, 1ull << 63);
	REFUSED(length, UINT64_MAX);
	REFUSED(root_len, 0);
	REFUSED(root_len, FILES_PATH_MAX + 1);
	REFUSED(path_len, FILES_PATH_MAX + 1);
	REFUSED(to_len, 1);  /* not a rename */
	REFUSED(old_len, 1); /* not a replacement */
	REFUSED(new_len, 1);
	REFUSED(count, 1);
	REFUSED(operation, FILES_LIST);    /* without a limit */
	REFUSED(operation, FILES_REPLACE); /* of nothing */
}

static void strings_are_split_and_paths_have_no_nul(void **state)
{
	char room[64];
	struct job j = { .request = { .root_len = 4, .path_len = 5, .to_len = 2 } };

	(void)state;
	assert_true(files_request_split(&j, "/one//two/3", 11, room));
	assert_string_equal(j.root, "/one");
	assert_string_equal(j.path, "two"); /* a root has no other above it */
	assert_string_equal(j.to, "3");
	assert_false(j.whole);
	assert_false(files_request_split(&j, "/one//two/3", 10, room));
	assert_false(files_request_split(&j, "/one/\0two/3", 11, room));
	assert_false(files_request_split(&j, "none//two/3", 11, room));
	assert_true(files_request_split(&j, "/////two./3", 11, room));
	assert_true(j.whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_within_the_limits_are_taken),
		cmocka_unit_test(numbers_beyond_the_limits_are_refused),
		cmocka_unit_test(strings_are_split_and_paths_have_no_nul),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
