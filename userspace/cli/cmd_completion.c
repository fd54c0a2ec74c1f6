/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may come next on the command line, for shells. Commands come from the table in main.c, their options and
 * operands from the same texts that --help prints, and contexts, commands and services from the agent, if it is there.
 */
#include <signal.h>

#include "cli/cli.h"

const char help_completion[] =
	"usage: moat completion [--] WORD…\n\n"
	"Prints what the last word of a command line may become, one on a line, with a tab and\n"
	"a description behind it: for the completions of bash and zsh, which are installed with\n"
	"moat. The words are those behind moat; the last one may be empty.\n";

/* One line of options in a help text: "  -e, --env NAME=VALUE  what it does". */
struct option_line {
	struct {
		const char *text;
		int n;
	} name[2], value, about; /* n 0: there is none */
};

/* A name that would command the terminal on which it is offered has to be typed. */
static bool is_shown_whole(const char *word, int n)
{
	PTR_OWNED char *copy = strndup(word, (size_t)n);

	if (!copy)
		return false;
	hide_controls(copy);
	return strncmp(copy, word, (size_t)n) == 0;
}

static void offer(const char *prefix, const char *word, int n, const char *about, int about_n)
{
	if (n > 0 && strncmp(word, prefix, strlen(prefix)) == 0 && strlen(prefix) <= (size_t)n &&
	    is_shown_whole(word, n))
		printf("%.*s\t%.*s\n", n, word, about_n, about);
}

/* Of a line that begins with an option; false: it does not. */
static bool read_option(const char *line, struct option_line *ret)
{
	const char *p = line + strspn(line, " ");

	*ret = (struct option_line){ 0 };
	if (p == line || *p != '-')
		return false;
	for (int i = 0; i < 2 && *p == '-'; i++) {
		ret->name[i].text = p;
		ret->name[i].n = (int)strcspn(p, " ,\n");
		p += ret->name[i].n;
		p += strspn(p, ",");
		if (*p == ' ' && p[1] != ' ')
			p++;
	}
	if (*p != ' ' && *p != '\n' && *p) {
		ret->value.text = p;
		ret->value.n = (int)strcspn(p, " \n");
		p += ret->value.n;
	}
	ret->about.text = p + strspn(p, " ");
	ret->about.n = (int)strcspn(ret->about.text, "\n");
	return true;
}

static const char *next_line(const char *line)
{
	line += strcspn(line, "\n");
	return *line ? line + 1 : line;
}

/* The placeholder of the option's value, as far as that is to be completed; NULL: it takes none. */
static const char *value_of(const char *help, const char *word, int *ret_n)
{
	size_t n = strlen(word);

	for (const char *line = help; *line; line = next_line(line)) {
		struct option_line o;

		if (!read_option(line, &o) || o.value.n == 0)
			continue;
		for (int i = 0; i < 2; i++)
			if (o.name[i].n == (int)n && strncmp(o.name[i].text, word, n) == 0) {
				*ret_n = o.value.n;
				return o.value.text;
			}
	}
	if (strcmp(word, "--socket") != 0)
		return NULL;
	*ret_n = 4;
	return "PATH";
}

static void offer_options(const char *help, const char *prefix)
{
	for (const char *line = help; *line; line = next_line(line)) {
		struct option_line o;

		if (!read_option(line, &o))
			continue;
		for (int i = 0; i < 2; i++)
			offer(prefix, o.name[i].text, o.name[i].n, o.about.text, o.about.n);
	}
	if (strstr(help, "[--json]") && !strstr(help, " --json "))
		offer(prefix, "--json", 6, "print JSON", 10);
	if (strstr(help, "[--socket PATH]"))
		offer(prefix, "--socket", 8, "the socket of moatd", 19);
}

/* Members of a list of the agent's; nothing where it is not there. */
static void offer_from_agent(const struct cli *cli, const char *prefix, const char *path,
			     const char *list, const char *key, const char *about)
{
	json_t *root JSON_OWNED = NULL, *each;
	size_t i;

	if (agent_get(cli, "GET", path, NULL, &root) != 0)
		return;
	json_array_foreach(json_object_get(root, list), i, each) {
		const char *word = member_text(each, key), *what = member_text(each, about);
		int n = (int)strlen(word);

		if ((size_t)n == strcspn(word, "\t\n"))
			offer(prefix, word, n, what, (int)strcspn(what, "\t\n"));
	}
}

static void offer_signals(const char *prefix)
{
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *name = sigabbrev_np(i), *what = sigdescr_np(i);

		if (name)
			offer(prefix, name, (int)strlen(name), what, (int)strlen(what));
	}
}

/* What a placeholder of a help text stands for. Files are the shell's business. */
static void offer_value(const struct cli *cli, const char *prefix, const char *place, int n)
{
	static const struct {
		const char *place, *path, *list, *key, *about;
	} table[] = {
		{ "NAME", "/v1/contexts", "contexts", "name", "state" },
		{ "ID", "/v1/processes", "processes", "id", "state" },
		{ "SERVICE", "/v1/services", "services", "name", "state" },
	};

	if (n == 6 && strncmp(place, "SIGNAL", 6) == 0)
		offer_signals(prefix);
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (strlen(table[i].place) == (size_t)n &&
		    strncmp(table[i].place, place, (size_t)n) == 0)
			offer_from_agent(cli, prefix, table[i].path, table[i].list, table[i].key,
					 table[i].about);
}

/* "enforce|audit" */
static void offer_choices(const char *prefix, const char *list, int n)
{
	while (n > 0) {
		int len = (int)strcspn(list, "|");

		if (len > n)
			len = n;
		offer(prefix, list, len, "", 0);
		list += len + 1;
		n -= len + 1;
	}
}

/* The operand of a usage line, such as "moat kill [-s SIGNAL] ID… [--json]"; `at` is behind the name. */
static void offer_operand(const struct cli *cli, const char *prefix, const char *at)
{
	while (*at && *at != '\n') {
		bool optional = *at == '[';
		int n = (int)strcspn(at += optional, "] \n");

		if (*at == '-') /* with its value, if it has one */
			n = (int)strcspn(at, optional ? "]\n" : " \n");
		else if (memchr(at, '|', (size_t)n))
			offer_choices(prefix, at, n);
		else if (*at >= 'A' && *at <= 'Z')
			offer_value(cli, prefix, at, (int)strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
		at += n;
		at += strspn(at, "] ");
	}
}

/* A word behind the name of a command: sub is the first of them, NULL when that is the one. */
static void offer_operands(const struct cli *cli, const struct command *c, const char *sub,
			   const char *prefix)
{
	const char *line = c->help;
	char start[64];

	snprintf(start, sizeof(start), "moat %s ", c->name);
	for (; *line && *line != '\n'; line = next_line(line)) {
		const char *at = strstr(line, start);
		int n;

		if (!at || at > line + strcspn(line, "\n"))
			continue;
		at += strlen(start);
		n = (int)strspn(at, "abcdefghijklmnopqrstuvwxyz-");
		if (n == 0 || *at == '-')
			offer_operand(cli, prefix, at);
		else if (!sub)
			offer(prefix, at, n, "", 0);
		else if (strlen(sub) == (size_t)n && strncmp(sub, at, (size_t)n) == 0)
			offer_operand(cli, prefix, at + n + strspn(at + n, " "));
	}
}

/* The options of exec are those of run as well, as its help says. */
static void offer_in_command(const struct cli *cli, const struct command *c, int n, char **words)
{
	const char *help[2] = { c->help, strstr(c->help, "moat exec --help") ? help_exec : "" };
	const char *prefix = words[n - 1], *sub = NULL, *place = NULL;
	int len = 0;

	for (int i = 0; i < n - 1; i++) {
		if (place) {
			place = NULL;
		} else if (strcmp(words[i], "--") == 0) {
			return; /* what follows is for what is run */
		} else if (words[i][0] == '-') {
			place = value_of(help[0], words[i], &len);
			place = place ? place : value_of(help[1], words[i], &len);
		} else if (!sub) {
			sub = words[i];
		}
	}
	if (place && strncmp(place, "ID", 2) != 0) /* of a session, or a new one */
		offer_value(cli, prefix, place, len);
	if (place)
		return;
	if (prefix[0] != '-') {
		offer_operands(cli, c, sub, prefix);
		return;
	}
	offer_options(help[0], prefix);
	offer_options(help[1], prefix);
	offer(prefix, "--help", 6, "help", 4);
}

int cmd_completion(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS, { 0 } };
	const struct command *c;
	int option, status, first;

	while ((option = getopt_long(argc, argv, "+h", options, NULL)) != -1)
		if (!option_common(cli, "completion", option, &status))
			return status;
	if (optind == argc)
		return usage_error("completion", "which words?");
	for (first = optind; first < argc - 1 && argv[first][0] == '-'; first++)
		if (strcmp(argv[first], "--socket") == 0 && first < argc - 2)
			cli->socket = argv[++first];
	for (int i = first; i < argc - 2; i++)
		if (strcmp(argv[i], "--socket") == 0)
			cli->socket = argv[i + 1];
	if (first == argc - 1) {
		for (unsigned i = 0; (c = command_at(i)); i++)
			offer(argv[first], c->name, (int)strlen(c->name), c->summary,
			      (int)strlen(c->summary));
		if (argv[first][0] == '-')
			offer_options(
				"[--json] [--socket PATH]\n      --help  help\n      --version  the version\n",
				argv[first]);
		return 0;
	}
	c = command_find(argv[first]);
	if (c)
		offer_in_command(cli, c, argc - first - 1, argv + first + 1);
	return 0;
}
