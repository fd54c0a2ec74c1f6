/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar, from the list down to the simple command; see command.h. */
#include "command/internal.h"

static struct command_list *parse_list(struct parser *p, char closer, bool *ok);

/* Whether the characters stand here as a word of their own. */
static bool at_word(const struct parser *p, char c)
{
	return peek(p, 0) == c && is_meta(peek(p, 1));
}

/* Newlines, with the here-documents that begin behind the first of them. */
static bool skip_newlines(struct parser *p)
{
	for (;;) {
		if (!skip_blanks(p))
			return false;
		if (peek(p, 0) != '\n')
			return true;
		p->at++;
		if (p->pending && !read_pending(p))
			return false;
	}
}

static bool parse_redirections(struct parser *p, struct command *c)
{
	struct command_redirection **end = &c->redirections;

	for (;;) {
		if (!skip_blanks(p))
			return false;
		if (!at_redirection(p))
			return true;
		if (!parse_redirection(p, &end))
			return false;
	}
}

static bool parse_compound(struct parser *p, struct command *c)
{
	size_t start = p->at;
	char closer = peek(p, 0) == '(' ? ')' : '}';
	bool ok;

	if (closer == ')' && peek(p, 1) == '(')
		return refuse_at(p, COMMAND_C_DOUBLE_PAREN, start);
	if (++p->depth > COMMAND_DEPTH_MAX)
		return refuse_at(p, COMMAND_C_DEPTH, start);
	c->kind = closer == ')' ? COMMAND_SUBSHELL : COMMAND_GROUP;
	p->at++;
	c->body = parse_list(p, closer, &ok);
	if (!ok)
		return false;
	if (at_end(p))
		return refuse_at(p, COMMAND_C_UNTERMINATED, start);
	if (!c->body)
		return refuse_at(p, COMMAND_C_MISSING_COMMAND, p->at);
	p->at++;
	p->depth--;
	return parse_redirections(p, c);
}

/* Where the next c is behind this place, or the end of the string: looked for once up to there. */
static size_t find_next(const struct parser *p, char c, size_t *known)
{
	if (*known <= p->at) {
		const char *found = memchr(p->text + p->at, c, p->len - p->at);

		*known = found ? (size_t)(found - p->text) : p->len;
	}
	return *known;
}

/* How long the NAME is that an assignment begins with here, 0: none. */
static size_t assignment_name(struct parser *p, bool *ok)
{
	size_t n = 0;

	*ok = true;
	if (!is_name_start(peek(p, 0)))
		return 0;
	while (is_name_char(peek(p, n)))
		n++;
	if (peek(p, n) == '+' && peek(p, n + 1) == '=')
		*ok = refuse_at(p, COMMAND_C_APPEND, p->at);
	if (peek(p, n) == '[') {
		size_t end = find_next(p, ']', &p->next_bracket);

		/* Also on another line: what is between them is one word to a shell with arrays. */
		if (end + 1 < p->len && (p->text[end + 1] == '=' || p->text[end + 1] == '+'))
			*ok = refuse_at(p, COMMAND_C_ARRAY, p->at);
	}
	return *ok && peek(p, n) == '=' ? n : 0;
}

static bool parse_assignment(struct parser *p, size_t n, struct command_assignment ***end)
{
	struct command_assignment *a;
	size_t start = p->at;

	if (!count_word(p))
		return false;
	a = tree_take(p, sizeof(*a));
	if (!a)
		return false;
	a->name = tree_text(p, p->text + p->at, n);
	if (!a->name)
		return false;
	if (is_special_assignment(a->name))
		return refuse_at(p, COMMAND_C_ASSIGNMENT, start);
	p->at += n + 1;
	if (peek(p, 0) == '(')
		return refuse_at(p, COMMAND_C_ARRAY, start);
	p->strict = true;
	p->in_value = true;
	a->value = parse_word(p, WORD_VALUE);
	p->in_value = false;
	**end = a;
	*end = &a->next;
	return a->value;
}

/* "{NAME}>": bash puts the number of a new descriptor into the variable. */
static bool names_descriptor(const struct parser *p, const struct command_word *word)
{
	const struct command_part *part = word->parts;

	return (peek(p, 0) == '>' || peek(p, 0) == '<') && part && part->kind == COMMAND_TEXT &&
	       !part->next && part->len > 2 && part->text[0] == '{' &&
	       part->text[part->len - 1] == '}' &&
	       command_name_valid(part->text + 1, part->len - 2);
}

struct simple {
	struct command *command;
	struct command_assignment **assignments_end;
	struct command_word **words_end;
	struct command_redirection **redirections_end;
	bool named; /* a word that is not "command" has been read */
	bool strict, exports;
};

/* The first word, or the next behind "command": what it is by itself decides about the others. */
static bool look_at_name(struct parser *p, struct simple *s, const struct command_word *word)
{
	const struct command_part *part = word->parts;
	const char *text;

	if (word == s->command->words && part && !part->quoted && part->kind == COMMAND_TEXT &&
	    !part->next) {
		enum command_construct construct = reserved_construct(part->text);

		if (construct)
			return refuse_at(p, construct, word->offset);
	}
	text = word_literal(p, word);
	s->named = !text || strcmp(text, "command") != 0;
	s->exports = text && strcmp(text, "export") == 0;
	s->strict = text && (s->exports || strcmp(text, "cd") == 0);
	return true;
}

static bool parse_argument(struct parser *p, struct simple *s)
{
	bool first = !s->command->words;
	size_t value = 0;
	struct command_word *word;

	if (!count_word(p))
		return false;
	p->strict = !s->named || s->strict;
	if (s->exports) {
		while (is_name_char(peek(p, value)))
			value++;
		value = peek(p, value) == '=' ? value + 1 : 0;
		if (value && peek(p, value) == '(')
			return refuse_at(p, COMMAND_C_ARRAY, p->at);
	}
	p->in_value = value;
	word = parse_word(p, WORD_PLAIN);
	p->in_value = false;
	if (!word)
		return false;
	if (names_descriptor(p, word))
		return refuse_at(p, COMMAND_C_DESCRIPTOR, word->offset);
	word->whole = value;
	*s->words_end = word;
	s->words_end = &word->next;
	if (!s->named && !look_at_name(p, s, word))
		return false;
	p->strict = false;
	if (peek(p, 0) == '(')
		return refuse_at(p, first ? COMMAND_C_FUNCTION : COMMAND_C_UNEXPECTED,
				 first ? word->offset : p->at);
	return true;
}

static bool parse_simple(struct parser *p, struct command *c)
{
	struct simple s = { .command = c,
			    .assignments_end = &c->assignments,
			    .words_end = &c->words,
			    .redirections_end = &c->redirections };
	size_t start = p->at;

	for (;;) {
		size_t name = 0;
		bool ok = true;

		if (!skip_blanks(p))
			return false;
		if (at_redirection(p)) {
			p->strict = false;
			if (!parse_redirection(p, &s.redirections_end))
				return false;
			continue;
		}
		if (at_end(p) || is_meta(peek(p, 0)))
			break;
		if (!c->words)
			name = assignment_name(p, &ok);
		ok = ok &&
		     (name ? parse_assignment(p, name, &s.assignments_end) : parse_argument(p, &s));
		p->strict = false;
		if (!ok)
			return false;
	}
	if (peek(p, 0) == '(')
		return c->words && !c->words->next ? refuse_at(p, COMMAND_C_FUNCTION, start) :
						     refuse_at(p, COMMAND_C_UNEXPECTED, p->at);
	if (!c->words && !c->assignments && !c->redirections)
		return refuse_at(p, COMMAND_C_MISSING_COMMAND, p->at);
	return check_command(p, c);
}

static struct command *parse_command(struct parser *p)
{
	struct command *c = tree_take(p, sizeof(*c));
	bool ok;

	if (!c)
		return NULL;
	if (peek(p, 0) == '(' || at_word(p, '{'))
		ok = parse_compound(p, c);
	else
		ok = parse_simple(p, c);
	return ok ? c : NULL;
}

/* "|&": what is written to 2 goes into the pipe as well, after the redirections of the command. */
static bool add_both(struct parser *p, struct command *c)
{
	struct command_redirection **end = &c->redirections;

	while (*end)
		end = &(*end)->next;
	*end = tree_take(p, sizeof(**end));
	if (!*end || !count_word(p))
		return false;
	**end = (struct command_redirection){ .kind = COMMAND_COPY, .fd = 2, .source = 1 };
	return true;
}

static struct command_pipeline *parse_pipeline(struct parser *p)
{
	struct command_pipeline *pipeline = tree_take(p, sizeof(*pipeline));
	struct command **end;

	if (!pipeline)
		return NULL;
	end = &pipeline->commands;
	while (at_word(p, '!')) {
		pipeline->negated = !pipeline->negated;
		p->at++;
		if (!skip_blanks(p))
			return NULL;
	}
	for (;;) {
		struct command *c = parse_command(p);

		if (!c)
			return NULL;
		*end = c;
		end = &c->next;
		if (peek(p, 0) != '|' || peek(p, 1) == '|')
			return pipeline;
		p->at++;
		if (peek(p, 0) == '&') {
			p->at++;
			if (!add_both(p, c))
				return NULL;
		}
		if (!skip_newlines(p))
			return NULL;
	}
}

static struct command_list *parse_and_or(struct parser *p)
{
	struct command_list *item = tree_take(p, sizeof(*item));
	struct command_pipeline **end;
	char op = '\0';

	if (!item)
		return NULL;
	end = &item->pipelines;
	for (;;) {
		*end = parse_pipeline(p);
		if (!*end)
			return NULL;
		(*end)->op = op;
		end = &(*end)->next;
		op = peek(p, 0);
		if ((op != '&' && op != '|') || peek(p, 1) != op)
			return item;
		p->at += 2;
		if (!skip_newlines(p))
			return NULL;
	}
}

/* What stands behind an and-or. */
static bool parse_end(struct parser *p, struct command_list *item, char closer)
{
	char c = peek(p, 0);

	if (c == '&' && peek(p, 1) != '&') {
		item->background = true;
		p->at++;
		return true;
	}
	if (c == ';' && peek(p, 1) != ';') {
		p->at++;
		return true;
	}
	if (at_end(p) || c == '\n' || (c == ')' && closer == ')'))
		return true;
	return refuse_at(p, COMMAND_C_UNEXPECTED, p->at);
}

/* closer: the character that ends it, which is left; 0: the end of the string. NULL with *ok: there is nothing. */
static struct command_list *parse_list(struct parser *p, char closer, bool *ok)
{
	struct command_list *list = NULL, **end = &list;

	*ok = false;
	for (;;) {
		if (!skip_newlines(p))
			return NULL;
		if (at_end(p) || (closer == ')' && peek(p, 0) == ')') ||
		    (closer == '}' && at_word(p, '}')))
			break;
		*end = parse_and_or(p);
		if (!*end || !parse_end(p, *end, closer))
			return NULL;
		end = &(*end)->next;
	}
	*ok = true;
	return list;
}

static bool parse_string(struct parser *p)
{
	const char *nul = memchr(p->text, '\0', p->len);
	bool ok;

	if (p->len > COMMAND_LENGTH_MAX)
		return refuse_at(p, COMMAND_C_LENGTH, COMMAND_LENGTH_MAX);
	if (nul)
		return refuse_at(p, COMMAND_C_NUL, (size_t)(nul - p->text));
	p->tree->list = parse_list(p, '\0', &ok);
	if (ok && p->pending)
		return refuse_at(p, COMMAND_C_HERE_DOCUMENT, p->pending->offset);
	return ok;
}

int command_parse(const char *text, size_t len, struct command_tree **ret_tree,
		  struct command_error *error)
{
	struct parser p = { .text = text, .len = len, .error = error };
	bool ok;

	*error = (struct command_error){ 0 };
	p.pending_end = &p.pending;
	p.tree = calloc(1, sizeof(*p.tree));
	p.scratch = malloc((len < COMMAND_LENGTH_MAX ? len : COMMAND_LENGTH_MAX) + 1);
	ok = p.tree && p.scratch && parse_string(&p);
	free_wiped(p.scratch, (len < COMMAND_LENGTH_MAX ? len : COMMAND_LENGTH_MAX) + 1);
	if (ok) {
		*ret_tree = p.tree;
		return 0;
	}
	command_tree_free(p.tree);
	return error->construct && error->construct != COMMAND_C_MEMORY ? -EINVAL : -ENOMEM;
}
