/* SPDX-License-Identifier: Apache-2.0 */
/* The command language: what words become. */
#include "command/command.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *variable(void *data, const char *name)
{
	static const struct {
		const char *name, *value;
	} values[] = { { "A", "a b" }, { "S", " a  b " }, { "E", "" }, { "G", "*.c" }, { "HOME", "/home/u" }, { "?", "3" },
		       { "Q", "'x'" } };

	(void)data;
	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		if (strcmp(values[i].name, name) == 0)
			return values[i].value;
	return NULL;
}

static int list(void *data, const char *path, int (*fn)(void *arg, const char *name), void *arg)
{
	static const char *const here[] = { ".", "..", "b.c", "a.c", ".hidden", "d", "e", "[x]", "\xc3\xa9.h", NULL };
	static const char *const d[] = { "x.c", "y", NULL };
	const char *const *names = strcmp(path, "") == 0 ? here : strcmp(path, "d/") == 0 ? d : here + 9;
	int r = 0;

	(void)data;
	for (; *names && r == 0; names++)
		r = fn(arg, *names);
	return r;
}

static bool exists(void *data, const char *path)
{
	(void)data;
	return strcmp(path, "e/") != 0;
}

static const struct {
	const char *words, *fields; /* each field between | */
} expansions[] = {
	{ "$A", "|a|b|" },
	{ "\"$A\"", "|a b|" },
	{ "x$S\"y\"", "|x|a|b|y|" },
	{ "$E \"$E\" ''", "|||" },
	{ "$N\"\"", "||" },
	{ "${N:-x y} \"${N:-x y}\" ${A:-z}", "|x|y|x y|a|b|" },
	{ "${N:+x} \"${N:+x}\" ${A:+x}", "||x|" },
	{ "\"${A:+}\"", "||" },
	{ "${N:-\"x y\"}", "|x y|" },
	{ "$?", "|3|" },
	{ "~ ~/x '~' x~ --a=~", "|/home/u|/home/u/x|~|x~|--a=~|" },
	{ "a=~/x", "|a=/home/u/x|" },
	{ "${N:-~} ${N:-~/x} ${N:-~ y} ${N:-~;} ${N:-${N:-~}}",
	  "|/home/u|/home/u/x|~|y|~;|/home/u|" },
	{ "\"${N:-~}\" ${N:-'~'} ${N:-a:~} a=${N:-a:~}", "|~|~|a:~|a=a:~|" },
	{ "*.c", "|a.c|b.c|" },
	{ "$G \"$G\" '*.c'", "|a.c|b.c|*.c|*.c|" },
	{ "*.z", "|*.z|" },
	{ "d/*", "|d/x.c|d/y|" },
	{ "*/x.c", "|[x]/x.c|a.c/x.c|b.c/x.c|d/x.c|e/x.c|\xc3\xa9.h/x.c|" },
	{ "[ab].c [!a].c [a-b].c [[:alpha:]].c", "|a.c|b.c|b.c|a.c|b.c|a.c|b.c|" },
	{ "?.h [x] '[x]' [", "|\xc3\xa9.h|[x]|[x]|[|" },
	{ ".h* .*", "|.hidden|.hidden|" },
	{ "$Q", "|'x'|" },
};

static const struct command_world world = { .variable = variable, .list = list, .exists = exists };

static char *expanded(const char *words, const struct command_world *w, struct failure *f, int *ret)
{
	struct command_tree *tree = NULL;
	struct command_error error;
	char **fields = NULL, *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);
	char whole[256];

	snprintf(whole, sizeof(whole), "x %s", words);
	assert_int_equal(command_parse(whole, strlen(whole), &tree, &error), 0);
	*ret = command_expand(tree->list->pipelines->commands->words->next, w, &fields, f);
	fputc('|', out);
	for (char **each = fields; each && *each; each++)
		fprintf(out, "%s|", *each);
	fclose(out);
	strv_free_wiped(fields);
	command_tree_free(tree);
	return text;
}

static void expands(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(expansions); i++) {
		struct failure f = { 0 };
		int r;
		char *text = expanded(expansions[i].words, &world, &f, &r);

		assert_int_equal(r, 0);
		if (strcmp(text, expansions[i].fields) != 0)
			fail_msg("%s: %s, not %s", expansions[i].words, text, expansions[i].fields);
		free(text);
	}
}

static void a_tilde_in_a_value_means_what_it_does_in_a_shell(void **state)
{
	static const char *const values[][2] = {
		{ "a=~:~/x:y~", "/home/u:/home/u/x:y~" },
		{ "a=b\\:~:~", "b:~:/home/u" },
		{ "a='b:'~", "b:~" },
		{ "a=${N:-~:b}:${N:-b:~}", "/home/u:b:b:/home/u" },
		{ "a=\"${N:-~:b}\"", "~:b" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct command_tree *tree = NULL;
		struct command_error error;
		struct failure f = { 0 };
		char *text;

		assert_int_equal(command_parse(values[i][0], strlen(values[i][0]), &tree, &error), 0);
		assert_int_equal(
			command_expand_text(tree->list->pipelines->commands->assignments->value,
					    &world, &text, &f),
			0);
		assert_string_equal(text, values[i][1]);
		free_wiped(text, strlen(text));
		command_tree_free(tree);
	}
}

static void what_is_nothing_but_words_is_known(void **state)
{
	static const char *const texts[][2] = {
		{ "a", "a|" },
		{ " a 'b  c' \"d\" e\\ f '*' \\? # x\n", "a|b  c|d|e f|*|?|" },
		{ "[ x = 'y' ]", "[|x|=|y|]|" },
		{ "./cd a=b --c=d {} ''", "./cd|a=b|--c=d|{}||" },
		{ "x \"$(cat <<'E'\n$y *\nE\n)\"", "x|$y *|" },
		{ "'if' x", "if|x|" },
		{ "", NULL },
		{ "''", NULL },
		{ "cd", NULL },
		{ "pwd", NULL },
		{ "true x", NULL },
		{ "'cd' x", NULL },
		{ "a $b", NULL },
		{ "a \"$b\"", NULL },
		{ "a ${b:-c}", NULL },
		{ "a $?", NULL },
		{ "a ~", NULL },
		{ "a b=~", NULL },
		{ "a *", NULL },
		{ "a b?", NULL },
		{ "a [b]", NULL },
		{ "a [b", NULL },
		{ "a=b c", NULL },
		{ "a >b", NULL },
		{ "a <<E\nE", NULL },
		{ "a; b", NULL },
		{ "a &", NULL },
		{ "a | b", NULL },
		{ "a && b", NULL },
		{ "! a", NULL },
		{ "(a)", NULL },
		{ "{ a; }", NULL },
		{ "a=b", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct command_tree *tree = NULL;
		struct command_error error;
		char **words, joined[128] = "";
		size_t n = 0;

		if (command_parse(texts[i][0], strlen(texts[i][0]), &tree, &error) < 0)
			fail_msg("%s: %s", texts[i][0], error.name);
		assert_int_equal(command_plain_words(tree, &words), 0);
		for (char **each = words; each && *each; each++)
			n += (size_t)snprintf(joined + n, sizeof(joined) - n, "%s|", *each);
		if (!words != !texts[i][1] || (words && strcmp(joined, texts[i][1]) != 0))
			fail_msg("%s: %s", texts[i][0], words ? joined : "more than words");
		strv_free_wiped(words);
		command_tree_free(tree);
	}
}

static void expansion_fails(void **state)
{
	static const struct {
		const char *words, *message;
		bool unset_is_error;
	} failing[] = {
		{ "${N:?is needed}", "N: is needed", false },
		{ "\"${E:?}\"", "E: is unset or empty", false },
		{ "$N", "N: is not set", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(failing); i++) {
		struct command_world w = world;
		struct failure f = { 0 };
		int r;

		w.unset_is_error = failing[i].unset_is_error;
		free(expanded(failing[i].words, &w, &f, &r));
		assert_int_equal(r, -EINVAL);
		assert_string_equal(f.msg, failing[i].message);
	}
}

static int list_many(void *data, const char *path, int (*fn)(void *arg, const char *name), void *arg)
{
	char name[32];
	int r = 0;

	(void)path;
	for (unsigned i = 0; i < *(unsigned *)data && r == 0; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		r = fn(arg, name);
	}
	return r;
}

static void globs_are_limited(void **state)
{
	unsigned n = COMMAND_ENTRIES_MAX;
	struct command_world w = { .data = &n, .variable = variable, .list = list_many, .exists = exists };
	struct failure f = { 0 };
	int r;

	(void)state;
	free(expanded("*1", &w, &f, &r));
	assert_int_equal(r, 0);
	n++;
	free(expanded("*1", &w, &f, &r));
	assert_int_equal(r, -E2BIG);
	assert_non_null(strstr(f.msg, "100000"));
}

static void matches(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool matches;
	} cases[] = {
		{ "*", "", true },	    { "*a*b*", "xxayybzz", true }, { "*a*b", "abx", false },
		{ "[]a]", "]", true },	    { "[!]a]", "b", true },	   { "[a", "[a", true },
		{ "[a-c]x", "bx", true },   { "[-a]", "-", true },	   { "[[:digit:]]", "7", true },
		{ "[[:digit:]]", "x", false }, { "?", "\xc3\xa9", true }, { "?", "\xff", true },
		{ "??", "\xc3\xa9", false }, { "[\xc3\xa0-\xc3\xaf]", "\xc3\xa9", true },
		{ "*************************b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = strlen(cases[i].pattern);
		char active[64];

		memset(active, 1, sizeof(active));
		if (command_match(cases[i].pattern, active, n, cases[i].name) != cases[i].matches)
			fail_msg("%s %s", cases[i].pattern, cases[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expands),
		cmocka_unit_test(a_tilde_in_a_value_means_what_it_does_in_a_shell),
		cmocka_unit_test(what_is_nothing_but_words_is_known),
		cmocka_unit_test(expansion_fails),
		cmocka_unit_test(globs_are_limited),
		cmocka_unit_test(matches),
	};

	return cmocka_run_group_tests_name("expand", tests, NULL, NULL);
}
