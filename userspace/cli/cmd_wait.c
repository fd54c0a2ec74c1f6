/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_wait[] =
	"usage: moat wait [options] ID\n\n"
	"Waits until a command has ended, and exits with its status.\n\n"
	"      --tree         until nothing is left that it has started, either\n"
	"      --output TEXT  until it has written TEXT, and then exit with 0; with 1 when it\n"
	"                     has ended and never wrote it\n"
	"      --timeout TIME at most so long, and then exit with 124: 500ms, 30s, 5m, 2h\n"
	"      --json         print the answer as JSON\n"
	"      --socket PATH  the socket of moatd\n";

enum { OPTION_TREE = OPTION_COMMAND, OPTION_OUTPUT, OPTION_TIMEOUT };

static int result_of(const json_t *answer, bool output)
{
	bool met = json_is_true(json_object_get(answer, "met"));

	if (!met && json_is_null(json_object_get(answer, "exitCode")))
		return CLI_TIMED_OUT;
	if (!met && !output)
		return CLI_TIMED_OUT; /* something that it has started runs on */
	return output ? !met : (int)member_number(answer, "exitCode");
}

static int wait_for(struct cli *cli, const char *id, json_t *body, bool output)
{
	json_t *root JSON_OWNED = NULL;
	char *text PTR_OWNED = json_dumps(body, JSON_COMPACT);
	char path[128];
	int status;

	if (!text)
		return complain("OUT_OF_MEMORY", "out of memory");
	snprintf(path, sizeof(path), "/v1/processes/%s/wait", id);
	status = agent_get(cli, "POST", path, text, &root);
	if (status)
		return status;
	status = result_of(root, output);
	(void)printed_json(cli, root);
	return status;
}

int cmd_wait(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		COMMON_OPTIONS,
		{ "tree", no_argument, NULL, OPTION_TREE },
		{ "output", required_argument, NULL, OPTION_OUTPUT },
		{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
		{ 0 },
	};
	json_t *body JSON_OWNED = json_object();
	const char *text = NULL, *kind = "exit";
	uint64_t timeout_ms = 0;
	int option, status;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == OPTION_TREE)
			kind = "tree";
		else if (option == OPTION_OUTPUT)
			text = optarg;
		else if (option == OPTION_TIMEOUT && parse_duration(optarg, &timeout_ms) < 0)
			return usage_error("wait", "not a time: %s (500ms, 30s, 5m, 2h)", optarg);
		else if (option != OPTION_TIMEOUT && !option_common(cli, "wait", option, &status))
			return status;
	}
	if (optind + 1 != argc)
		return usage_error("wait", "which command? moat ps lists them");
	if (strpbrk(argv[optind], "/?& \r\n") || strlen(argv[optind]) > 64)
		return usage_error("wait", "not an id: %s", argv[optind]);
	if (text && (!*text || !utf8_valid(text, strlen(text))))
		return usage_error("wait", "not a text");
	json_object_set_new(body, "for", json_string(text ? "output" : kind));
	if (text)
		json_object_set_new(body, "text", json_string(text));
	if (timeout_ms)
		json_object_set_new(body, "timeoutMs", json_integer((json_int_t)timeout_ms));
	return wait_for(cli, argv[optind], body, text);
}
