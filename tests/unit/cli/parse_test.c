/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line makes of its arguments. */
#include "../../../userspace/cli/parse.c"

#include <setjmp.h>
#include <stdarg.h>

#include "json/json.h"

#include <cmocka.h>

static void durations_have_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms; /* 0: refused */
	} cases[] = {
		{ "30", 30000 }, { "30s", 30000 }, { "500ms", 500 }, { "1.5s", 1500 },
		{ "0.25", 250 }, { "2m", 120000 }, { "1h", 3600000 }, { "1.5h", 5400000 },
		{ "7d", 604800000 }, { "1ms", 1 }, { "0", 0 }, { "0s", 0 }, { "", 0 },
		{ "s", 0 }, { "-1s", 0 }, { "+1s", 0 }, { " 1s", 0 }, { "1 s", 0 }, { "1S", 0 },
		{ "1x", 0 }, { "1.", 0 }, { "1.s", 0 }, { ".5s", 0 }, { "8d", 0 },
		{ "99999999999999999999", 0 }, { "18446744073709551616ms", 0 }, { "1e3", 0 },
		{ "1.000000000000000000000000000001s", 1000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t ms = 0;

		print_message("# %s\n", cases[i].text);
		assert_int_equal(parse_duration(cases[i].text, &ms), cases[i].ms ? 0 : -EINVAL);
		assert_int_equal(ms, cases[i].ms);
	}
}

static void bytes_are_plain_numbers_to_2_to_the_40(void **state)
{
	static const struct {
		const char *text;
		uint64_t n; /* 0: refused */
	} cases[] = {
		{ "1", 1 },
		{ "1099511627776", 1ull << 40 },
		{ "1099511627777", 0 },
		{ "0", 0 },
		{ "", 0 },
		{ "1k", 0 },
		{ "-1", 0 },
		{ " 1", 0 },
		{ "18446744073709551617", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t n = 0;

		print_message("# %s\n", cases[i].text);
		assert_int_equal(parse_bytes(cases[i].text, &n), cases[i].n ? 0 : -EINVAL);
		assert_int_equal(n, cases[i].n);
	}
}

static void signals_go_by_name_and_number(void **state)
{
	(void)state;
	assert_int_equal(parse_signal("KILL"), SIGKILL);
	assert_int_equal(parse_signal("SIGINT"), SIGINT);
	assert_int_equal(parse_signal("15"), SIGTERM);
	assert_int_equal(parse_signal("RTMIN+1"), SIGRTMIN + 1);
	for (int i = 1; i <= SIGRTMAX; i++) { /* 32 and 33 as well, which have no name */
		char name[24];

		assert_int_equal(parse_signal(signal_name(i, name, sizeof(name))), i);
		assert_int_equal(signal_number(signal_name(i, name, sizeof(name))), i);
	}
	assert_int_equal(parse_signal("0"), -EINVAL);
	assert_int_equal(parse_signal("65"), -EINVAL);
	assert_int_equal(parse_signal("9x"), -EINVAL);
	assert_int_equal(parse_signal("-9"), -EINVAL);
	assert_int_equal(parse_signal("kill"), -EINVAL);
	assert_int_equal(parse_signal(""), -EINVAL);
}

static const char *member(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static void env_files_are_plain_lines(void **state)
{
	json_t *env = json_object();
	unsigned line = 0;

	(void)state;
	assert_int_equal(parse_env_file("# comment\n\nA=1\nB=two words = more\r\nC=\nA=3", env,
					&line), 0);
	assert_int_equal(json_object_size(env), 3);
	assert_string_equal(json_string_value(json_object_get(env, "A")), "3");
	assert_string_equal(json_string_value(json_object_get(env, "B")), "two words = more");
	assert_string_equal(json_string_value(json_object_get(env, "C")), "");
	assert_int_equal(parse_env_file("A=1\n=2\n", env, &line), -EINVAL);
	assert_int_equal(line, 2);
	assert_int_equal(parse_env_file("\n\nexport A=1\n", env, &line), -EINVAL);
	assert_int_equal(line, 3);
	assert_int_equal(parse_env_file("=x", env, &line), -EINVAL);
	assert_int_equal(parse_env_file("my.var-1=\xff", env, &line), 0);
	assert_string_equal(member(json_object_get(env, "my.var-1"), "base64"), "/w==");
	json_decref(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_have_units),
		cmocka_unit_test(bytes_are_plain_numbers_to_2_to_the_40),
		cmocka_unit_test(signals_go_by_name_and_number),
		cmocka_unit_test(env_files_are_plain_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
