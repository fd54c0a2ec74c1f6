/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_mode[] =
	"usage: moat mode [enforce|audit] [--json] [--socket PATH]\n\n"
	"Without an operand: prints the mode the kernel programs are in (enforce, audit; off\n"
	"where nothing is enforced). With one: switches, for every decision from now on until the\n"
	"agent is started again, and prints both modes.\n\n"
	"  enforce  user code is refused what is denied\n"
	"  audit    nothing is refused: denials are only counted and recorded\n";

int cmd_mode(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS, { 0 } };
	json_t *root JSON_OWNED = NULL;
	int option, status;
	const char *mode;
	char body[64];

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		if (!option_common(cli, "mode", option, &status))
			return status;
	mode = optind < argc ? argv[optind++] : NULL;
	status = no_operands("mode", argc, argv);
	if (status)
		return status;
	if (mode && strcmp(mode, "enforce") != 0 && strcmp(mode, "audit") != 0)
		return usage_error("mode", "neither enforce nor audit: %s", mode);
	snprintf(body, sizeof(body), "{\"mode\":\"%s\"}", mode ? mode : "");
	status = agent_get(cli, mode ? "PUT" : "GET", "/v1/mode", mode ? body : NULL, &root);
	if (status || printed_json(cli, root))
		return status;
	fputs(member_text(root, "mode"), stdout);
	if (mode)
		printf(", was %s", member_text(root, "previous"));
	putchar('\n');
	return 0;
}
