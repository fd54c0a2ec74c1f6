/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_logs[] =
	"usage: moat logs [options] ID\n\n"
	"Prints what a command has written so far: its stdout on stdout, its stderr on stderr.\n"
	"The agent keeps the first 256 KiB and the last 768 KiB of each.\n\n"
	"  -f, --follow       go on until it has ended, and exit with its status\n"
	"      --since AT     leave out the first AT bytes of both streams together\n"
	"      --json         print the answer, or the lines of the stream, as JSON\n"
	"      --socket PATH  the socket of moatd\n";

enum { OPTION_SINCE = OPTION_COMMAND };

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

/* -1: go on; else our exit status. */
static int print_event(const json_t *event)
{
	const char *type = member_text(event, "type");
	char *bytes PTR_OWNED = NULL;
	const char *text;
	size_t n;
	int r;

	if (strcmp(type, "exit") == 0)
		return (int)member_number(event, "exitCode");
	if (strcmp(type, "running") == 0)
		return 0;
	if (strcmp(type, "gap") == 0)
		fprintf(stderr, "moat: %lld bytes were not kept\n",
			(long long)member_number(event, "lost"));
	if (strcmp(type, "stdout") != 0 && strcmp(type, "stderr") != 0)
		return -1;
	r = member_output(event, "data", "encoding", &text, &n, &bytes);
	if (r < 0)
		return agent_failed(r);
	r = write_all(type[3] == 'o' ? STDOUT_FILENO : STDERR_FILENO, text, n);
	return r < 0 ? complain("OUTPUT_FAILED", "cannot write: %s", strerror(-r)) : -1;
}

static int print_line(const struct cli *cli, const char *line, size_t len)
{
	json_t *event JSON_OWNED = answer_decode(line, len);
	const char *type = member_text(event, "type");

	if (!event)
		return agent_failed(-EPROTO);
	if (!cli->json)
		return print_event(event);
	if (fwrite(line, 1, len, stdout) != len || putchar('\n') == EOF || fflush(stdout) != 0)
		return complain("OUTPUT_FAILED", "cannot write: %s", strerror(errno));
	if (strcmp(type, "running") == 0)
		return 0;
	return strcmp(type, "exit") == 0 ? (int)member_number(event, "exitCode") : -1;
}

static int follow(struct cli *cli, const char *path)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	struct moat_client *client CLIENT_OWNED = NULL;
	const char *line;
	size_t len;
	int r, status = agent_connect(cli, &client);

	if (status)
		return status;
	r = moat_stream(client, "GET", path, NULL, 0, &response);
	if (r <= 0)
		return r < 0 ? agent_failed(r) : agent_refused(&response);
	while ((r = moat_stream_next(client, &line, &len)) > 0) {
		status = print_line(cli, line, len);
		if (status >= 0)
			return status;
	}
	return agent_failed(r < 0 ? r : -ECONNRESET);
}

static int print_all(struct cli *cli, const char *id)
{
	json_t *root JSON_OWNED = NULL;
	char path[128];
	int status;

	snprintf(path, sizeof(path), "/v1/processes/%s", id);
	status = agent_get(cli, "GET", path, NULL, &root);
	if (status || printed_json(cli, root))
		return status;
	status = print_stream(root, "stdout", STDOUT_FILENO);
	if (status == 0)
		status = print_stream(root, "stderr", STDERR_FILENO);
	if (status == 0 && json_is_true(json_object_get(root, "truncated")))
		fprintf(stderr,
			"moat: not all of it was kept (%lld bytes on stdout, %lld on stderr "
			"in all)\n",
			(long long)member_number(root, "stdoutBytes"),
			(long long)member_number(root, "stderrBytes"));
	return status;
}

int cmd_logs(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		COMMON_OPTIONS,
		{ "follow", no_argument, NULL, 'f' },
		{ "since", required_argument, NULL, OPTION_SINCE },
		{ 0 },
	};
	const char *since = NULL;
	char path[192];
	int option, status;
	bool live = false;

	while ((option = getopt_long(argc, argv, "hf", options, NULL)) != -1) {
		if (option == 'f')
			live = true;
		else if (option == OPTION_SINCE)
			since = optarg;
		else if (!option_common(cli, "logs", option, &status))
			return status;
	}
	if (optind + 1 != argc)
		return usage_error("logs", "which command? moat ps -a lists them");
	if (strpbrk(argv[optind], "/?& \r\n") || strlen(argv[optind]) > 64)
		return usage_error("logs", "not an id: %s", argv[optind]);
	if (since &&
	    (!*since || strspn(since, "0123456789") != strlen(since) || strlen(since) > 18))
		return usage_error("logs", "not a number of bytes: %s", since);
	if (!live && !since)
		return print_all(cli, argv[optind]);
	snprintf(path, sizeof(path), "/v1/processes/%s/events?follow=%s&since=%s", argv[optind],
		 live ? "true" : "false", since ? since : "0");
	status = follow(cli, path);
	return status;
}
