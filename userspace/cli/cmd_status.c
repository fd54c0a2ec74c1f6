/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_status[] =
	"usage: moat status [-v] [--json] [--socket PATH]\n\n"
	"Shows what the agent enforces and what it does not, layer by layer.\n\n"
	"  -v, --verbose  also every check, and the decisions of each hook\n";

static void print_word(struct cli *cli, const char *word)
{
	fputs(state_color(cli, word), stdout);
	print_safe(word);
	fputs(color_end(cli), stdout);
}

static void print_summary(struct cli *cli, const json_t *root)
{
	const json_t *enforcement = json_object_get(root, "enforcement");
	const json_t *missing = json_object_get(root, "notEnforced"), *surface;
	const char *reason = member_text(enforcement, "reason");
	char uptime[24];
	size_t i;

	printf("moat %s, instance %s, pid %lld, kernel %s, up %s\n", member_text(root, "version"),
	       member_text(root, "instance"), (long long)member_number(root, "pid"),
	       member_text(root, "kernel"),
	       format_duration((uint64_t)member_number(root, "uptimeMs"), uptime, sizeof(uptime)));
	printf("enforcement: ");
	print_word(cli, member_text(enforcement, "mode"));
	printf(" (configured: %s)", member_text(root, "enforce"));
	if (*reason) {
		fputs(": ", stdout);
		print_safe(reason);
	}
	putchar('\n');
	if (json_array_size(missing)) {
		fputs("NOT enforced by the kernel:", stdout);
		json_array_foreach(missing, i, surface)
			printf("%s %s", i ? "," : "", json_string_value(surface));
		putchar('\n');
	}
}

/* Of a context: that of a session has what its client has chosen in it. */
static void print_name(const char *name)
{
	fputs("  ", stdout);
	print_safe(name);
	printf("%*s", strlen(name) < 14 ? (int)(14 - strlen(name)) : 0, "");
}

static void print_limits_of(const char *name, const json_t *limits)
{
	const json_t *memory = json_object_get(limits, "memoryMax");
	const json_t *pids = json_object_get(limits, "pidsMax");
	const json_t *cpu = json_object_get(limits, "cpuMaxMillis");

	print_name(name);
	if (json_is_integer(memory))
		printf(" memory %lld MiB", (long long)json_integer_value(memory) >> 20);
	if (json_is_integer(pids))
		printf(" processes %lld", (long long)json_integer_value(pids));
	if (json_is_integer(cpu))
		printf(" CPUs %g", (double)json_integer_value(cpu) / 1000);
	puts(json_is_integer(memory) || json_is_integer(pids) || json_is_integer(cpu) ? "" : " none");
}

static void print_limits(const json_t *root)
{
	json_int_t reserve = member_number(root, "memoryReserve");
	const json_t *limits, *missing;
	size_t i;

	puts("\nlimits:");
	json_array_foreach(json_object_get(root, "limits"), i, limits)
		print_limits_of(i ? member_text(limits, "context") : "all user code", limits);
	if (reserve)
		printf("  %-14s memory %lld MiB is kept for it\n", "control plane",
		       (long long)reserve >> 20);
	else
		printf("  %-14s no memory is kept for it\n", "control plane");
	json_array_foreach(json_object_get(root, "notLimited"), i, missing) {
		printf("  NOT limited: %s: ", member_text(missing, "resource"));
		print_safe(member_text(missing, "reason"));
		putchar('\n');
	}
}

static void print_unguarded(const json_t *root)
{
	json_t *list = json_object_get(root, "unguarded"), *place;
	size_t i;

	if (json_array_size(list) > 0)
		puts("\nNOT guarded, so that user code can write what a service executes:");
	json_array_foreach(list, i, place) {
		printf("  %-14s ", member_text(place, "service"));
		print_safe(member_text(place, "path"));
		printf(": %s\n", member_text(place, "reason"));
	}
}

static void print_listening(struct cli *cli, const json_t *root)
{
	static const char *const titles[] = { "SERVICE", "PROTOCOL", "ADDRESS", "PORT", "USER CODE", NULL };
	struct table table = { .titles = titles, .color = cli->color };
	json_t *list = json_object_get(root, "listening"), *socket;
	size_t i;

	if (json_array_size(list) == 0)
		return;
	json_array_foreach(list, i, socket) {
		json_int_t port = member_number(socket, "port");

		table_add(&table, "%s", member_text(socket, "service"));
		table_add(&table, "%s", member_text(socket, "protocol"));
		table_add(&table, "%s", member_text(socket, "address"));
		table_add(&table, port ? "%lld" : "", (long long)port);
		table_add(&table, "%s", member_text(socket, "access"));
	}
	putchar('\n');
	table_print(&table);
	table_free(&table);
}

static void print_requirements(struct cli *cli, const json_t *root)
{
	json_t *list = json_object_get(root, "requirements"), *one, *name;
	size_t i, k;

	if (json_array_size(list))
		puts("\npromises:");
	json_array_foreach(list, i, one) {
		const char *guard = member_text(one, "guard"), *by = member_text(one, "by");
		const json_t *not_for = json_object_get(one, "notFor");

		printf("  %-3s %-12s ", member_text(one, "id"), member_text(one, "name"));
		print_safe(member_text(one, "text"));
		fputs(": ", stdout);
		print_word(cli, guard);
		printf("%s%s", *by ? ", by " : "", by);
		if (json_array_size(not_for) && strcmp(guard, "not guarded") != 0)
			fputs("; NOT for", stdout);
		else
			not_for = NULL;
		json_array_foreach(not_for, k, name) {
			fputs(k ? ", " : " ", stdout);
			print_safe(json_string_value(name));
		}
		putchar('\n');
	}
}

static void print_layers(struct cli *cli, const json_t *root, bool verbose)
{
	json_t *layers = json_object_get(root, "layers"), *layer, *check;
	const char *name;
	size_t i;

	puts("\nlayers:");
	json_object_foreach(layers, name, layer) {
		printf("  %-12s", name);
		print_word(cli, member_text(layer, "state"));
		if (*member_text(layer, "reason")) {
			fputs(": ", stdout);
			print_safe(member_text(layer, "reason"));
		}
		putchar('\n');
		json_array_foreach(json_object_get(layer, "checks"), i, check) {
			bool ok = json_is_true(json_object_get(check, "ok"));

			if (ok && !verbose)
				continue;
			printf("    %s %s: ", ok ? "+" : "-", member_text(check, "name"));
			print_safe(member_text(check, "detail"));
			putchar('\n');
		}
	}
}

static void print_numbers(const json_t *root)
{
	const json_t *execs = json_object_get(root, "execs"), *ns;
	const json_t *events = json_object_get(root, "events");
	size_t i;

	puts("\nnamespaces:");
	json_array_foreach(json_object_get(root, "namespaces"), i, ns) {
		print_name(member_text(ns, "name"));
		printf(" pid %lld\n", (long long)member_number(ns, "pid"));
	}
	printf("\ncommands: %lld running, %lld started, %lld ended, %lld timed out, "
	       "%lld failed to start\n", (long long)member_number(execs, "running"),
	       (long long)member_number(execs, "started"), (long long)member_number(execs, "ended"),
	       (long long)member_number(execs, "timedOut"),
	       (long long)member_number(execs, "failed"));
	printf("records of denials: %lld folded, %lld lost because the ring was full\n",
	       (long long)member_number(events, "folded"),
	       (long long)member_number(events, "lostRingFull"));
}

static void print_hooks(struct cli *cli, const json_t *root)
{
	static const char *const titles[] = { "HOOK", "SURFACE", "ALLOWED", "DENIED", "WOULD DENY",
					      NULL };
	struct table table = { .titles = titles, .color = cli->color };
	json_t *hook;
	size_t i;

	json_array_foreach(json_object_get(root, "hooks"), i, hook) {
		table_add(&table, "%s", member_text(hook, "hook"));
		table_add(&table, "%s", member_text(hook, "surface"));
		table_add(&table, "%lld", (long long)member_number(hook, "allowed"));
		table_add(&table, "%lld", (long long)member_number(hook, "denied"));
		table_add(&table, "%lld", (long long)member_number(hook, "wouldDeny"));
	}
	putchar('\n');
	table_print(&table);
	table_free(&table);
}

int cmd_status(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS,
						 { "verbose", no_argument, NULL, 'v' }, { 0 } };
	json_t *root JSON_OWNED = NULL;
	bool verbose = false;
	int option, status;

	while ((option = getopt_long(argc, argv, "hv", options, NULL)) != -1) {
		if (option == 'v')
			verbose = true;
		else if (!option_common(cli, "status", option, &status))
			return status;
	}
	status = no_operands("status", argc, argv);
	if (status == 0)
		status = agent_get(cli, "GET", "/v1/status", NULL, &root);
	if (status || printed_json(cli, root))
		return status;
	print_summary(cli, root);
	print_requirements(cli, root);
	print_layers(cli, root, verbose);
	print_limits(root);
	print_unguarded(root);
	print_listening(cli, root);
	print_numbers(root);
	if (verbose)
		print_hooks(cli, root);
	return 0;
}
