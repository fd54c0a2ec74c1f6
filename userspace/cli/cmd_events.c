/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const char help_events[] =
	"usage: moat events [-f] [--since N] [--json] [--socket PATH]\n\n"
	"Shows what was denied to user code, who has switched the mode, and of commands with\n"
	"variables of their own the begin (exec-begin) and the end (exec-end), oldest first; with\n"
	"a port of a service that somebody holds (port-held), a variable that looks like a secret\n"
	"(secret-name), and a session that has ended (session-expired). The agent keeps the newest\n"
	"1024.\n\n"
	"  -f, --follow   go on with what happens from now on\n"
	"      --since N  only those after number N\n"
	"      --json     one JSON object per line\n";

enum { OPTION_SINCE = OPTION_COMMAND };

static void print_mode(const json_t *event)
{
	const json_t *caller = json_object_get(event, "caller");

	printf("%lld %s mode %s, was %s: by pid %lld, uid %lld\n",
	       (long long)member_number(event, "seq"), member_text(event, "time"),
	       member_text(event, "to"), member_text(event, "from"),
	       (long long)member_number(caller, "pid"), (long long)member_number(caller, "uid"));
}

static void print_denial(const json_t *event)
{
	const json_t *subject = json_object_get(event, "subject");
	const json_t *object = json_object_get(event, "object");
	json_int_t folded = member_number(event, "folded");

	printf("%lld %s %s %s %s: pid %lld (", (long long)member_number(event, "seq"),
	       member_text(event, "time"), member_text(event, "verdict"),
	       member_text(event, "hook"), member_text(event, "errno"),
	       (long long)member_number(subject, "pid"));
	print_safe(member_text(subject, "comm"));
	fputs(") of context ", stdout);
	print_safe(*member_text(subject, "contextName") ? member_text(subject, "contextName") : "?");
	printf(" (%lld), exec %s, on %s %lld", (long long)member_number(subject, "context"),
	       *member_text(subject, "exec") ? member_text(subject, "exec") : "?",
	       member_text(object, "kind"),
	       (long long)member_number(object, "value"));
	if (folded)
		printf(", and %lld more", (long long)folded);
	putchar('\n');
}

/* Of a context: a name that looks like a secret, or the end of a session. */
static void print_context(const json_t *event)
{
	printf("%lld %s %s: context ", (long long)member_number(event, "seq"), member_text(event, "time"),
	       member_text(event, "type"));
	print_safe(member_text(event, "context"));
	if (*member_text(event, "variable")) {
		fputs(", variable ", stdout);
		print_safe(member_text(event, "variable"));
	}
	putchar('\n');
}

/* A command with variables of its own: their names, or how it ended. */
static void print_exec(const json_t *event)
{
	const json_t *caller = json_object_get(event, "caller"),
		     *status = json_object_get(event, "exitCode");
	const json_t *name;
	size_t i;

	printf("%lld %s %s: %s of context ", (long long)member_number(event, "seq"),
	       member_text(event, "time"), member_text(event, "type"), member_text(event, "exec"));
	print_safe(member_text(event, "context"));
	if (!caller) {
		if (json_is_null(status))
			fputs(", not started", stdout);
		else
			printf(", status %lld", (long long)json_integer_value(status));
	} else {
		fputs(", program ", stdout);
		print_safe(*member_text(event, "program") ? member_text(event, "program") :
							    "of a string");
		fputs(", variables", stdout);
		json_array_foreach(json_object_get(event, "variables"), i, name) {
			putchar(' ');
			print_safe(json_string_value(name) ? json_string_value(name) : "?");
		}
		printf(", by pid %lld (uid %lld)", (long long)member_number(caller, "pid"),
		       (long long)member_number(caller, "uid"));
	}
	putchar('\n');
}

/* A port of a service that somebody else has. */
static void print_port(const json_t *event)
{
	printf("%lld %s port-held: service ", (long long)member_number(event, "seq"),
	       member_text(event, "time"));
	print_safe(member_text(event, "service"));
	printf(", port %lld: ", (long long)member_number(event, "port"));
	print_safe(member_text(event, "holder"));
	putchar('\n');
}

static void print_event(const char *line, size_t len)
{
	json_t *event JSON_OWNED = answer_decode(line, len);
	const char *type = member_text(event, "type");

	if (strcmp(type, "gap") == 0 && json_is_null(json_object_get(event, "missed")))
		puts("… the agent was started anew, and numbers begin with 1 again");
	else if (strcmp(type, "gap") == 0)
		printf("… %lld older records are no longer kept\n",
		       (long long)member_number(event, "missed"));
	else if (strcmp(type, "denial") == 0)
		print_denial(event);
	else if (strcmp(type, "mode") == 0)
		print_mode(event);
	else if (strcmp(type, "secret-name") == 0 || strcmp(type, "session-expired") == 0)
		print_context(event);
	else if (strcmp(type, "port-held") == 0)
		print_port(event);
	else if (strcmp(type, "exec-begin") == 0 || strcmp(type, "exec-end") == 0)
		print_exec(event);
}

static int print_stream(struct cli *cli, const char *path)
{
	struct moat_client *client CLIENT_OWNED = NULL;
	struct moat_response response RESPONSE_OWNED = { 0 };
	const char *line;
	size_t len;
	int r = agent_connect(cli, &client);

	if (r)
		return r;
	r = moat_stream(client, "GET", path, NULL, 0, &response);
	if (r == 0)
		return agent_refused(&response);
	while (r > 0 && (r = moat_stream_next(client, &line, &len)) > 0) {
		if (cli->json)
			puts(line);
		else
			print_event(line, len);
		fflush(stdout);
	}
	return r < 0 ? agent_failed(r) : 0;
}

int cmd_events(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS,
						 { "follow", no_argument, NULL, 'f' },
						 { "since", required_argument, NULL, OPTION_SINCE },
						 { 0 } };
	const char *since = "0";
	bool follow = false;
	char path[96];
	int option, status;

	while ((option = getopt_long(argc, argv, "hf", options, NULL)) != -1) {
		if (option == 'f')
			follow = true;
		else if (option == OPTION_SINCE)
			since = optarg;
		else if (!option_common(cli, "events", option, &status))
			return status;
	}
	status = no_operands("events", argc, argv);
	if (status)
		return status;
	if (strspn(since, "0123456789") != strlen(since) || !*since || strlen(since) > 18)
		return usage_error("events", "not a number: %s", since);
	snprintf(path, sizeof(path), "/v1/events?since=%s&follow=%s", since,
		 follow ? "true" : "false");
	return print_stream(cli, path);
}
