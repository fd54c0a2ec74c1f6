/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to the agent, and what to tell people when they fail. */
#include <stdarg.h>

#include "base/base64.h"
#include "cli/cli.h"

bool errors_as_json;

static void print_error(const char *code, const char *message)
{
	json_t *error JSON_OWNED = NULL;

	fflush(stdout);
	if (errors_as_json) {
		error = json_object();
		json_object_set_new(error, "code", json_string(code));
		json_object_set_new(error, "message", json_string(message));
		json_dumpf(error, stderr, JSON_COMPACT);
		fputc('\n', stderr);
		return;
	}
	fputs("moat: ", stderr);
	fprint_safe(stderr, message);
	fprintf(stderr, " (%s)\n", code);
}

char *format_text(const char *fmt, va_list ap)
{
	char *text;

	return vasprintf(&text, fmt, ap) < 0 ? NULL : text;
}

int complain(const char *code, const char *fmt, ...)
{
	char *message PTR_OWNED = NULL;
	va_list ap;

	va_start(ap, fmt);
	message = format_text(fmt, ap);
	va_end(ap);
	print_error(code, message ? message : "out of memory");
	return CLI_FAILED;
}

int agent_connect(const struct cli *cli, struct moat_client **ret)
{
	const char *path = cli->socket ? cli->socket : getenv("MOAT_SOCKET");
	int r = moat_connect(cli->socket, ret);

	if (r == 0)
		return 0;
	complain("AGENT_UNREACHABLE", "cannot reach the agent at %s: %s", path && *path ? path : MOAT_SOCKET_DEFAULT,
		 strerror(-r));
	if (errors_as_json)
		return CLI_FAILED;
	if (r == -ENOENT || r == -ECONNREFUSED)
		fputs("moatd does not run, or listens elsewhere. Start it (moatd -c "
		      "/etc/moat/moat.conf), or name\nits socket with --socket PATH or "
		      "MOAT_SOCKET.\n", stderr);
	else if (r == -EACCES || r == -EPERM)
		fputs("The socket is for root and the user of the agent, and never for commands "
		      "that run\nunder moat.\n", stderr);
	return CLI_FAILED;
}

int agent_failed(int r)
{
	if (r == -ECONNRESET)
		return complain("CONNECTION_LOST", "the agent closed the connection before it had answered");
	if (r == -EPROTO)
		return complain("PROTOCOL_ERROR", "what listens on the socket does not speak moat's protocol");
	if (r == -EMSGSIZE)
		return complain("ANSWER_TOO_LARGE", "the answer of the agent is too large");
	return complain("CONNECTION_FAILED", "cannot talk to the agent: %s", strerror(-r));
}

json_t *answer_decode(const char *text, size_t len)
{
	return json_loadb(text, len, JSON_ALLOW_NUL, NULL);
}

int member_output(const json_t *object, const char *key, const char *encoding, const char **ret,
		  size_t *ret_len, char **ret_owned)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);
	size_t n = json_string_length(value);
	char *bytes PTR_OWNED = NULL;

	if (!text)
		return -EPROTO;
	if (strcmp(member_text(object, encoding), "base64") == 0) {
		bytes = malloc(n + 1);
		if (!bytes)
			return -ENOMEM;
		if (base64_decode(text, n, bytes, &n) < 0)
			return -EPROTO;
		text = bytes;
	}
	*ret = text;
	*ret_len = n;
	*ret_owned = take_ptr(bytes);
	return 0;
}

const char *member_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

json_int_t member_number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* Of a command string: where, and what to do instead. */
static void print_hint(const json_t *details)
{
	const char *hint = member_text(details, "hint"), *excerpt = member_text(details, "excerpt");

	if (errors_as_json || !*hint)
		return;
	if (*excerpt) {
		fputs("  ", stderr);
		fprint_safe(stderr, excerpt);
		fputs("\n", stderr);
	}
	fprintf(stderr, "%s\n", hint);
	if (json_object_get(details, "retry"))
		fputs("With --shell=fallback a shell is given the whole string.\n", stderr);
}

int agent_refused(const struct moat_response *response)
{
	json_t *root JSON_OWNED = answer_decode(response->body, response->len);
	const char *code = member_text(root, "code");

	if (!*code)
		return complain("PROTOCOL_ERROR", "the agent answered with HTTP status %d", response->status);
	print_error(code, member_text(root, "message"));
	print_hint(json_object_get(root, "details"));
	return moat_exit_status(code);
}

int agent_call(const struct cli *cli, const char *method, const char *path, const char *body,
	       struct moat_response *ret)
{
	struct moat_client *client CLIENT_OWNED = NULL;
	struct moat_response response RESPONSE_OWNED = { 0 };
	int r = agent_connect(cli, &client);

	if (r)
		return r;
	r = moat_call(client, method, path, body, body ? strlen(body) : 0, &response);
	if (r < 0)
		return agent_failed(r);
	if (response.status >= 300)
		return agent_refused(&response);
	*ret = response;
	response = (struct moat_response){ 0 };
	return 0;
}

int agent_get(const struct cli *cli, const char *method, const char *path, const char *body,
	      json_t **ret_root)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	int r = agent_call(cli, method, path, body, &response);

	if (r)
		return r;
	*ret_root = answer_decode(response.body, response.len);
	return *ret_root ? 0 : agent_failed(-EPROTO);
}

void print_warnings(const json_t *answer)
{
	json_t *warning;
	size_t i;

	json_array_foreach(json_object_get(answer, "warnings"), i, warning) {
		fputs("moat: warning: ", stderr);
		if (json_object_get(warning, "offset"))
			fprintf(stderr, "byte %lld", (long long)member_number(warning, "offset"));
		fprint_safe(stderr, member_text(warning, "name"));
		fputs(": ", stderr);
		fprint_safe(stderr, member_text(warning, "message"));
		fprintf(stderr, " (%s)\n", member_text(warning, "code"));
	}
}

bool printed_json(const struct cli *cli, json_t *root)
{
	if (!cli->json)
		return false;
	json_dumpf(root, stdout, isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT);
	putchar('\n');
	return true;
}
