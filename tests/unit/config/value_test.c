/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/value.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/capability.h>

#include <cmocka.h>

static void limits_are_in_the_unit_of_their_kind(void **state)
{
	static const struct {
		enum config_limit kind;
		const char *text;
		uint64_t value;
	} cases[] = {
		{ LIMIT_MEMORY, "1048576", 1 << 20 },
		{ LIMIT_MEMORY, "1M", 1 << 20 },
		{ LIMIT_MEMORY, "1024K", 1 << 20 },
		{ LIMIT_MEMORY, "3G", UINT64_C(3) << 30 },
		{ LIMIT_MEMORY, "1048576T", UINT64_C(1) << 60 },
		{ LIMIT_MEMORY, "infinity", CONFIG_NO_LIMIT },
		{ LIMIT_PIDS, "1", 1 },
		{ LIMIT_PIDS, "4194304", 4194304 },
		{ LIMIT_PIDS, "infinity", CONFIG_NO_LIMIT },
		{ LIMIT_CPU, "2", 2000 },
		{ LIMIT_CPU, "0.5", 500 },
		{ LIMIT_CPU, "1.25", 1250 },
		{ LIMIT_CPU, "0.010", 10 },
		{ LIMIT_CPU, "8192", 8192000 },
		{ LIMIT_CPU, "infinity", CONFIG_NO_LIMIT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t value = 0;

		print_message("# %s\n", cases[i].text);
		assert_null(config_value_limit(cases[i].text, cases[i].kind, &value));
		assert_int_equal(value, cases[i].value);
	}
}

static void other_limits_are_refused(void **state)
{
	static const struct {
		enum config_limit kind;
		const char *texts[12];
	} cases[] = {
		{ LIMIT_MEMORY,
		  { "64", "1048575", "64MB", "64m", "M", "-1G", "1048577T", "36893488147419103232",
		    "max", "1.5G", "" } },
		{ LIMIT_PIDS, { "0", "4194305", "1K", "-1", "99999999999999999999", "5 ", "" } },
		{ LIMIT_CPU,
		  { "0.009", "0", "50%", "1.", ".5", "0.5555", "8193", "1,5", "-1", "" } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		for (const char *const *text = cases[i].texts; *text; text++) {
			uint64_t value = 7;

			print_message("# %s\n", *text);
			assert_non_null(config_value_limit(*text, cases[i].kind, &value));
			assert_int_equal(value, 7);
		}
}

static void a_path_is_copied_with_single_slashes(void **state)
{
	static const char *const cases[][2] = {
		{ "/", "/" },	    { "//", "/" },	   { "/a", "/a" },
		{ "/a/", "/a" },    { "//a///b//", "/a/b" }, { "/a..b/.c/d.", "/a..b/.c/d." },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		PTR_OWNED char *path = NULL;

		assert_null(config_value_path(cases[i][0], &path));
		assert_string_equal(path, cases[i][1]);
	}
}

static void a_path_may_be_as_long_as_the_kernel_takes(void **state)
{
	PTR_OWNED char *path = NULL;
	char text[PATH_MAX + 1];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[0] = '/';
	text[PATH_MAX] = '\0';
	assert_string_equal(config_value_path(text, &path), "is too long for a path");
	assert_null(path);
	text[PATH_MAX - 1] = '\0';
	assert_null(config_value_path(text, &path));
	assert_int_equal(strlen(path), PATH_MAX - 1);
}

static void all_means_what_the_kernel_knows(void **state)
{
	uint64_t mask = 0;

	(void)state;
	assert_null(config_value_capabilities("all", &mask));
	assert_int_equal(mask, (UINT64_C(1) << cap_max_bits()) - 1);
	assert_null(config_value_capabilities("container-default", &mask));
	assert_int_equal(mask, config_capabilities_default());
	assert_null(config_value_capabilities("container-default cap_sys_ptrace", &mask));
	assert_int_equal(mask, config_capabilities_default() | 1u << CAP_SYS_PTRACE);
	assert_null(config_value_capabilities("container-default,CAP_SYS_PTRACE, -cap_net_raw", &mask));
	assert_int_equal(mask, (config_capabilities_default() | 1u << CAP_SYS_PTRACE) & ~(1u << CAP_NET_RAW));
	assert_null(config_value_capabilities("all -cap_sys_admin", &mask));
	assert_true(!(mask & 1u << CAP_SYS_ADMIN) && mask & 1u << CAP_SYS_PTRACE);
	assert_null(config_value_capabilities("cap_kill -container-default", &mask));
	assert_int_equal(mask, 0);
	assert_non_null(config_value_capabilities("-cap_kill", &mask));
	assert_non_null(config_value_capabilities("cap_kill none", &mask));
	assert_non_null(config_value_capabilities("container-default cap_what", &mask));
	assert_non_null(config_value_capabilities("cap_kill --cap_kill", &mask));
}

static void secrets_are_known_by_their_names(void **state)
{
	static const char *const secret[] = {
		"GITHUB_TOKEN", "token", "NPM_TOKEN_READ", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID",
		"OPENAI_API_KEY", "apikey", "DB_PASSWORD", "PGPASSWORD", "MYSQL_PASS", "KEY_PASSPHRASE",
		"GOOGLE_APPLICATION_CREDENTIALS", "SSH_PRIVATE_KEY_FILE", "SENTRY_DSN", "DATABASE_URL",
		"GH_PAT", "PROXY_AUTH", "AZURE_STORAGE_CONNECTION_STRING",
	};
	static const char *const other[] = {
		"PATH", "PORT", "HOME", "NODE_ENV", "MAX_TOKENS", "TOKENIZERS_PARALLELISM", "PASSENGER",
		"SSH_PUBLIC_KEY", "KEYBOARD", "AUTHOR", "PWD", "COMPASS", "",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(secret); i++) {
		print_message("# %s\n", secret[i]);
		assert_true(config_is_secret_name(secret[i]));
	}
	for (size_t i = 0; i < ARRAY_LEN(other); i++) {
		print_message("# %s\n", other[i]);
		assert_false(config_is_secret_name(other[i]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_are_in_the_unit_of_their_kind),
		cmocka_unit_test(other_limits_are_refused),
		cmocka_unit_test(a_path_is_copied_with_single_slashes),
		cmocka_unit_test(a_path_may_be_as_long_as_the_kernel_takes),
		cmocka_unit_test(all_means_what_the_kernel_knows),
		cmocka_unit_test(secrets_are_known_by_their_names),
	};

	return cmocka_run_group_tests_name("config values", tests, NULL, NULL);
}
