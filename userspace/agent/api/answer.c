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

/* What an escape of a sequence was cut from at the beginning. */
static size_t rest_of_sequence(const char *data, size_t n)
{
	size_t i = 0;

	while (i < n && i < 3 && ((unsigned char)data[i] & 0xc0) == 0x80)
		i++;
	return i;
}

/* Beginning and end of what was longer: each is text by itself, or both are base64, for which the beginning has whole groups. */
static void choose_both(const struct exec_output *output, bool cut, struct api_piece *ret)
{
	const char *end = output->data + output->head;
	size_t n = output->kept - output->head, skip = rest_of_sequence(end, n);
	bool first_base64, second_base64;

	ret->part[0].n = choose(output->data, output->head, true, &first_base64);
	ret->part[1].n = choose(end + skip, n - skip, cut, &second_base64);
	ret->part[1].from = output->head + skip;
	ret->base64 = first_base64 || second_base64;
	if (!ret->base64)
		return;
	ret->part[0].n = output->head;
	ret->part[1].from = output->head;
	ret->part[1].n = n;
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
	char name[32];

	jbuf_key(b, key);
	jbuf_text_n(b, "", 0);
	*ret = (struct api_piece){
		.at = b->len - 1, /* between the quotes */
		.block = capture_block_ref(output->block),
	};
	if (output->head < output->kept)
		choose_both(output, cut, ret);
	else
		ret->part[0].n = choose(output->data, output->kept,
					cut || output->total > output->kept, &ret->base64);
	for (int i = 0; i < 2; i++) {
		if (ret->base64)
			ret->encoded += base64_length(ret->part[i].n);
		else if (ret->part[i].n)
			ret->encoded += json_text_length(output->data + ret->part[i].from,
							 ret->part[i].n);
	}
	if (ret->base64)
		add_encoding(b, key);
	if (output->head == output->kept)
		return;
	snprintf(name, sizeof(name), "%sOmitted", key);
	jbuf_add_open(b, name, '{');
	jbuf_add_unsigned(b, "at", ret->part[0].n);
	jbuf_add_unsigned(b, "bytes",
			  output->total - (output->kept - ret->part[1].from) - ret->part[0].n);
	jbuf_close(b, '}');
}

void api_pieces_free(struct api_piece pieces[2])
{
	for (int i = 0; i < 2; i++)
		capture_block_unref(pieces[i].block);
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
	size_t text_at, piece_at; /* of the part */
	int piece, part;
};

/* Encodes what fits of the piece that it is at; returns how much of buf it took. */
static size_t read_piece(struct api_answer *a, char *buf, size_t max)
{
	struct api_piece *p = &a->pieces[a->piece];
	const char *data = p->block ? p->block->data + p->part[a->part].from + a->piece_at : "";
	size_t left = p->part[a->part].n - a->piece_at, n = 0, used;

	if (p->base64) {
		used = max / 4 * 3 < left ? max / 4 * 3 : left;
		base64_encode(data, used, buf);
		n = base64_length(used);
	} else {
		used = json_text_some(data, left, buf, max, &n);
	}
	a->piece_at += used;
	if (a->piece_at < p->part[a->part].n)
		return n;
	a->piece_at = 0;
	if (++a->part == 2) {
		capture_block_unref(take_ptr(p->block));
		a->piece++;
		a->part = 0;
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
