/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_logs[] =
	"usage: moat logs ID [--json] [--socket PATH]\n\n"
	"Prints what a command has written so far: its stdout on stdout, its stderr on stderr.\n"
	"The agent keeps the first 1 MiB of each.\n";

static int print_stream(const json_t *root, const char *name, int fd)
{
	char *bytes PTR_OWNED = NULL;
	const char *text;
	char encoding[32];
	size_t n;
	int r;

	snprintf(encoding, sizeof(encoding), "%sEncoding", name);
	r = member_output(root, name, encoding, &text, &n, &bytes);
	if (r < 0)
		return agent_failed(r);
	r = write_all(fd, text, n);
	return r < 0 ? complain("OUTPUT_FAILED", "cannot write: %s", strerror(-r)) : 0;
}

int cmd_logs(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS, { 0 } };
	json_t *root JSON_OWNED = NULL;
	char path[128];
	int option, status;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		if (!option_common(cli, "logs", option, &status))
			return status;
	if (optind + 1 != argc)
		return usage_error("logs", "which command? moat ps -a lists them");
	if (strpbrk(argv[optind], "/? \r\n") || strlen(argv[optind]) > 64)
		return usage_error("logs", "not an id: %s", argv[optind]);
	snprintf(path, sizeof(path), "/v1/processes/%s", argv[optind]);
	status = agent_get(cli, "GET", path, NULL, &root);
	if (status || printed_json(cli, root))
		return status;
	status = print_stream(root, "stdout", STDOUT_FILENO);
	if (status == 0)
		status = print_stream(root, "stderr", STDERR_FILENO);
	if (status == 0 && json_is_true(json_object_get(root, "truncated")))
		fprintf(stderr, "moat: the rest was not kept (%lld bytes on stdout, %lld on stderr "
			"in all)\n", (long long)member_number(root, "stdoutBytes"),
			(long long)member_number(root, "stderrBytes"));
	return status;
}
