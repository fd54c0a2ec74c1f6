/* SPDX-License-Identifier: Apache-2.0 */
#include "json/json.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>

#include <cmocka.h>

struct sample {
	char **argv, **env;
	const char *name, *encoding;
	struct json_blob blob;
	uint64_t number;
	bool flag;
	int signal;
};

#define FIELD(name, kind, member) name, kind, offsetof(struct sample, member)

static const char *const encodings[] = { "base64", NULL };

static const struct json_field fields[] = {
	{ FIELD("argv", JSON_KIND_TEXTS, argv), .mandatory = true, .min = 1, .max = 4 },
	{ FIELD("env", JSON_KIND_ENV, env), .max = 3 },
	{ FIELD("name", JSON_KIND_TEXT, name), .min = 1, .max = 8 },
	{ FIELD("encoding", JSON_KIND_TEXT, encoding), .choices = encodings },
	{ FIELD("blob", JSON_KIND_BLOB, blob) },
	{ FIELD("number", JSON_KIND_NUMBER, number), .min = 1, .max = 1000 },
	{ FIELD("flag", JSON_KIND_BOOL, flag) },
	{ FIELD("signal", JSON_KIND_SIGNAL, signal) },
};

/* 0, or -EINVAL with *error. On success the caller releases. */
static int decode(const char *text, size_t len, struct sample *s, json_t **root,
		  struct refusal *error)
{
	int r;

	*s = (struct sample){ 0 };
	r = json_parse(text, len, root, error);
	if (r < 0)
		return r;
	r = json_decode(*root, fields, ARRAY_LEN(fields), s, error);
	if (r < 0) {
		json_decref(*root);
		*root = NULL;
	}
	return r;
}

static void release(struct sample *s, json_t *root)
{
	json_release(fields, ARRAY_LEN(fields), s);
	json_decref(root);
}

static void a_whole_object_is_decoded(void **state)
{
	static const char text[] =
		"{\"argv\":[\"a\",\"\",\"\\u00e4\",{\"base64\":\"/w==\"}],"
		"\"env\":{\"K\":\"v=w\",\"_2\":\"\",\"my.var-1\":{\"base64\":\"4eI=\"}},"
		"\"name\":\"x\",\"encoding\":\"base64\",\"blob\":\"bytes\",\"number\":1000,"
		"\"flag\":true,\"signal\":\"SIGTERM\"}";
	struct refusal error;
	struct sample s;
	json_t *root;

	(void)state;
	assert_int_equal(decode(text, sizeof(text) - 1, &s, &root, &error), 0);
	assert_int_equal(strv_len(s.argv), 4);
	assert_string_equal(s.argv[3], "\xff");
	assert_string_equal(s.argv[1], "");
	assert_string_equal(s.argv[2], "\xc3\xa4");
	assert_int_equal(strv_len(s.env), 3);
	assert_string_equal(env_get(s.env, "my.var-1"), "\xe1\xe2");
	assert_string_equal(env_get(s.env, "K"), "v=w");
	assert_string_equal(env_get(s.env, "_2"), "");
	assert_string_equal(s.name, "x");
	assert_int_equal(s.blob.len, 5);
	assert_int_equal(s.number, 1000);
	assert_true(s.flag);
	assert_int_equal(s.signal, SIGTERM);
	release(&s, root);
}

static void defaults_stay_where_keys_are_absent(void **state)
{
	struct refusal error;
	struct sample s;
	json_t *root;

	(void)state;
	assert_int_equal(decode("{\"argv\":[\"a\"]}", 14, &s, &root, &error), 0);
	assert_null(s.env);
	assert_null(s.name);
	assert_null(s.blob.data);
	assert_false(s.flag);
	release(&s, root);
}

struct refused {
	const char *text;
	enum moat_error code;
	const char *field; /* "": none */
};

static void wrong_bodies_are_refused_with_code_and_field(void **state)
{
	static const struct refused cases[] = {
		{ "", MOAT_E_BAD_JSON, "" },
		{ "{", MOAT_E_BAD_JSON, "" },
		{ "[1]", MOAT_E_BAD_JSON, "" },
		{ "nul", MOAT_E_BAD_JSON, "" },
		{ "{\"argv\":[\"a\"]} x", MOAT_E_BAD_JSON, "" },
		{ "{\"argv\":[\"a\"],\"argv\":[\"b\"]}", MOAT_E_BAD_JSON, "" },
		{ "{\"argv\":[\"a\\u0000b\"]}", MOAT_E_BAD_JSON, "" },
		{ "{\"argv\":[\"\xff\"]}", MOAT_E_BAD_JSON, "" },
		{ "{\"argv\":[\"\\ud800\"]}", MOAT_E_BAD_JSON, "" },
		{ "{}", MOAT_E_MISSING_FIELD, "argv" },
		{ "{\"argv\":[\"a\"],\"Argv\":1}", MOAT_E_UNKNOWN_FIELD, "Argv" },
		{ "{\"argv\":\"a\"}", MOAT_E_BAD_VALUE, "argv" },
		{ "{\"argv\":[]}", MOAT_E_BAD_VALUE, "argv" },
		{ "{\"argv\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}", MOAT_E_BAD_VALUE, "argv" },
		{ "{\"argv\":[\"a\",1]}", MOAT_E_BAD_VALUE, "argv[1]" },
		{ "{\"argv\":[\"a\"],\"env\":[]}", MOAT_E_BAD_VALUE, "env" },
		{ "{\"argv\":[\"a\",{}]}", MOAT_E_BAD_VALUE, "argv[1]" },
		{ "{\"argv\":[\"a\",{\"base64\":2}]}", MOAT_E_BAD_VALUE, "argv[1]" },
		{ "{\"argv\":[\"a\",{\"base64\":\"AA==\"}]}", MOAT_E_BAD_VALUE, "argv[1]" },
		{ "{\"argv\":[\"a\",{\"base64\":\"YQ==\",\"b\":\"\"}]}", MOAT_E_BAD_VALUE, "argv[1]" },
		{ "{\"argv\":[\"a\"],\"env\":{\"A\":{\"base64\":\"Y\"}}}", MOAT_E_BAD_VALUE, "env.A" },
		{ "{\"argv\":[\"a\"],\"env\":{\"\":\"\"}}", MOAT_E_BAD_VALUE, "env." },
		{ "{\"argv\":[\"a\"],\"env\":{\"A=B\":\"\"}}", MOAT_E_BAD_VALUE, "env.A=B" },
		{ "{\"argv\":[\"a\"],\"env\":{\"A\":\"x\",\"B\":2}}", MOAT_E_BAD_VALUE, "env.B" },
		{ "{\"argv\":[\"a\"],\"name\":\"\"}", MOAT_E_BAD_VALUE, "name" },
		{ "{\"argv\":[\"a\"],\"name\":\"123456789\"}", MOAT_E_BAD_VALUE, "name" },
		{ "{\"argv\":[\"a\"],\"name\":null}", MOAT_E_BAD_VALUE, "name" },
		{ "{\"argv\":[\"a\"],\"encoding\":\"hex\"}", MOAT_E_BAD_VALUE, "encoding" },
		{ "{\"argv\":[\"a\"],\"number\":0}", MOAT_E_BAD_VALUE, "number" },
		{ "{\"argv\":[\"a\"],\"number\":1001}", MOAT_E_BAD_VALUE, "number" },
		{ "{\"argv\":[\"a\"],\"number\":-1}", MOAT_E_BAD_VALUE, "number" },
		{ "{\"argv\":[\"a\"],\"number\":1.0}", MOAT_E_BAD_VALUE, "number" },
		{ "{\"argv\":[\"a\"],\"number\":\"1\"}", MOAT_E_BAD_VALUE, "number" },
		{ "{\"argv\":[\"a\"],\"number\":99999999999999999999}", MOAT_E_BAD_JSON, "" },
		{ "{\"argv\":[\"a\"],\"flag\":1}", MOAT_E_BAD_VALUE, "flag" },
		{ "{\"argv\":[\"a\"],\"signal\":0}", MOAT_E_BAD_VALUE, "signal" },
		{ "{\"argv\":[\"a\"],\"signal\":65}", MOAT_E_BAD_VALUE, "signal" },
		{ "{\"argv\":[\"a\"],\"signal\":\"term\"}", MOAT_E_BAD_VALUE, "signal" },
		{ "{\"argv\":[\"a\"],\"signal\":\"RTMIN+99\"}", MOAT_E_BAD_VALUE, "signal" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct refusal error = { 0 };
		struct sample s;
		json_t *root = NULL;

		print_message("# %s\n", cases[i].text);
		assert_int_equal(decode(cases[i].text, strlen(cases[i].text), &s, &root, &error),
				 -EINVAL);
		assert_int_equal(error.code, cases[i].code);
		assert_string_equal(error.field, cases[i].field);
		assert_true(error.message[0]);
		assert_null(s.argv);
		assert_null(s.env);
	}
}

static void a_broken_body_is_located_and_not_quoted(void **state)
{
	static const char text[] = "{\"env\":{\"TOKEN\":\"hunter2\" oops}}";
	struct refusal error = { 0 };
	struct sample s;
	json_t *root;

	(void)state;
	assert_int_equal(decode(text, sizeof(text) - 1, &s, &root, &error), -EINVAL);
	assert_true(error.offset > 20);
	assert_null(strstr(error.message, "oops"));
	assert_null(strstr(error.message, "hunter2"));
}

static void depth_and_number_of_values_are_limited_before_parsing(void **state)
{
	size_t n = 900000;
	char *text = malloc(n);
	struct refusal error = { 0 };
	json_t *root;

	(void)state;
	assert_non_null(text);
	memset(text, '[', n);
	assert_int_equal(json_parse(text, n, &root, &error), -EINVAL);
	assert_int_equal(error.code, MOAT_E_BAD_JSON);
	assert_int_equal(error.limit, JSON_DEPTH_MAX);
	assert_int_equal(error.offset, JSON_DEPTH_MAX);
	memset(text, ',', n);
	text[0] = '[';
	assert_int_equal(json_parse(text, n, &root, &error), -EINVAL);
	assert_int_equal(error.limit, JSON_VALUES_MAX);
	/* Brackets inside a string are text. */
	memset(text, '[', n);
	memcpy(text, "{\"a\":\"\\\"", 8);
	memcpy(text + n - 2, "\"}", 2);
	assert_int_equal(json_parse(text, n, &root, &error), 0);
	json_decref(root);
	free(text);
}

static void random_bytes_never_get_through_or_crash(void **state)
{
	static const char alphabet[] = "{}[]\",:\\u0019aetrufls-.eE \n\xc3\xa4\xff";
	unsigned seed = 1;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char text[48];
		size_t len = (size_t)rand_r(&seed) % sizeof(text);
		struct refusal error = { 0 };
		struct sample s;
		json_t *root = NULL;

		for (size_t i = 0; i < len; i++)
			text[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
		if (decode(text, len, &s, &root, &error) == 0)
			release(&s, root);
		else
			assert_int_not_equal(error.code, MOAT_OK);
	}
}

static void signals_have_names_and_numbers(void **state)
{
	char buf[24];

	(void)state;
	assert_string_equal(signal_name(SIGKILL, buf, sizeof(buf)), "SIGKILL");
	assert_string_equal(signal_name(SIGRTMIN + 2, buf, sizeof(buf)), "SIGRTMIN+2");
	for (int i = 1; i <= SIGRTMAX; i++) {
		if (i >= 32 && i < SIGRTMIN)
			continue; /* the C library's own */
		assert_int_equal(signal_number(signal_name(i, buf, sizeof(buf))), i);
	}
	assert_int_equal(signal_number("HUP"), SIGHUP);
	assert_int_equal(signal_number(""), -EINVAL);
	assert_int_equal(signal_number("SIG"), -EINVAL);
	assert_int_equal(signal_number("RTMIN+"), -EINVAL);
	assert_int_equal(signal_number("RTMIN+1x"), -EINVAL);
}

static void partial_tails_are_told_from_garbage(void **state)
{
	static const struct {
		const char *text;
		size_t tail;
	} cases[] = {
		{ "", 0 }, { "abc", 0 }, { "\xc3\xa4", 0 }, { "a\xc3", 1 },
		{ "\xe2\x82", 2 }, { "\xe2\x82\xac", 0 }, { "\xe2", 1 }, { "\xe0", 1 },
		{ "\xe0\xa0", 2 }, { "\xe0\x80", 0 } /* overlong */, { "\xed\x9f", 2 },
		{ "\xed\xa0", 0 } /* surrogate */, { "\xf0", 1 }, { "\xf0\x9f\x98", 3 },
		{ "\xf0\x9f\x98\x80", 0 }, { "\xf0\x80", 0 }, { "\xf4\x8f", 2 },
		{ "\xf4\x90", 0 } /* beyond U+10FFFF */, { "\xf5", 0 }, { "\xff", 0 },
		{ "\x80", 0 }, { "\x80\x80\x80\x80", 0 }, { "\xc0", 0 }, { "\xc1", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		print_message("# case %zu\n", i);
		assert_int_equal(utf8_partial_tail(cases[i].text, strlen(cases[i].text)),
				 cases[i].tail);
	}
}

static void base64_goes_there_and_back(void **state)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
		      { "foob", "Zm9vYg==" }, { "\xff\xfe\xfd", "//79" } };
	static const char *const wrong[] = { "Z", "Zg", "Zg=", "Zg==Zg==", "Zh==", "Zm9=", "Z===",
					     "====", "Zm 9", "Zm-_", "Zm9v\n" };
	char out[64];
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t len = strlen(cases[i].bytes);

		base64_encode(cases[i].bytes, len, out);
		assert_int_equal(base64_length(len), strlen(cases[i].text));
		assert_memory_equal(out, cases[i].text, strlen(cases[i].text));
		assert_int_equal(base64_decode(cases[i].text, strlen(cases[i].text), out, &n), 0);
		assert_int_equal(n, len);
		assert_memory_equal(out, cases[i].bytes, len);
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		print_message("# %s\n", wrong[i]);
		assert_int_equal(base64_decode(wrong[i], strlen(wrong[i]), out, &n), -EINVAL);
	}
}

static void what_is_written_can_be_read(void **state)
{
	static const char awkward[] = "\"\\/\b\f\n\r\t\x01\x1f\x7f \xc3\xa4\xe2\x80\xa8\xf0\x9f\x98\x80";
	struct jbuf b = { 0 };
	json_t *root;

	(void)state;
	jbuf_open(&b, '{');
	jbuf_add_text(&b, "text", awkward);
	jbuf_add_text(&b, "none", NULL);
	jbuf_add_unsigned(&b, "big", 9007199254740993ull);
	jbuf_add_signed(&b, "negative", -5);
	jbuf_key(&b, "list");
	jbuf_open(&b, '[');
	jbuf_bool(&b, true);
	jbuf_open(&b, '{');
	jbuf_close(&b, '}');
	jbuf_null(&b);
	jbuf_close(&b, ']');
	jbuf_add_text(&b, "bad", "a\xff\xe2\x82z");
	jbuf_add_time(&b, "time", 1767225600123ull);
	jbuf_close(&b, '}');
	assert_false(b.failed);
	root = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "text")), awkward);
	assert_true(json_is_null(json_object_get(root, "none")));
	assert_int_equal(json_integer_value(json_object_get(root, "big")), 9007199254740993ll);
	assert_int_equal(json_integer_value(json_object_get(root, "negative")), -5);
	assert_int_equal(json_array_size(json_object_get(root, "list")), 3);
	assert_string_equal(json_string_value(json_object_get(root, "bad")),
			    "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
	assert_string_equal(json_string_value(json_object_get(root, "time")),
			    "2026-01-01T00:00:00.123Z");
	json_decref(root);
	jbuf_free(&b);
}

static void a_buffer_without_memory_stays_failed(void **state)
{
	struct jbuf b = { 0 };

	(void)state;
	jbuf_add_text(&b, "a", "b");
	assert_null(jbuf_reserve(&b, SIZE_MAX / 2));
	assert_true(b.failed);
	jbuf_add_text(&b, "c", "d");
	assert_true(b.failed);
	jbuf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_object_is_decoded),
		cmocka_unit_test(defaults_stay_where_keys_are_absent),
		cmocka_unit_test(wrong_bodies_are_refused_with_code_and_field),
		cmocka_unit_test(a_broken_body_is_located_and_not_quoted),
		cmocka_unit_test(depth_and_number_of_values_are_limited_before_parsing),
		cmocka_unit_test(random_bytes_never_get_through_or_crash),
		cmocka_unit_test(signals_have_names_and_numbers),
		cmocka_unit_test(partial_tails_are_told_from_garbage),
		cmocka_unit_test(base64_goes_there_and_back),
		cmocka_unit_test(what_is_written_can_be_read),
		cmocka_unit_test(a_buffer_without_memory_stays_failed),
	};

	json_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
