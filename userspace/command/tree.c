/* SPDX-License-Identifier: Apache-2.0 */
#include "command/internal.h"

#define BLOCK_SIZE 4096u

struct command_block {
	struct command_block *next;
	size_t size, used;
	char data[] __attribute__((aligned(16)));
};

void *tree_take(struct parser *p, size_t n)
{
	struct command_block *b = p->tree->blocks;
	void *taken;

	n = (n + 15) & ~(size_t)15;
	if (!b || b->size - b->used < n) {
		size_t size = n > BLOCK_SIZE ? n : BLOCK_SIZE;

		b = calloc(1, sizeof(*b) + size);
		if (!b) {
			p->error->construct = COMMAND_C_MEMORY;
			return NULL;
		}
		b->size = size;
		b->next = p->tree->blocks;
		p->tree->blocks = b;
	}
	taken = b->data + b->used;
	b->used += n;
	return taken;
}

char *tree_text(struct parser *p, const char *text, size_t n)
{
	char *copy = tree_take(p, n + 1);

	if (copy && n)
		memcpy(copy, text, n);
	return copy;
}

void command_tree_free(struct command_tree *tree)
{
	if (!tree)
		return;
	while (tree->blocks) {
		struct command_block *b = tree->blocks;

		tree->blocks = b->next;
		free_wiped(b, sizeof(*b) + b->used);
	}
	free(tree);
}

static const struct {
	const char *name, *text, *hint;
	char kind;
} constructs[COMMAND_C_COUNT] = {
#define CONSTRUCT_ROW(id, name, kind, text, hint) [COMMAND_C_##id] = { name, text, hint, #kind[0] },
	COMMAND_CONSTRUCTS(CONSTRUCT_ROW)
#undef CONSTRUCT_ROW
};

/* From the offset to the end of its line; a character that does not fit whole is left out. */
static void excerpt(struct command_error *e, const char *text, size_t len)
{
	size_t n = 0, max = sizeof(e->excerpt) - 1;

	while (n < max && e->offset + n < len && text[e->offset + n] != '\n' &&
	       text[e->offset + n] != '\0')
		n++;
	while (n == max && n > 0 && e->offset + n < len &&
	       ((unsigned char)text[e->offset + n] & 0xc0) == 0x80)
		max = --n;
	memcpy(e->excerpt, text + e->offset, n);
	e->excerpt[n] = '\0';
}

bool refuse_at(struct parser *p, enum command_construct construct, size_t offset)
{
	struct command_error *e = p->error;

	if (e->construct) /* the first is the cause */
		return false;
	*e = (struct command_error){
		.construct = construct,
		.unsupported = constructs[construct].kind == 'U',
		.name = constructs[construct].name,
		.text = constructs[construct].text,
		.hint = constructs[construct].hint,
		.offset = offset < p->len ? offset : p->len,
		.line = 1,
		.column = 1,
	};
	for (size_t i = 0; i < e->offset; i++) {
		e->column++;
		if (p->text[i] == '\n') {
			e->line++;
			e->column = 1;
		}
	}
	excerpt(e, p->text, p->len);
	return false;
}

bool count_word(struct parser *p)
{
	return ++p->n_words <= COMMAND_WORDS_MAX || refuse_at(p, COMMAND_C_WORDS, p->at);
}

void warn_at(struct parser *p, size_t offset)
{
	struct command_warnings *w = &p->tree->warnings;

	if (w->n < COMMAND_WARNINGS_MAX)
		w->offsets[w->n] = offset;
	w->n++;
}
