/* SPDX-License-Identifier: Apache-2.0 */
/* Text that arrives in pieces: no piece that is handed on tears a UTF-8 sequence in two. */
#include "json/json.h"

size_t utf8_partial_tail(const void *data, size_t n)
{
	/* A sequence that lacks bytes is completed with the smallest ones its lead byte permits. */
	static const unsigned char fill = 0x80;
	const unsigned char *s = data;

	for (size_t tail = 1; tail <= 3 && tail <= n; tail++) {
		unsigned char lead = s[n - tail], try[4] = { 0 };
		size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;

		if (lead < 0x80)
			return 0;
		if (lead < 0xc0)
			continue;
		if (len <= tail)
			return 0;
		memcpy(try, s + n - tail, tail);
		for (size_t i = tail; i < len; i++)
			try[i] = fill;
		if (tail == 1 && lead == 0xe0)
			try[1] = 0xa0;
		if (tail == 1 && lead == 0xf0)
			try[1] = 0x90;
		return utf8_valid(try, len) ? tail : 0;
	}
	return 0;
}

/* The sequence that was held back ends within the next three bytes, or is none. Returns how many
 * bytes of data it took. */
static size_t complete_held(struct text_splitter *s, const char *data, size_t n, text_piece_fn emit,
			    void *arg)
{
	unsigned char joined[4];
	size_t len = s->n, taken = 0;

	memcpy(joined, s->held, len);
	do
		joined[len++] = (unsigned char)data[taken++];
	while (taken < n && len < 4 && utf8_partial_tail(joined, len) == len);
	if (utf8_partial_tail(joined, len) == len) {
		memcpy(s->held, joined, len);
		s->n = len;
		return taken;
	}
	/* No continuation: what was held is no text, but what follows it may be. */
	if (!utf8_valid(joined, len)) {
		len = s->n;
		taken = 0;
	}
	s->n = 0;
	emit((const char *)joined, len, arg);
	return taken;
}

void text_split(struct text_splitter *s, const char *data, size_t n, text_piece_fn emit, void *arg)
{
	size_t taken = s->n && n ? complete_held(s, data, n, emit, arg) : 0;

	data += taken;
	n -= taken;
	if (n == 0)
		return;
	s->n = utf8_partial_tail(data, n);
	memcpy(s->held, data + n - s->n, s->n);
	if (n > s->n)
		emit(data, n - s->n, arg);
}

void text_flush(struct text_splitter *s, text_piece_fn emit, void *arg)
{
	size_t n = s->n;

	s->n = 0;
	if (n)
		emit((const char *)s->held, n, arg);
}
