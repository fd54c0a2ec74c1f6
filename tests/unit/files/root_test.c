/* SPDX-License-Identifier: Apache-2.0 */
/* Which root a path is beneath, by its text and the links of the configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "agent/files/internal.h"

static char *const links[] = { (char *)".solven/skills/system -> /mnt/skills/system",
			       (char *)"data -> /mnt/data rw", NULL };
static struct context_settings with = {
	.values = { .workspace = (char *)"/srv/w", .links = (char **)links },
	.directory = { "/srv/w/app", "/" },
};
static struct context_settings without = { .directory = { "/home/x", "/" } };

static void assert_at(const struct context_settings *s, const char *path, bool writes, const char *root,
		      const char *rest)
{
	struct files_path at;
	struct refusal e;

	assert_int_equal(files_place(s, "path", path, writes, &at, &e), 0);
	assert_string_equal(at.root, root);
	assert_string_equal(at.path, rest);
}

static void assert_refused(const struct context_settings *s, const char *path, bool writes,
			   enum moat_error code)
{
	struct files_path at;
	struct refusal e;

	assert_int_equal(files_place(s, "path", path, writes, &at, &e), -EINVAL);
	assert_int_equal(e.code, code);
	assert_string_equal(e.field, "path");
}

static void paths_are_beneath_the_workspace(void **state)
{
	(void)state;
	assert_at(&with, "a/b", true, "/srv/w", "a/b");
	assert_at(&with, "/srv/w/a", true, "/srv/w", "a");
	assert_at(&with, "/srv/w", false, "/srv/w", "");
	assert_at(&with, "database", true, "/srv/w", "database");
	assert_at(&with, ".solven/skills", false, "/srv/w", ".solven/skills");
	assert_refused(&with, "/srv/w2", false, MOAT_E_OUTSIDE_WORKSPACE);
	assert_refused(&with, "/mnt", false, MOAT_E_OUTSIDE_WORKSPACE);
	assert_refused(&with, "/mnt/database", false, MOAT_E_OUTSIDE_WORKSPACE);
	assert_refused(&with, "", false, MOAT_E_BAD_VALUE);
}

static void a_link_is_followed_by_the_table(void **state)
{
	(void)state;
	assert_at(&with, "data/x", true, "/mnt/data", "x");
	assert_at(&with, "./data//x/y", true, "/mnt/data", "x/y");
	assert_at(&with, "/srv/w/data", false, "/mnt/data", "");
	assert_at(&with, "/mnt//data/x", true, "/mnt/data", "x");
	assert_at(&with, ".solven//skills/system/a", false, "/mnt/skills/system", "a");
	assert_at(&with, "/mnt/skills/system/a", false, "/mnt/skills/system", "a");
}

static void through_one_that_is_not_rw_nothing_is_written(void **state)
{
	(void)state;
	assert_refused(&with, ".solven/skills/system/a", true, MOAT_E_READ_ONLY);
	assert_refused(&with, "/mnt/skills/system/a", true, MOAT_E_READ_ONLY);
	assert_refused(&with, ".solven/skills/system", true, MOAT_E_READ_ONLY);
}

static void without_a_workspace_the_root_is_all(void **state)
{
	char longest[FILES_PATH_MAX + 1];

	(void)state;
	assert_at(&without, "/etc/passwd", true, "/", "/etc/passwd");
	assert_at(&without, "a", true, "/", "/home/x/a");
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_refused(&without, longest, false, MOAT_E_BAD_VALUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_beneath_the_workspace),
		cmocka_unit_test(a_link_is_followed_by_the_table),
		cmocka_unit_test(through_one_that_is_not_rw_nothing_is_written),
		cmocka_unit_test(without_a_workspace_the_root_is_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
