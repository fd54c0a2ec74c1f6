/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of what people write the command language takes: measure [-v] FILE.jsonl
 *
 * Each line of the file is a JSON object with the string in its member "s". Prints how many there are, and the
 * shares of those that are accepted, that are accepted with a substitution as literal text, and that are refused,
 * by construct. -v: a line for each one that is not simply accepted.
 */
#include <jansson.h>

#include "command/command.h"

#define KINDS (COMMAND_C_COUNT + 1)

static size_t refused[KINDS], total, accepted, literal, syntax;
static const char *names[KINDS];

static void judge(const char *text, size_t len, unsigned long line, bool verbose)
{
	struct command_tree *tree = NULL;
	struct command_error error;
	int r = command_parse(text, len, &tree, &error);

	total++;
	if (r == 0 && tree->warnings.n == 0) {
		accepted++;
	} else if (r == 0) {
		literal++;
		if (verbose)
			printf("%lu: literal at %zu\n", line, tree->warnings.offsets[0]);
	} else if (r == -EINVAL) {
		refused[error.construct]++;
		names[error.construct] = error.name;
		syntax += !error.unsupported;
		if (verbose)
			printf("%lu: %s at %zu: %s\n", line, error.name, error.offset,
			       error.excerpt);
	} else {
		fprintf(stderr, "measure: out of memory\n");
		exit(1);
	}
	command_tree_free(tree);
}

static void print_share(const char *what, size_t n)
{
	printf("%-28s %6zu  %5.1f %%\n", what, n, total ? 100.0 * (double)n / (double)total : 0.0);
}

static void print_refused(void)
{
	for (;;) {
		size_t most = 0;

		for (size_t i = 0; i < KINDS; i++)
			if (refused[i] > refused[most])
				most = i;
		if (refused[most] == 0)
			return;
		print_share(names[most], refused[most]);
		refused[most] = 0;
	}
}

int main(int argc, char **argv)
{
	bool verbose = argc == 3 && strcmp(argv[1], "-v") == 0;
	FILE *in = argc == 2 + verbose ? fopen(argv[argc - 1], "re") : NULL;
	PTR_OWNED char *line = NULL;
	unsigned long number = 0;
	size_t size = 0;

	if (!in) {
		fprintf(stderr,
			argc == 2 + verbose ? "measure: %s: %m\n" :
					      "usage: measure [-v] FILE.jsonl\n",
			argv[argc - 1]);
		return 2;
	}
	while (getline(&line, &size, in) > 0) {
		json_t *object = json_loads(line, JSON_ALLOW_NUL, NULL);
		const json_t *s = json_object_get(object, "s");

		number++;
		if (!json_is_string(s)) {
			fprintf(stderr, "measure: line %lu has no string \"s\"\n", number);
			return 2;
		}
		judge(json_string_value(s), json_string_length(s), number, verbose);
		json_decref(object);
	}
	fclose(in);
	printf("%-28s %6zu\n", "strings", total);
	print_share("accepted", accepted);
	print_share("accepted, literal", literal);
	print_share("refused", total - accepted - literal);
	print_share("of these, syntax errors", syntax);
	puts("\nrefused, by construct:");
	print_refused();
	return 0;
}
