/* SPDX-License-Identifier: Apache-2.0 */
/* What a workspace makes of an environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "agent/context/context.h"
#include "agent/context/workspace.h"

static char *const env[] = { (char *)"PATH=/w/bin:/usr/bin:bin::/w:/w2/bin:/usr/../w/bin", NULL };

static struct context_settings *settings(const char *workspace, const char *directory,
					 char *const *given)
{
	struct config_context values = { .workspace = (char *)workspace,
					 .directory = (char *)directory,
					 .env = (char **)given };
	struct context_settings *s;

	assert_int_equal(context_settings_make(&values, NULL, &s), 0);
	return s;
}

static void a_command_finds_the_programs_of_its_workspace(void **state)
{
	struct context_settings *s = settings("/w", NULL, NULL);

	(void)state;
	assert_string_equal(env_get(s->env[0], "PATH"),
			    "/w/.venv/bin:/w/node_modules/.bin:" DEFAULT_PATH);
	assert_string_equal(env_get(s->env[0], "HOME"), "/w");
	assert_string_equal(env_get(s->env[0], "PWD"), "/w");
	assert_string_equal(s->directory[0], "/w");
	assert_string_equal(s->values.workspace, "/w");
	context_settings_unref(s, NULL);
	s = settings("/w", "/w/app", NULL);
	assert_string_equal(env_get(s->env[0], "HOME"), "/w");
	assert_string_equal(env_get(s->env[0], "PWD"), "/w/app");
	assert_string_equal(s->directory[0], "/w/app");
	context_settings_unref(s, NULL);
}

static void a_secure_command_finds_none_of_them(void **state)
{
	struct context_settings *s = settings("/w", NULL, NULL);

	(void)state;
	assert_string_equal(env_get(s->env[1], "PATH"), DEFAULT_PATH);
	assert_string_not_equal(env_get(s->env[1], "HOME"), "/w");
	context_settings_unref(s, NULL);
	s = settings("/w", NULL, env);
	assert_string_equal(env_get(s->env[0], "PATH"), env[0] + strlen("PATH="));
	assert_string_equal(env_get(s->env[1], "PATH"), "/usr/bin:/w2/bin");
	context_settings_unref(s, NULL);
}

static void a_path_of_which_nothing_is_left_is_the_usual_one(void **state)
{
	static char *const only[] = { (char *)"PATH=/w/bin:bin:", NULL };
	struct context_settings *s = settings("/w/", NULL, only);

	(void)state;
	assert_string_equal(env_get(s->env[1], "PATH"), DEFAULT_PATH);
	context_settings_unref(s, NULL);
}

static void a_secure_command_finds_nothing_where_others_of_its_context_write(void **state)
{
	static char *const given[] = {
		(char *)"PATH=/tmp/bin:/usr/bin:/d/bin:/h/.local/bin:/shared/bin:/var/tmp:/dev/shm/x:/./tmp:/usr//../x:/opt/bin",
		NULL
	};
	static char *const links[] = { (char *)"skills -> /shared", NULL };
	struct config_context values = { .workspace = (char *)"/w",
					 .directory = (char *)"/d",
					 .home = (char *)"/h",
					 .links = (char **)links,
					 .env = (char **)given };
	struct context_settings *s;

	(void)state;
	assert_int_equal(context_settings_make(&values, NULL, &s), 0);
	assert_string_equal(env_get(s->env[1], "PATH"), "/usr/bin:/opt/bin");
	assert_string_equal(env_get(s->env[0], "PATH"), given[0] + strlen("PATH="));
	context_settings_unref(s, NULL);
}

static void presets_are_programs_and_variables(void **state)
{
	struct config_context values = { .workspace = (char *)"/w", .presets = 1 };
	struct context_settings *s;

	(void)state;
	assert_int_equal(context_settings_make(&values, NULL, &s), 0);
	assert_string_equal(env_get(s->env[0], "PATH"), "/w/.venv/bin:" DEFAULT_PATH);
	assert_string_equal(env_get(s->env[1], "PATH"), DEFAULT_PATH);
	for (int own = 0; own < 2; own++) {
		assert_string_equal(env_get(s->env[own], "PYTHONUNBUFFERED"), "1");
		assert_string_equal(env_get(s->env[own], "PYTHONDONTWRITEBYTECODE"), "1");
		assert_string_equal(env_get(s->env[own], "MPLBACKEND"), "Agg");
	}
	context_settings_unref(s, NULL);
	values = (struct config_context){ .workspace = (char *)"/w", .presets = 3 };
	assert_int_equal(context_settings_make(&values, NULL, &s), 0);
	assert_string_equal(env_get(s->env[0], "PATH"), "/w/.venv/bin:/w/node_modules/.bin:" DEFAULT_PATH);
	context_settings_unref(s, NULL);
	values = (struct config_context){ .presets = 3 };
	assert_int_equal(context_settings_make(&values, NULL, &s), 0);
	assert_string_equal(env_get(s->env[0], "PATH"), DEFAULT_PATH);
	assert_string_equal(env_get(s->env[0], "MPLBACKEND"), "Agg");
	context_settings_unref(s, NULL);
}

static void without_a_workspace_a_path_is_as_given_and_a_secure_one_absolute(void **state)
{
	struct context_settings *s = settings(NULL, NULL, env);

	(void)state;
	assert_string_equal(env_get(s->env[0], "PATH"), env[0] + strlen("PATH="));
	assert_string_equal(env_get(s->env[1], "PATH"), "/w/bin:/usr/bin:/w:/w2/bin");
	assert_null(env_get(s->env[0], "PWD"));
	assert_string_equal(s->directory[0], "/");
	context_settings_unref(s, NULL);
}

static void what_is_beneath_is_told_by_whole_names(void **state)
{
	const char *rest;

	(void)state;
	assert_true(workspace_contains("/w", "/w//a", &rest));
	assert_string_equal(rest, "a");
	assert_true(workspace_contains("/w/", "/w", &rest));
	assert_string_equal(rest, "");
	assert_false(workspace_contains("/w", "/w2", &rest));
	assert_false(workspace_contains("/w/a", "/w", &rest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_finds_the_programs_of_its_workspace),
		cmocka_unit_test(a_secure_command_finds_none_of_them),
		cmocka_unit_test(a_path_of_which_nothing_is_left_is_the_usual_one),
		cmocka_unit_test(a_secure_command_finds_nothing_where_others_of_its_context_write),
		cmocka_unit_test(presets_are_programs_and_variables),
		cmocka_unit_test(without_a_workspace_a_path_is_as_given_and_a_secure_one_absolute),
		cmocka_unit_test(what_is_beneath_is_told_by_whole_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
