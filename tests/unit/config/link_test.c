/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "agent/config/link.h"
#include "base/base.h"

static void links_are_kept_as_they_are_written(void **state)
{
	static const char *const cases[][2] = {
		{ "a -> /b", "a -> /b" },
		{ "a -> /b rw", "a -> /b rw" },
		{ "./x", NULL },
		{ ".solven//skills/  ->   /mnt//r2/skills/", ".solven/skills -> /mnt/r2/skills" },
		{ "a b -> /c d", "a b -> /c d" },
		{ "-> -> /x", "-> -> /x" },
		{ "a -> /b -> /c", NULL },
		{ "/a -> /b", NULL },
		{ "a -> b", NULL },
		{ "a -> /", NULL },
		{ "a ->", NULL },
		{ "a", NULL },
		{ "", NULL },
		{ " -> /b", NULL },
		{ ". -> /b", NULL },
		{ "../a -> /b", NULL },
		{ "a/../b -> /c", NULL },
		{ "a -> /b/../c", NULL },
		{ "a ->  rw", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char **links = NULL;
		const char *why = config_link_add(cases[i][0], 16, &links);

		print_message("# %s\n", cases[i][0]);
		if (cases[i][1]) {
			assert_null(why);
			assert_string_equal(links[0], cases[i][1]);
		} else {
			assert_non_null(why);
			assert_null(links);
		}
		strv_free(links);
	}
}

static void none_is_in_the_way_of_another_and_there_is_a_limit(void **state)
{
	char **links = NULL;

	(void)state;
	assert_null(config_link_add("a/b -> /x", 3, &links));
	assert_non_null(config_link_add("a -> /y", 3, &links));
	assert_non_null(config_link_add("a/b -> /y", 3, &links));
	assert_non_null(config_link_add("a/b/c -> /y", 3, &links));
	assert_null(config_link_add("a/bc -> /y", 3, &links));
	assert_null(config_link_add("a/c -> /y", 3, &links));
	assert_non_null(config_link_add("d -> /y", 3, &links));
	assert_int_equal(strv_len(links), 3);
	strv_free(links);
}

static void a_link_is_split_into_what_it_says(void **state)
{
	struct config_link l;

	(void)state;
	config_link_split("a/b -> /x/y rw", &l);
	assert_true(l.writable);
	assert_int_equal(l.name_len, 3);
	assert_int_equal(l.target_len, 4);
	assert_memory_equal(l.name, "a/b", 3);
	assert_memory_equal(l.target, "/x/y", 4);
	config_link_split("a -> /x", &l);
	assert_false(l.writable);
	assert_int_equal(l.target_len, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_are_kept_as_they_are_written),
		cmocka_unit_test(none_is_in_the_way_of_another_and_there_is_a_limit),
		cmocka_unit_test(a_link_is_split_into_what_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
