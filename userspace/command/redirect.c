/* SPDX-License-Identifier: Apache-2.0 */
#include "command/internal.h"

bool at_redirection(const struct parser *p)
{
	size_t n = 0;

	if (peek(p, 0) == '&')
		return peek(p, 1) == '>';
	while (peek(p, n) >= '0' && peek(p, n) <= '9')
		n++;
	return peek(p, n) == '<' || peek(p, n) == '>';
}

static const struct operator
{
	const char *text;
	enum command_redirection_kind kind;
	int fd;
	bool both; /* 2 goes there as well */
}
operators[] = {
	/* longest first */
	{ "&>>", COMMAND_APPEND, 1, true }, { "<<<", COMMAND_INPUT, 0, false },
	{ "<<-", COMMAND_INPUT, 0, false }, { "&>", COMMAND_WRITE, 1, true },
	{ "<<", COMMAND_INPUT, 0, false },  { "<>", COMMAND_READ_WRITE, 0, false },
	{ "<&", COMMAND_COPY, 0, false },   { ">&", COMMAND_COPY, 1, false },
	{ ">>", COMMAND_APPEND, 1, false }, { ">|", COMMAND_WRITE, 1, false },
	{ "<", COMMAND_READ, 0, false },    { ">", COMMAND_WRITE, 1, false },
};

static const struct operator* find_operator(struct parser *p)
{
	for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
		size_t n = strlen(operators[i].text);

		if (p->len - p->at >= n && memcmp(p->text + p->at, operators[i].text, n) == 0)
			return &operators[i];
	}
	return NULL;
}

static struct command_redirection *add(struct parser *p, struct command_redirection ***end)
{
	struct command_redirection *r;

	if (!count_word(p))
		return NULL;
	r = tree_take(p, sizeof(*r));
	if (r) {
		**end = r;
		*end = &r->next;
	}
	return r;
}

/* "<&" and ">&": a digit, or "-". */
static bool parse_copy(struct parser *p, struct command_redirection *r)
{
	size_t start = p->at;
	char c = peek(p, 0);

	if (is_meta(c))
		return refuse_at(p, COMMAND_C_MISSING_TARGET, start);
	if (!is_meta(peek(p, 1)) || (c != '-' && (c < '0' || c > '9')))
		return refuse_at(p, COMMAND_C_DESCRIPTOR, start);
	p->at++;
	if (c == '-')
		r->kind = COMMAND_CLOSE;
	else
		r->source = c - '0';
	return true;
}

static bool parse_here(struct parser *p, struct command_redirection *r, bool strip)
{
	struct pending *pending = tree_take(p, sizeof(*pending));

	if (!pending)
		return false;
	*pending = (struct pending){ .redirection = r, .offset = p->at, .strip = strip };
	*p->pending_end = pending;
	p->pending_end = &pending->next;
	return parse_delimiter(p, &pending->delimiter, &pending->quoted);
}

static bool parse_here_string(struct parser *p, struct command_redirection *r)
{
	struct command_part **end, *part;

	r->word = parse_word(p, WORD_PLAIN);
	if (!r->word)
		return false;
	part = tree_take(p, sizeof(*part));
	if (!part)
		return false;
	*part = (struct command_part){
		.kind = COMMAND_TEXT, .quoted = true, .text = "\n", .len = 1
	};
	for (end = &r->word->parts; *end; end = &(*end)->next)
		;
	*end = part;
	return true;
}

static bool parse_target(struct parser *p, struct command_redirection *r)
{
	size_t start = p->at;
	const char *literal;

	r->word = parse_word(p, WORD_PLAIN);
	if (!r->word)
		return false;
	for (const struct command_part *part = r->word->parts; part; part = part->next)
		for (size_t i = 0; part->kind == COMMAND_TEXT && !part->quoted && i < part->len;
		     i++)
			if (part->text[i] == '*' || part->text[i] == '?' || part->text[i] == '[')
				return refuse_at(p, COMMAND_C_GLOB_TARGET, start);
	literal = word_literal(p, r->word);
	if (literal &&
	    (strncmp(literal, "/dev/tcp/", 9) == 0 || strncmp(literal, "/dev/udp/", 9) == 0))
		return refuse_at(p, COMMAND_C_NETWORK, start);
	return true;
}

bool parse_redirection(struct parser *p, struct command_redirection ***end)
{
	struct command_redirection *r = add(p, end);
	const struct operator* o;
	size_t start = p->at;
	int fd = -1;

	if (!r)
		return false;
	if (peek(p, 0) >= '0' && peek(p, 0) <= '9') {
		fd = peek(p, 0) - '0';
		p->at++;
	}
	o = find_operator(p);
	if (!o) /* more digits */
		return refuse_at(p, COMMAND_C_DESCRIPTOR, start);
	r->kind = o->kind;
	r->fd = fd >= 0 ? fd : o->fd;
	p->at += strlen(o->text);
	if (peek(p, 0) == '(' && o->text[1] == '\0')
		return refuse_at(p, COMMAND_C_PROCESS, start);
	if (!skip_blanks(p))
		return false;
	if (o->kind == COMMAND_COPY)
		return parse_copy(p, r);
	if (peek(p, 0) == '(' || ((peek(p, 0) == '<' || peek(p, 0) == '>') && peek(p, 1) == '('))
		return refuse_at(p, COMMAND_C_PROCESS, p->at);
	if (at_end(p) || is_meta(peek(p, 0)))
		return refuse_at(p, COMMAND_C_MISSING_TARGET, start);
	if (strcmp(o->text, "<<<") == 0)
		return parse_here_string(p, r);
	if (o->kind == COMMAND_INPUT)
		return parse_here(p, r, o->text[2] == '-');
	if (!parse_target(p, r))
		return false;
	if (!o->both)
		return true;
	r = add(p, end);
	if (r)
		*r = (struct command_redirection){ .kind = COMMAND_COPY, .fd = 2, .source = 1 };
	return r;
}
