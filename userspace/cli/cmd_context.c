/* SPDX-License-Identifier: Apache-2.0 */
/* moat context: what contexts there are, as long as the agent runs. */
#include "cli/cli.h"

const char help_context[] =
	"usage: moat context list [--json] [--socket PATH]\n"
	"       moat context create NAME [SETTING…]\n"
	"       moat context show NAME\n"
	"       moat context set NAME [SETTING…]\n"
	"       moat context reset-state NAME\n"
	"       moat context rm [--keep] NAME…\n\n"
	"Contexts of the running agent: those of its configuration, those made here or by a\n"
	"control plane, and those of sessions. A new one has the settings of default but for\n"
	"what is given. set is for commands that are started later. show has the state as well:\n"
	"what command strings have left of directory and variables; reset-state forgets it.\n\n"
	"  -e, --env NAME=VALUE  a variable of all its commands\n"
	"  -E, --env-from NAME   the same, with the value moat itself has\n"
	"      --env-file FILE   the same, for each NAME=VALUE line of FILE (# begins a comment)\n"
	"  -u, --unset NAME      not this variable\n"
	"  -C, --directory DIR   where its commands start\n"
	"  -o, --set KEY=VALUE   any other key of [context NAME] in moat.conf(5); with create only\n"
	"      --keep            kill nothing: it is gone when nothing runs in it any more\n";

enum { OPTION_KEEP = OPTION_COMMAND };

struct options {
	json_t *settings, *env; /* owned */
	bool keep;
	char **names; /* operands */
	int n_names;
};

static void options_free(struct options *o)
{
	json_decref(o->settings);
	json_decref(o->env);
}

/* One that is there already is one of several. */
static int add_value(json_t *settings, const char *key, size_t n, json_t *value)
{
	json_t *there = json_object_getn(settings, key, n), *list;

	if (!there)
		return json_object_setn_new(settings, key, n, value);
	if (json_is_array(there))
		return json_array_append_new(there, value);
	list = json_array();
	if (json_array_append(list, there) < 0 || json_array_append_new(list, value) < 0) {
		json_decref(list);
		return -1;
	}
	return json_object_setn_new(settings, key, n, list);
}

/* A value as text of the configuration: what is yes or no there is true or false here. */
static int add_key(json_t *settings, const char *pair)
{
	const char *equals = strchr(pair, '='), *value = equals ? equals + 1 : NULL;
	size_t n = equals ? (size_t)(equals - pair) : 0;
	int r;

	if (n == 0)
		return usage_error("context", "-o wants KEY=VALUE");
	if (strcmp(value, "yes") == 0 || strcmp(value, "no") == 0)
		r = add_value(settings, pair, n, json_boolean(value[0] == 'y'));
	else
		r = add_value(settings, pair, n, json_string(value));
	return r < 0 ? usage_error("context", "%.64s must be UTF-8", pair) : 0;
}

static int parse_option(struct options *o, int option)
{
	switch (option) {
	case 'u':
		return json_object_set_new(o->env, optarg, json_null()) < 0 ?
			       usage_error("context", "the name of a variable must be UTF-8") : 0;
	case 'C':
		return json_object_set_new(o->settings, "directory", json_string(optarg)) < 0 ?
			       usage_error("context", "the directory must be UTF-8") : 0;
	case 'o':
		return add_key(o->settings, optarg);
	case OPTION_KEEP:
		o->keep = true;
		return 0;
	default:
		return option_env("context", option, o->env);
	}
}

/* False: the command returns *ret_status. */
static bool parse(struct cli *cli, int argc, char **argv, struct options *o, int *ret_status)
{
	static const struct option options[] = {
		COMMON_OPTIONS,
		ENV_OPTIONS,
		{ "unset", required_argument, NULL, 'u' },
		{ "directory", required_argument, NULL, 'C' },
		{ "set", required_argument, NULL, 'o' },
		{ "keep", no_argument, NULL, OPTION_KEEP },
		{ 0 },
	};
	int option, r;

	o->settings = json_object();
	o->env = json_object();
	while ((option = getopt_long(argc, argv, "he:E:u:C:o:", options, NULL)) != -1) {
		r = parse_option(o, option);
		if (r == 0 || (r < 0 && option_common(cli, "context", option, ret_status)))
			continue;
		if (r > 0)
			*ret_status = r;
		return false;
	}
	if (json_object_size(o->env) && json_object_set(o->settings, "env", o->env) < 0) {
		*ret_status = complain("OUT_OF_MEMORY", "out of memory");
		return false;
	}
	o->names = argv + optind;
	o->n_names = argc - optind;
	return true;
}

/* /v1/contexts/NAME with what is not plain in it escaped; NULL: out of memory. */
static char *path_of(const char *name, const char *query)
{
	static const char start[] = "/v1/contexts/";
	size_t size = sizeof(start) + 3 * strlen(name) + strlen(query);
	char *path = malloc(size), *at;

	if (!path)
		return NULL;
	at = percent_encode(path + snprintf(path, size, "%s", start), name);
	snprintf(at, size - (size_t)(at - path), "%s", query);
	return path;
}

/* One request about a context. */
static int call(const struct cli *cli, const char *method, const char *name, const char *query,
		const json_t *body, json_t **ret)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	PTR_OWNED char *path = path_of(name, query);
	int r;

	if (!path || (body && !text))
		r = complain("OUT_OF_MEMORY", "out of memory");
	else
		r = agent_get(cli, method, strcmp(method, "POST") == 0 ? "/v1/contexts" : path, text, ret);
	if (text)
		free_wiped(text, strlen(text));
	return r;
}

static int list(struct cli *cli, const struct options *o)
{
	static const char *const titles[] = { "NAME", "NUMBER", "STATE", "RUNNING", "CREATED", NULL };
	struct table table = { .titles = titles, .color = cli->color };
	json_t *root JSON_OWNED = NULL, *context;
	size_t i;
	int r;

	if (o->n_names)
		return usage_error("context", "unexpected argument: %s", o->names[0]);
	r = agent_get(cli, "GET", "/v1/contexts", NULL, &root);
	if (r || printed_json(cli, root))
		return r;
	json_array_foreach(json_object_get(root, "contexts"), i, context) {
		table_add(&table, "%s", member_text(context, "name"));
		table_add(&table, "%lld", (long long)member_number(context, "number"));
		table_add(&table, "%s", member_text(context, "state"));
		table_add(&table, "%lld", (long long)member_number(context, "running"));
		table_add(&table, "%s", member_text(context, "createdAt"));
	}
	table_print(&table);
	table_free(&table);
	return 0;
}

static void print_value(const json_t *value)
{
	PTR_OWNED char *text = NULL;

	if (json_is_string(value)) {
		print_safe(json_string_value(value));
	} else if (json_is_boolean(value)) {
		fputs(json_is_true(value) ? "yes" : "no", stdout);
	} else {
		text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
		print_safe(text ? text : "?");
	}
	putchar('\n');
}

/* As in the configuration; what is not said has no line. */
static void print_settings(const json_t *root)
{
	json_t *settings = json_object_get(root, "settings"), *value, *variable;
	const char *key, *name;
	size_t i;

	json_object_foreach(settings, key, value) {
		if (json_is_null(value))
			continue;
		if (json_is_array(value)) {
			json_array_foreach(value, i, variable) {
				printf("%s = ", key);
				print_value(variable);
			}
			continue;
		}
		if (!json_is_object(value)) {
			printf("%s = ", key);
			print_value(value);
			continue;
		}
		json_object_foreach(value, name, variable) {
			printf("%s = ", key);
			print_safe(name);
			putchar('=');
			print_value(variable);
		}
	}
}

/* What command strings have left; a line each, behind the settings. */
static void print_state(const json_t *root)
{
	static const struct {
		const char *member, *title;
	} kinds[] = { { "env", "exported" }, { "variables", "variable" } };
	json_t *state = json_object_get(root, "userState"), *value;
	const char *name;
	size_t i;

	if (!json_is_null(json_object_get(state, "directory"))) {
		fputs("state: directory = ", stdout);
		print_value(json_object_get(state, "directory"));
	}
	for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++)
		json_object_foreach(json_object_get(state, kinds[kind].member), name, value) {
			printf("state: %s = ", kinds[kind].title);
			print_safe(name);
			if (json_is_null(value)) {
				putchar('\n');
				continue;
			}
			putchar('=');
			print_value(value);
		}
	json_array_foreach(json_object_get(state, "unset"), i, value) {
		fputs("state: unset = ", stdout);
		print_value(value);
	}
}

static int show(struct cli *cli, const struct options *o)
{
	json_t *root JSON_OWNED = NULL;
	int r;

	if (o->n_names != 1)
		return usage_error("context", "show wants one name");
	r = call(cli, "GET", o->names[0], "", NULL, &root);
	if (r == 0 && !printed_json(cli, root)) {
		print_settings(root);
		print_state(root);
	}
	return r;
}

static int create(struct cli *cli, const struct options *o)
{
	json_t *root JSON_OWNED = NULL;
	int r;

	if (o->n_names != 1)
		return usage_error("context", "create wants one name");
	if (json_object_set_new(o->settings, "name", json_string(o->names[0])) < 0)
		return usage_error("context", "the name must be UTF-8");
	r = call(cli, "POST", o->names[0], "", o->settings, &root);
	if (r == 0 && !printed_json(cli, root))
		print_warnings(root);
	return r;
}

static int set(struct cli *cli, const struct options *o)
{
	json_t *root JSON_OWNED = NULL;
	int r;

	if (o->n_names != 1)
		return usage_error("context", "set wants one name");
	r = call(cli, "PATCH", o->names[0], "", o->settings, &root);
	if (r == 0 && !printed_json(cli, root))
		print_warnings(root);
	return r;
}

static int reset_state(struct cli *cli, const struct options *o)
{
	json_t *root JSON_OWNED = NULL;
	int r;

	if (o->n_names != 1)
		return usage_error("context", "reset-state wants one name");
	r = call(cli, "DELETE", o->names[0], "/state", NULL, &root);
	if (r == 0)
		printed_json(cli, root);
	return r;
}

static int rm(struct cli *cli, const struct options *o)
{
	int status = 0;

	if (o->n_names == 0)
		return usage_error("context", "rm wants a name");
	for (int i = 0; i < o->n_names; i++) {
		json_t *root JSON_OWNED = NULL;
		int r = call(cli, "DELETE", o->names[i], o->keep ? "?keep=true" : "", NULL, &root);

		if (r == 0)
			printed_json(cli, root);
		else
			status = r;
	}
	return status;
}

int cmd_context(struct cli *cli, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(struct cli *cli, const struct options *o);
	} actions[] = { { "list", list }, { "create", create },           { "show", show },
			{ "set", set },   { "reset-state", reset_state }, { "rm", rm } };
	CLEANUP(options_free) struct options o = { 0 };
	int status;

	if (!parse(cli, argc, argv, &o, &status))
		return status;
	for (size_t i = 0; o.n_names && i < ARRAY_LEN(actions); i++) {
		if (strcmp(actions[i].name, o.names[0]) != 0)
			continue;
		o.names++;
		o.n_names--;
		return actions[i].run(cli, &o);
	}
	return usage_error("context",
			   "what is to be done: list, create, show, set, reset-state or rm?");
}
