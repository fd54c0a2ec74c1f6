/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_ports[] =
	"usage: moat ports [options] [PORT]\n\n"
	"Lists who listens on what: commands, with their context and id, and services. With\n"
	"PORT: exits with 0 when somebody listens there, else with 1.\n\n"
	"      --wait         with PORT: waits until somebody does\n"
	"      --timeout TIME at most so long: 500ms, 30s, 5m, 2h\n"
	"      --json         print the answer as JSON\n"
	"      --socket PATH  the socket of moatd\n";

enum { OPTION_WAIT = OPTION_COMMAND, OPTION_TIMEOUT };

static void print_ports(const struct cli *cli, const json_t *list)
{
	static const char *const titles[] = { "PORT", "PROTOCOL", "ADDRESS", "CONTEXT", "ID", "SERVICE", NULL };
	struct table t = { .titles = titles, .color = cli->color };
	size_t i;
	json_t *each;

	json_array_foreach(list, i, each) {
		table_add(&t, "%lld", (long long)member_number(each, "port"));
		table_add(&t, "%s", member_text(each, "protocol"));
		table_add(&t, "%s", member_text(each, "address"));
		table_add(&t, "%s", member_text(each, "context"));
		table_add(&t, "%s", member_text(each, "id"));
		table_add(&t, "%s", member_text(each, "service"));
	}
	table_print(&t);
	table_free(&t);
}

static int show(struct cli *cli, const char *path, bool one)
{
	json_t *root JSON_OWNED = NULL;
	int status = agent_get(cli, "GET", path, NULL, &root);
	bool listening;

	if (status)
		return status;
	listening = json_is_true(json_object_get(root, "listening"));
	if (cli->json) {
		(void)printed_json(cli, json_incref(root));
		return one && !listening;
	}
	if (!one || listening)
		print_ports(cli, json_object_get(root, one ? "listeners" : "ports"));
	return one && !listening;
}

int cmd_ports(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		COMMON_OPTIONS,
		{ "wait", no_argument, NULL, OPTION_WAIT },
		{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
		{ 0 },
	};
	uint64_t timeout_ms = 0;
	char path[128];
	int option, status, n;
	bool wait = false;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == OPTION_WAIT)
			wait = true;
		else if (option == OPTION_TIMEOUT && parse_duration(optarg, &timeout_ms) < 0)
			return usage_error("ports", "not a time: %s (500ms, 30s, 5m, 2h)", optarg);
		else if (option != OPTION_TIMEOUT && !option_common(cli, "ports", option, &status))
			return status;
	}
	if (optind == argc && !wait)
		return show(cli, "/v1/ports", false);
	if (optind + 1 != argc || strspn(argv[optind], "0123456789") != strlen(argv[optind]) || strlen(argv[optind]) > 5)
		return usage_error("ports", "which port?");
	n = snprintf(path, sizeof(path), "/v1/ports/%s%s", argv[optind], wait ? "?state=listening" : "");
	if (wait && timeout_ms)
		snprintf(path + n, sizeof(path) - (size_t)n, "&timeoutMs=%llu", (unsigned long long)timeout_ms);
	return show(cli, path, true);
}
