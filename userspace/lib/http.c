/* SPDX-License-Identifier: Apache-2.0 */
/* As much of RFC 9112 as a client of moatd needs. Anything else is -EPROTO, never a guess. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "lib/lib.h"

#define CHUNK_DIGITS_MAX 8
#define CHUNK_LINE_MAX 256

/* The line at c->at, without CRLF; receives until it is there. max: bytes. */
static int read_line(struct moat_client *c, size_t max, const char **ret, size_t *ret_len)
{
	size_t searched = 0;

	for (;;) {
		size_t have = c->in.len - c->at;
		const char *from = have > 0 ? c->in.data + c->at : NULL;
		const char *end = have > searched ?
				  memchr(from + searched, '\n', have - searched) : NULL;
		int r;

		if (end) {
			size_t len = (size_t)(end - from);

			if (len > max)
				return -EMSGSIZE;
			if (len == 0 || from[len - 1] != '\r')
				return -EPROTO;
			*ret = from;
			*ret_len = len - 1;
			c->at += len + 1;
			return 0;
		}
		searched = have;
		if (have > max)
			return -EMSGSIZE;
		r = client_receive(c);
		if (r < 0)
			return r;
	}
}

static int parse_number(const char *text, size_t len, unsigned base, size_t digits_max,
			uint64_t *ret)
{
	uint64_t value = 0;

	if (len == 0 || len > digits_max)
		return -EPROTO;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') :
				 c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 :
				 c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10 : 99;

		if (digit >= base)
			return -EPROTO;
		value = value * base + digit;
	}
	*ret = value;
	return 0;
}

static bool is(const char *text, size_t len, const char *expected)
{
	return len == strlen(expected) && strncasecmp(text, expected, len) == 0;
}

static int header(struct moat_client *c, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	const char *value;
	size_t name_len, value_len;

	if (!colon || colon == line)
		return -EPROTO;
	name_len = (size_t)(colon - line);
	value = colon + 1;
	value_len = len - name_len - 1;
	while (value_len && (*value == ' ' || *value == '\t')) {
		value++;
		value_len--;
	}
	while (value_len && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
		value_len--;
	if (is(line, name_len, "Content-Length")) {
		if (c->kind != BODY_TO_CLOSE)
			return -EPROTO;
		c->kind = BODY_LENGTH;
		return parse_number(value, value_len, 10, 18, &c->left);
	}
	if (is(line, name_len, "Transfer-Encoding")) {
		if (c->kind != BODY_TO_CLOSE || !is(value, value_len, "chunked"))
			return -EPROTO;
		c->kind = BODY_CHUNKED;
	} else if (is(line, name_len, "Connection")) {
		c->close = c->close || is(value, value_len, "close");
	} else if (is(line, name_len, "Content-Type")) {
		c->ndjson = is(value, value_len, "application/x-ndjson");
	} else if (is(line, name_len, "Moat-Instance")) {
		if (value_len >= sizeof(c->instance))
			return -EPROTO;
		memcpy(c->instance, value, value_len);
		c->instance[value_len] = '\0';
	}
	return 0;
}

static int status_line(struct moat_client *c, const char *line, size_t len)
{
	uint64_t status;

	if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
	    line[8] != ' ' || (len > 12 && line[12] != ' ') ||
	    parse_number(line + 9, 3, 10, 3, &status) < 0 || status < 100 || status > 599)
		return -EPROTO;
	c->close = line[7] == '0';
	c->status = (int)status;
	return 0;
}

static int read_one_head(struct moat_client *c)
{
	size_t used = 0, len;
	const char *line;
	int r = read_line(c, MOAT_HEAD_MAX, &line, &len);

	if (r == 0)
		r = status_line(c, line, len);
	c->kind = BODY_TO_CLOSE;
	c->ndjson = false;
	while (r == 0) {
		used += len + 2;
		if (used > MOAT_HEAD_MAX)
			return -EMSGSIZE;
		r = read_line(c, MOAT_HEAD_MAX - used + 2, &line, &len);
		if (r < 0 || len == 0)
			break;
		r = header(c, line, len);
	}
	return r;
}

int http_read_head(struct moat_client *c)
{
	int r;

	do
		r = read_one_head(c);
	while (r == 0 && c->status < 200);
	if (r < 0)
		return r;
	if (c->status == 204 || c->status == 304)
		c->kind = BODY_NONE;
	c->chunk = CHUNK_SIZE;
	c->complete = c->kind == BODY_NONE || (c->kind == BODY_LENGTH && c->left == 0);
	return 0;
}

/* Up to c->left bytes of what was received; receives when there is nothing. */
static int take(struct moat_client *c, const char **ret_data, size_t *ret_len)
{
	size_t have;
	int r;

	if (c->at == c->in.len) {
		r = client_receive(c);
		if (r < 0)
			return r;
	}
	have = c->in.len - c->at;
	if (have > c->left)
		have = (size_t)c->left;
	*ret_data = c->in.data + c->at;
	*ret_len = have;
	c->at += have;
	c->left -= have;
	return 1;
}

static int chunk_size(struct moat_client *c)
{
	const char *line, *extension;
	size_t len;
	int r = read_line(c, CHUNK_LINE_MAX, &line, &len);

	if (r < 0)
		return r;
	extension = memchr(line, ';', len);
	if (extension)
		len = (size_t)(extension - line);
	r = parse_number(line, len, 16, CHUNK_DIGITS_MAX, &c->left);
	if (r == 0)
		c->chunk = c->left ? CHUNK_DATA : CHUNK_TRAILER;
	return r;
}

static int read_chunked(struct moat_client *c, const char **ret_data, size_t *ret_len)
{
	const char *line;
	size_t len;
	int r = 0;

	while (r == 0) {
		switch (c->chunk) {
		case CHUNK_SIZE:
			r = chunk_size(c);
			break;
		case CHUNK_DATA:
			if (c->left)
				return take(c, ret_data, ret_len);
			c->chunk = CHUNK_DATA_END;
			break;
		case CHUNK_DATA_END:
			r = read_line(c, 2, &line, &len);
			if (r == 0 && len)
				r = -EPROTO;
			c->chunk = CHUNK_SIZE;
			break;
		case CHUNK_TRAILER:
			r = read_line(c, CHUNK_LINE_MAX, &line, &len);
			if (r == 0 && len == 0)
				c->chunk = CHUNK_DONE;
			break;
		case CHUNK_DONE:
			c->complete = true;
			return 0;
		}
	}
	return r;
}

int http_read_body(struct moat_client *c, const char **ret_data, size_t *ret_len)
{
	int r;

	if (c->complete)
		return 0;
	switch (c->kind) {
	case BODY_CHUNKED:
		return read_chunked(c, ret_data, ret_len);
	case BODY_LENGTH:
		r = take(c, ret_data, ret_len);
		c->complete = c->left == 0;
		return r;
	case BODY_TO_CLOSE:
		c->left = UINT64_MAX;
		r = take(c, ret_data, ret_len);
		c->close = true;
		if (r != -ECONNRESET)
			return r;
		c->complete = true;
		return 0;
	case BODY_NONE:
		break;
	}
	return 0;
}

void http_unread_body(struct moat_client *c, size_t n)
{
	c->at -= n;
	c->left += n;
	if (n)
		c->complete = false;
}
