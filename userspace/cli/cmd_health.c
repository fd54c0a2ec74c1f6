/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_health[] =
	"usage: moat health [--ready] [--json] [--socket PATH] [SERVICE]\n\n"
	"Ends with status 0 if the agent answers, else with 1 and the reason.\n\n"
	"  --ready   also every service must be ready, and enforcement as configured\n"
	"  SERVICE   the same, but of all services this one alone\n";

enum { OPTION_READY = OPTION_COMMAND };

/* A service has such a name; anything else could be another query. */
static bool is_name(const char *s)
{
	return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

int cmd_health(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { { "ready", no_argument, NULL, OPTION_READY },
						 COMMON_OPTIONS, { 0 } };
	json_t *root JSON_OWNED = NULL;
	const char *service = NULL;
	char path[128];
	bool ready = false;
	int option, status;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == OPTION_READY)
			ready = true;
		else if (!option_common(cli, "health", option, &status))
			return status;
	}
	if (optind < argc)
		service = argv[optind++];
	status = no_operands("health", argc, argv);
	if (status)
		return status;
	if (service && (!is_name(service) || strlen(service) > 32))
		return usage_error("health", "that is no name of a service");
	snprintf(path, sizeof(path), "/v1/health%s%s%s", ready ? "?ready" : "",
		 service ? (ready ? "&service=" : "?service=") : "", service ? service : "");
	if (agent_get(cli, "GET", path, NULL, &root))
		return 1;
	if (!printed_json(cli, root))
		puts("ok");
	return 0;
}
