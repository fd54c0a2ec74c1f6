/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h> /* has a macro fail(); (fail)() is ours */

static void fail_appends_the_errno_except_einval(void **state)
{
	struct failure f = { 0 };
	struct failure g = { 0 };

	(void)state;
	assert_int_equal((fail)(&f, ENOENT, "cannot open %s", "x"), -ENOENT);
	assert_string_equal(f.msg, "cannot open x: No such file or directory");
	assert_int_equal(f.err, ENOENT);
	assert_int_equal((fail)(&g, EINVAL, "bad port"), -EINVAL);
	assert_string_equal(g.msg, "bad port");
	assert_int_equal((fail)(NULL, EPERM, "nobody reads this"), -EPERM);
}

static void fail_keeps_the_deepest_cause(void **state)
{
	struct failure f = { 0 };

	(void)state;
	(fail)(&f, ENOENT, "first");
	assert_int_equal((fail)(&f, EIO, "second"), -EIO);
	assert_int_equal(f.err, ENOENT);
	assert_string_equal(f.msg, "first: No such file or directory");
}

static void fail_terminates_a_message_that_is_too_long(void **state)
{
	struct failure f = { 0 };
	char big[2 * sizeof(f.msg)];

	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	(fail)(&f, ENOENT, "%s", big);
	assert_int_equal(strlen(f.msg), sizeof(f.msg) - 1);
}

static void strv_append_and_copy_keep_order(void **state)
{
	char **v = NULL, **copy = NULL;

	(void)state;
	assert_int_equal(strv_len(NULL), 0);
	assert_int_equal(strv_append(&v, "a"), 0);
	assert_int_equal(strv_append(&v, ""), 0);
	assert_int_equal(strv_append(&v, "c"), 0);
	assert_int_equal(strv_len(v), 3);
	assert_int_equal(strv_copy(v, &copy), 0);
	assert_int_equal(strv_len(copy), 3);
	assert_string_equal(copy[0], "a");
	assert_string_equal(copy[1], "");
	assert_string_equal(copy[2], "c");
	assert_ptr_not_equal(copy[0], v[0]);
	strv_free(copy);
	assert_int_equal(strv_copy(NULL, &copy), 0);
	assert_null(copy[0]);
	strv_free(copy);
	strv_free_wiped(v);
}

static void env_set_replaces_the_same_key_only(void **state)
{
	char **env = NULL;

	(void)state;
	assert_int_equal(env_set(&env, "AB=1"), 0);
	assert_int_equal(env_set(&env, "A=2"), 0);
	assert_int_equal(env_set(&env, "AB=3=4"), 0);
	assert_int_equal(env_set(&env, "EMPTY="), 0);
	assert_int_equal(strv_len(env), 3);
	assert_string_equal(env_get(env, "AB"), "3=4");
	assert_string_equal(env_get(env, "A"), "2");
	assert_string_equal(env_get(env, "EMPTY"), "");
	assert_null(env_get(env, "B"));
	assert_null(env_get(env, ""));
	assert_null(env_get(NULL, "A"));
	assert_int_equal(env_set(&env, "novalue"), -EINVAL);
	assert_int_equal(env_set(&env, "=x"), -EINVAL);
	assert_int_equal(strv_len(env), 3);
	strv_free_wiped(env);
}

static void a_name_of_a_variable_is_anything_but_empty_without_an_equals_sign(void **state)
{
	(void)state;
	assert_true(env_name_valid("A", 1) && env_name_valid("a b\n", 4) &&
		    env_name_valid("A=B", 1));
	assert_false(env_name_valid("", 0) || env_name_valid("A=B", 3) || env_name_valid("=", 1));
	assert_true(env_entry_valid("A=") && env_entry_valid("A==B") && env_entry_valid(" =x"));
	assert_false(env_entry_valid("A") || env_entry_valid("=A") || env_entry_valid(""));
}

static void what_has_grown_has_what_was_used(void **state)
{
	char *p = grow_wiped(NULL, 0, 0, 4);

	(void)state;
	assert_non_null(p);
	memcpy(p, "abc", 4);
	p = grow_wiped(p, 4, 4, 8000);
	assert_non_null(p);
	assert_string_equal(p, "abc");
	memset(p + 4, 'x', 8000 - 4); /* it has room for all of it */
	free_wiped(p, 8000);
}

static void parents_are_made_and_the_last_part_is_not(void **state)
{
	char dir[] = "/tmp/moat-base-XXXXXX", path[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a/b/c", dir);
	for (int again = 0; again < 2; again++)
		assert_int_equal(make_parents(path, 0700), 0);
	assert_int_equal(access(path, F_OK), -1);
	*strrchr(path, '/') = '\0';
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	snprintf(path, sizeof(path), "%s/a/b/c/d", dir);
	assert_int_equal(make_parents(path, 0700), -ENOTDIR);
	snprintf(path, sizeof(path), "%s/a/b", dir);
	assert_int_equal(unlink(path), 0);
	*strrchr(path, '/') = '\0';
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void a_lock_is_had_by_one_and_not_on_what_is_removed(void **state)
{
	char path[] = "/tmp/moat-base-XXXXXX";
	FD_OWNED int first = mkstemp(path), second = open(path, O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_true(first >= 0 && second >= 0);
	assert_int_equal(lock_removable(first), 0);
	assert_int_equal(lock_removable(second), -EBUSY);
	assert_int_equal(unlink(path), 0);
	close_fd(&first);
	assert_int_equal(lock_removable(second), -EAGAIN);
	assert_int_equal(lock_removable(-EBADF), -EBADF);
}

static void utf8_takes_the_well_formed_and_nothing_else(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		bool valid;
	} cases[] = {
		{ "", 0, true },
		{ "plain", 5, true },
		{ "a\0b", 3, true },
		{ "\xc3\xa4", 2, true },
		{ "\xe2\x82\xac", 3, true },
		{ "\xf0\x9f\x98\x80", 4, true },
		{ "\xf4\x8f\xbf\xbf", 4, true },
		{ "\xed\x9f\xbf", 3, true },
		{ "\x80", 1, false },                /* a continuation alone */
		{ "\xc3", 1, false },                /* cut off */
		{ "\xe2\x82", 2, false },
		{ "\xf0\x9f\x98", 3, false },
		{ "\xc3(", 2, false },
		{ "\xe2\x82(", 3, false },
		{ "\xc0\xaf", 2, false },            /* overlong */
		{ "\xe0\x80\xaf", 3, false },
		{ "\xf0\x80\x80\xaf", 4, false },
		{ "\xed\xa0\x80", 3, false },        /* a surrogate */
		{ "\xf4\x90\x80\x80", 4, false },    /* above U+10FFFF */
		{ "\xf5\x80\x80\x80", 4, false },
		{ "\xff", 1, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (utf8_valid(cases[i].text, cases[i].n) != cases[i].valid)
			fail_msg("case %zu", i);
}

static void what_would_command_a_terminal_is_not_shown(void **state)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{ "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "a\nb\tc\033[2Jd\x7f" "e", "a?b?c?[2Jd?e" },
		{ "\xc2\x80-\xc2\x9b-\xc2\x9f-\xc2\xa0", "\?\?-\?\?-\?\?-\xc2\xa0" }, /* C1 */
		{ "\x9b\x9b" "2J\xc3", "\?\?2J?" },                                        /* no UTF-8 */
		{ "\xe2\x82", "\?\?" },
		{ "\xd8\x9c-\xd8\x9d", "\?\?-\xd8\x9d" },                                /* U+061C */
		{ "\xe2\x80\x8d\xe2\x80\x8e\xe2\x80\x8f\xe2\x80\x90", "\xe2\x80\x8d\?\?\?\?\?\?\xe2\x80\x90" },
		{ "\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xae\xe2\x80\xaf", "\xe2\x80\xa7\?\?\?\?\?\?\xe2\x80\xaf" },
		{ "\xe2\x81\xa5\xe2\x81\xa6\xe2\x81\xa9\xe2\x81\xaa", "\xe2\x81\xa5\?\?\?\?\?\?\xe2\x81\xaa" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		PTR_OWNED char *text = strdup(cases[i].text);

		hide_controls(text);
		assert_string_equal(text, cases[i].shown);
	}
}

static void read_file_at_refuses_what_is_too_big(void **state)
{
	char path[] = "/tmp/moat-base-test-XXXXXX";
	FD_OWNED int fd = mkstemp(path);
	PTR_OWNED char *text = NULL;
	char data[5000];
	size_t len = 0;

	(void)state;
	assert_true(fd >= 0);
	memset(data, 'x', sizeof(data));
	assert_int_equal(write_all(fd, data, sizeof(data)), 0);
	assert_int_equal(read_file_at(AT_FDCWD, path, sizeof(data) - 1, &text, &len), -EFBIG);
	assert_null(text);
	assert_int_equal(read_file_at(AT_FDCWD, path, sizeof(data), &text, &len), 0);
	assert_int_equal(len, sizeof(data));
	assert_memory_equal(text, data, sizeof(data));
	assert_int_equal(text[len], '\0');
	unlink(path);
	free_ptr(&text);
	assert_int_equal(read_file_at(AT_FDCWD, path, 10, &text, &len), -ENOENT);
	assert_int_equal(read_file_at(AT_FDCWD, "/proc/self/status", 1 << 20, &text, NULL), 0);
	assert_non_null(strstr(text, "Name:"));
}

static void write_file_at_never_makes_a_file(void **state)
{
	char dir[] = "/tmp/moat-base-test-XXXXXX", text[8] = "";
	FD_OWNED int fd = -EBADF;
	FD_OWNED int file = -EBADF;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(write_file_at(fd, "absent", "x"), -ENOENT);
	file = openat(fd, "there", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write_file_at(fd, "there", "abc"), 0);
	assert_int_equal(pread(file, text, sizeof(text), 0), 3);
	assert_string_equal(text, "abc");
	unlinkat(fd, "there", 0);
	rmdir(dir);
}

static void a_moved_descriptor_is_not_closed(void **state)
{
	int kept;

	(void)state;
	{
		FD_OWNED int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		kept = take_fd(&fd);
		assert_int_equal(fd, -EBADF);
	}
	assert_true(fcntl(kept, F_GETFD) >= 0);
	{
		FD_OWNED int fd = kept;

		(void)fd;
	}
	assert_int_equal(fcntl(kept, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fail_appends_the_errno_except_einval),
		cmocka_unit_test(fail_keeps_the_deepest_cause),
		cmocka_unit_test(fail_terminates_a_message_that_is_too_long),
		cmocka_unit_test(strv_append_and_copy_keep_order),
		cmocka_unit_test(env_set_replaces_the_same_key_only),
		cmocka_unit_test(a_name_of_a_variable_is_anything_but_empty_without_an_equals_sign),
		cmocka_unit_test(what_has_grown_has_what_was_used),
		cmocka_unit_test(parents_are_made_and_the_last_part_is_not),
		cmocka_unit_test(a_lock_is_had_by_one_and_not_on_what_is_removed),
		cmocka_unit_test(utf8_takes_the_well_formed_and_nothing_else),
		cmocka_unit_test(what_would_command_a_terminal_is_not_shown),
		cmocka_unit_test(read_file_at_refuses_what_is_too_big),
		cmocka_unit_test(write_file_at_never_makes_a_file),
		cmocka_unit_test(a_moved_descriptor_is_not_closed),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
