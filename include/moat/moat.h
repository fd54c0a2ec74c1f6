/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmoat: a small client for the HTTP API of moatd on its unix socket. See moat-api(7) for the
 * routes and the shapes of requests and answers; this library moves bytes and knows no JSON. libmoat(3)
 * has an example, and how it is linked.
 *
 *	struct moat_client *c;
 *	struct moat_response answer;
 *
 *	if (moat_connect(NULL, &c) == 0) {
 *		if (moat_call(c, "GET", "/v1/status", NULL, 0, &answer) == 0) {
 *			puts(answer.body);
 *			moat_response_free(&answer);
 *		}
 *		moat_disconnect(c);
 *	}
 *
 * Every function that returns int returns 0 (or what it says) on success and a negative errno:
 *	-ENOENT, -ECONNREFUSED, -EACCES, …  connect(2): the agent is not there, or not for you
 *	-ECONNRESET   the connection ended before the answer did
 *	-EPROTO       the answer is not HTTP/1.1 as moatd speaks it
 *	-EMSGSIZE     the answer, or a line of it, is larger than the limits below
 *	-ENOMEM
 * After an error other than -EMSGSIZE of the arguments the client connects anew with its next call.
 *
 * A client is used by one thread at a time; different clients are independent. Nothing is global,
 * no signal is raised (MSG_NOSIGNAL), all descriptors are close-on-exec and none is 0, 1 or 2,
 * also in a program that was started with these closed.
 */
#ifndef MOAT_MOAT_H
#define MOAT_MOAT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a declaration here changes its meaning; additions do not count. */
#define MOAT_API_VERSION 2

#define MOAT_SOCKET_DEFAULT "/run/moat/moat.sock"
#define MOAT_HEAD_MAX (32u * 1024)          /* status line and headers, bytes */
#define MOAT_BODY_MAX (64u * 1024 * 1024)   /* of an answer that is not a stream */
#define MOAT_LINE_MAX (4u * 1024 * 1024)    /* of a stream */

struct moat_client;

/* An answer. body is NUL-terminated (it may hold further NULs, though JSON does not). */
struct moat_response {
	int status; /* HTTP status, 100..599 */
	char *body; /* owned by the caller, see moat_response_free() */
	size_t len;
};

/*
 * Connects. path: NULL takes $MOAT_SOCKET, or else MOAT_SOCKET_DEFAULT. At most 107 bytes
 * (unix(7)), otherwise -ENAMETOOLONG. On success the caller owns *ret (moat_disconnect()).
 */
int moat_connect(const char *path, struct moat_client **ret);

/* The same for a connected stream socket. The descriptor is owned by the client from here on, also
 * when this function fails, and moved if it is 0, 1 or 2. Such a client cannot connect anew: its calls then give -ENOTCONN. */
int moat_from_fd(int fd, struct moat_client **ret);

/* Closes the connection and frees the client; NULL is permitted. A command that it waited for goes
 * on, unless its request says otherwise (onDisconnect in moat-api(7)). */
void moat_disconnect(struct moat_client *client);

/*
 * Called whenever the client has to wait for fd, instead of poll(2); events: POLLIN for bytes of an
 * answer, POLLOUT for room for those of a request. Return 0 when it is worth trying again, or a
 * negative errno that the call under way then returns. It may make calls with other clients. NULL
 * restores the default. Only connect(2) may still block, while the agent does not accept.
 */
typedef int (*moat_wait_fn)(int fd, short events, void *data);
void moat_set_wait(struct moat_client *client, moat_wait_fn wait, void *data);

/*
 * One request and its whole answer. body: JSON of len bytes, or NULL. Any HTTP status is a success
 * of this function; look at ret->status. On success the caller frees *ret.
 */
int moat_call(struct moat_client *client, const char *method, const char *path, const char *body,
	      size_t len, struct moat_response *ret);

/*
 * One request whose answer may be a stream of lines (application/x-ndjson, which it asks for).
 * 1: it is; read it with moat_stream_next(), *ret holds the status only. 0: it is not; *ret is the
 * whole answer, to be freed by the caller (usually an error).
 */
int moat_stream(struct moat_client *client, const char *method, const char *path, const char *body,
		size_t len, struct moat_response *ret);

/*
 * The next line, without its newline, NUL-terminated; valid until the next call. 1: there is one.
 * 0: the stream is complete. -ECONNRESET: it was cut off.
 */
int moat_stream_next(struct moat_client *client, const char **ret_line, size_t *ret_len);

/*
 * One request of which neither body has to fit in memory. take: called for the next bytes of the request's body, up to n
 * into buf; returns how many, 0 at the end, or a negative errno, which ends the call and cuts the request off. NULL: it
 * has none. give: called with the bytes of a body that comes with a status of 200 to 299; returns 0 or a negative errno.
 * 0: *ret has the status, and, where that is another one, the body; to be freed. -ECONNRESET: it was cut off.
 */
struct moat_transfer {
	ssize_t (*take)(char *buf, size_t n, void *data);
	int (*give)(const char *bytes, size_t n, void *data);
	void *data;
};
int moat_transfer(struct moat_client *client, const char *method, const char *path,
		  const struct moat_transfer *transfer, struct moat_response *ret);

/* The life of the agent that gave the last answer (instance in moat-api(7)); "" before there was one. Where it is
 * another one than before the agent has been started anew. Valid until the next call. */
const char *moat_instance(const struct moat_client *client);

/* Frees the body and wipes it; the struct may be reused. */
void moat_response_free(struct moat_response *response);

/* The exit status that moat(1) gives for an error code of the API ("COMMAND_NOT_FOUND": 127);
 * 125 for codes it does not know. */
int moat_exit_status(const char *code);

#ifdef __cplusplus
}
#endif

#endif
