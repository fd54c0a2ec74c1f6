/* SPDX-License-Identifier: Apache-2.0 */
/* Here-documents: the delimiter where it is named, the lines where they come. */
#include "command/internal.h"

bool parse_delimiter(struct parser *p, const char **ret, bool *ret_quoted)
{
	size_t start = p->at, saved = p->scratch_len;
	struct builder b = { 0 };

	*ret_quoted = false;
	while (!at_end(p) && !is_meta(peek(p, 0))) {
		char c = p->text[p->at++];

		if (c == '\r')
			return refuse_at(p, COMMAND_C_CARRIAGE_RETURN, p->at - 1);
		if (c == '\'' || c == '"') {
			const char *end = memchr(p->text + p->at, c, p->len - p->at);
			size_t n = end ? (size_t)(end - p->text) - p->at : 0;

			if (!end)
				return refuse_at(p, COMMAND_C_UNTERMINATED, p->at - 1);
			gather(p, &b, p->text + p->at, n, false);
			p->at += n + 1;
			*ret_quoted = true;
		} else if (c == '\\' && !at_end(p)) {
			gather(p, &b, p->text + p->at++, 1, false);
			*ret_quoted = true;
		} else {
			gather(p, &b, &c, 1, false);
		}
	}
	if (p->at == start)
		return refuse_at(p, COMMAND_C_MISSING_TARGET, start);
	*ret = tree_text(p, p->scratch + saved, p->scratch_len - saved);
	p->scratch_len = saved;
	return *ret;
}

bool find_lines(const struct parser *p, size_t at, const char *delimiter, bool strip, size_t *ret_n,
		size_t *ret_next)
{
	size_t length = strlen(delimiter), start = at;

	while (at < p->len) {
		const char *newline = memchr(p->text + at, '\n', p->len - at);
		size_t end = newline ? (size_t)(newline - p->text) : p->len, line = at;

		while (strip && line < end && p->text[line] == '\t')
			line++;
		if (end - line == length && memcmp(p->text + line, delimiter, length) == 0) {
			*ret_n = at - start;
			*ret_next = newline ? end + 1 : end;
			return true;
		}
		at = newline ? end + 1 : end;
	}
	return false;
}

/* The lines without the tabs they begin with, in memory of the tree. */
static const char *strip_tabs(struct parser *p, size_t start, size_t *n)
{
	char *copy = tree_take(p, *n + 1);
	size_t len = 0;

	for (size_t i = 0; copy && i < *n; i++) {
		bool first = i == 0 || p->text[start + i - 1] == '\n';

		while (first && i < *n && p->text[start + i] == '\t')
			i++;
		if (i < *n)
			copy[len++] = p->text[start + i];
	}
	*n = len;
	return copy;
}

/* Where in the string a place in a copy of strip_tabs() is. */
static size_t place_before(const char *text, size_t start, size_t place)
{
	size_t at = start;

	for (size_t len = 0;; len++, at++) {
		bool first = at == start || text[at - 1] == '\n';

		while (first && text[at] == '\t')
			at++;
		if (len == place)
			return at;
	}
}

/* As parse_body() has it, of text that is not the string's own. */
static struct command_word *parse_stripped(struct parser *p, size_t start, size_t n)
{
	const char *text = p->text, *copy = strip_tabs(p, start, &n);
	struct command_word *word;
	size_t at = p->at, len = p->len;
	struct command_warnings *w = &p->tree->warnings;
	size_t before = w->n;

	if (!copy)
		return NULL;
	p->text = copy;
	p->at = 0;
	p->len = n;
	word = parse_body(p, 0, n);
	p->text = text;
	p->at = at;
	p->len = len;
	for (size_t i = before; i < w->n && i < COMMAND_WARNINGS_MAX; i++)
		w->offsets[i] = place_before(text, start, w->offsets[i]);
	if (!word &&
	    p->error->construct != COMMAND_C_MEMORY) { /* where it was is not known to the byte */
		enum command_construct construct = p->error->construct;

		p->error->construct = COMMAND_OK;
		refuse_at(p, construct, start);
	}
	return word;
}

static struct command_word *literal_lines(struct parser *p, size_t start, size_t n, bool strip)
{
	struct command_word *word = tree_take(p, sizeof(*word));
	struct builder b = { .quoted = true };
	const char *text = strip ? strip_tabs(p, start, &n) : p->text + start;

	if (!word || !text)
		return NULL;
	b.end = &word->parts;
	return gather(p, &b, text, n, true) && flush(p, &b, false) ? word : NULL;
}

/*
 * Shells join lines before they look for the delimiter, where it is not quoted. The place of a
 * backslash that joins what is before to a line that seems to be the delimiter, or lines to one
 * that is; 0: there is none.
 */
static size_t find_joined(const struct parser *p, size_t start, size_t n,
			  const struct pending *each)
{
	size_t length = strlen(each->delimiter), same = 0, joined = 0, end;
	bool equal = true;

	for (size_t at = start; at < start + n; at = end + 1) {
		const char *newline = memchr(p->text + at, '\n', start + n - at);
		size_t line = at, slashes = 0, piece;

		end = newline ? (size_t)(newline - p->text) : start + n;
		while (end - slashes > at && p->text[end - slashes - 1] == '\\')
			slashes++;
		while (each->strip && line < end && p->text[line] == '\t')
			line++;
		piece = end - line - slashes % 2;
		equal = equal && piece <= length - same &&
			memcmp(p->text + line, each->delimiter + same, piece) == 0;
		same += equal ? piece : 0;
		if (slashes % 2) {
			joined = end - 1;
			continue;
		}
		if (joined && equal && same == length)
			return joined;
		same = joined = 0;
		equal = true;
	}
	return joined;
}

bool read_pending(struct parser *p)
{
	struct pending *each = p->pending;

	p->pending = NULL;
	p->pending_end = &p->pending;
	for (; each; each = each->next) {
		size_t n, next, joined, start = p->at;
		struct command_word *word;

		if (!find_lines(p, start, each->delimiter, each->strip, &n, &next))
			return refuse_at(p, COMMAND_C_HERE_DOCUMENT, each->offset);
		joined = each->quoted ? 0 : find_joined(p, start, n, each);
		if (joined)
			return refuse_at(p, COMMAND_C_JOINED_END, joined);
		if (each->quoted)
			word = literal_lines(p, start, n, each->strip);
		else
			word = each->strip ? parse_stripped(p, start, n) : parse_body(p, start, n);
		if (!word)
			return false;
		each->redirection->word = word;
		p->at = next;
	}
	return true;
}
