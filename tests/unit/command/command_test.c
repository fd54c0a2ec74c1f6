/* SPDX-License-Identifier: Apache-2.0 */
/* The command language: what each construct is read as, what is refused and how. */
#include "command/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#include "command/print.h"

static int parse(const char *text, size_t n, struct command_tree **tree, struct command_error *error)
{
	int r = command_parse(text, n, tree, error);

	if (r < 0)
		assert_int_equal(r, -EINVAL);
	return r;
}

/* --- What is read ---------------------------------------------------------------------------- */

static const struct {
	const char *text, *means;
} accepted[] = {
	{ "", "" },
	{ " \n # nothing\n", "" },
	{ "a b  c", "a b c; " },
	{ "a;b\nc&d", "a; b; c & d; " },
	{ "a && b || c", "a && b || c; " },
	{ "a &&\n\n b", "a && b; " },
	{ "a | b |\n c", "a | b | c; " },
	{ "a |& b", "a 2>&1 | b; " },
	{ "! a | b", "! a | b; " },
	{ "! ! a", "a; " },
	{ "(a;b) >x", "( a; b; ) 1>x; " },
	{ "{ a; b & } 2>x", "{ a; b & } 2>x; " },
	{ "( ( a ) )", "( ( a; ); ); " },
	{ "'a b'\"c d\"e\\ f", "'a bc d'e' 'f; " },
	{ "''", "''; " },
	{ "\"\"", "''; " },
	{ "a \"\\\n\\\n\" b", "a '' b; " },
	{ "a \"$(cat <<'E'\nE\n)\" b", "a '' b; " },
	{ "'it'\\''s'", "'it'\\''s'; " },
	{ "\"a\\$b\\c\\\n\\\"\"", "'a$b\\c\"'; " },
	{ "$A ${B} \"$C\"", "${A} ${B} \"${C}\"; " },
	{ "${A:-b c} \"${A:+$B}\" ${A:?}", "${A:-b c} \"${A:+${B}}\" ${A:?}; " },
	{ "$? $!", "${?} ${!}; " },
	{ "$ a$ \"$\" 'x'$", "'$' a'$' '$' 'x$'; " },
	{ "~ ~/a a~b '~'", "~ ~/a a~b '~'; " },
	{ "A=~ B=x:~/y cmd", "A=~ B=x:~/y cmd; " },
	{ "cmd P=~/x", "cmd P=~/x; " },
	{ "A=1 B= C='x y'", "A=1 B= C='x y'; " },
	{ "A={a,b}", "A={a,b}; " },
	{ "x {} {a} a{1}b HEAD@{1} {a,b", "x {} {a} a{1}b HEAD@{1} {a,b; " },
	{ "x '{a,b}' \\{a,b}", "x '{a,b}' '{'a,b}; " },
	{ "a#b # c", "a#b; " },
	{ "a \\\n b", "a b; " },
	{ "a.\\\nb", "a.b; " },
	{ "a <i >o 2>>e 3<>f >|g", "a 0<i 1>o 2>>e 3<>f 1>g; " },
	{ "a 2>&1 >&- <&3", "a 2>&1 1>&- 0>&3; " },
	{ "a &>o", "a 1>o 2>&1; " },
	{ "a &>>o", "a 1>>o 2>&1; " },
	{ ">o a", "a 1>o; " },
	{ "a 2 >o", "a 2 1>o; " },
	{ "cat <<E\na $B \\$c \"q\"\nE\n", "cat 0<<<'a '\"${B}\"' $c \"q\"'; " },
	{ "cat <<'E'\na $B \\$c\nE", "cat 0<<<'a $B \\$c'; " },
	{ "cat <<-E\n\ta\n\t\tb\n\tE\nx", "cat 0<<<'a\nb'; x; " },
	{ "cat <<A <<B | x\na\nA\nb\nB\ny", "cat 0<<<'a' 0<<<'b' | x; y; " },
	{ "cat <<E && x\na\nE", "cat 0<<<'a' && x; " },
	{ "cat <<E\na\\\\\nE\nx", "cat 0<<<'a\\'; x; " },
	{ "cat <<E\nE\\\nb\nE\nx", "cat 0<<<'Eb'; x; " },
	{ "cat <<'E'\na\\\nE\nx", "cat 0<<<'a\\'; x; " },
	{ "(cat <<E\na\nE\n)", "( cat 0<<<'a'; ); " },
	{ "cat <<<$A", "cat 0<<<${A}; " },
	{ "x '$(a) `b`'", "x '$(a) `b`'; " },
	{ "git commit -m \"$(cat <<'E'\nOne\n\nTwo $(x) \"q\"\nE\n)\"",
	  "git commit -m 'One\n\nTwo $(x) \"q\"'; " },
	{ "A=$(cat <<'E'\none\n\nE\n) x", "A='one' x; " },
	{ "x \"$(cat <<-E\n\t\ta\t\tb\n\tc\n\tE\n)\"", "x 'a\t\tb\nc'; " },
	{ "x \"a $(cat <<E\none\nE\n) b\"", "x 'a one b'; " },
	{ "set -euo pipefail; set +x", "set -euo pipefail; set +x; " },
	{ "cd -; cd -P x; pwd -P; export A=b C; unset -v A",
	  "cd -; cd -P x; pwd -P; export A=b C; unset -v A; " },
	{ "source $V/bin/activate && . .venv/bin/activate",
	  "source ${V}/bin/activate && . .venv/bin/activate; " },
	{ "command -v x; command x; wait; exit 3; : true",
	  "command -v x; command x; wait; exit 3; : true; " },
	{ "command if; command -v cd", "command if; command -v cd; " },
	{ "echo if then {", "echo if then {; " },
	{ "'if' a", "'if' a; " },
	{ "test x = y; [ -f x ]", "test x = y; [ -f x ]; " },
};

static void accepts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(accepted); i++) {
		struct command_tree *tree;
		struct command_error error;
		char *text;

		if (parse(accepted[i].text, strlen(accepted[i].text), &tree, &error) < 0)
			fail_msg("%s: %s at %zu", accepted[i].text, error.name, error.offset);
		text = print_tree(tree);
		assert_string_equal(text, accepted[i].means);
		assert_int_equal(tree->warnings.n, 0);
		free(text);
		command_tree_free(tree);
	}
}

/* --- What is refused --------------------------------------------------------------------------- */

static const struct {
	const char *text, *construct;
	size_t offset;
} refused[] = {
	{ "mkdir x-$(date +%F)", "command-substitution", 8 },
	{ "kill $(lsof -ti:3000); echo on", "command-substitution", 5 },
	{ "V=$(node -v)", "command-substitution", 2 },
	{ "V=\"$(node -v)\"", "command-substitution", 3 },
	{ "cd \"$(git rev-parse)\"", "command-substitution", 4 },
	{ "command export A=\"$(x)\"", "command-substitution", 18 },
	{ "command command cd \"$(x)\"", "command-substitution", 20 },
	{ "command \"$(x)\"", "command-substitution", 9 },
	{ "command export A=(b)", "array", 15 },
	{ "export A=\"`x`\"", "command-substitution", 10 },
	{ "\"$(which x)\" a", "command-substitution", 1 },
	{ "echo `x`", "command-substitution", 5 },
	{ "echo \"$(a <<E)\"", "command-substitution", 6 },
	{ "echo \"$(a # b)\"", "command-substitution", 6 },
	{ "echo \"$(case a in a) ;; esac)\"", "command-substitution", 6 },
	{ "echo \"$(echo $'\\\\')\"; echo RAN; echo \"(')\"", "command-substitution", 6 },
	{ "echo \"$(echo $'\\'')\"; echo RAN; echo \"(')\"", "command-substitution", 6 },
	{ "echo \"$(echo ${x%)})\"", "command-substitution", 6 },
	{ "echo \"$(echo ${x%)}\"; echo RAN; echo \")\"", "command-substitution", 6 },
	{ "echo \"$(echo \"${x%\\\"}\")\"", "command-substitution", 6 },
	{ "echo \"$(a <\\\n<E)\"", "command-substitution", 6 },
	{ "echo \"`a \"b\"`\"", "command-substitution", 6 },
	{ "x \"$(cat <<'E' | y\na\nE\n)\"", "command-substitution", 3 },
	{ "x $(cat <<'E'\na\nE\n)", "command-substitution", 2 },
	{ "A=$(cat <<'E'\na\nE\n)b", "command-substitution", 2 },
	{ "x \"$(cat <<E\n$a\nE\n)\"", "command-substitution", 3 },
	{ "echo $((1+2))", "arithmetic-expansion", 5 },
	{ "echo $[1+2]", "arithmetic-expansion", 5 },
	{ "diff <(a) b", "process-substitution", 5 },
	{ "a > >(b)", "process-substitution", 4 },
	{ "echo $'a'", "ansi-c-quoting", 5 },
	{ "echo $\"a\"", "ansi-c-quoting", 5 },
	{ "echo ${A%.c}", "parameter-expansion", 5 },
	{ "echo ${#A}", "parameter-expansion", 5 },
	{ "echo ${A-b}", "parameter-expansion", 5 },
	{ "echo ${A:=b}", "parameter-expansion", 5 },
	{ "echo ${A[0]}", "parameter-expansion", 5 },
	{ "echo $1", "positional-parameter", 5 },
	{ "echo $$", "positional-parameter", 5 },
	{ "echo \"$@\"", "positional-parameter", 6 },
	{ "echo $RANDOM", "special-variable", 5 },
	{ "echo a{b,c}", "brace-expansion", 6 },
	{ "echo {1..3}", "brace-expansion", 5 },
	{ "echo {a..c..2}", "brace-expansion", 5 },
	{ "ls ~root", "tilde-user", 3 },
	{ "for i in a; do b; done", "loop", 0 },
	{ "a && while b; do c; done", "loop", 5 },
	{ "if a; then b; fi", "if", 0 },
	{ "case a in b) c;; esac", "case", 0 },
	{ "f() { a; }", "function", 0 },
	{ "function f { a; }", "function", 0 },
	{ "[[ a == b ]]", "double-bracket", 0 },
	{ "((a=1))", "arithmetic-command", 0 },
	{ "time make", "keyword", 0 },
	{ "A=(a b)", "array", 0 },
	{ "A[1]=b", "array", 0 },
	{ "a; A[1 + 2]=b", "array", 3 },
	{ "A[1\n2]=b", "array", 0 },
	{ "A+=b", "append-assignment", 0 },
	{ "IFS=: a", "special-assignment", 0 },
	{ "export IFS=:", "special-assignment", 7 },
	{ "eval a", "builtin", 0 },
	{ "a; read b", "builtin", 3 },
	{ "command exec a", "builtin", 8 },
	{ "source .env", "source", 0 },
	{ "set -- a", "builtin-option", 4 },
	{ "set", "builtin-option", 0 },
	{ "export -p", "builtin-option", 7 },
	{ "unset -f a", "builtin-option", 6 },
	{ "wait -n", "builtin-option", 5 },
	{ "wait $! %1", "builtin-option", 8 },
	{ "command -- a", "builtin-option", 8 },
	{ "command - a", "builtin-option", 8 },
	{ "command -p a", "builtin-option", 8 },
	{ "command -v -- a", "builtin-option", 11 },
	{ "command command -- a", "builtin-option", 16 },
	{ "a 10>b", "descriptor", 2 },
	{ "a {fd}>b", "descriptor", 2 },
	{ "a >&file", "descriptor", 4 },
	{ "a >/dev/tcp/h/1", "network-redirection", 3 },
	{ "a > *.txt", "glob-in-redirection", 4 },
	{ "a\r\nb", "carriage-return", 1 },
	{ "a \r\n", "carriage-return", 2 },
	{ "\"${A:-\"b\"}\"", "quotes-in-expansion", 6 },
	{ "\"${A:-'b'}\"", "quotes-in-expansion", 6 },
	{ "A\\\n=b", "joined-line", 1 },
	{ "$\\\nA", "joined-line", 0 },
	{ "cat <<E\na\\\nE\necho RAN\nE\n", "joined-delimiter", 9 },
	{ "cat <<E\na\\\\\\\nE\nE", "joined-delimiter", 11 },
	{ "cat <<-E\n\ta\\\n\tE\nE", "joined-delimiter", 11 },
	{ "cat <<EOF\nE\\\nO\\\nF\necho RAN\nEOF\n", "joined-delimiter", 14 },
	{ "cat <<EOF\nE\\\nOF\necho RAN\nEOF\n", "joined-delimiter", 11 },
	{ "cat <<E\nE\\\n\necho RAN\nE\n", "joined-delimiter", 9 },
	{ "cat <<-EOF\n\tE\\\n\tOF\nx\nEOF", "joined-delimiter", 13 },
	{ "a 'b", "unterminated", 2 },
	{ "a \"b", "unterminated", 2 },
	{ "( a", "unterminated", 0 },
	{ "{ a", "unterminated", 0 },
	{ "a ${B", "unterminated", 2 },
	{ "cat <<E\na\n", "here-document", 6 },
	{ "cat <<E", "here-document", 6 },
	{ "a )", "unexpected", 2 },
	{ "a ; }", "unexpected", 4 },
	{ "a ;; b", "unexpected", 2 },
	{ "a (b)", "function", 0 },
	{ "a b (c)", "unexpected", 4 },
	{ "( a ) b", "unexpected", 6 },
	{ "fi", "unexpected", 0 },
	{ "; a", "missing-command", 0 },
	{ "a &&", "missing-command", 4 },
	{ "a | | b", "missing-command", 4 },
	{ "()", "missing-command", 1 },
	{ "a >", "missing-target", 2 },
};

static void refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct command_tree *tree;
		struct command_error error;

		if (parse(refused[i].text, strlen(refused[i].text), &tree, &error) == 0)
			fail_msg("accepted: %s", refused[i].text);
		if (strcmp(error.name, refused[i].construct) != 0 || error.offset != refused[i].offset)
			fail_msg("%s: %s at %zu", refused[i].text, error.name, error.offset);
		assert_non_null(error.hint);
		assert_non_null(error.text);
	}
}

static void tells_where(void **state)
{
	static const char text[] = "a\nb c; \xc3\xa9 $(date) and a long end of the line, which is cut at sixty \xc3\xa9 bytes\nd";
	struct command_tree *tree;
	struct command_error error;

	(void)state;
	assert_int_equal(parse(text, strlen(text), &tree, &error), -EINVAL);
	assert_int_equal(error.offset, 10);
	assert_int_equal(error.line, 2);
	assert_int_equal(error.column, 9);
	assert_true(error.unsupported);
	assert_string_equal(error.excerpt, "$(date) and a long end of the line, which is cut at sixty \xc3\xa9 by");
	assert_int_equal(parse("a 'b", 4, &tree, &error), -EINVAL);
	assert_false(error.unsupported);
	assert_int_equal(parse("a\0b", 3, &tree, &error), -EINVAL);
	assert_string_equal(error.name, "nul");
	assert_int_equal(error.offset, 1);
}

static void warns(void **state)
{
	static const struct {
		const char *text, *means;
		size_t n, first;
	} literal[] = {
		{ "echo \"$(rm -rf /)\"", "echo '$(rm -rf /)'; ", 1, 6 },
		{ "echo \"$(cd b && rm -rf \"x; y\")\"; z", "echo '$(cd b && rm -rf \"x; y\")'; z; ", 1, 6 },
		{ "echo \"$(date '+%F)') \" b", "echo '$(date '\\''+%F)'\\'') ' b; ", 1, 6 },
		{ "echo \"$(a ${B} \"${C}$D\")\"; b", "echo '$(a ${B} \"${C}$D\")'; b; ", 1, 6 },
		{ "echo \"`a` $((1+2))\"", "echo '`a` $((1+2))'; ", 2, 6 },
		{ "cat <<-E\n\tx\n\t\t$(a) `c`\n\tE", "cat 0<<<'x\n$(a) `c`'; ", 2, 14 },
		{ "cat <<E\n$(a $B) `c`\nE", "cat 0<<<'$(a $B) `c`'; ", 2, 8 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(literal); i++) {
		struct command_tree *tree;
		struct command_error error;
		char *text;

		if (parse(literal[i].text, strlen(literal[i].text), &tree, &error) < 0)
			fail_msg("%s: %s at %zu", literal[i].text, error.name, error.offset);
		text = print_tree(tree);
		assert_string_equal(text, literal[i].means);
		assert_int_equal(tree->warnings.n, literal[i].n);
		assert_int_equal(tree->warnings.offsets[0], literal[i].first);
		free(text);
		command_tree_free(tree);
	}
}

/* --- Limits -------------------------------------------------------------------------------------- */

static char *repeated(const char *head, const char *each, size_t n, const char *tail)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	fputs(head, out);
	for (size_t i = 0; i < n; i++)
		fputs(each, out);
	fputs(tail, out);
	fclose(out);
	return text;
}

/* NULL: accepted. */
static const char *verdict(char *text)
{
	struct command_tree *tree = NULL;
	struct command_error error;
	int r = parse(text, strlen(text), &tree, &error);

	command_tree_free(tree);
	free(text);
	return r < 0 ? error.name : NULL;
}

static void keeps_limits(void **state)
{
	(void)state;
	assert_null(verdict(repeated("", "a", COMMAND_LENGTH_MAX, "")));
	assert_string_equal(verdict(repeated("", "a", COMMAND_LENGTH_MAX + 1, "")), "too-long");
	assert_null(verdict(repeated("", "a ", COMMAND_WORDS_MAX - 1, "")));
	assert_string_equal(verdict(repeated("", "\na", COMMAND_WORDS_MAX - 1, ";b<c")),
			    "too-many-words");
	assert_null(verdict(repeated("", "$a", COMMAND_PARTS_MAX, "")));
	assert_string_equal(verdict(repeated("", "$a", COMMAND_PARTS_MAX + 1, "")),
			    "too-many-words");
	assert_null(verdict(repeated("", "(", 0, "")));
	assert_null(verdict(repeated("", "( ", COMMAND_DEPTH_MAX, "a))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))")));
	assert_string_equal(verdict(repeated("", "( ", COMMAND_DEPTH_MAX + 1, "a")), "too-deep");
	assert_string_equal(verdict(repeated("", "${a:-", COMMAND_DEPTH_MAX + 1, "")), "too-deep");
	assert_string_equal(verdict(repeated("a", "{", COMMAND_DEPTH_MAX + 1, "")), "brace-expansion");
}

/* Each would take minutes if it took more than time in proportion. */
static void is_linear(void **state)
{
	static const char *const pieces[] = { "'", "\"", "''", "{", "*", "[", "\\", "$(", "\"$(", "`", "<<a ", "(", "${a:-",
					      "&", "|", "a[;", "A=$(cat <<'E'\n", "\"$(cat <<'E'\n", "~", "<<a\n", "command ",
					      "[[:", "$a", "\\\n", "! ", "a=b ", "{a..", "\"${a:-`" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
		verdict(repeated("", pieces[i], (COMMAND_LENGTH_MAX - 8) / strlen(pieces[i]), ""));
}

/* Of this process, in milliseconds; the string is freed. */
static double parse_time(char *text)
{
	clock_t start = clock();

	verdict(text);
	return (double)(clock() - start) * 1000 / CLOCKS_PER_SEC;
}

/* What is looked for ahead or behind is not looked for again at each step. */
static void looks_once(void **state)
{
	char *head = repeated("exit 0;", "a", 65528, "-");

	(void)state;
	assert_true(parse_time(repeated(head, "\\\nx", 21844, "")) < 200);
	assert_true(parse_time(repeated("exit;", "a[;", 43000, "a]")) < 200);
	assert_true(parse_time(repeated("exit;", "a[;", 43000, "\na]=")) < 200);
	free(head);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(tells_where),
		cmocka_unit_test(warns),
		cmocka_unit_test(keeps_limits),
		cmocka_unit_test(is_linear),
		cmocka_unit_test(looks_once),
	};

	return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
