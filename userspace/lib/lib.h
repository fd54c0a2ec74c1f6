/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of libmoat: client.c (connection, calls), http.c (reading answers). */
#ifndef MOAT_LIB_H
#define MOAT_LIB_H

#include <stdint.h>
#include <sys/types.h>

#include "moat/moat.h"

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_TO_CLOSE };

/* Where a chunked body is. */
enum chunk_state { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER, CHUNK_DONE };

struct buffer {
	char *data;
	size_t len, capacity;
};

struct moat_client {
	int fd; /* -EBADF: not connected */
	char *path; /* NULL: made by moat_from_fd() */
	moat_wait_fn wait;
	void *wait_data;

	struct buffer in; /* bytes received; those before `at` are used up */
	size_t at;
	struct buffer line;

	char instance[65]; /* of the last answer that said it */
	/* The answer that is being read. */
	int status;
	enum body_kind kind;
	enum chunk_state chunk;
	uint64_t left; /* of the body, or of the chunk */
	bool ndjson, close;
	bool complete; /* everything of it was read */
	bool line_taken; /* `line` was handed out: begin anew */
};

/* Overwrites what was in the buffer, also when it moves. 0 or -ENOMEM. */
int buffer_append(struct buffer *b, const char *data, size_t n);
void buffer_free(struct buffer *b);

/* Receives more into c->in. 0, -ECONNRESET at the end of the connection, or -errno. */
int client_receive(struct moat_client *c);

/* Reads up to the end of the headers. 0 or -errno. */
int http_read_head(struct moat_client *c);
/* The next bytes of the body, valid until the next call: 1, or 0 at its end, or -errno. */
int http_read_body(struct moat_client *c, const char **ret_data, size_t *ret_len);
/* Pushes back the last n bytes of what http_read_body() returned. */
void http_unread_body(struct moat_client *c, size_t n);

#endif
