/* SPDX-License-Identifier: Apache-2.0 */
/* Words that have a meaning of their own: reserved ones, builtins, variables of shells. */
#include "command/internal.h"

static const struct {
	const char *word;
	enum command_construct construct;
} reserved[] = {
	{ "for", COMMAND_C_LOOP },
	{ "while", COMMAND_C_LOOP },
	{ "until", COMMAND_C_LOOP },
	{ "select", COMMAND_C_LOOP },
	{ "if", COMMAND_C_IF },
	{ "case", COMMAND_C_CASE },
	{ "function", COMMAND_C_FUNCTION },
	{ "[[", COMMAND_C_DOUBLE_BRACKET },
	{ "time", COMMAND_C_KEYWORD },
	{ "coproc", COMMAND_C_KEYWORD },
	{ "do", COMMAND_C_UNEXPECTED },
	{ "done", COMMAND_C_UNEXPECTED },
	{ "then", COMMAND_C_UNEXPECTED },
	{ "else", COMMAND_C_UNEXPECTED },
	{ "elif", COMMAND_C_UNEXPECTED },
	{ "fi", COMMAND_C_UNEXPECTED },
	{ "esac", COMMAND_C_UNEXPECTED },
	{ "}", COMMAND_C_UNEXPECTED },
	{ "{", COMMAND_C_UNEXPECTED },
	{ "!", COMMAND_C_UNEXPECTED },
};

static const char *const builtins[COMMAND_B_COUNT] = {
#define BUILTIN_NAME(name, id) [COMMAND_B_##id] = name,
	COMMAND_BUILTINS(BUILTIN_NAME)
#undef BUILTIN_NAME
};

static const char *const foreign[] = {
	"alias",    "bg",      "bind",     "break",   "builtin", "caller", "chdir",   "compgen",
	"complete", "compopt", "continue", "declare", "dirs",    "disown", "enable",  "eval",
	"exec",     "fc",      "fg",       "getopts", "hash",    "help",   "history", "jobs",
	"let",      "local",   "logout",   "mapfile", "popd",    "pushd",  "read",    "readarray",
	"readonly", "return",  "shift",    "shopt",   "suspend", "times",  "trap",    "type",
	"typeset",  "ulimit",  "umask",    "unalias",
};

static const char *const variables[] = {
	"BASH",          "BASHOPTS",     "BASHPID",     "BASH_COMMAND",
	"BASH_LINENO",   "BASH_REMATCH", "BASH_SOURCE", "BASH_SUBSHELL",
	"BASH_VERSINFO", "BASH_VERSION", "COLUMNS",     "DIRSTACK",
	"EPOCHREALTIME", "EPOCHSECONDS", "EUID",        "FUNCNAME",
	"GROUPS",        "HOSTNAME",     "HOSTTYPE",    "IFS",
	"LINENO",        "LINES",        "MACHTYPE",    "OPTARG",
	"OPTIND",        "OSTYPE",       "PIPESTATUS",  "PPID",
	"RANDOM",        "REPLY",        "SECONDS",     "SHELLOPTS",
	"SHLVL",         "SRANDOM",      "UID",         "_",
};

static const char *const assignments[] = { "CDPATH", "GLOBIGNORE", "IFS" };

static bool is_among(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(name, list[i]) == 0)
			return true;
	return false;
}

bool is_special_variable(const char *name)
{
	return is_among(name, variables, ARRAY_LEN(variables));
}

bool is_special_assignment(const char *name)
{
	return is_among(name, assignments, ARRAY_LEN(assignments));
}

bool command_is_foreign(const char *name)
{
	return is_among(name, foreign, ARRAY_LEN(foreign));
}

enum command_builtin command_builtin_find(const char *name)
{
	for (enum command_builtin i = COMMAND_B_NONE + 1; i < COMMAND_B_COUNT; i++)
		if (strcmp(name, builtins[i]) == 0)
			return i;
	return COMMAND_B_NONE;
}

enum command_construct reserved_construct(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
		if (strcmp(word, reserved[i].word) == 0)
			return reserved[i].construct;
	return COMMAND_OK;
}

const char *word_literal(struct parser *p, const struct command_word *word)
{
	size_t n = 0;

	for (const struct command_part *part = word->parts; part; part = part->next) {
		if (part->kind != COMMAND_TEXT)
			return NULL;
		memcpy(p->scratch + n, part->text, part->len);
		n += part->len;
	}
	p->scratch[n] = '\0';
	return p->scratch;
}

static bool refuse_option(struct parser *p, const struct command_word *word)
{
	return refuse_at(p, COMMAND_C_OPTION, word->offset);
}

/* "set": -e, -u, -x and -o pipefail in any order, each on (-) or off (+). */
static bool check_set(struct parser *p, const struct command_word *name)
{
	const struct command_word *word = name->next;

	if (!word)
		return refuse_option(p, name);
	for (; word; word = word->next) {
		const char *text = word_literal(p, word);
		size_t n = text ? strlen(text) : 0;

		if (n < 2 || (text[0] != '-' && text[0] != '+'))
			return refuse_option(p, word);
		if (strspn(text + 1, "eux") + (text[n - 1] == 'o') != n - 1)
			return refuse_option(p, word);
		if (text[n - 1] != 'o')
			continue;
		word = word->next;
		text = word ? word_literal(p, word) : NULL;
		if (!text || strcmp(text, "pipefail") != 0)
			return refuse_option(p, word ? word : name);
	}
	return true;
}

/* Options of a builtin are written out: its first words, up to one that has no "-" */
static bool check_options(struct parser *p, const struct command_word *name, const char *known)
{
	for (const struct command_word *word = name->next; word; word = word->next) {
		const char *text = word_literal(p, word);

		if (!text || text[0] != '-' || strcmp(text, "-") == 0 || strcmp(text, "--") == 0)
			return true;
		if (text[strspn(text + 1, known) + 1] != '\0')
			return refuse_option(p, word);
	}
	return true;
}

/* "command": -v and nothing else; what "--" or "-p" is followed by would be looked for, not run. */
static bool check_command_options(struct parser *p, const struct command_word *name)
{
	const struct command_word *word = name->next;
	const char *text = word ? word_literal(p, word) : NULL;

	if (text && strcmp(text, "-v") == 0) {
		word = word->next;
		text = word ? word_literal(p, word) : NULL;
	}
	return !text || text[0] != '-' || refuse_option(p, word);
}

/* "wait": the numbers of processes, and no jobs. */
static bool check_wait(struct parser *p, const struct command_word *name)
{
	for (const struct command_word *word = name->next; word; word = word->next) {
		const char *text = word_literal(p, word);

		if (text && (text[0] == '-' || text[0] == '%'))
			return refuse_option(p, word);
	}
	return true;
}

static bool check_export(struct parser *p, const struct command_word *name)
{
	if (!name->next)
		return refuse_option(p, name);
	for (const struct command_word *word = name->next; word; word = word->next) {
		const struct command_part *part = word->parts;
		const char *equals;
		char variable[16];

		if (!part || part->kind != COMMAND_TEXT)
			continue;
		equals = memchr(part->text, '=', part->len);
		if (part->text[0] == '-')
			return refuse_option(p, word);
		if (!equals || equals - part->text >= (ptrdiff_t)sizeof(variable))
			continue;
		snprintf(variable, sizeof(variable), "%.*s", (int)(equals - part->text),
			 part->text);
		if (is_special_assignment(variable))
			return refuse_at(p, COMMAND_C_ASSIGNMENT, word->offset);
	}
	return true;
}

static bool check_source(struct parser *p, const struct command_word *name)
{
	static const char end[] = "bin/activate";
	const struct command_part *part = name->next ? name->next->parts : NULL;
	size_t n = sizeof(end) - 1;

	while (part && part->next)
		part = part->next;
	if (!part || name->next->next || part->kind != COMMAND_TEXT || part->len < n ||
	    memcmp(part->text + part->len - n, end, n) != 0)
		return refuse_at(p, COMMAND_C_SOURCE, name->offset);
	return true;
}

static bool check_builtin(struct parser *p, const struct command_word *name,
			  enum command_builtin builtin)
{
	switch (builtin) {
	case COMMAND_B_SET:
		return check_set(p, name);
	case COMMAND_B_EXPORT:
		return check_export(p, name);
	case COMMAND_B_SOURCE:
	case COMMAND_B_SOURCE_DOT:
		return check_source(p, name);
	case COMMAND_B_CD:
		return check_options(p, name, "LP");
	case COMMAND_B_PWD:
		return check_options(p, name, "LP");
	case COMMAND_B_UNSET:
		return check_options(p, name, "v");
	case COMMAND_B_WAIT:
		return check_wait(p, name);
	case COMMAND_B_COMMAND:
		return check_command_options(p, name);
	default:
		return true;
	}
}

bool check_command(struct parser *p, const struct command *c)
{
	for (const struct command_word *name = c->words; name; name = name->next) {
		const char *text = word_literal(p, name);
		enum command_builtin builtin;

		if (!text || (name != c->words && text[0] == '-'))
			return true;
		if (command_is_foreign(text))
			return refuse_at(p, COMMAND_C_BUILTIN, name->offset);
		builtin = command_builtin_find(text);
		if (!check_builtin(p, name, builtin))
			return false;
		if (builtin != COMMAND_B_COMMAND) /* which is followed by another name */
			return true;
	}
	return true;
}
