/* SPDX-License-Identifier: Apache-2.0 */
/* Words: quoting, variables, braces and tildes. */
#include "command/internal.h"

bool is_meta(char c)
{
	return c == '\0' || c == ' ' || c == '\t' || c == '\n' || c == ';' || c == '&' ||
	       c == '|' || c == '<' || c == '>' || c == '(' || c == ')';
}

bool is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_name_char(char c)
{
	return is_name_start(c) || (c >= '0' && c <= '9');
}

bool command_name_valid(const char *name, size_t n)
{
	if (n == 0 || !is_name_start(name[0]))
		return false;
	for (size_t i = 1; i < n; i++)
		if (!is_name_char(name[i]))
			return false;
	return true;
}

bool skip_blanks(struct parser *p)
{
	for (;;) {
		if (is_blank(peek(p, 0)))
			p->at++;
		else if (peek(p, 0) == '\\' && peek(p, 1) == '\n')
			p->at += 2;
		else
			break;
	}
	if (peek(p, 0) == '#')
		while (!at_end(p) && peek(p, 0) != '\n')
			p->at++;
	return peek(p, 0) != '\r' || refuse_at(p, COMMAND_C_CARRIAGE_RETURN, p->at);
}

static struct command_part *add_part(struct parser *p, struct builder *b,
				     enum command_part_kind kind)
{
	struct command_part *part;

	if (++p->n_parts > COMMAND_PARTS_MAX) {
		refuse_at(p, COMMAND_C_WORDS, p->at);
		return NULL;
	}
	part = tree_take(p, sizeof(*part));
	if (!part)
		return NULL;
	part->kind = kind;
	*b->end = part;
	b->end = &part->next;
	return part;
}

bool flush(struct parser *p, struct builder *b, bool even_empty)
{
	struct command_part *part;

	if (p->scratch_len == 0 && !even_empty)
		return true;
	part = add_part(p, b, COMMAND_TEXT);
	if (!part)
		return false;
	part->quoted = b->quoted;
	part->text = tree_text(p, p->scratch, p->scratch_len);
	part->len = p->scratch_len;
	p->scratch_len = 0;
	return part->text;
}

/* The scratch is as long as the string, and no byte of it is gathered twice. */
bool gather(struct parser *p, struct builder *b, const char *text, size_t n, bool quoted)
{
	if (b->quoted != quoted && !flush(p, b, false))
		return false;
	b->quoted = quoted;
	memcpy(p->scratch + p->scratch_len, text, n);
	p->scratch_len += n;
	return true;
}

static bool gather_next(struct parser *p, struct builder *b, bool quoted)
{
	return gather(p, b, p->text + p->at++, 1, quoted);
}

/* Behind the name in "${name": the operator and its word, up to the brace. */
static bool parse_operator(struct parser *p, struct command_part *part, size_t start, bool quoted,
			   bool here)
{
	char op = peek(p, 1);

	if (peek(p, 0) != ':' || (op != '-' && op != '+' && op != '?')) {
		if (at_end(p))
			return refuse_at(p, COMMAND_C_UNTERMINATED, start);
		return refuse_at(p, COMMAND_C_PARAMETER, start);
	}
	p->at += 2;
	part->op = op;
	if (++p->depth > COMMAND_DEPTH_MAX)
		return refuse_at(p, COMMAND_C_DEPTH, start);
	if (quoted) {
		struct builder b = { .quoted = true };

		part->word = tree_take(p, sizeof(*part->word));
		if (!part->word)
			return false;
		b.end = &part->word->parts;
		while (!at_end(p) && peek(p, 0) != '}') {
			char c = peek(p, 0), next = peek(p, 1);
			bool ok;

			if (c == '$')
				ok = parse_dollar(p, &b, true, here);
			else if (c == '`')
				ok = literal_substitution(p, &b, here);
			else if ((c == '"' || c == '\'') && !here)
				ok = refuse_at(p, COMMAND_C_QUOTES, p->at);
			else if (c == '\\' && next == '\n')
				ok = (p->at += 2) > 0;
			else if (c == '\\' && (next == '$' || next == '`' || next == '"' ||
					       next == '\\' || next == '}'))
				ok = p->at++, gather_next(p, &b, true);
			else
				ok = gather_next(p, &b, true);
			if (!ok)
				return false;
		}
		if (!flush(p, &b, false))
			return false;
	} else {
		part->word = parse_word(p, WORD_OPERAND);
	}
	p->depth--;
	if (!part->word)
		return false;
	return peek(p, 0) == '}' || refuse_at(p, COMMAND_C_UNTERMINATED, start);
}

static bool parse_braced(struct parser *p, struct builder *b, bool quoted, bool here)
{
	size_t start = p->at, name;
	struct command_part *part;

	p->at += 2;
	name = p->at;
	if (is_name_start(peek(p, 0)))
		while (is_name_char(peek(p, 0)))
			p->at++;
	else if ((peek(p, 0) == '?' || peek(p, 0) == '!') && peek(p, 1) == '}')
		p->at++;
	else
		return refuse_at(p, at_end(p) ? COMMAND_C_UNTERMINATED : COMMAND_C_PARAMETER,
				 start);
	part = add_part(p, b, COMMAND_VARIABLE);
	if (!part)
		return false;
	part->quoted = quoted;
	part->text = tree_text(p, p->text + name, p->at - name);
	if (!part->text)
		return false;
	if (is_special_variable(part->text))
		return refuse_at(p, COMMAND_C_VARIABLE, start);
	if (peek(p, 0) != '}' && !parse_operator(p, part, start, quoted, here))
		return false;
	p->at++;
	return true;
}

static bool parse_variable(struct parser *p, struct builder *b, bool quoted)
{
	size_t start = p->at++;
	struct command_part *part = add_part(p, b, COMMAND_VARIABLE);

	if (!part)
		return false;
	if (is_name_start(peek(p, 0)))
		while (is_name_char(peek(p, 0)))
			p->at++;
	else
		p->at++;
	if (peek(p, 0) == '\\' && peek(p, 1) == '\n' && is_name_char(peek(p, 2)))
		return refuse_at(p, COMMAND_C_JOINED, start);
	part->quoted = quoted;
	part->text = tree_text(p, p->text + start + 1, p->at - start - 1);
	if (!part->text)
		return false;
	return !is_special_variable(part->text) || refuse_at(p, COMMAND_C_VARIABLE, start);
}

bool parse_dollar(struct parser *p, struct builder *b, bool quoted, bool here)
{
	char next = peek(p, 1);

	if (next == '(')
		return quoted ? literal_substitution(p, b, here) :
				refuse_at(p, substitution_kind(p), p->at);
	if (next == '[') /* what bash once had for $((…)) */
		return refuse_at(p, COMMAND_C_ARITHMETIC, p->at);
	if (!quoted && (next == '\'' || next == '"'))
		return refuse_at(p, COMMAND_C_ANSI_QUOTING, p->at);
	if (next == '{')
		return flush(p, b, false) && parse_braced(p, b, quoted, here);
	if (is_name_start(next) || next == '?' || next == '!')
		return flush(p, b, false) && parse_variable(p, b, quoted);
	if (next && strchr("$@*#-0123456789", next))
		return refuse_at(p, COMMAND_C_POSITIONAL, p->at);
	if (next == '\\' && peek(p, 2) == '\n')
		return refuse_at(p, COMMAND_C_JOINED, p->at);
	return gather_next(p, b, true);
}

static bool parse_double(struct parser *p, struct builder *b)
{
	struct command_part **end;
	size_t start = p->at++;

	if (!flush(p, b, false))
		return false;
	end = b->end;
	b->quoted = true;
	while (!at_end(p) && peek(p, 0) != '"') {
		char c = peek(p, 0), next = peek(p, 1);
		bool ok;

		if (c == '$')
			ok = parse_dollar(p, b, true, false);
		else if (c == '`')
			ok = literal_substitution(p, b, false);
		else if (c == '\\' && next == '\n')
			ok = (p->at += 2) > 0;
		else if (c == '\\' && (next == '$' || next == '`' || next == '"' || next == '\\'))
			ok = p->at++, gather_next(p, b, true);
		else
			ok = gather_next(p, b, true);
		if (!ok)
			return false;
	}
	if (at_end(p))
		return refuse_at(p, COMMAND_C_UNTERMINATED, start);
	p->at++;
	/* Kept also where there is nothing in it: "" is a field. */
	return flush(p, b, b->end == end);
}

static bool parse_single(struct parser *p, struct builder *b)
{
	size_t start = p->at++;
	const char *end = memchr(p->text + p->at, '\'', p->len - p->at);
	bool ok;

	if (!end)
		return refuse_at(p, COMMAND_C_UNTERMINATED, start);
	ok = flush(p, b, false) &&
	     gather(p, b, p->text + p->at, (size_t)(end - p->text) - p->at, true) &&
	     flush(p, b, true);
	p->at = (size_t)(end - p->text) + 1;
	return ok;
}

/* The braces of a word that may have alternatives. */
struct braces {
	size_t open[COMMAND_DEPTH_MAX];
	bool comma[COMMAND_DEPTH_MAX];
	size_t n;
};

static size_t sequence_item(const char *text, size_t n, size_t at, bool *ret_number)
{
	size_t start = at;

	*ret_number = false;
	if (at < n && ((text[at] | 32) >= 'a' && (text[at] | 32) <= 'z'))
		return at + 1;
	if (at < n && (text[at] == '-' || text[at] == '+'))
		at++;
	while (at < n && text[at] >= '0' && text[at] <= '9') {
		*ret_number = true;
		at++;
	}
	return *ret_number ? at : start;
}

/* Whether text is X..Y, or X..Y..STEP. */
static bool is_sequence(const char *text, size_t n)
{
	bool first, second, third;
	size_t at = sequence_item(text, n, 0, &first), next;

	if (at == 0 || n - at < 2 || memcmp(text + at, "..", 2) != 0)
		return false;
	next = sequence_item(text, n, at + 2, &second);
	if (next == at + 2 || first != second)
		return false;
	if (next == n)
		return true;
	if (n - next < 3 || memcmp(text + next, "..", 2) != 0)
		return false;
	return sequence_item(text, n, next + 2, &third) == n && third;
}

static bool track_braces(struct parser *p, struct braces *braces)
{
	char c = peek(p, 0);

	if (c == '{') {
		if (braces->n == COMMAND_DEPTH_MAX)
			return refuse_at(p, COMMAND_C_BRACES, p->at);
		braces->open[braces->n] = p->at;
		braces->comma[braces->n++] = false;
	} else if (c == ',' && braces->n) {
		braces->comma[braces->n - 1] = true;
	} else if (c == '}' && braces->n) {
		size_t open = braces->open[--braces->n];

		if (braces->comma[braces->n] || is_sequence(p->text + open + 1, p->at - open - 1))
			return refuse_at(p, COMMAND_C_BRACES, open);
	}
	return true;
}

struct word_state {
	enum word_place place;
	size_t start;
	size_t name_end; /* of the name that it begins with, as far as it has been looked at */
	size_t escaped;  /* behind the last character that a backslash quotes */
	size_t value;    /* where the value begins, of NAME=VALUE; 0: it is not one */
	struct braces braces;
};

/* At a tilde where one can mean a directory. */
static bool parse_tilde(struct parser *p, struct builder *b, const struct word_state *s)
{
	char next = peek(p, 1);

	if (next == '/' || (s->place == WORD_OPERAND ? next == '}' : is_meta(next)) ||
	    ((s->value || p->in_value) && next == ':')) {
		p->at++;
		return flush(p, b, false) && add_part(p, b, COMMAND_TILDE);
	}
	if (is_name_char(next) || next == '+' || next == '-' || next == '.')
		return refuse_at(p, COMMAND_C_TILDE, p->at);
	if (next == '\\' && peek(p, 2) == '\n')
		return refuse_at(p, COMMAND_C_JOINED, p->at);
	return gather_next(p, b, true);
}

/* Where a tilde means a directory: at the beginning, and in what looks like an assignment behind = and : */
static bool tilde_is_special(const struct parser *p, const struct word_state *s)
{
	if (p->at == s->start || p->at == s->value)
		return true;
	return (s->value || p->in_value) && p->at > s->value && p->at != s->escaped &&
	       p->text[p->at - 1] == ':';
}

/* Behind the backslash of a joined line: what it joins must not become something else than it looks like. */
static bool join_lines(struct parser *p, struct word_state *s)
{
	size_t end = p->at - 1;
	char next = peek(p, 1);

	while (s->name_end < end && is_name_char(p->text[s->name_end]))
		s->name_end++;
	if (next == '~' ||
	    ((s->name_end == end || s->braces.n) && (!is_meta(next) || next == '<' || next == '>')))
		return refuse_at(p, COMMAND_C_JOINED, end);
	p->at++;
	return true;
}

/* One step in a word, outside of quotes. */
static bool parse_unquoted(struct parser *p, struct builder *b, struct word_state *s)
{
	char c = peek(p, 0);

	switch (c) {
	case '\'':
		return parse_single(p, b);
	case '"':
		return parse_double(p, b);
	case '$':
		if (s->place == WORD_VALUE && p->at == s->start && peek(p, 1) == '(' &&
		    text_idiom(p, b))
			return is_meta(peek(p, 0)) ||
			       refuse_at(p, COMMAND_C_SUBSTITUTION, s->start);
		return parse_dollar(p, b, false, false);
	case '`':
		return refuse_at(p, COMMAND_C_SUBSTITUTION, p->at);
	case '\r':
		return refuse_at(p, COMMAND_C_CARRIAGE_RETURN, p->at);
	case '\\':
		p->at++;
		if (at_end(p))
			return gather(p, b, "\\", 1, true);
		if (peek(p, 0) == '\n')
			return join_lines(p, s);
		s->escaped = p->at + 1;
		return gather_next(p, b, true);
	case '~':
		if (tilde_is_special(p, s))
			return parse_tilde(p, b, s);
		break;
	case '{':
	case ',':
	case '}':
		if (s->place == WORD_PLAIN && !track_braces(p, &s->braces))
			return false;
		break;
	default:
		break;
	}
	return gather_next(p, b, false);
}

/* The "=" of NAME=VALUE as an argument, for tildes. */
static size_t find_value(const struct parser *p)
{
	size_t at = p->at;

	if (!is_name_start(p->text[at]))
		return 0;
	while (at < p->len && is_name_char(p->text[at]))
		at++;
	return at < p->len && p->text[at] == '=' ? at + 1 : 0;
}

struct command_word *parse_word(struct parser *p, enum word_place place)
{
	struct command_word *word = tree_take(p, sizeof(*word));
	struct word_state s = { .place = place, .start = p->at, .name_end = p->at };
	struct builder b = { 0 };

	if (!word)
		return NULL;
	word->offset = p->at;
	b.end = &word->parts;
	if (place == WORD_VALUE)
		s.value = p->at;
	else if (place == WORD_PLAIN && !at_end(p))
		s.value = find_value(p);
	while (!at_end(p) && (place == WORD_OPERAND ? peek(p, 0) != '}' : !is_meta(peek(p, 0))))
		if (!parse_unquoted(p, &b, &s))
			return NULL;
	return flush(p, &b, false) ? word : NULL;
}

struct command_word *parse_body(struct parser *p, size_t start, size_t n)
{
	struct command_word *word = tree_take(p, sizeof(*word));
	struct builder b = { .quoted = true };
	size_t at = p->at, len = p->len;
	bool ok = word;

	if (word)
		b.end = &word->parts;
	p->at = start;
	p->len = start + n;
	while (ok && !at_end(p)) {
		char c = peek(p, 0), next = peek(p, 1);

		if (c == '$')
			ok = parse_dollar(p, &b, true, true);
		else if (c == '`')
			ok = literal_substitution(p, &b, true);
		else if (c == '\\' && next == '\n')
			p->at += 2;
		else if (c == '\\' && (next == '$' || next == '`' || next == '\\'))
			ok = p->at++, gather_next(p, &b, true);
		else
			ok = gather_next(p, &b, true);
	}
	ok = ok && flush(p, &b, false);
	p->at = at;
	p->len = len;
	return ok ? word : NULL;
}
