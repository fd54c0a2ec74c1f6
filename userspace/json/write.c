/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <time.h>

#include "json/json.h"

#define JBUF_MAX (64u * 1024 * 1024)

void jbuf_free(struct jbuf *b)
{
	free_wiped(b->data, b->capacity);
	*b = (struct jbuf){ 0 };
}

char *jbuf_reserve(struct jbuf *b, size_t n)
{
	size_t capacity = b->capacity ? b->capacity : 256;
	char *data;

	if (b->failed)
		return NULL;
	if (n <= b->capacity - b->len)
		return b->data + b->len;
	if (n > JBUF_MAX - b->len)
		goto failed;
	while (capacity < b->len + n)
		capacity *= 2;
	data = grow_wiped(b->data, b->len, b->capacity, capacity);
	if (!data)
		goto failed;
	b->data = data;
	b->capacity = capacity;
	return b->data + b->len;
failed:
	b->failed = true;
	return NULL;
}

void jbuf_raw(struct jbuf *b, const char *text, size_t n)
{
	char *at = jbuf_reserve(b, n);

	if (!at || n == 0)
		return;
	memcpy(at, text, n);
	b->len += n;
}

void jbuf_newline(struct jbuf *b)
{
	jbuf_raw(b, "\n", 1);
	b->comma = false;
}

static void value_begins(struct jbuf *b)
{
	if (b->comma)
		jbuf_raw(b, ",", 1);
	b->comma = true;
}

void jbuf_open(struct jbuf *b, char bracket)
{
	value_begins(b);
	jbuf_raw(b, &bracket, 1);
	b->comma = false;
}

void jbuf_close(struct jbuf *b, char bracket)
{
	jbuf_raw(b, &bracket, 1);
	b->comma = true;
}

void jbuf_key(struct jbuf *b, const char *key)
{
	jbuf_text(b, key);
	jbuf_raw(b, ":", 1);
	b->comma = false;
}

/* The length of the valid UTF-8 sequence at s, or 0. */
static size_t utf8_sequence(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (len == 0 || len > n)
		return 0;
	return utf8_valid(s, len) ? len : 0;
}

#define ESCAPE_MAX 6u /* "\\u001b" */

/* Returns its length. */
static size_t escape(unsigned char c, char ret[ESCAPE_MAX + 1])
{
	static const char hex[] = "0123456789abcdef";
	const char *simple = NULL;

	switch (c) {
	case '"': simple = "\\\""; break;
	case '\\': simple = "\\\\"; break;
	case '\n': simple = "\\n"; break;
	case '\r': simple = "\\r"; break;
	case '\t': simple = "\\t"; break;
	}
	if (simple) {
		memcpy(ret, simple, 2);
		return 2;
	}
	memcpy(ret, "\\u00", 4);
	ret[4] = hex[c >> 4];
	ret[5] = hex[c & 15];
	return ESCAPE_MAX;
}

static bool escaped(unsigned char c)
{
	return c < 0x20 || c == '"' || c == '\\';
}

size_t json_text_length(const char *data, size_t n)
{
	size_t len = n;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)data[i];

		if (!escaped(c))
			continue;
		len += c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t' ? 1 : ESCAPE_MAX - 1;
	}
	return len;
}

size_t json_text_some(const char *data, size_t n, char *buf, size_t max, size_t *ret_len)
{
	size_t i = 0, len = 0;

	for (; i < n && len < max; i++) {
		char text[ESCAPE_MAX + 1];
		size_t more;

		if (!escaped((unsigned char)data[i])) {
			buf[len++] = data[i];
			continue;
		}
		more = escape((unsigned char)data[i], text);
		if (more > max - len)
			break;
		memcpy(buf + len, text, more);
		len += more;
	}
	*ret_len = len;
	return i;
}

static void escape_byte(struct jbuf *b, unsigned char c)
{
	char text[ESCAPE_MAX + 1];

	jbuf_raw(b, text, escape(c, text));
}

static bool plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

void jbuf_text_n(struct jbuf *b, const char *text, size_t n)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t i = 0;

	value_begins(b);
	jbuf_raw(b, "\"", 1);
	while (i < n) {
		size_t from = i, sequence;

		while (i < n && plain(s[i]))
			i++;
		jbuf_raw(b, text + from, i - from);
		if (i == n)
			break;
		if (s[i] < 0x80) {
			escape_byte(b, s[i++]);
			continue;
		}
		sequence = utf8_sequence(s + i, n - i);
		if (sequence)
			jbuf_raw(b, text + i, sequence);
		else
			jbuf_raw(b, "\xef\xbf\xbd", 3);
		i += sequence ? sequence : 1;
	}
	jbuf_raw(b, "\"", 1);
}

void jbuf_text(struct jbuf *b, const char *text)
{
	if (text)
		jbuf_text_n(b, text, strlen(text));
	else
		jbuf_null(b);
}

void jbuf_unsigned(struct jbuf *b, uint64_t v)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%" PRIu64, v);

	value_begins(b);
	jbuf_raw(b, text, (size_t)n);
}

void jbuf_signed(struct jbuf *b, int64_t v)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%" PRId64, v);

	value_begins(b);
	jbuf_raw(b, text, (size_t)n);
}

void jbuf_bool(struct jbuf *b, bool v)
{
	value_begins(b);
	jbuf_raw(b, v ? "true" : "false", v ? 4 : 5);
}

void jbuf_null(struct jbuf *b)
{
	value_begins(b);
	jbuf_raw(b, "null", 4);
}

void jbuf_base64(struct jbuf *b, const void *data, size_t n)
{
	char *at;

	value_begins(b);
	jbuf_raw(b, "\"", 1);
	at = jbuf_reserve(b, base64_length(n));
	if (at) {
		base64_encode(data, n, at);
		b->len += base64_length(n);
	}
	jbuf_raw(b, "\"", 1);
}

void jbuf_add_open(struct jbuf *b, const char *key, char bracket)
{
	jbuf_key(b, key);
	jbuf_open(b, bracket);
}

void jbuf_add_text(struct jbuf *b, const char *key, const char *text)
{
	jbuf_key(b, key);
	jbuf_text(b, text);
}

void jbuf_add_unsigned(struct jbuf *b, const char *key, uint64_t v)
{
	jbuf_key(b, key);
	jbuf_unsigned(b, v);
}

void jbuf_add_signed(struct jbuf *b, const char *key, int64_t v)
{
	jbuf_key(b, key);
	jbuf_signed(b, v);
}

void jbuf_add_bool(struct jbuf *b, const char *key, bool v)
{
	jbuf_key(b, key);
	jbuf_bool(b, v);
}

void jbuf_add_null(struct jbuf *b, const char *key)
{
	jbuf_key(b, key);
	jbuf_null(b);
}

void jbuf_add_time(struct jbuf *b, const char *key, uint64_t unix_ms)
{
	time_t seconds = (time_t)(unix_ms / 1000);
	char text[48], stamp[32];
	struct tm tm;

	jbuf_key(b, key);
	if (!gmtime_r(&seconds, &tm)) {
		jbuf_null(b);
		return;
	}
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03uZ", stamp, (unsigned)(unix_ms % 1000));
	jbuf_text(b, text);
}

void jbuf_bytes(struct jbuf *b, const char *data, size_t n)
{
	if (utf8_valid(data, n)) {
		jbuf_text_n(b, data, n);
		return;
	}
	jbuf_open(b, '{');
	jbuf_key(b, "base64");
	jbuf_base64(b, data, n);
	jbuf_close(b, '}');
}
