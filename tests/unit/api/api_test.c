/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the API server that need no running agent. */
#include "agent/api/internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void paths_match_whole_segments_only(void **state)
{
	static const struct {
		const char *method, *path;
		enum moat_error code; /* MOAT_OK: found */
		const char *id, *allow;
	} cases[] = {
		{ "POST", "/v1/exec", MOAT_OK, "", "" },
		{ "GET", "/v1/exec", MOAT_E_METHOD_NOT_ALLOWED, "", "POST" },
		{ "HEAD", "/v1/status", MOAT_OK, "", "" },
		{ "HEAD", "/v1/exec", MOAT_E_METHOD_NOT_ALLOWED, "", "POST" },
		{ "HEAD", "/v1/events", MOAT_E_METHOD_NOT_ALLOWED, "", "GET" },
		{ "get", "/v1/status", MOAT_E_METHOD_NOT_ALLOWED, "", "GET, HEAD" },
		{ "GET", "/v1/processes", MOAT_OK, "", "" },
		{ "GET", "/v1/processes/", MOAT_E_NOT_FOUND, "", "" },
		{ "GET", "/v1/processes/x12", MOAT_OK, "x12", "" },
		{ "DELETE", "/v1/processes/x12", MOAT_OK, "x12", "" },
		{ "PUT", "/v1/processes/x12", MOAT_E_METHOD_NOT_ALLOWED, NULL, "GET, HEAD, DELETE" },
		{ "POST", "/v1/processes/x12/signal", MOAT_OK, "x12", "" },
		{ "POST", "/v1/processes/x12/signal/", MOAT_E_NOT_FOUND, NULL, "" },
		{ "POST", "/v1/processes//signal", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/v1/contexts", MOAT_OK, "", "" },
		{ "PUT", "/v1/contexts", MOAT_E_METHOD_NOT_ALLOWED, NULL, "GET, HEAD, POST" },
		{ "PATCH", "/v1/contexts/a", MOAT_OK, "a", "" },
		{ "PUT", "/v1/contexts/a", MOAT_E_METHOD_NOT_ALLOWED, NULL, "GET, HEAD, PATCH, DELETE" },
		{ "GET", "/v1/contexts/session-a%2Fb%20%c3%A4", MOAT_OK, "session-a/b \xc3\xa4", "" },
		{ "GET", "/v1/contexts/a/b", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/v1/contexts/%", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/v1/contexts/a%4", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/v1/contexts/a%zz", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/v1/contexts/a%00b", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/v1/contexts/%ff", MOAT_E_NOT_FOUND, NULL, "" },
		{ "PUT", "/v1/mode", MOAT_OK, "", "" },
		{ "POST", "/v1/mode", MOAT_E_METHOD_NOT_ALLOWED, NULL, "GET, HEAD, PUT" },
		{ "GET", "/metrics", MOAT_OK, "", "" },
		{ "GET", "/v1/metrics", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/v1/status/", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/v1/statusx", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/v1/statu", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/V1/status", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "//v1/status", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/v1/%73tatus", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "", MOAT_E_NOT_FOUND, NULL, "" },
		{ "GET", "/", MOAT_E_NOT_FOUND, NULL, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct api_request r = { 0 };
		const struct api_route *route;

		print_message("# %s %s\n", cases[i].method, cases[i].path);
		route = api_route_find(&r, cases[i].method, cases[i].path);
		assert_int_equal(route == NULL, cases[i].code != MOAT_OK);
		assert_int_equal(r.error.code, cases[i].code);
		assert_string_equal(r.allow, cases[i].allow);
		if (cases[i].id)
			assert_string_equal(r.id, cases[i].id);
	}
}

static void an_id_longer_than_any_is_not_found(void **state)
{
	char path[API_ID_MAX + 32] = "/v1/processes/";
	struct api_request r = { 0 };

	(void)state;
	memset(path + 14, 'x', API_ID_MAX);
	assert_null(api_route_find(&r, "GET", path));
	path[14 + API_ID_MAX - 1] = '\0';
	assert_non_null(api_route_find(&r, "GET", path));
	assert_int_equal(strlen(r.id), API_ID_MAX - 1);
}

static void only_cgroups_of_services_may_call(void **state)
{
	static const char dir[] = "/sys/fs/cgroup/unified/docker/abc/moat-default";
	static const struct {
		const char *text;
		bool user;
	} cases[] = {
		{ "0::/\n", false },
		{ "0::/docker/abc\n", false },
		{ "0::/docker/abc/moat-default\n", false },
		{ "0::/docker/abc/moat-default/control/service-web\n", false },
		{ "0::/docker/abc/moat-default/control/service-web/deeper\n", false },
		{ "0::/docker/abc/moat-default/user/exec-1\n", true },
		{ "0::/docker/abc/moat-default/user/exec-1/own\n", true },
		{ "0::/moat-default/user/exec-1\n", true },
		{ "0::/../../moat-default/user/exec-1\n", true },
		{ "1:name=systemd:/x\n0::/docker/abc/moat-default/user/exec-77\n", true },
		{ "0::/docker/abc/moat-default/control/init-user\n", true },
		{ "0::/docker/abc/moat-default/control\n", false },
		{ "0::/docker/abc/moat-default/controls\n", true },
		{ "0::/docker/abc/moat-default/user/context-a/exec-1\n", true },
		{ "0::/docker/abc/moat-default/unheard-of\n", true },
		{ "0::/docker/abc/moat-default2/user/exec-1\n", false },
		{ "0::/docker/abc/moat-other/user/exec-1\n", false },
		{ "0::/moat-default/control/service-web/moat-default/user/exec-1\n", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		print_message("# %s", cases[i].text);
		assert_int_equal(api_cgroup_is_user(cases[i].text, dir), cases[i].user);
	}
	assert_true(api_cgroup_is_user("0::/\n", "")); /* cannot tell: refuse */
}

static void user_code_of_another_instance_may_not_call(void **state)
{
	(void)state;
	assert_true(api_cgroup_is_of_user_code("0::/docker/abc/moat-other/user/context-a/exec-1\n"));
	assert_true(api_cgroup_is_of_user_code("1:name=x:/\n0::/moat-other-2/user\n"));
	assert_true(api_cgroup_is_of_user_code("0::/moat-a/control/service-web/moat-b/user/exec-1\n"));
	assert_false(api_cgroup_is_of_user_code("0::/moat-other/control/service-web\n"));
	assert_false(api_cgroup_is_of_user_code("0::/system.slice/moat-builder.service\n"));
	assert_false(api_cgroup_is_of_user_code("0::/moat-other/users/x\n"));
	assert_false(api_cgroup_is_of_user_code("0::/user.slice/moat-\n"));
}

static void every_error_has_a_status_and_a_body(void **state)
{
	(void)state;
#define CHECK(name, http, exit)                                                                 \
	{                                                                                       \
		struct refusal e;                                                             \
		struct jbuf b = { 0 };                                                          \
		json_t *root;                                                                   \
												\
		refuse(&e, MOAT_E_##name, "why \"%s\"", #name);                          \
		api_write_error(&b, &e);                                                        \
		root = json_loadb(b.data, b.len, 0, NULL);                                      \
		assert_string_equal(json_string_value(json_object_get(root, "code")), #name);   \
		assert_null(json_object_get(root, "details"));                                  \
		assert_int_equal(api_error_status(MOAT_E_##name), http);                        \
		json_decref(root);                                                              \
		jbuf_free(&b);                                                                  \
	}
	MOAT_ERRORS(CHECK)
#undef CHECK
}

static void details_are_given_where_they_are_known(void **state)
{
	struct refusal e;
	struct jbuf b = { 0 };

	(void)state;
	refuse(&e, MOAT_E_COMMAND_NOT_FOUND, "x: command not found");
	e.err = ENOENT;
	e.step = "exec";
	e.offset = 0;
	e.limit = 7;
	snprintf(e.field, sizeof(e.field), "argv");
	api_write_error(&b, &e);
	jbuf_raw(&b, "", 1);
	assert_string_equal(b.data,
			    "{\"code\":\"COMMAND_NOT_FOUND\",\"message\":\"x: command not found\","
			    "\"details\":{\"errno\":2,\"step\":\"exec\",\"field\":\"argv\","
			    "\"offset\":0,\"limit\":7}}");
	jbuf_free(&b);
}

static void check_deferred(const struct exec_output *output, bool cut, const char *expected)
{
	struct api_piece pieces[2] = { 0 };
	struct api_answer *answer;
	struct jbuf b = { 0 };
	char text[256];
	size_t len, n;

	jbuf_open(&b, '{');
	api_defer_output(&b, "stdout", output, cut, &pieces[0]);
	jbuf_close(&b, '}');
	pieces[1].at = b.len;
	answer = api_answer_open(&b, pieces, &len);
	assert_non_null(answer);
	n = (size_t)api_answer_read(answer, 0, text, sizeof(text) - 1);
	text[n] = '\0';
	assert_string_equal(text, expected);
	assert_int_equal(n, len);
	api_answer_close(answer);
}

/* As it is written at once, and as it is made while it is sent. */
static void check_output(const char *data, size_t n, bool cut, const char *expected)
{
	struct capture_block *block = calloc(1, sizeof(*block) + n);
	struct exec_output output = {
		.data = data, .block = block, .kept = n, .head = n, .total = n
	};
	struct jbuf b = { 0 };

	assert_non_null(block);
	block->refs = 1;
	if (n)
		memcpy(block->data, data, n);
	check_deferred(&output, cut, expected);
	assert_int_equal(block->refs, 1); /* the answer gave its own back */
	if (!cut) {
		jbuf_open(&b, '{');
		api_write_output(&b, "stdout", data, output.kept);
		jbuf_close(&b, '}');
		jbuf_raw(&b, "", 1);
		assert_string_equal(b.data, expected);
		jbuf_free(&b);
	}
	free(block);
}

/* n bytes, of which the first `head` are the beginning, and all others the end of what was longer. */
static void check_hole(const char *data, size_t n, size_t head, const char *expected)
{
	struct capture_block *block = calloc(1, sizeof(*block) + n);
	struct exec_output output = { .block = block, .kept = n, .head = head, .total = n + 100 };

	assert_non_null(block);
	block->refs = 1;
	memcpy(block->data, data, n);
	output.data = block->data;
	check_deferred(&output, false, expected);
	free(block);
}

static void what_was_left_out_is_said(void **state)
{
	(void)state;
	check_hole("abcxyz", 6, 3,
		   "{\"stdout\":\"abcxyz\",\"stdoutOmitted\":{\"at\":3,\"bytes\":100}}");
	/* Characters that were cut are left out with the rest. */
	check_hole("abc\xc3\xa4"
		   "de\xe2"
		   "\x82\xac"
		   "xyz",
		   13, 8,
		   "{\"stdout\":\"abc\xc3\xa4"
		   "dexyz\",\"stdoutOmitted\":{\"at\":7,\"bytes\":103}}");
	/* Base64 of each; nothing is left out but what is lost. */
	check_hole(
		"\xff\xff\xff\x82\xac", 5, 3,
		"{\"stdout\":\"////gqw=\",\"stdoutEncoding\":\"base64\",\"stdoutOmitted\":{\"at\":3,\"bytes\":100}}");
}

static void output_is_text_or_says_that_it_is_base64(void **state)
{
	(void)state;
	check_output(NULL, 0, false, "{\"stdout\":\"\"}");
	check_output("a\n", 2, false, "{\"stdout\":\"a\\n\"}");
	check_output("abc\0d", 5, false, "{\"stdout\":\"abc\\u0000d\"}");
	check_output("\0\0a", 3, false, "{\"stdout\":\"AABh\",\"stdoutEncoding\":\"base64\"}");
	check_output("\33[1m\"\\\r\n\t\xc3\xa4", 11, false,
		     "{\"stdout\":\"\\u001b[1m\\\"\\\\\\r\\n\\t\xc3\xa4\"}");
	check_output("\xff", 1, false, "{\"stdout\":\"/w==\",\"stdoutEncoding\":\"base64\"}");
	check_output("ok\xe2\x82", 4, false,
		     "{\"stdout\":\"b2vigg==\",\"stdoutEncoding\":\"base64\"}");
	/* Cut by the limit, in the middle of a character: still text. */
	check_output("ok\xe2\x82", 4, true, "{\"stdout\":\"ok\"}");
	check_output("\xff\xe2\x82", 3, true,
		     "{\"stdout\":\"/+KC\",\"stdoutEncoding\":\"base64\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_match_whole_segments_only),
		cmocka_unit_test(an_id_longer_than_any_is_not_found),
		cmocka_unit_test(only_cgroups_of_services_may_call),
		cmocka_unit_test(user_code_of_another_instance_may_not_call),
		cmocka_unit_test(every_error_has_a_status_and_a_body),
		cmocka_unit_test(details_are_given_where_they_are_known),
		cmocka_unit_test(what_was_left_out_is_said),
		cmocka_unit_test(output_is_text_or_says_that_it_is_base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
