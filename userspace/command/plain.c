/* SPDX-License-Identifier: Apache-2.0 */
/* Strings that are an argv, written as a string. */
#include "command/command.h"

static bool is_text(const struct command_part *part, bool alone)
{
	if (part->kind != COMMAND_TEXT)
		return false;
	if (part->quoted || (alone && strcmp(part->text, "[") == 0))
		return true;
	return !memchr(part->text, '*', part->len) && !memchr(part->text, '?', part->len) &&
	       !memchr(part->text, '[', part->len);
}

static bool is_plain(const struct command *c)
{
	if (c->kind != COMMAND_SIMPLE || c->next || c->assignments || c->redirections || !c->words)
		return false;
	for (const struct command_word *w = c->words; w; w = w->next)
		for (const struct command_part *part = w->parts; part; part = part->next)
			if (!is_text(part, part == w->parts && !part->next))
				return false;
	return true;
}

static bool is_program(const char *name)
{
	if (strchr(name, '/'))
		return true;
	return name[0] && !command_builtin_find(name) && !command_is_foreign(name);
}

int command_plain_words(const struct command_tree *tree, char ***ret)
{
	static const struct command_world nothing; /* it is not asked */
	const struct command_list *list = tree->list;
	struct failure f = { 0 };
	char **words = NULL;
	int r;

	*ret = NULL;
	if (!list || list->next || list->background || list->pipelines->next ||
	    list->pipelines->negated || !is_plain(list->pipelines->commands))
		return 0;
	r = command_expand(list->pipelines->commands->words, &nothing, &words, &f);
	if (r == 0 && is_program(words[0]))
		*ret = take_ptr(words);
	strv_free_wiped(words);
	return r == -E2BIG ? 0 : r;
}
