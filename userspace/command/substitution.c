/* SPDX-License-Identifier: Apache-2.0 */
/* What shells substitute, and this language does not: how far it reaches, and when it is text after all. */
#include "command/internal.h"

enum command_construct substitution_kind(const struct parser *p)
{
	return peek(p, 0) == '$' && peek(p, 2) == '(' ? COMMAND_C_ARITHMETIC :
							COMMAND_C_SUBSTITUTION;
}

static size_t skip_quotes(const struct parser *p, size_t at, unsigned depth);

static bool begins(const struct parser *p, size_t at, const char *text)
{
	size_t n = strlen(text);

	return p->len - at >= n && memcmp(p->text + at, text, n) == 0;
}

/* Whether what a "$" begins may have quotes and parentheses of its own: not $NAME, ${NAME}, $( */
static bool dollar_is_opaque(const struct parser *p, size_t at, bool quoted)
{
	size_t end = at + 2;

	if (begins(p, at, "$[") || begins(p, at, "$\\\n"))
		return true;
	if (!begins(p, at, "${"))
		return !quoted && begins(p, at, "$'");
	while (end < p->len && is_name_char(p->text[end]))
		end++;
	return end >= p->len || p->text[end] != '}' ||
	       !command_name_valid(p->text + at + 2, end - at - 2);
}

/*
 * The place behind the parenthesis that closes the one before `at`; 0: it cannot be told for sure. Quotes are
 * those of a shell. What has an end of its own is given up: comments, here-documents, case, $'…', most of
 * ${…}; joined lines as well, which may make one of them.
 */
static size_t skip_parentheses(const struct parser *p, size_t at, unsigned depth)
{
	unsigned open = 1;

	while (at && at < p->len) {
		char c = p->text[at], before = p->text[at - 1];

		if (c == '`' || begins(p, at, "<<") || (c == '#' && is_meta(before)) ||
		    (is_meta(before) && begins(p, at, "case")) || begins(p, at, "\\\n") ||
		    dollar_is_opaque(p, at, false))
			return 0;
		if (c == '\'' || c == '"') {
			at = skip_quotes(p, at, depth);
			continue;
		}
		if (c == '\\')
			at++;
		open += c == '(';
		open -= c == ')';
		at++;
		if (open == 0)
			return at;
	}
	return 0;
}

/* Behind the quotes that begin at `at`; 0 as above. */
static size_t skip_quotes(const struct parser *p, size_t at, unsigned depth)
{
	char quote = p->text[at++];

	if (depth == 0)
		return 0;
	while (at < p->len && p->text[at] != quote) {
		if (quote == '"' && (p->text[at] == '`' || dollar_is_opaque(p, at, true)))
			return 0;
		if (quote == '"' && begins(p, at, "$(")) {
			at = skip_parentheses(p, at + 2, depth - 1);
			if (at == 0)
				return 0;
			continue;
		}
		at += quote == '"' && p->text[at] == '\\' ? 2 : 1;
	}
	return at < p->len ? at + 1 : 0;
}

/* Behind the backquote that closes the one at `at`. Quotes within are given up, they may hold one. */
static size_t skip_backquotes(const struct parser *p, size_t at, bool here)
{
	for (at++; at < p->len && p->text[at] != '`'; at++)
		if (p->text[at] == '\\' || (!here && p->text[at] == '"') || p->text[at] == '\'')
			return 0;
	return at < p->len ? at + 1 : 0;
}

bool literal_substitution(struct parser *p, struct builder *b, bool here)
{
	enum command_construct kind = substitution_kind(p);
	size_t start = p->at, end;

	if (peek(p, 0) == '$' && !here && text_idiom(p, b))
		return true;
	if (p->strict)
		return refuse_at(p, kind, start);
	end = peek(p, 0) == '`' ? skip_backquotes(p, start, here) :
				  skip_parentheses(p, start + 2, COMMAND_DEPTH_MAX);
	if (end == 0)
		return refuse_at(p, kind, start);
	warn_at(p, start);
	p->at = end;
	return gather(p, b, p->text + start, end - start, true);
}

static size_t skip(const struct parser *p, size_t at, bool newlines)
{
	while (at < p->len && (is_blank(p->text[at]) || (newlines && p->text[at] == '\n')))
		at++;
	return at;
}

/* The lines, as they are where the delimiter is quoted or nothing in them has a meaning. */
static bool gather_lines(struct parser *p, struct builder *b, size_t start, size_t n, bool quoted,
			 bool strip)
{
	const char *text = p->text + start;
	bool begins = true; /* a line */

	for (size_t i = 0; !quoted && i < n; i++)
		if (text[i] == '$' || text[i] == '`' || text[i] == '\\')
			return false;
	while (n && text[n - 1] == '\n')
		n--;
	if (!strip)
		return gather(p, b, text, n, true);
	for (size_t i = 0; i < n; i++) {
		begins = begins && text[i] == '\t';
		if (!begins && !gather(p, b, text + i, 1, true))
			return false;
		begins = begins || text[i] == '\n';
	}
	return true;
}

bool text_idiom(struct parser *p, struct builder *b)
{
	static const char begin[] = "$(cat";
	size_t at = p->at, start = p->at, n, next;
	const char *delimiter;
	bool quoted, strip, ok;

	if (p->len - at < sizeof(begin) || memcmp(p->text + at, begin, sizeof(begin) - 1) != 0)
		return false;
	at = skip(p, at + sizeof(begin) - 1, false);
	if (p->len - at < 3 || memcmp(p->text + at, "<<", 2) != 0 || p->text[at + 2] == '<')
		return false;
	at += 2;
	strip = p->text[at] == '-';
	p->at = skip(p, at + strip, false);
	ok = !is_meta(peek(p, 0)) && parse_delimiter(p, &delimiter, &quoted);
	at = skip(p, p->at, false);
	p->at = start;
	if (!ok || at >= p->len || p->text[at] != '\n')
		return false;
	start = at + 1;
	if (!find_lines(p, start, delimiter, strip, &n, &next))
		return false;
	at = skip(p, next, true);
	if (at >= p->len || p->text[at] != ')')
		return false;
	if (!gather_lines(p, b, start, n, quoted, strip))
		return false;
	p->at = at + 1;
	return true;
}
