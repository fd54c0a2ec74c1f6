/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer over the command language: what is accepted means the same when it is printed and read again, and
 * expands within its limits; what is refused says where and why.
 */
#include <assert.h>

#include "command/print.h"

static unsigned depth;

static const char *variable(void *data, const char *name)
{
	(void)data;
	switch (name[0]) {
	case 'a':
		return "a b  c";
	case 'g':
		return "*";
	case 'H':
		return "/home";
	case '?':
		return "0";
	default:
		return NULL;
	}
}

static int list(void *data, const char *path, int (*fn)(void *arg, const char *name), void *arg)
{
	static const char *const names[] = { ".", "..", "a", ".hidden", "b*", "\xc3\xa9", "dir" };
	int r = 0;

	(void)data;
	(void)path;
	if (depth > 2)
		return 0;
	depth++;
	for (size_t i = 0; i < ARRAY_LEN(names) && r == 0; i++)
		r = fn(arg, names[i]);
	return r;
}

static bool exists(void *data, const char *path)
{
	(void)data;
	return path[0];
}

static void expand_list(const struct command_list *items);

static void expand_command(const struct command *c)
{
	static const struct command_world world = { .variable = variable,
						    .list = list,
						    .exists = exists };
	struct failure f = { 0 };
	char **fields = NULL, *text = NULL;

	depth = 0;
	if (c->words && command_expand(c->words, &world, &fields, &f) == 0)
		strv_free_wiped(fields);
	for (const struct command_assignment *a = c->assignments; a; a = a->next)
		if (command_expand_text(a->value, &world, &text, &f) == 0)
			free_wiped(text, strlen(text));
	for (const struct command_redirection *r = c->redirections; r; r = r->next)
		if (r->word && command_expand_text(r->word, &world, &text, &f) == 0)
			free_wiped(text, strlen(text));
	expand_list(c->body);
}

static void expand_list(const struct command_list *items)
{
	for (; items; items = items->next)
		for (const struct command_pipeline *p = items->pipelines; p; p = p->next)
			for (const struct command *c = p->commands; c; c = c->next)
				expand_command(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct command_tree *tree, *again;
	struct command_error error;
	char *first, *second;
	int r = command_parse((const char *)data, size, &tree, &error);

	if (r < 0) {
		assert(r == -ENOMEM || (error.name && error.hint && error.offset <= size));
		return 0;
	}
	expand_list(tree->list);
	first = print_tree(tree);
	assert(first);
	command_tree_free(tree);
	if (command_parse(first, strlen(first), &again, &error) < 0) {
		/* Escapes and braces make it longer; a here-document is printed in double quotes, which cannot
		 * have its quotes in an expansion. */
		if (error.construct != COMMAND_C_LENGTH && error.construct != COMMAND_C_MEMORY &&
		    error.construct != COMMAND_C_QUOTES) {
			fprintf(stderr, "%s: %s at %zu\n", first, error.name, error.offset);
			abort();
		}
	} else {
		second = print_tree(again);
		if (!second || strcmp(first, second) != 0) {
			fprintf(stderr, "1: %s\n2: %s\n", first, second);
			abort();
		}
		free(second);
		command_tree_free(again);
	}
	free(first);
	return 0;
}
