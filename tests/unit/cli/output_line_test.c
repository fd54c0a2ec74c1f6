/* SPDX-License-Identifier: Apache-2.0 */
/* The quick reader of output says what a reader of JSON does, or leaves the line to that. */
#include "../../../userspace/cli/output_line.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include "json/json.h"

#include <cmocka.h>

/* A line as the agent writes it: of text, or as base64. */
static void write_line(struct jbuf *b, const char *type, const char *data, size_t n, bool base64)
{
	jbuf_open(b, '{');
	jbuf_add_unsigned(b, "seq", 7);
	jbuf_add_text(b, "type", type);
	jbuf_add_unsigned(b, "at", 1234567890123);
	jbuf_add_unsigned(b, "t", 0);
	jbuf_key(b, "data");
	if (base64)
		jbuf_base64(b, data, n);
	else
		jbuf_text_n(b, data, n);
	if (base64)
		jbuf_add_text(b, "encoding", "base64");
	jbuf_close(b, '}');
	assert_false(b->failed);
}

static void check(const char *type, const char *data, size_t n, bool base64)
{
	struct jbuf b = { 0 };
	bool is_stderr = false;
	size_t found;
	char *buf;

	write_line(&b, type, data, n, base64);
	buf = malloc(b.len);
	assert_non_null(buf);
	assert_true(output_line_decode(b.data, b.len, buf, &is_stderr, &found));
	assert_int_equal(is_stderr, strcmp(type, "stderr") == 0);
	assert_int_equal(found, n);
	assert_memory_equal(buf, data, n);
	for (size_t len = 0; len < b.len && b.len < 4096; len++)
		assert_false(output_line_decode(b.data, len, buf, &is_stderr, &found));
	free(buf);
	jbuf_free(&b);
}

static void output_is_what_was_written(void **state)
{
	char ascii[128], all[3 * 256];

	(void)state;
	for (size_t i = 0; i < sizeof(ascii); i++)
		ascii[i] = (char)i; /* NUL and all that has an escape */
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (char)(i * 7);
	check("stdout", ascii, sizeof(ascii), false);
	check("stderr", "ä\xe2\x80\xa8\xf0\x9f\x98\x80\\\"", 11, false);
	check("stdout", "", 0, false);
	for (size_t n = 0; n < 6; n++)
		check("stderr", all + n, sizeof(all) - n, true);
	srandom(1);
	for (int round = 0; round < 1000; round++) {
		size_t n = (size_t)random() % sizeof(ascii);

		for (size_t i = 0; i < n; i++)
			ascii[i] = (char)(random() % 128);
		check(round & 1 ? "stdout" : "stderr", ascii, n, round & 2);
	}
}

static void everything_else_is_left_to_a_reader_of_json(void **state)
{
	static const char *const lines[] = {
		"",
		"{",
		"{}",
		"[]",
		"x",
		"{\"seq\":1,\"type\":\"exit\",\"at\":0,\"id\":\"a\"}",
		"{\"seq\":1,\"type\":\"start\",\"id\":\"a\"}",
		"{\"type\":\"stdout\",\"seq\":1,\"at\":0,\"t\":0,\"data\":\"a\"}",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"a\",\"more\":1}",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"a\",\"encoding\":\"base32\"}",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"=a\",\"encoding\":\"base64\"}",
		"{\"seq\":,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"a\"}",
		"{\"seq\":1,\"type\":\"stdin\",\"at\":0,\"t\":0,\"data\":\"a\"}",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":null}",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"\\u00e4\"}",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"\\u2028\"}",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"\\u001\"}",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"\\/\"}",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"a\"\"}",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"a\"} ",
		"{\"seq\":1,\"type\":\"stdout\",\"at\":0,\"t\":0,\"data\":\"\\",
	};
	char buf[256];
	bool is_stderr;
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		print_message("# %s\n", lines[i]);
		assert_false(output_line_decode(lines[i], strlen(lines[i]), buf, &is_stderr, &n));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_is_what_was_written),
		cmocka_unit_test(everything_else_is_left_to_a_reader_of_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
