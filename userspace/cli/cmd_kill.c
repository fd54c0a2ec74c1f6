/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_kill[] =
	"usage: moat kill [-s SIGNAL] ID… [--json] [--socket PATH]\n\n"
	"Kills a command and everything it has started, at once (SIGKILL). With -s: sends the\n"
	"signal to the process group of the command instead.\n\n"
	"  -s, --signal SIGNAL  TERM, SIGTERM or 15\n"
	"      --to WHOM        with -s: main, the command alone; group; or tree, all that it\n"
	"                       has started\n";

enum { OPTION_TO = OPTION_COMMAND };

static int kill_one(struct cli *cli, const char *id, int signal, const char *to)
{
	json_t *root JSON_OWNED = NULL;
	char path[128], body[64];
	int status;

	if (strpbrk(id, "/? \r\n") || strlen(id) > 64)
		return usage_error("kill", "not an id: %s", id);
	snprintf(path, sizeof(path), "/v1/processes/%s%s", id, signal ? "/signal" : "");
	snprintf(body, sizeof(body), "{\"signal\":%d,\"to\":\"%s\"}", signal, to);
	status = signal ? agent_get(cli, "POST", path, body, &root) :
			  agent_get(cli, "DELETE", path, NULL, &root);
	if (status || printed_json(cli, root))
		return status;
	if (!signal && !json_is_true(json_object_get(root, "killed")))
		printf("%s has ended already\n", id);
	return 0;
}

int cmd_kill(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS,
						 { "signal", required_argument, NULL, 's' },
						 { "to", required_argument, NULL, OPTION_TO }, { 0 } };
	const char *to = "group";
	int option, status = 0, signal = 0;

	while ((option = getopt_long(argc, argv, "hs:", options, NULL)) != -1) {
		if (option == 's') {
			signal = parse_signal(optarg);
			if (signal < 0)
				return usage_error("kill", "not a signal: %s", optarg);
		} else if (option == OPTION_TO) {
			to = optarg;
			if (strcmp(to, "main") != 0 && strcmp(to, "group") != 0 && strcmp(to, "tree") != 0)
				return usage_error("kill", "--to is main, group or tree");
		} else if (!option_common(cli, "kill", option, &status)) {
			return status;
		}
	}
	if (optind == argc)
		return usage_error("kill", "which command? moat ps lists them");
	for (; optind < argc; optind++) {
		int r = kill_one(cli, argv[optind], signal, to);

		status = status ? status : r;
	}
	return status;
}
