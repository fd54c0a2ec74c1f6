/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the library share: parse.c (grammar), redirect.c, word.c (words and quoting), substitution.c
 * (what is not performed), check.c (words that have a meaning of their own), tree.c (memory, errors). */
#ifndef MOAT_COMMAND_INTERNAL_H
#define MOAT_COMMAND_INTERNAL_H

#include "command/command.h"

/* A here-document whose lines come after the next newline. */
struct pending {
	struct pending *next;
	struct command_redirection *redirection;
	const char *delimiter;
	size_t offset;
	bool quoted, strip;
};

struct parser {
	const char *text;
	size_t len, at;
	struct command_tree *tree;
	struct command_error *error;
	struct pending *pending, **pending_end;
	char *scratch; /* as long as the text: what a part is made of */
	size_t scratch_len;
	size_t n_words, n_parts;
	size_t next_bracket; /* see find_next() */
	unsigned depth;
	bool strict; /* a substitution is refused also in quotes */
	bool in_value; /* of an assignment or an argument of export, also within its ${…} */
};

/* Where a word is: what ends it, and what is special there. */
enum word_place { WORD_PLAIN, WORD_VALUE, WORD_OPERAND };

/* --- tree.c --- */
/* Zeroed memory of the tree; NULL: none, and the error says so. */
void *tree_take(struct parser *p, size_t n);
/* A terminated copy. */
char *tree_text(struct parser *p, const char *text, size_t n);
/* Fills the error, and returns false. */
bool refuse_at(struct parser *p, enum command_construct construct, size_t offset);
bool count_word(struct parser *p);
void warn_at(struct parser *p, size_t offset);

/* --- word.c --- */
static inline char peek(const struct parser *p, size_t ahead)
{
	return p->at + ahead < p->len ? p->text[p->at + ahead] : '\0';
}
static inline bool at_end(const struct parser *p)
{
	return p->at >= p->len;
}
static inline bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}
bool is_meta(char c); /* ends a word */
bool is_name_start(char c);
bool is_name_char(char c);
/* Blanks, joined lines and a comment. False: refused. */
bool skip_blanks(struct parser *p);
/* NULL: refused. */
struct command_word *parse_word(struct parser *p, enum word_place place);
/* The word of an unquoted here-document of n bytes at start. */
struct command_word *parse_body(struct parser *p, size_t start, size_t n);

/* Parts are appended to *end; text gathers in the scratch until the next flush. */
struct builder {
	struct command_part **end;
	bool quoted; /* what gathers */
};
bool flush(struct parser *p, struct builder *b, bool even_empty);
bool gather(struct parser *p, struct builder *b, const char *text, size_t n, bool quoted);
/* At a "$"; in_text: in double quotes or a here-document, whose double quotes are text. */
bool parse_dollar(struct parser *p, struct builder *b, bool quoted, bool here);

/* --- substitution.c --- */
/* At "$(" or "`" within quotes or a here-document: gathers it as text, or refuses. */
bool literal_substitution(struct parser *p, struct builder *b, bool here);
/* At "$(": true, with its text gathered and the place behind it, where it is the text idiom. */
bool text_idiom(struct parser *p, struct builder *b);
/* Which of them is at this place. */
enum command_construct substitution_kind(const struct parser *p);

/* --- heredoc.c --- */
/* At the delimiter of a here-document. */
bool parse_delimiter(struct parser *p, const char **ret, bool *ret_quoted);
/* Behind a newline: the lines of all that are pending. */
bool read_pending(struct parser *p);
/* The lines from `at` to the delimiter: their length and where the line behind it begins; false: there is no end. */
bool find_lines(const struct parser *p, size_t at, const char *delimiter, bool strip, size_t *ret_n,
		size_t *ret_next);

/* --- redirect.c --- */
bool at_redirection(const struct parser *p);
bool parse_redirection(struct parser *p, struct command_redirection ***end);

/* --- check.c --- */
/* The literal text of a word; NULL: it has an expansion. Only in the scratch of the parser: until the next call. */
const char *word_literal(struct parser *p, const struct command_word *word);
/* Reserved words at the place of a command. COMMAND_OK: none. */
enum command_construct reserved_construct(const char *word);
bool is_special_variable(const char *name);
bool is_special_assignment(const char *name);
/* A whole simple command: whether its words mean something that is not part of the language. */
bool check_command(struct parser *p, const struct command *c);

#endif
