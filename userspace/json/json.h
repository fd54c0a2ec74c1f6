/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON for the API, in both directions.
 *
 * In: a body is parsed once, with limits on depth and on the number of values, duplicate keys and
 * NUL refused, and copied by a table into a plain struct: one table per object, one row per key.
 * Whatever the table does not name is refused. jansson's memory is overwritten before it is freed,
 * because bodies hold the values of environment variables.
 *
 * Out: text is appended to a growing buffer; no tree is ever built. An append that finds no memory
 * marks the buffer as failed and all later ones do nothing, so callers check once, at the end.
 */
#ifndef MOAT_JSON_H
#define MOAT_JSON_H

#include <jansson.h>

#include "base/base64.h"
#include "base/refusal.h"

#define JSON_DEPTH_MAX 16u
#define JSON_VALUES_MAX 131072u

/* Makes jansson wipe what it frees. Call once, before any other use of it. */
void json_setup(void);

/*
 * Parses one JSON object that fills text[0..len). On success the caller owns *ret_root
 * (json_decref). Returns -EINVAL with *error filled (BAD_JSON with offset, or OUT_OF_MEMORY).
 */
int json_parse(const char *text, size_t len, json_t **ret_root, struct refusal *error);

enum json_kind {
	JSON_KIND_TEXT,    /* const char *: borrowed from the parsed root */
	JSON_KIND_BLOB,    /* struct json_blob: text of any length, borrowed from the root */
	/* Their elements may be {"base64": "…"}: bytes that are not UTF-8. */
	JSON_KIND_TEXTS,   /* char **: NULL-terminated; owned, but its strings may be the root's */
	JSON_KIND_ENV,     /* char **: an object of strings as KEY=VALUE; owned, wiped when freed */
	JSON_KIND_BOOL,    /* bool */
	JSON_KIND_NUMBER,  /* uint64_t */
	JSON_KIND_SIGNAL,  /* int: "TERM", "SIGTERM" or 15 */
};

struct json_blob {
	const char *data; /* NULL: absent */
	size_t len;
};

struct json_field {
	const char *name;
	enum json_kind kind;
	size_t offset;   /* of the member in the decoded struct */
	bool mandatory;
	uint64_t min,
		max; /* TEXT, BLOB: bytes; TEXTS, ENV: elements; NUMBER: value; max 0: no limit */
	const char *const *choices; /* TEXT: what is accepted, up to NULL; NULL: any */
};

/*
 * Fills the members of *decoded that the object has; the caller has set defaults. 0, or -EINVAL
 * with *error filled, and then nothing in *decoded needs to be released.
 */
int json_decode(const json_t *object, const struct json_field *fields, size_t n_fields,
		void *decoded, struct refusal *error);
/* Which of the choices a text is that json_decode() has accepted. */
size_t json_choice(const char *const *choices, const char *text);
/* Frees what json_decode() made (TEXTS, ENV). */
void json_release(const struct json_field *fields, size_t n_fields, void *decoded);

/* "SIGKILL" for 9, "SIGRTMIN+2" for 36; never NULL. buf holds at least 16 bytes. */
const char *signal_name(int signal, char *buf, size_t n);
/* "KILL", "SIGKILL", "RTMIN+2" -> number; -EINVAL. */
int signal_number(const char *name);

/* How many bytes at the end of data are the beginning of a UTF-8 sequence that is not complete
 * yet: 0..3. What stands before them can be judged by utf8_valid(). */
size_t utf8_partial_tail(const void *data, size_t n);

struct jbuf {
	char *data;
	size_t len, capacity;
	bool comma;  /* internal: a separator goes before the next value */
	bool failed; /* out of memory */
};

void jbuf_free(struct jbuf *b);
/* Makes room for n more bytes and returns their place, or NULL. */
char *jbuf_reserve(struct jbuf *b, size_t n);
void jbuf_raw(struct jbuf *b, const char *text, size_t n);
/* Ends a line of NDJSON. */
void jbuf_newline(struct jbuf *b);

void jbuf_open(struct jbuf *b, char bracket);  /* '{' or '[' */
void jbuf_close(struct jbuf *b, char bracket); /* '}' or ']' */
void jbuf_key(struct jbuf *b, const char *key);
/* Bytes that are not UTF-8 become U+FFFD. text NULL: null. */
void jbuf_text(struct jbuf *b, const char *text);
void jbuf_text_n(struct jbuf *b, const char *text, size_t n);
void jbuf_unsigned(struct jbuf *b, uint64_t v);
void jbuf_signed(struct jbuf *b, int64_t v);
void jbuf_bool(struct jbuf *b, bool v);
void jbuf_null(struct jbuf *b);
/* What jbuf_text_n() writes for valid UTF-8, without the quotes: its length; and piece by piece, of
 * which *ret_len bytes go to buf and the return value says how many of data they stand for. */
size_t json_text_length(const char *data, size_t n);
size_t json_text_some(const char *data, size_t n, char *buf, size_t max, size_t *ret_len);
/* Text, or where it is no UTF-8 {"base64": "…"}: as JSON_KIND_TEXTS and _ENV take it. */
void jbuf_bytes(struct jbuf *b, const char *data, size_t n);
/* A string of base64. */
void jbuf_base64(struct jbuf *b, const void *data, size_t n);

void jbuf_add_open(struct jbuf *b, const char *key, char bracket); /* jbuf_close() ends it */
void jbuf_add_text(struct jbuf *b, const char *key, const char *text);
void jbuf_add_unsigned(struct jbuf *b, const char *key, uint64_t v);
void jbuf_add_signed(struct jbuf *b, const char *key, int64_t v);
void jbuf_add_bool(struct jbuf *b, const char *key, bool v);
void jbuf_add_null(struct jbuf *b, const char *key);
/* "2026-01-31T12:00:00.123Z" */
void jbuf_add_time(struct jbuf *b, const char *key, uint64_t unix_ms);

#endif
