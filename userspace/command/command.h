/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command language: a string as people and models write it for a shell, without a shell. This library
 * reads a string into a tree and expands words; it has no input or output of its own. Who evaluates is
 * userspace/run; the agent only parses, so that what the language refuses has not run.
 *
 *   string       = list ;
 *   list         = { newline } [ and-or { end { newline } and-or } [ end ] ] { newline } ;
 *   end          = ";" | "&" | newline ;
 *   and-or       = pipeline { ( "&&" | "||" ) { newline } pipeline } ;
 *   pipeline     = { "!" } command { ( "|" | "|&" ) { newline } command } ;
 *   command      = simple | "{" list "}" { redirection } | "(" list ")" { redirection } ;
 *   simple       = { assignment | redirection } [ word { word | redirection } ] ;
 *   assignment   = name "=" [ word ] ;
 *   redirection  = [ digit ] ( "<" | ">" | ">>" | ">|" | "<>" ) word
 *                | [ digit ] ( "<&" | ">&" ) ( digit | "-" )
 *                | ( "&>" | "&>>" ) word
 *                | [ digit ] ( "<<" | "<<-" ) delimiter      (its lines follow the next newline)
 *                | [ digit ] "<<<" word ;
 *   word         = part { part } ;
 *   part         = character | "\" character | "'" { character } "'" | '"' { quoted } '"' | expansion
 *                | "*" | "?" | "[" … "]"                     (pathname expansion)
 *                | "~"                                       (at the beginning of a word or of a value) ;
 *   quoted       = character | "\" ( "$" | "`" | '"' | "\" | newline ) | expansion | text-idiom ;
 *   expansion    = "$" name | "${" name "}" | "${" name ( ":-" | ":+" | ":?" ) word "}" | "$?" | "$!" ;
 *   text-idiom   = "$(cat <<" delimiter newline { line } delimiter newline ")" ;
 *   name         = ( letter | "_" ) { letter | digit | "_" } ;
 *
 * What each means is what POSIX says (XCU 2, Shell Command Language), but for the table of differences
 * in moat-run(7). "#" at the beginning of a word begins a comment, "\" before a newline joins lines.
 *
 * "$(…)", "`…`" and "$((…))" are never performed. Inside double quotes and here-documents they are
 * literal text with a warning, or refused where their end cannot be told for sure; everywhere else, and
 * also quoted where the text would do harm (the value of an assignment, arguments of cd and export, the
 * name of a command), the string is refused. The text idiom is no substitution but a form of quoting: the
 * lines without their trailing newlines. It stands within double quotes, or as the whole value of an
 * assignment; its delimiter is quoted, or the lines have no "$", "`" or "\".
 */
#ifndef MOAT_COMMAND_H
#define MOAT_COMMAND_H

#include "base/base.h"

/* --- Limits: what is above is refused by name ---------------------------------------------- */

#define COMMAND_LENGTH_MAX (1024u * 1024)      /* bytes */
#define COMMAND_WORDS_MAX 65536u              /* words, assignments and redirections together */
#define COMMAND_PARTS_MAX 131072u             /* of all words */
#define COMMAND_DEPTH_MAX 64u                 /* groups, subshells and ${…} within each other */
#define COMMAND_WARNINGS_MAX 16u              /* kept; the rest is counted */
#define COMMAND_FIELDS_MAX 131072u            /* that the words of one command become */
#define COMMAND_EXPANDED_MAX (4u * 1024 * 1024) /* bytes of them */
#define COMMAND_ENTRIES_MAX 100000u           /* names that the globs of one command look at */

/* --- What is refused ----------------------------------------------------------------------- */

/* id, name in details.construct, U(nsupported) or S(yntax error), what is wrong, what to do instead */
#define COMMAND_CONSTRUCTS(X) \
	X(SUBSTITUTION, "command-substitution", U, "a command substitution is not performed", \
	  "Run the inner command by itself first, and put what it prints into this string.") \
	X(ARITHMETIC, "arithmetic-expansion", U, "arithmetic is not performed", \
	  "Write the result as a number.") \
	X(PROCESS, "process-substitution", U, "a process substitution is not performed", \
	  "Write the output of the inner command to a file first, and name that file.") \
	X(ANSI_QUOTING, "ansi-c-quoting", U, "$'…' and $\"…\" are not part of the language", \
	  "Use '…' or \"…\" with the characters themselves; a newline may stand in quotes.") \
	X(PARAMETER, "parameter-expansion", U, "only ${V}, ${V:-w}, ${V:+w} and ${V:?w} are part of the language", \
	  "Write the value that is meant.") \
	X(POSITIONAL, "positional-parameter", U, "a string has no positional parameters and no process id", \
	  "Write the value itself, or put the dollar sign into single quotes.") \
	X(VARIABLE, "special-variable", U, "this variable belongs to a shell", \
	  "Write the value itself, or use a variable with another name.") \
	X(BRACES, "brace-expansion", U, "braces with alternatives are not expanded", \
	  "Write the words one by one, or quote the braces.") \
	X(TILDE, "tilde-user", U, "only ~ by itself and ~/ are expanded", \
	  "Write the directory itself, or quote the tilde.") \
	X(LOOP, "loop", U, "there are no loops", "Send one command for each item, or use xargs or find -exec.") \
	X(IF, "if", U, "there is no if", "Use A && B || C, or send the parts one by one.") \
	X(CASE, "case", U, "there is no case", "Use grep -q with && and ||.") \
	X(FUNCTION, "function", U, "there are no functions", "Write the commands where they are needed.") \
	X(DOUBLE_BRACKET, "double-bracket", U, "[[ is not part of the language", "Use [ … ], which is a program.") \
	X(DOUBLE_PAREN, "arithmetic-command", U, "(( is not part of the language", \
	  "Use [ A -gt B ] to compare; put a space between two parentheses that are subshells.") \
	X(KEYWORD, "keyword", U, "this word of a shell is not part of the language", \
	  "Leave it out; the answer says how long the command took.") \
	X(ARRAY, "array", U, "there are no arrays", "Use one variable for each value.") \
	X(APPEND, "append-assignment", U, "V+=w is not part of the language", "Write V=\"${V}w\".") \
	X(ASSIGNMENT, "special-assignment", U, "IFS, CDPATH and GLOBIGNORE have no meaning here", \
	  "Leave the assignment out: words are always split at blanks and newlines.") \
	X(BUILTIN, "builtin", U, "this builtin of a shell is not part of the language", \
	  "Use a program for it, or leave it out.") \
	X(SOURCE, "source", U, "only …/activate of a virtual environment can be sourced", \
	  "Set the variables of that file by export, or run it as a program.") \
	X(OPTION, "builtin-option", U, "this builtin has no such option or argument here", \
	  "See moat-run(7) for what the builtin takes; its arguments stand there as they are.") \
	X(DESCRIPTOR, "descriptor", U, "descriptors of redirections are the digits 0 to 9", \
	  "Use one digit, written out.") \
	X(NETWORK, "network-redirection", U, "/dev/tcp and /dev/udp are no files", "Use curl or nc.") \
	X(GLOB_TARGET, "glob-in-redirection", U, "the target of a redirection is not a pattern", \
	  "Write the name of the file, or quote it.") \
	X(CARRIAGE_RETURN, "carriage-return", U, "a carriage return outside of quotes", \
	  "Send lines that end in a newline alone.") \
	X(QUOTES, "quotes-in-expansion", U, "quotes within ${…} within double quotes", \
	  "Leave the inner quotes out.") \
	X(JOINED, "joined-line", U, "a line is joined to the next one within a name, a number or an expansion", \
	  "Break the line between two words.") \
	X(JOINED_END, "joined-delimiter", U, "a line is joined to the end of a here-document, or to what becomes its end", \
	  "Quote the delimiter, or leave out the backslash at the end of the line.") \
	X(LENGTH, "too-long", U, "the string is longer than 1048576 bytes", "Write the data to a file first.") \
	X(WORDS, "too-many-words", U, "the string has too many words", "Send it in several parts.") \
	X(DEPTH, "too-deep", U, "groups or expansions are nested too deeply", "Send it in several parts.") \
	X(NUL, "nul", S, "a NUL byte", "Leave it out.") \
	X(UNTERMINATED, "unterminated", S, "what begins here has no end", "Close the quotes, braces or parentheses.") \
	X(HERE_DOCUMENT, "here-document", S, "the line that ends the here-document is missing", \
	  "The delimiter stands alone on a line of its own, with nothing before or behind it.") \
	X(UNEXPECTED, "unexpected", S, "this must not stand here", "Quote it if it is meant as text.") \
	X(MISSING_COMMAND, "missing-command", S, "a command is missing here", "Add one, or remove the operator before.") \
	X(MISSING_TARGET, "missing-target", S, "a redirection needs a target", "Add the name of a file.")

enum command_construct {
	COMMAND_OK,
#define COMMAND_CONSTRUCT_ENUM(id, name, kind, text, hint) COMMAND_C_##id,
	COMMAND_CONSTRUCTS(COMMAND_CONSTRUCT_ENUM)
#undef COMMAND_CONSTRUCT_ENUM
	COMMAND_C_COUNT,
	COMMAND_C_MEMORY, /* no memory: nothing is wrong with the string */
};

struct command_error {
	enum command_construct construct;
	bool unsupported;        /* a shell may understand it; else it is a syntax error */
	const char *name;        /* all static */
	const char *text, *hint;
	size_t offset;           /* bytes */
	unsigned line, column;   /* from 1; column in bytes */
	char excerpt[64];        /* the string from there to the end of the line, cut at a character */
};

/* A substitution that stays literal: where. */
struct command_warnings {
	size_t offsets[COMMAND_WARNINGS_MAX];
	size_t n; /* all; the first COMMAND_WARNINGS_MAX are kept */
};

/* --- The tree ------------------------------------------------------------------------------ */

enum command_part_kind { COMMAND_TEXT, COMMAND_VARIABLE, COMMAND_TILDE };

struct command_part {
	struct command_part *next;
	enum command_part_kind kind;
	bool quoted;               /* neither split nor a pattern */
	const char *text;          /* TEXT: len bytes; VARIABLE: its name, "?" or "!"; terminated */
	size_t len;
	char op;                   /* VARIABLE: 0, or '-', '+', '?' for ${V:-w} … */
	struct command_word *word; /* w */
};

struct command_word {
	struct command_word *next;
	struct command_part *parts; /* NULL: empty, of an assignment or an operator */
	size_t offset;
	bool whole;                 /* stays one field: NAME=VALUE as an argument of export */
};

struct command_assignment {
	struct command_assignment *next;
	const char *name;
	struct command_word *value;
};

enum command_redirection_kind {
	COMMAND_READ, COMMAND_WRITE, COMMAND_APPEND, COMMAND_READ_WRITE,
	COMMAND_COPY,  /* fd becomes a copy of source */
	COMMAND_CLOSE,
	COMMAND_INPUT, /* the word, expanded, is what can be read */
};

struct command_redirection {
	struct command_redirection *next;
	enum command_redirection_kind kind;
	int fd, source;
	struct command_word *word;
};

enum command_kind { COMMAND_SIMPLE, COMMAND_GROUP, COMMAND_SUBSHELL };

struct command {
	struct command *next; /* of the pipeline */
	enum command_kind kind;
	struct command_assignment *assignments;
	struct command_word *words;
	struct command_redirection *redirections;
	struct command_list *body; /* GROUP, SUBSHELL */
};

struct command_pipeline {
	struct command_pipeline *next; /* of the and-or */
	char op;                       /* what stands before it: 0, '&', '|' */
	bool negated;
	struct command *commands;
};

struct command_list {
	struct command_list *next;
	struct command_pipeline *pipelines;
	bool background;
};

struct command_tree {
	struct command_list *list; /* NULL: nothing to do */
	struct command_warnings warnings;
	struct command_block *blocks; /* internal */
};

/*
 * Reads len bytes of text. On success the caller owns *ret_tree (command_tree_free()), which does not refer
 * to text. -EINVAL: refused, with *error filled; -ENOMEM. Takes time and memory in proportion to len.
 */
int command_parse(const char *text, size_t len, struct command_tree **ret_tree, struct command_error *error);
/* Wipes and frees; NULL is permitted. */
void command_tree_free(struct command_tree *tree);

/* --- Builtins ------------------------------------------------------------------------------ */

#define COMMAND_BUILTINS(X) \
	X(":", COLON) X("true", TRUE) X("false", FALSE) X("cd", CD) X("pwd", PWD) X("export", EXPORT) \
	X("unset", UNSET) X("exit", EXIT) X("wait", WAIT) X("command", COMMAND) X("set", SET) \
	X("source", SOURCE) X(".", SOURCE_DOT) X("deactivate", DEACTIVATE)

enum command_builtin {
	COMMAND_B_NONE,
#define COMMAND_BUILTIN_ENUM(name, id) COMMAND_B_##id,
	COMMAND_BUILTINS(COMMAND_BUILTIN_ENUM)
#undef COMMAND_BUILTIN_ENUM
	COMMAND_B_COUNT,
};

enum command_builtin command_builtin_find(const char *name);
/* What shells perform themselves and this language does not. */
bool command_is_foreign(const char *name);
bool command_name_valid(const char *name, size_t n);

/* --- Expansion ----------------------------------------------------------------------------- */

/* What expansion sees of the world. */
struct command_world {
	void *data;
	bool unset_is_error; /* set -u */
	/* The value of a variable, "?" or "!"; NULL: unset. Valid until the next call. */
	const char *(*variable)(void *data, const char *name);
	/* Calls fn for each name in a directory ("" is the working directory) until it returns non-zero,
	 * and returns that; 0 also where there is no such directory. */
	int (*list)(void *data, const char *path, int (*fn)(void *arg, const char *name), void *arg);
	bool (*exists)(void *data, const char *path); /* also a link that leads nowhere */
};

/*
 * The fields that words become: tilde, variables, splitting, pathnames, quotes. *ret is the caller's
 * (strv_free_wiped()). -EINVAL: ${V:?w}, or unset with set -u; -E2BIG: a limit; *f says which; -ENOMEM.
 */
int command_expand(const struct command_word *words, const struct command_world *world, char ***ret,
		   struct failure *f);
/* The same as one text, which is neither split nor a pattern. The caller wipes and frees. */
int command_expand_text(const struct command_word *word, const struct command_world *world, char **ret,
			struct failure *f);

/*
 * The words of a string that is one program with its arguments and nothing else, so that nothing of it depends on the
 * world: no builtin, operator, redirection, variable, tilde or pattern. *ret is the caller's (strv_free_wiped()), NULL
 * where the string is more than that. 0 or -ENOMEM.
 */
int command_plain_words(const struct command_tree *tree, char ***ret);

/* Whether a name matches a pattern: *, ?, […]. active[i]: pattern[i] is not quoted. */
bool command_match(const char *pattern, const char *active, size_t n, const char *name);

#endif
