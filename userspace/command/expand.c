/* SPDX-License-Identifier: Apache-2.0 */
/* From words to fields: tilde, variables, splitting, pathnames. */
#include "command/expand.h"

static int too_large(struct expansion *x)
{
	return fail(x->failure, E2BIG, "the words of a command become too long");
}

static int put(struct expansion *x, const char *text, size_t n, bool active)
{
	if (n > COMMAND_EXPANDED_MAX - x->total)
		return too_large(x);
	if (x->len + n + 1 > x->size) {
		size_t size = (x->len + n + 1) * 2;
		char *grown = malloc(size), *marks = malloc(size);

		if (!grown || !marks) {
			free(grown);
			free(marks);
			return -ENOMEM;
		}
		if (x->len) {
			memcpy(grown, x->text, x->len);
			memcpy(marks, x->active, x->len);
		}
		free_wiped(x->text, x->size);
		free(x->active);
		x->text = grown;
		x->active = marks;
		x->size = size;
	}
	memcpy(x->text + x->len, text, n);
	memset(x->active + x->len, active, n);
	x->len += n;
	x->total += n;
	x->present = true;
	return 0;
}

int expansion_add_field(struct expansion *x, const char *text, size_t n)
{
	char *copy;

	if (x->n_fields >= COMMAND_FIELDS_MAX)
		return fail(x->failure, E2BIG, "a command has more than %u words",
			    COMMAND_FIELDS_MAX);
	if (x->n_fields + 2 > x->fields_size) {
		size_t size = (x->n_fields + 2) * 2;
		char **grown = realloc(x->fields, size * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		x->fields = grown;
		x->fields_size = size;
	}
	copy = malloc(n + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, n);
	copy[n] = '\0';
	x->fields[x->n_fields++] = copy;
	x->fields[x->n_fields] = NULL;
	return 0;
}

/* What has gathered becomes a field, or the pathnames it matches. */
static int end_field(struct expansion *x)
{
	int r = 0;

	if (x->present && !x->one)
		r = expansion_glob(x);
	x->len = 0;
	x->present = false;
	return r;
}

/* Text that is split at blanks and newlines. */
static int put_split(struct expansion *x, const char *text, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0;) {
		size_t start = i;

		while (i < n && text[i] != ' ' && text[i] != '\t' && text[i] != '\n')
			i++;
		if (i > start)
			r = put(x, text + start, i - start, true);
		if (i == n || r < 0)
			break;
		r = end_field(x);
		i++;
	}
	return r;
}

static int expand_parts(struct expansion *x, const struct command_part *part, bool whole,
			bool split_text);

static int expand_variable(struct expansion *x, const struct command_part *part, bool whole)
{
	const char *value = x->world->variable(x->world->data, part->text);
	bool set = value && value[0];
	char *text = NULL;
	int r;

	if (part->quoted) {
		whole = true;
		r = put(x, "", 0, false); /* a field also where nothing comes */
		if (r < 0)
			return r;
	}
	if (part->op == '+')
		return set ? expand_parts(x, part->word->parts, whole, true) : 0;
	if (part->op == '-' && !set)
		return expand_parts(x, part->word->parts, whole, true);
	if (part->op == '?' && !set) {
		r = command_expand_text(part->word, x->world, &text, x->failure);
		if (r == 0)
			r = fail(x->failure, EINVAL, "%s: %s", part->text,
				 text[0] ? text : "is unset or empty");
		if (text)
			free_wiped(text, strlen(text));
		return r;
	}
	if (!value && x->world->unset_is_error && part->text[0] != '!')
		return fail(x->failure, EINVAL, "%s: is not set", part->text);
	if (whole)
		return put(x, value ? value : "", value ? strlen(value) : 0, false);
	return value ? put_split(x, value, strlen(value)) : 0;
}

static int expand_tilde(struct expansion *x)
{
	const char *home = x->world->variable(x->world->data, "HOME");

	return home ? put(x, home, strlen(home), false) : put(x, "~", 1, false);
}

static int expand_parts(struct expansion *x, const struct command_part *part, bool whole,
			bool split_text)
{
	int r = 0;

	for (; part && r == 0; part = part->next) {
		switch (part->kind) {
		case COMMAND_TEXT:
			if (split_text && !part->quoted && !whole)
				r = put_split(x, part->text, part->len);
			else
				r = put(x, part->text, part->len, !part->quoted);
			break;
		case COMMAND_VARIABLE:
			r = expand_variable(x, part, whole);
			break;
		case COMMAND_TILDE:
			r = expand_tilde(x);
			break;
		}
	}
	return r;
}

static void expansion_free(struct expansion *x)
{
	free_wiped(x->text, x->size);
	free(x->active);
	strv_free_wiped(x->fields);
}

int command_expand(const struct command_word *words, const struct command_world *world, char ***ret,
		   struct failure *f)
{
	struct expansion x = { .world = world, .failure = f };
	int r = 0;

	x.fields = calloc(2, sizeof(*x.fields));
	x.fields_size = 2;
	if (!x.fields)
		return -ENOMEM;
	for (; words && r == 0; words = words->next) {
		r = expand_parts(&x, words->parts, words->whole, false);
		if (r == 0 && words->whole) {
			r = expansion_add_field(&x, x.text, x.len);
			x.len = 0;
			x.present = false;
		} else if (r == 0) {
			r = end_field(&x);
		}
	}
	if (r == 0)
		*ret = take_ptr(x.fields);
	expansion_free(&x);
	return r;
}

int command_expand_text(const struct command_word *word, const struct command_world *world,
			char **ret, struct failure *f)
{
	struct expansion x = { .world = world, .failure = f, .one = true };
	int r = expand_parts(&x, word->parts, true, false);

	if (r == 0) {
		*ret = malloc(x.len + 1);
		if (!*ret)
			r = -ENOMEM;
		else if (x.len)
			memcpy(*ret, x.text, x.len);
		if (r == 0)
			(*ret)[x.len] = '\0';
	}
	expansion_free(&x);
	return r;
}
