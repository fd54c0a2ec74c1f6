/* SPDX-License-Identifier: Apache-2.0 */
/* A tree as a string of the language again, the same for the same meaning: for tests and for the fuzzer. */
#ifndef MOAT_TEST_COMMAND_PRINT_H
#define MOAT_TEST_COMMAND_PRINT_H

#include "command/command.h"

static void print_list(FILE *out, const struct command_list *list);
static void print_word(FILE *out, const struct command_word *word, bool quoted);

/* Between double quotes, which are open. */
static void print_quoted(FILE *out, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strchr("\\\"$`}", text[i]))
			fputc('\\', out);
		fputc(text[i], out);
	}
}

static void print_plain(FILE *out, const char *text, size_t n, bool quoted)
{
	if (quoted) {
		fputc('\'', out);
		for (size_t i = 0; i < n; i++)
			if (text[i] == '\'')
				fputs("'\\''", out);
			else
				fputc(text[i], out);
		fputc('\'', out);
	} else {
		fwrite(text, 1, n, out);
	}
}

static void print_variable(FILE *out, const struct command_part *part, bool in_quotes)
{
	bool own = part->quoted && !in_quotes;

	fprintf(out, "%s${%s", own ? "\"" : "", part->text);
	if (part->op) {
		fprintf(out, ":%c", part->op);
		print_word(out, part->word, part->quoted);
	}
	fprintf(out, "}%s", own ? "\"" : "");
}

static bool joins(const struct command_part *part, const struct command_part *next)
{
	return next && next->kind == COMMAND_TEXT && next->quoted == part->quoted;
}

/* Parts of the same kind are printed as one; cut: without a newline at the end. */
static void print_parts(FILE *out, const struct command_part *part, bool in_quotes, bool cut)
{
	const struct command_part *first = part;

	for (; part; part = part->next) {
		bool alone = part == first;
		char *text = NULL;
		size_t n = 0;
		FILE *all;

		if (part->kind == COMMAND_TILDE) {
			fputc('~', out);
			continue;
		}
		if (part->kind == COMMAND_VARIABLE) {
			print_variable(out, part, in_quotes);
			continue;
		}
		all = open_memstream(&text, &n);
		if (!all)
			abort();
		fwrite(part->text, 1, part->len, all);
		for (; joins(part, part->next); part = part->next)
			fwrite(part->next->text, 1, part->next->len, all);
		fclose(all);
		if (cut && !part->next && n && text[n - 1] == '\n')
			n--;
		if (in_quotes)
			print_quoted(out, text, n);
		else if (n || !cut || part->next || alone)
			print_plain(out, text, n, part->quoted);
		free(text);
	}
}

static void print_word(FILE *out, const struct command_word *word, bool in_quotes)
{
	print_parts(out, word->parts, in_quotes, false);
}

static void print_redirection(FILE *out, const struct command_redirection *r)
{
	static const char *const operators[] = { "<", ">", ">>", "<>" };

	if (r->kind == COMMAND_COPY)
		fprintf(out, " %d>&%d", r->fd, r->source);
	else if (r->kind == COMMAND_CLOSE)
		fprintf(out, " %d>&-", r->fd);
	else if (r->kind == COMMAND_INPUT)
		fprintf(out, " %d<<<", r->fd); /* which adds a newline */
	else
		fprintf(out, " %d%s", r->fd, operators[r->kind]);
	if (r->word && r->word->parts)
		print_parts(out, r->word->parts, false, r->kind == COMMAND_INPUT);
	else if (r->word)
		fputs("''", out);
}

static void print_command(FILE *out, const struct command *c)
{
	const char *separator = "";

	if (c->kind != COMMAND_SIMPLE) {
		fputs(c->kind == COMMAND_GROUP ? "{ " : "( ", out);
		print_list(out, c->body);
		fputs(c->kind == COMMAND_GROUP ? "}" : ")", out);
	}
	for (const struct command_assignment *a = c->assignments; a; a = a->next, separator = " ") {
		fprintf(out, "%s%s=", separator, a->name);
		print_word(out, a->value, false);
	}
	for (const struct command_word *w = c->words; w; w = w->next, separator = " ") {
		fputs(separator, out);
		print_word(out, w, false);
	}
	for (const struct command_redirection *r = c->redirections; r; r = r->next)
		print_redirection(out, r);
}

static void print_list(FILE *out, const struct command_list *list)
{
	for (; list; list = list->next) {
		for (const struct command_pipeline *p = list->pipelines; p; p = p->next) {
			if (p->op)
				fputs(p->op == '&' ? " && " : " || ", out);
			if (p->negated)
				fputs("! ", out);
			for (const struct command *c = p->commands; c; c = c->next) {
				print_command(out, c);
				if (c->next)
					fputs(" | ", out);
			}
		}
		fputs(list->background ? " & " : "; ", out);
	}
}

/* NULL: out of memory. The caller frees it. */
static char *print_tree(const struct command_tree *tree)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	if (!out)
		return NULL;
	print_list(out, tree->list);
	fclose(out);
	return text;
}

#endif
