/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration becomes for an ordinary user. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include "agent/config/config.h"

#include <cmocka.h>

static struct config *made(void)
{
	char *const ports[] = { (char *)"8080", NULL }, *const argv[] = { (char *)"/bin/true",
									  NULL };
	struct config *config = NULL;
	struct failure f;

	assert_int_equal(config_from_command(ports, NULL, argv, &config, &f), 0);
	return config;
}

static void contexts_have_no_capabilities_and_the_users_own_places(void **state)
{
	CLEANUP(config_freep) struct config *config = NULL;
	const struct config_context *c;

	(void)state;
	setenv("HOME", "/home/user", 1);
	setenv("USER", "user", 1);
	config = made();
	c = &config->contexts[0];
	assert_false(c->shared_pid);
	assert_int_equal(config_make_dev(config), 0);
	assert_true(config->dev);
	assert_int_equal(config->enforce, ENFORCE_BEST_EFFORT);
	assert_true(c->shared_pid && c->no_new_privs && !c->own_tmp);
	assert_int_equal(c->capabilities, 0);
	assert_string_equal(c->home, "/home/user");
	assert_string_equal(env_get(c->env, "USER"), "user");
	assert_string_equal(env_get(c->env, "TMPDIR"), "/tmp");
}

static void what_the_configuration_names_stays(void **state)
{
	CLEANUP(config_freep) struct config *config = made();
	struct config_context *c = &config->contexts[0];

	(void)state;
	c->home = strdup("/somewhere");
	assert_int_equal(env_set(&c->env, "USER=other"), 0);
	assert_int_equal(config_make_dev(config), 0);
	assert_string_equal(c->home, "/somewhere");
	assert_string_equal(env_get(c->env, "USER"), "other");
}

static void the_state_directory_is_the_users_own(void **state)
{
	CLEANUP(config_freep) struct config *config = NULL;
	PTR_OWNED char *path = NULL, *other = NULL;
	char expected[32];

	(void)state;
	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	assert_int_equal(config_dev_state_dir(&path), 0);
	assert_string_equal(path, "/run/user/7/moat");
	unsetenv("XDG_RUNTIME_DIR");
	assert_int_equal(config_dev_state_dir(&other), 0);
	snprintf(expected, sizeof(expected), "/tmp/moat-%u", (unsigned)geteuid());
	assert_string_equal(other, expected);
	config_set_state_dir(path);
	config = made();
	assert_string_equal(config->socket, "/run/user/7/moat/moat.sock");
	config_set_state_dir("/run/moat");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contexts_have_no_capabilities_and_the_users_own_places),
		cmocka_unit_test(what_the_configuration_names_stays),
		cmocka_unit_test(the_state_directory_is_the_users_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
