/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/lib.h"
#include "moat/errors.h"

#define RECEIVE_SIZE (64u * 1024)
#define HEAD_SIZE (24u * 1024) /* a path of PATH_MAX bytes, each escaped, and a query */
#define CHUNK_SENT (32u * 1024)

static void wipe_free(char *data, size_t n)
{
	if (data)
		explicit_bzero(data, n);
	free(data);
}

void buffer_free(struct buffer *b)
{
	wipe_free(b->data, b->capacity);
	*b = (struct buffer){ 0 };
}

static int buffer_reserve(struct buffer *b, size_t n)
{
	size_t capacity = b->capacity ? b->capacity : 4096;
	char *data;

	if (n <= b->capacity - b->len)
		return 0;
	while (capacity < b->len + n)
		capacity *= 2;
	data = malloc(capacity);
	if (!data)
		return -ENOMEM;
	if (b->len)
		memcpy(data, b->data, b->len);
	wipe_free(b->data, b->capacity);
	b->data = data;
	b->capacity = capacity;
	return 0;
}

int buffer_append(struct buffer *b, const char *data, size_t n)
{
	int r = buffer_reserve(b, n);

	if (r == 0 && n) {
		memcpy(b->data + b->len, data, n);
		b->len += n;
	}
	return r;
}

static int wait_default(int fd, short events, void *data)
{
	struct pollfd p = { .fd = fd, .events = events };

	(void)data;
	return poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

static int client_new(struct moat_client **ret)
{
	struct moat_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->fd = -EBADF;
	c->wait = wait_default;
	c->complete = true;
	*ret = c;
	return 0;
}

static void hang_up(struct moat_client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -EBADF;
	c->in.len = c->at = 0;
	c->complete = true;
}

/*
 * Moves a descriptor out of 0, 1 and 2: where the program was started with one of these closed, all
 * that it prints would be sent to the agent. Consumes fd; the new one or -errno.
 */
static int above_standard_fds(int fd)
{
	int moved, err;

	if (fd > STDERR_FILENO || fd < 0)
		return fd;
	moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	err = errno;
	close(fd);
	return moved < 0 ? -err : moved;
}

static int connect_anew(struct moat_client *c)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (!c->path)
		return -ENOTCONN;
	if (strlen(c->path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, c->path, strlen(c->path) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	/* Before it is connected: another thread may print at any time. */
	c->fd = above_standard_fds(c->fd);
	if (c->fd < 0)
		return c->fd;
	if (connect(c->fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		int err = errno;

		hang_up(c);
		return -err;
	}
	return 0;
}

int moat_connect(const char *path, struct moat_client **ret)
{
	struct moat_client *c;
	int r = client_new(&c);

	if (r < 0)
		return r;
	if (!path)
		path = getenv("MOAT_SOCKET");
	c->path = strdup(path && *path ? path : MOAT_SOCKET_DEFAULT);
	r = c->path ? connect_anew(c) : -ENOMEM;
	if (r < 0) {
		moat_disconnect(c);
		return r;
	}
	*ret = c;
	return 0;
}

int moat_from_fd(int fd, struct moat_client **ret)
{
	struct moat_client *c;
	int r = client_new(&c);

	if (r < 0) {
		close(fd);
		return r;
	}
	c->fd = above_standard_fds(fd);
	if (c->fd < 0) {
		r = c->fd;
		moat_disconnect(c);
		return r;
	}
	*ret = c;
	return 0;
}

void moat_disconnect(struct moat_client *c)
{
	if (!c)
		return;
	hang_up(c);
	buffer_free(&c->in);
	buffer_free(&c->line);
	free(c->path);
	free(c);
}

void moat_set_wait(struct moat_client *c, moat_wait_fn wait, void *data)
{
	c->wait = wait ? wait : wait_default;
	c->wait_data = data;
}

int client_receive(struct moat_client *c)
{
	ssize_t n;
	int r;

	if (c->at == c->in.len)
		c->in.len = c->at = 0;
	if (c->at > RECEIVE_SIZE) {
		memmove(c->in.data, c->in.data + c->at, c->in.len - c->at);
		c->in.len -= c->at;
		c->at = 0;
	}
	r = buffer_reserve(&c->in, RECEIVE_SIZE);
	while (r == 0) {
		n = recv(c->fd, c->in.data + c->in.len, c->in.capacity - c->in.len, MSG_DONTWAIT);
		if (n > 0) {
			c->in.len += (size_t)n;
			return 0;
		}
		if (n == 0)
			return -ECONNRESET;
		if (errno == EAGAIN)
			r = c->wait(c->fd, POLLIN, c->wait_data);
		else if (errno != EINTR)
			return -errno;
	}
	return r;
}

/* Waits until all is sent. The agent may refuse early and close: what it said is then read. */
static int send_all(struct moat_client *c, struct iovec *parts, size_t n)
{
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = n };

	while (message.msg_iovlen) {
		ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		int r;

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN) {
			r = c->wait(c->fd, POLLOUT, c->wait_data);
			if (r < 0)
				return r;
			continue;
		}
		if (sent < 0)
			return errno == EPIPE || errno == ECONNRESET ? 0 : -errno;
		while (message.msg_iovlen && (size_t)sent >= message.msg_iov->iov_len) {
			sent -= (ssize_t)message.msg_iov->iov_len;
			message.msg_iov++;
			message.msg_iovlen--;
		}
		if (message.msg_iovlen) {
			message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
			message.msg_iov->iov_len -= (size_t)sent;
		}
	}
	return 0;
}

static int send_request(struct moat_client *c, const char *method, const char *path,
			const char *accept, const char *body, size_t len)
{
	char head[HEAD_SIZE];
	int n = snprintf(head, sizeof(head),
			 "%s %s HTTP/1.1\r\nHost: moat\r\nAccept: %s\r\n"
			 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
			 method, path, accept, len);

	if (n < 0 || (size_t)n >= sizeof(head))
		return -EMSGSIZE;
	return send_all(c, (struct iovec[]){ { head, (size_t)n }, { (void *)body, len } }, 2);
}

/* Makes ready for a request, on a connection that has no answer outstanding. A kept one that the agent has closed
 * meanwhile is found out before anything is sent. */
static int make_ready(struct moat_client *c, const char *method, const char *path)
{
	char byte;
	int r;

	if (strpbrk(path, " \r\n") || strpbrk(method, " \r\n"))
		return -EINVAL;
	if (c->fd >= 0 && c->path &&
	    (!c->complete || c->close || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0))
		hang_up(c);
	if (c->fd < 0) {
		r = connect_anew(c);
		if (r < 0)
			return r;
	}
	c->complete = false;
	c->line.len = 0;
	c->line_taken = false;
	return 0;
}

/* Sends a request and reads the head of the answer. */
static int begin(struct moat_client *c, const char *method, const char *path, const char *accept,
		 const char *body, size_t len)
{
	int r = make_ready(c, method, path);

	if (r < 0)
		return r;
	r = send_request(c, method, path, accept, body, body ? len : 0);
	if (r == 0)
		r = http_read_head(c);
	if (r < 0)
		hang_up(c);
	return r;
}

static int read_all(struct moat_client *c, struct moat_response *ret)
{
	struct buffer body = { 0 };
	const char *data;
	size_t n;
	int r;

	while ((r = http_read_body(c, &data, &n)) > 0) {
		r = n > MOAT_BODY_MAX - body.len ? -EMSGSIZE : buffer_append(&body, data, n);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = buffer_append(&body, "", 1);
	if (r < 0) {
		buffer_free(&body);
		hang_up(c);
		return r;
	}
	*ret = (struct moat_response){ c->status, body.data, body.len - 1 };
	return 0;
}

int moat_call(struct moat_client *c, const char *method, const char *path, const char *body,
	      size_t len, struct moat_response *ret)
{
	int r = begin(c, method, path, "application/json", body, len);

	return r < 0 ? r : read_all(c, ret);
}

int moat_stream(struct moat_client *c, const char *method, const char *path, const char *body,
		size_t len, struct moat_response *ret)
{
	int r = begin(c, method, path, "application/x-ndjson", body, len);

	if (r < 0)
		return r;
	if (!c->ndjson)
		return read_all(c, ret);
	*ret = (struct moat_response){ .status = c->status };
	return 1;
}

static int send_chunks(struct moat_client *c, const struct moat_transfer *t)
{
	char buf[CHUNK_SENT], size[24];
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = t->take(buf, sizeof(buf), t->data)) > 0) {
		int m = snprintf(size, sizeof(size), "%zx\r\n", (size_t)n);

		r = send_all(c,
			     (struct iovec[]){ { size, (size_t)m },
					       { buf, (size_t)n },
					       { (void *)"\r\n", 2 } },
			     3);
	}
	if (r == 0)
		r = n < 0 ? (int)n : send_all(c, (struct iovec[]){ { (void *)"0\r\n\r\n", 5 } }, 1);
	explicit_bzero(buf, sizeof(buf));
	return r;
}

static int begin_transfer(struct moat_client *c, const char *method, const char *path,
			  const struct moat_transfer *t)
{
	char head[HEAD_SIZE];
	int r = make_ready(c, method, path), n;

	if (r < 0)
		return r;
	n = snprintf(
		head, sizeof(head), "%s %s HTTP/1.1\r\nHost: moat\r\n%s\r\n", method, path,
		t->take ?
			"Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n" :
			"");
	if (n < 0 || (size_t)n >= sizeof(head))
		return -EMSGSIZE;
	r = send_all(c, (struct iovec[]){ { head, (size_t)n } }, 1);
	if (r == 0 && t->take)
		r = send_chunks(c, t);
	return r == 0 ? http_read_head(c) : r;
}

int moat_transfer(struct moat_client *c, const char *method, const char *path,
		  const struct moat_transfer *t, struct moat_response *ret)
{
	int r = begin_transfer(c, method, path, t);
	const char *data;
	size_t n;

	if (r == 0 && (c->status < 200 || c->status > 299 || !t->give))
		return read_all(c, ret);
	while (r == 0 && (r = http_read_body(c, &data, &n)) > 0)
		r = t->give(data, n, t->data);
	if (r < 0) {
		hang_up(c);
		return r;
	}
	*ret = (struct moat_response){ .status = c->status };
	return 0;
}

static int append_line(struct moat_client *c, const char *data, size_t n)
{
	if (n > MOAT_LINE_MAX - c->line.len)
		return -EMSGSIZE;
	return buffer_append(&c->line, data, n);
}

int moat_stream_next(struct moat_client *c, const char **ret_line, size_t *ret_len)
{
	const char *data, *end;
	size_t n;
	int r;

	if (c->line_taken) {
		c->line.len = 0;
		c->line_taken = false;
	}
	while ((r = http_read_body(c, &data, &n)) > 0) {
		end = memchr(data, '\n', n);
		if (end)
			http_unread_body(c, n - (size_t)(end + 1 - data));
		r = append_line(c, data, end ? (size_t)(end - data) : n);
		if (r == 0 && end) {
			r = buffer_append(&c->line, "", 1);
			if (r == 0) {
				*ret_line = c->line.data;
				*ret_len = c->line.len - 1;
				c->line_taken = true;
				return 1;
			}
		}
		if (r < 0)
			break;
	}
	/* A line that was begun and not ended was cut off. */
	if (r == 0 && c->line.len)
		r = -ECONNRESET;
	if (r < 0)
		hang_up(c);
	return r;
}

const char *moat_instance(const struct moat_client *c)
{
	return c->instance;
}

void moat_response_free(struct moat_response *response)
{
	wipe_free(response->body, response->len);
	*response = (struct moat_response){ 0 };
}

int moat_exit_status(const char *code)
{
	static const struct {
		const char *name;
		int status;
	} table[] = {
#define MOAT_ERROR_EXIT(name, http, exit) { #name, exit },
		MOAT_ERRORS(MOAT_ERROR_EXIT)
#undef MOAT_ERROR_EXIT
	};

	for (size_t i = 0; code && i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].name, code) == 0)
			return table[i].status;
	return 125;
}
