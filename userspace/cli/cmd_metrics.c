/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_metrics[] =
	"usage: moat metrics [--socket PATH]\n\n"
	"Prints the counters of the agent in the text format of Prometheus. They have no JSON;\n"
	"most are in moat status --json.\n";

int cmd_metrics(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS, { 0 } };
	struct moat_response response RESPONSE_OWNED = { 0 };
	int option, status;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		if (!option_common(cli, "metrics", option, &status))
			return status;
	status = no_operands("metrics", argc, argv);
	if (status == 0 && cli->json)
		status = usage_error("metrics", "there is no JSON of metrics");
	if (status == 0)
		status = agent_call(cli, "GET", "/metrics", NULL, &response);
	if (status == 0)
		fwrite(response.body, 1, response.len, stdout);
	return status;
}
