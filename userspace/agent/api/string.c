/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command strings in POST /v1/exec: read before anything runs. A refusal is made to be acted upon by a program:
 * where it is, what it is, what to do instead, and the argv that gives the string to a shell.
 */
#include "agent/api/internal.h"

static void write_retry(struct jbuf *b, const char *text)
{
	jbuf_add_open(b, "retry", '{');
	jbuf_add_open(b, "argv", '[');
	jbuf_text(b, "bash");
	jbuf_text(b, "-c");
	jbuf_text(b, text);
	jbuf_close(b, ']');
	jbuf_close(b, '}');
}

static void write_refusal(struct jbuf *b, const struct command_error *e, const char *text)
{
	char message[256];

	snprintf(message, sizeof(message), "line %u, column %u: %s", e->line, e->column, e->text);
	jbuf_open(b, '{');
	jbuf_add_text(b, "code", e->unsupported ? "UNSUPPORTED_SYNTAX" : "SYNTAX_ERROR");
	jbuf_add_text(b, "message", message);
	jbuf_add_open(b, "details", '{');
	jbuf_add_text(b, "field", "command");
	jbuf_add_text(b, "construct", e->name);
	jbuf_add_unsigned(b, "offset", e->offset);
	jbuf_add_unsigned(b, "line", e->line);
	jbuf_add_unsigned(b, "column", e->column);
	jbuf_add_text(b, "excerpt", e->excerpt);
	jbuf_add_text(b, "hint", e->hint);
	if (e->unsupported)
		write_retry(b, text);
	jbuf_close(b, '}');
	jbuf_close(b, '}');
}

/* What no shell reads either, for its size or its bytes; all else is for a shell to judge. */
static bool is_for_shell(const struct command_error *e)
{
	return e->construct != COMMAND_C_LENGTH && e->construct != COMMAND_C_NUL;
}

bool api_string_accept(struct api_request *r, const char *text, bool falls_back, char ***ret_words,
		       bool *ret_interpreter)
{
	struct command_tree *tree = NULL;
	struct command_error error;
	int result = command_parse(text, strlen(text), &tree, &error);

	*ret_interpreter = falls_back && (result == 0 ? tree->warnings.n > 0 :
							result == -EINVAL && is_for_shell(&error));
	if (*ret_interpreter) {
		result = 0;
	} else if (result == 0) {
		r->warnings = tree->warnings;
		(void)command_plain_words(tree, ret_words); /* without memory it is none */
	} else if (result == -EINVAL) {
		write_refusal(&r->reply, &error, text);
		r->status = api_error_status(error.unsupported ? MOAT_E_UNSUPPORTED_SYNTAX :
								 MOAT_E_SYNTAX_ERROR);
	} else {
		refuse(&r->error, MOAT_E_OUT_OF_MEMORY, "out of memory");
		api_write_error(&r->reply, &r->error);
		r->status = api_error_status(r->error.code);
	}
	explicit_bzero(&error, sizeof(error)); /* its excerpt is of the string */
	command_tree_free(tree);
	return result == 0;
}
