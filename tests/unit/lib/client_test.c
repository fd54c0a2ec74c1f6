/* SPDX-License-Identifier: Apache-2.0 */
/* libmoat against answers written byte by byte: what a server may send, and what it may not. */
#include "lib/fixture.h"

static int call(const char *text, size_t step, struct moat_response *ret)
{
	struct server s;
	int r;

	server_open(&s, text, strlen(text), step);
	r = moat_call(s.client, "GET", "/", NULL, 0, ret);
	server_close(&s);
	return r;
}

static void answers_of_every_framing_are_read_however_they_are_cut(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\ncontent-length:5  \r\nX: y\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=1\r\nhe\r\n003\r\nllo\r\n"
		 "0\r\nTrailer: x\r\n\r\n"),
		"HTTP/1.0 200 OK\r\n\r\nhello",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		for (size_t step = 1; step < 40; step += 3) {
			struct moat_response response = { 0 };

			assert_int_equal(call(answers[i], step, &response), 0);
			assert_int_equal(response.status, 200);
			assert_int_equal(response.len, 5);
			assert_string_equal(response.body, "hello");
			moat_response_free(&response);
			assert_null(response.body);
		}
	}
}

static void an_answer_says_which_life_of_the_agent_it_is_of(void **state)
{
	static const char text[] =
		"HTTP/1.1 200 OK\r\nmoat-instance: abc123 \r\nContent-Length: 0\r\n\r\n";
	struct moat_response response = { 0 };
	struct server s;

	(void)state;
	server_open(&s, text, strlen(text), 7);
	assert_string_equal(moat_instance(s.client), "");
	assert_int_equal(moat_call(s.client, "GET", "/", NULL, 0, &response), 0);
	assert_string_equal(moat_instance(s.client), "abc123");
	moat_response_free(&response);
	server_close(&s);
}

static void wrong_and_cut_answers_are_errors(void **state)
{
	static const struct {
		const char *text;
		int error;
	} cases[] = {
		{ "", -ECONNRESET },
		{ "HTTP/1.1 200 OK\r\n", -ECONNRESET },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", -ECONNRESET },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		  -ECONNRESET },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
		  -ECONNRESET },
		{ "SSH-2.0-OpenSSH_9.2\r\n", -EPROTO },
		{ "HTTP/2 200 OK\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 20 OK\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 999 OK\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\n\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nMoat-Instance: "
		  "1234567890123456789012345678901234567890123456789012345678901234x\r\n\r\n",
		  -EPROTO },
		{ "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
		  -EMSGSIZE },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\nx", -ECONNRESET },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct moat_response response = { 0 };

		print_message("# case %zu\n", i);
		assert_int_equal(call(cases[i].text, 1000, &response), cases[i].error);
		assert_null(response.body);
	}
}

static void a_head_without_end_is_limited(void **state)
{
	size_t n = MOAT_HEAD_MAX * 2;
	char *text = malloc(n);
	struct moat_response response = { 0 };
	struct server s;

	(void)state;
	assert_non_null(text);
	memset(text, 'a', n);
	memcpy(text, "HTTP/1.1 200 OK\r\nX: ", 20);
	server_open(&s, text, n, n);
	assert_int_equal(moat_call(s.client, "GET", "/", NULL, 0, &response), -EMSGSIZE);
	server_close(&s);
	free(text);
}

#define STREAM_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n" \
		    "Transfer-Encoding: chunked\r\n\r\n"

static void lines_are_joined_across_chunks(void **state)
{
	static const char text[] = STREAM_HEAD "4\r\n{\"a\"\r\n5\r\n:1}\n\n\r\n9\r\n{\"b\":2}\nc\r\n"
					       "1\r\n\n\r\n0\r\n\r\n";
	static const char *const lines[] = { "{\"a\":1}", "", "{\"b\":2}", "c" };

	(void)state;
	for (size_t step = 1; step < 50; step += 4) {
		struct moat_response response = { 0 };
		struct server s;
		const char *line;
		size_t len;

		server_open(&s, text, sizeof(text) - 1, step);
		assert_int_equal(moat_stream(s.client, "POST", "/v1/exec", "{}", 2, &response), 1);
		for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
			assert_int_equal(moat_stream_next(s.client, &line, &len), 1);
			assert_string_equal(line, lines[i]);
			assert_int_equal(len, strlen(lines[i]));
		}
		assert_int_equal(moat_stream_next(s.client, &line, &len), 0);
		assert_int_equal(moat_stream_next(s.client, &line, &len), 0);
		server_close(&s);
	}
}

static void a_stream_that_is_cut_off_is_an_error(void **state)
{
	static const char *const texts[] = {
		STREAM_HEAD "3\r\na\nb\r\n",             /* no last chunk */
		STREAM_HEAD "3\r\na\nb\r\n0\r\n\r\n",    /* no end of the last line */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct moat_response response = { 0 };
		struct server s;
		const char *line;
		size_t len;

		server_open(&s, texts[i], strlen(texts[i]), 1000);
		assert_int_equal(moat_stream(s.client, "GET", "/", NULL, 0, &response), 1);
		assert_int_equal(moat_stream_next(s.client, &line, &len), 1);
		assert_int_equal(moat_stream_next(s.client, &line, &len), -ECONNRESET);
		server_close(&s);
	}
}

static void a_line_without_end_is_limited(void **state)
{
	size_t n = MOAT_LINE_MAX + 4096;
	char *text = malloc(n);
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n";
	struct moat_response response = { 0 };
	struct server s;
	const char *line;
	size_t len;

	(void)state;
	assert_non_null(text);
	memset(text, 'a', n);
	memcpy(text, head, sizeof(head) - 1);
	server_open(&s, text, n, n);
	assert_int_equal(moat_stream(s.client, "GET", "/", NULL, 0, &response), 1);
	assert_int_equal(moat_stream_next(s.client, &line, &len), -EMSGSIZE);
	server_close(&s);
	free(text);
}

static void an_error_instead_of_a_stream_is_a_whole_answer(void **state)
{
	static const char text[] = "HTTP/1.1 422 Unprocessable Content\r\nContent-Length: 2\r\n"
				   "Content-Type: application/json\r\n\r\n{}";
	struct moat_response response = { 0 };
	struct server s;

	(void)state;
	server_open(&s, text, sizeof(text) - 1, 7);
	assert_int_equal(moat_stream(s.client, "POST", "/", "{}", 2, &response), 0);
	assert_int_equal(response.status, 422);
	assert_string_equal(response.body, "{}");
	moat_response_free(&response);
	server_close(&s);
}

static void a_path_cannot_carry_headers(void **state)
{
	struct moat_response response = { 0 };
	struct server s;

	(void)state;
	server_open(&s, "", 0, 1);
	assert_int_equal(moat_call(s.client, "GET", "/ HTTP/1.1\r\nX: y", NULL, 0, &response),
			 -EINVAL);
	server_close(&s);
}

static void nobody_listening_is_told_apart(void **state)
{
	struct moat_client *client = NULL;
	char path[200];

	(void)state;
	assert_int_equal(moat_connect("/nonexistent/moat.sock", &client), -ENOENT);
	memset(path, 'a', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(moat_connect(path, &client), -ENAMETOOLONG);
	assert_null(client);
	moat_disconnect(NULL);
}

/* Bit n: descriptor n is closed. */
static void close_standard_fds(unsigned closed)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (closed >> fd & 1)
			close(fd);
}

static bool standard_fds_are(unsigned closed)
{
	unsigned found = 0;

	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			found |= 1u << fd;
	return found == closed;
}

static int listen_somewhere(struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path, sizeof(address->sun_path), "/tmp/moat-client-test-%d", getpid());
	unlink(address->sun_path);
	assert_true(fd > STDERR_FILENO);
	assert_int_equal(bind(fd, (const struct sockaddr *)address, sizeof(*address)), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

/* The exit status says which step went wrong. */
static int connects_above_standard_fds(const char *path, unsigned closed)
{
	struct moat_client *client;
	int fd;

	close_standard_fds(closed);
	if (moat_connect(path, &client) < 0)
		return 1;
	if (!standard_fds_are(closed))
		return 2;
	moat_disconnect(client);
	fd = socket(AF_UNIX, SOCK_STREAM, 0); /* gets the lowest that is free */
	if (moat_from_fd(fd, &client) < 0)
		return 3;
	if (!standard_fds_are(closed))
		return 4;
	moat_disconnect(client);
	if (standard_fds_open() < 0 || !standard_fds_are(0))
		return 5;
	return 0;
}

static void a_connection_is_never_one_of_the_standard_descriptors(void **state)
{
	struct sockaddr_un address;
	int listener = listen_somewhere(&address);

	(void)state;
	for (unsigned closed = 0; closed < 8; closed++) {
		pid_t pid = fork();
		int status;

		if (pid == 0)
			_exit(connects_above_standard_fds(address.sun_path, closed));
		assert_true(pid > 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	close(listener);
	unlink(address.sun_path);
}

static void codes_have_exit_statuses(void **state)
{
	(void)state;
	assert_int_equal(moat_exit_status("COMMAND_NOT_FOUND"), 127);
	assert_int_equal(moat_exit_status("COMMAND_NOT_EXECUTABLE"), 126);
	assert_int_equal(moat_exit_status("BAD_JSON"), 125);
	assert_int_equal(moat_exit_status("FROM_THE_FUTURE"), 125);
	assert_int_equal(moat_exit_status(NULL), 125);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_of_every_framing_are_read_however_they_are_cut),
		cmocka_unit_test(an_answer_says_which_life_of_the_agent_it_is_of),
		cmocka_unit_test(wrong_and_cut_answers_are_errors),
		cmocka_unit_test(a_head_without_end_is_limited),
		cmocka_unit_test(lines_are_joined_across_chunks),
		cmocka_unit_test(a_stream_that_is_cut_off_is_an_error),
		cmocka_unit_test(a_line_without_end_is_limited),
		cmocka_unit_test(an_error_instead_of_a_stream_is_a_whole_answer),
		cmocka_unit_test(a_path_cannot_carry_headers),
		cmocka_unit_test(nobody_listening_is_told_apart),
		cmocka_unit_test(a_connection_is_never_one_of_the_standard_descriptors),
		cmocka_unit_test(codes_have_exit_statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
