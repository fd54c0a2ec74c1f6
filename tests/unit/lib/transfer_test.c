/* SPDX-License-Identifier: Apache-2.0 */
/* libmoat: how long it waits, and what is sent and taken in pieces. */
#include "lib/fixture.h"

static int give_up(int fd, short events, void *data)
{
	assert_true(fd >= 0);
	assert_int_equal(events, POLLIN);
	++*(int *)data;
	return -ECANCELED;
}

static void the_caller_decides_how_to_wait(void **state)
{
	struct moat_response response = { 0 };
	struct moat_client *client;
	int fds[2], calls = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(moat_from_fd(fds[1], &client), 0);
	moat_set_wait(client, give_up, &calls);
	assert_int_equal(moat_call(client, "GET", "/", NULL, 0, &response), -ECANCELED);
	assert_int_equal(calls, 1);
	/* What was answered to that call must not be taken for the answer to the next. */
	assert_int_equal(moat_call(client, "GET", "/", NULL, 0, &response), -ENOTCONN);
	moat_disconnect(client);
	close(fds[0]);
}

static int give_up_sending(int fd, short events, void *data)
{
	(void)fd;
	assert_int_equal(events, POLLOUT);
	++*(int *)data;
	return -ECANCELED;
}

static void the_caller_also_decides_how_long_a_request_may_take(void **state)
{
	size_t n = 8u << 20; /* more than a socket holds: nobody reads it */
	struct moat_response response = { 0 };
	struct moat_client *client;
	char *body = calloc(1, n);
	int fds[2], calls = 0;

	(void)state;
	assert_non_null(body);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(moat_from_fd(fds[1], &client), 0);
	moat_set_wait(client, give_up_sending, &calls);
	assert_int_equal(moat_call(client, "POST", "/", body, n, &response), -ECANCELED);
	assert_int_equal(calls, 1);
	moat_disconnect(client);
	close(fds[0]);
	free(body);
}

static ssize_t take_twice(char *buf, size_t n, void *data)
{
	static const char *const pieces[] = { "hello", "world!" };
	size_t *calls = data;
	const char *piece = *calls < 2 ? pieces[*calls] : "";

	++*calls;
	assert_true(strlen(piece) <= n);
	memcpy(buf, piece, strlen(piece));
	return (ssize_t)strlen(piece);
}

static ssize_t take_nothing(char *buf, size_t n, void *data)
{
	(void)buf;
	(void)n;
	(void)data;
	return -EIO;
}

static int count_bytes(const char *bytes, size_t n, void *data)
{
	(void)bytes;
	*(size_t *)data += n;
	return 0;
}

static int refuse_bytes(const char *bytes, size_t n, void *data)
{
	(void)bytes;
	(void)n;
	(void)data;
	return -ENOSPC;
}

static int transfer(const char *text, const struct moat_transfer *t, struct moat_response *ret,
		    char *sent, size_t size)
{
	struct server s;
	ssize_t n;
	int r;

	server_open(&s, text, strlen(text), 7);
	r = moat_transfer(s.client, "PUT", "/f", t, ret);
	n = recv(s.script.fd, sent, size - 1, MSG_DONTWAIT);
	sent[n > 0 ? n : 0] = '\0';
	server_close(&s);
	return r;
}

static void a_body_is_sent_in_pieces_and_ends_only_when_all_of_it_was(void **state)
{
	struct moat_response response = { 0 };
	size_t calls = 0;
	struct moat_transfer t = { .take = take_twice, .data = &calls };
	char sent[1024];

	(void)state;
	assert_int_equal(transfer("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}", &t,
				  &response, sent, sizeof(sent)),
			 0);
	assert_int_equal(response.status, 201);
	assert_string_equal(response.body, "{}");
	moat_response_free(&response);
	assert_non_null(strstr(
		sent, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\nworld!\r\n0\r\n\r\n"));
	t.take = take_nothing;
	assert_int_equal(transfer("", &t, &response, sent, sizeof(sent)), -EIO);
	assert_null(strstr(sent, "0\r\n\r\n"));
}

static void a_body_is_handed_on_as_it_comes_and_an_error_is_kept_whole(void **state)
{
	struct moat_response response = { 0 };
	size_t got = 0;
	struct moat_transfer t = { .give = count_bytes, .data = &got };
	char sent[1024];

	(void)state;
	assert_int_equal(
		transfer("HTTP/1.1 206 Partial Content\r\nContent-Length: 11\r\n\r\nhello world",
			 &t, &response, sent, sizeof(sent)),
		0);
	assert_int_equal(got, 11);
	assert_null(response.body);
	assert_int_equal(transfer("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", &t,
				  &response, sent, sizeof(sent)),
			 0);
	assert_int_equal(got, 11);
	assert_string_equal(response.body, "{}");
	moat_response_free(&response);
	assert_int_equal(transfer("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello", &t,
				  &response, sent, sizeof(sent)),
			 -ECONNRESET);
	t.give = refuse_bytes;
	assert_int_equal(transfer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", &t,
				  &response, sent, sizeof(sent)),
			 -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_caller_decides_how_to_wait),
		cmocka_unit_test(the_caller_also_decides_how_long_a_request_may_take),
		cmocka_unit_test(a_body_is_sent_in_pieces_and_ends_only_when_all_of_it_was),
		cmocka_unit_test(a_body_is_handed_on_as_it_comes_and_an_error_is_kept_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
