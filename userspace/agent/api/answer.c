/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that hold a command's output: it is encoded piece by piece while it is sent, from where it
 * was captured. A client that does not read costs the agent what the command wrote, once.
 */
#include "agent/api/internal.h"
#include "base/held.h"

/* Control characters take six bytes each in JSON: where they are more than a quarter, base64 is
 * shorter than that, and nobody reads it anyway. Colours and NUL between names stay text. */
static bool mostly_text(const char *data, size_t n)
{
	size_t controls = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)data[i];

		controls += c < ' ' && c != '\n' && c != '\r' && c != '\t';
	}
	return controls <= n / 4 && utf8_valid(data, n);
}

/* How many bytes at the beginning are to be sent, and how. */
static size_t choose(const char *data, size_t n, bool cut, bool *ret_base64)
{
	size_t text_len = n && cut ? n - utf8_partial_tail(data, n) : n;

	*ret_base64 = text_len > 0 && !mostly_text(data, text_len);
	return *ret_base64 ? n : text_len;
}

static void add_encoding(struct jbuf *b, const char *key)
{
	char name[32];

	/* "data" has just "encoding": there is only one of it in an event. */
	if (strcmp(key, "data") == 0)
		snprintf(name, sizeof(name), "encoding");
	else
		snprintf(name, sizeof(name), "%sEncoding", key);
	jbuf_add_text(b, name, "base64");
}

void api_write_output(struct jbuf *b, const char *key, const char *data, size_t n)
{
	bool base64;

	n = choose(data, n, false, &base64);
	jbuf_key(b, key);
	if (!base64) {
		jbuf_text_n(b, data, n);
		return;
	}
	jbuf_base64(b, data, n);
	add_encoding(b, key);
}

void api_defer_output(struct jbuf *b, const char *key, const struct exec_output *output, bool cut,
		      struct api_piece *ret)
{
	bool base64;
	size_t n = choose(output->data, output->kept, cut, &base64);

	jbuf_key(b, key);
	jbuf_text_n(b, "", 0);
	*ret = (struct api_piece){
		.at = b->len - 1, /* between the quotes */
		.block = exec_block_ref(output->block),
		.len = n,
		.base64 = base64,
		.encoded = base64 ? base64_length(n) : json_text_length(output->data, n),
	};
	if (base64)
		add_encoding(b, key);
}

void api_pieces_free(struct api_piece pieces[2])
{
	for (int i = 0; i < 2; i++)
		exec_block_unref(pieces[i].block);
	memset(pieces, 0, 2 * sizeof(*pieces));
}

void api_count_held(struct api_request *r)
{
	size_t now = r->body_capacity + r->reply.capacity;

	if (now > r->held)
		held_force(now - r->held);
	else if (now < r->held)
		held_give(r->held - now);
	r->held = now;
}

struct api_answer {
	struct jbuf text;
	struct api_piece pieces[2];
	size_t held;
	/* What is sent: so much of the text, and of which piece. */
	size_t text_at, piece_at;
	int piece;
};

/* Encodes what fits of the piece that it is at; returns how much of buf it took. */
static size_t read_piece(struct api_answer *a, char *buf, size_t max)
{
	struct api_piece *p = &a->pieces[a->piece];
	const char *data = p->block ? p->block->data + a->piece_at : "";
	size_t left = p->len - a->piece_at, n = 0, used;

	if (p->base64) {
		used = max / 4 * 3 < left ? max / 4 * 3 : left;
		base64_encode(data, used, buf);
		n = base64_length(used);
	} else {
		used = json_text_some(data, left, buf, max, &n);
	}
	a->piece_at += used;
	if (a->piece_at == p->len) {
		exec_block_unref(take_ptr(p->block));
		a->piece++;
		a->piece_at = 0;
	}
	return n;
}

ssize_t api_answer_read(void *cls, uint64_t position, char *buf, size_t max)
{
	struct api_answer *a = cls;
	size_t n = 0;

	(void)position;
	while (n < max && (a->text_at < a->text.len || a->piece < 2)) {
		size_t end = a->piece < 2 ? a->pieces[a->piece].at : a->text.len;
		size_t part = end - a->text_at;

		if (part == 0 && max - n < 8)
			break; /* room for the longest escape, and for a group of base64 */
		if (part == 0) {
			n += read_piece(a, buf + n, max - n);
			continue;
		}
		part = part < max - n ? part : max - n;
		memcpy(buf + n, a->text.data + a->text_at, part);
		a->text_at += part;
		n += part;
	}
	return (ssize_t)n;
}

void api_answer_close(void *cls)
{
	struct api_answer *a = cls;

	api_pieces_free(a->pieces);
	jbuf_free(&a->text);
	held_give(a->held);
	free(a);
}

struct api_answer *api_answer_open(struct jbuf *text, struct api_piece pieces[2], size_t *ret_len)
{
	struct api_answer *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->text = *text;
	*text = (struct jbuf){ 0 };
	memcpy(a->pieces, pieces, sizeof(a->pieces));
	memset(pieces, 0, sizeof(a->pieces));
	a->held = a->text.capacity + API_ANSWER_BLOCK;
	held_force(a->held);
	*ret_len = a->text.len + a->pieces[0].encoded + a->pieces[1].encoded;
	return a;
}
