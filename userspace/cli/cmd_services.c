/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_services[] =
	"usage: moat services [--json] [--socket PATH]\n\n"
	"Lists the services of the control plane, their ports and why they last failed.\n";

static void add_row(struct table *t, const json_t *service)
{
	const json_t *ports = json_object_get(service, "ports"), *port;
	const json_t *last = json_object_get(service, "lastExit");
	const char *signal = member_text(last, "signal");
	char line[128] = "";
	size_t i, used = 0;

	json_array_foreach(ports, i, port) {
		bool udp = strcmp(member_text(port, "protocol"), "udp") == 0;

		used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%lld%s", i ? "," : "",
					 (long long)member_number(port, "port"), udp ? "/udp" : "");
		if (used >= sizeof(line))
			break;
	}
	table_add(t, "%s", member_text(service, "name"));
	table_add(t, "%s", member_text(service, "state"));
	if (json_is_integer(json_object_get(service, "pid")))
		table_add(t, "%lld", (long long)member_number(service, "pid"));
	else
		table_add(t, "-");
	table_add(t, "%s", line);
	table_add(t, "%lld", (long long)member_number(service, "restarts"));
	if (*signal)
		table_add(t, "%s", signal);
	else if (json_is_object(last))
		table_add(t, "%lld", (long long)member_number(last, "exitCode"));
	else
		table_add(t, "-");
	table_add(t, "%s", member_text(service, "lastError"));
}

int cmd_services(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS, { 0 } };
	static const char *const titles[] = { "NAME", "STATE", "PID", "PORTS", "RESTARTS",
					      "LAST EXIT", "LAST ERROR", NULL };
	struct table table = { .titles = titles, .color = cli->color };
	json_t *root JSON_OWNED = NULL, *service;
	int option, status;
	size_t i;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		if (!option_common(cli, "services", option, &status))
			return status;
	status = no_operands("services", argc, argv);
	if (status == 0)
		status = agent_get(cli, "GET", "/v1/services", NULL, &root);
	if (status || printed_json(cli, root))
		return status;
	json_array_foreach(json_object_get(root, "services"), i, service)
		add_row(&table, service);
	table_print(&table);
	table_free(&table);
	return 0;
}
