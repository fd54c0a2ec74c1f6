/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_ps[] =
	"usage: moat ps [-a] [--json] [--socket PATH]\n\n"
	"Lists the commands that run, and those that ended with children still running\n"
	"(background). The pid is the one inside the namespace of the command.\n\n"
	"  -a, --all  also those that have ended (the newest 256)\n";

static void add_row(struct table *t, const json_t *process)
{
	const json_t *argv = json_object_get(process, "argv"), *word;
	const char *signal = member_text(process, "signal");
	char age[24], line[256] = "";
	size_t i, used = 0;

	if (json_is_null(json_object_get(process, "command")))
		snprintf(line, sizeof(line), "(a string)");
	else
		snprintf(line, sizeof(line), "%s", member_text(process, "command"));
	json_array_foreach(argv, i, word) {
		const char *text = json_string_value(word);

		used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%s", i ? " " : "",
					 text ? text : "(bytes)");
		if (used >= sizeof(line))
			break;
	}
	if (used < sizeof(line) && json_array_size(argv) < (size_t)member_number(process, "argc"))
		snprintf(line + used, sizeof(line) - used, " …");
	table_add(t, "%s", member_text(process, "id"));
	table_add(t, "%s", member_text(process, "state"));
	table_add(t, "%s", member_text(process, "context"));
	table_add(t, "%lld", (long long)member_number(process, "pid"));
	table_add(t, "%s", format_duration((uint64_t)member_number(process, "durationMs"), age,
					   sizeof(age)));
	if (json_is_true(json_object_get(process, "timedOut")))
		table_add(t, "timeout");
	else if (!*signal && json_is_integer(json_object_get(process, "exitCode")))
		table_add(t, "%lld", (long long)member_number(process, "exitCode"));
	else
		table_add(t, "%s", signal);
	table_add(t, "%s", line);
}

int cmd_ps(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS,
						 { "all", no_argument, NULL, 'a' }, { 0 } };
	static const char *const titles[] = { "ID", "STATE", "CONTEXT", "PID", "TIME", "EXIT",
					      "COMMAND", NULL };
	struct table table = { .titles = titles, .color = cli->color };
	json_t *root JSON_OWNED = NULL, *processes, *process;
	bool all = false;
	int option, status;
	size_t i;

	while ((option = getopt_long(argc, argv, "ha", options, NULL)) != -1) {
		if (option == 'a')
			all = true;
		else if (!option_common(cli, "ps", option, &status))
			return status;
	}
	status = no_operands("ps", argc, argv);
	if (status == 0)
		status = agent_get(cli, "GET", "/v1/processes", NULL, &root);
	if (status)
		return status;
	processes = json_object_get(root, "processes");
	for (i = json_array_size(processes); !all && i-- > 0;)
		if (strcmp(member_text(json_array_get(processes, i), "state"), "ended") == 0)
			json_array_remove(processes, i);
	if (printed_json(cli, root))
		return 0;
	json_array_foreach(processes, i, process)
		add_row(&table, process);
	table_print(&table);
	table_free(&table);
	return 0;
}
