/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/exec. Three ways to answer, decided by the request:
 *   wait (default)             one result when the command has ended
 *   wait: false                202 with the id as soon as it runs
 *   Accept: application/x-ndjson   start, stdout, stderr …, exit; the last line is always exit
 * A command that cannot be started is an ordinary error in all three: nothing is sent before.
 */
#include <limits.h>

#include "agent/api/internal.h"
#include "base/held.h"

#define ARGV_MAX 65536u
#define ENV_MAX 8192u

struct exec_body {
	char **argv, **env;
	const char *command, *context, *session, *cwd, *stdin_encoding, *shell;
	struct json_blob input;
	uint64_t timeout_ms;
	bool isolated, shared, wait; /* shared: isolated is there, and false */
	bool interpreter; /* the command is beyond the language, and a shell is to have it */
};

#define FIELD(name, kind, member) name, kind, offsetof(struct exec_body, member)

static const struct json_field exec_fields[] = {
	{ FIELD("argv", JSON_KIND_TEXTS, argv), .min = 1, .max = ARGV_MAX },
	{ FIELD("command", JSON_KIND_TEXT, command), .max = COMMAND_LENGTH_MAX },
	{ FIELD("context", JSON_KIND_TEXT, context), .min = 1,
	  .max = sizeof(CONFIG_SESSION_PREFIX) - 1 + EXEC_SESSION_MAX },
	{ FIELD("session", JSON_KIND_TEXT, session), .min = 1, .max = EXEC_SESSION_MAX },
	{ FIELD("env", JSON_KIND_ENV, env), .max = ENV_MAX },
	{ FIELD("cwd", JSON_KIND_TEXT, cwd), .min = 1, .max = PATH_MAX - 1 },
	{ FIELD("stdin", JSON_KIND_BLOB, input) },
	{ FIELD("stdinEncoding", JSON_KIND_TEXT, stdin_encoding), .only = "base64" },
	{ FIELD("timeoutMs", JSON_KIND_NUMBER, timeout_ms), .min = 1, .max = EXEC_TIMEOUT_MAX_MS },
	{ FIELD("shell", JSON_KIND_TEXT, shell), .min = 1, .max = 16 },
	{ FIELD("isolated", JSON_KIND_BOOL, isolated) },
	{ FIELD("wait", JSON_KIND_BOOL, wait) },
};

/* BY_CONTEXT: the request does not say, or says nonsense. */
static enum exec_shell shell_of(const char *text)
{
	if (text && strcmp(text, "never") == 0)
		return EXEC_SHELL_NEVER;
	return text && strcmp(text, "fallback") == 0 ? EXEC_SHELL_FALLBACK : EXEC_SHELL_BY_CONTEXT;
}

static int check_body(const struct exec_body *body, bool stream, struct refusal *error)
{
	const char *field = NULL, *text = NULL;

	if (!body->argv && !body->command) {
		refuse(error, MOAT_E_MISSING_FIELD, "argv is missing; or command, a string");
		snprintf(error->field, sizeof(error->field), "argv");
		return -EINVAL;
	}
	if (body->argv && body->command) {
		field = "command";
		text = "must not stand beside argv";
	} else if (body->argv && !body->argv[0][0]) {
		field = "argv[0]";
		text = "must not be empty";
	} else if (body->cwd && body->cwd[0] != '/') {
		field = "cwd";
		text = "must be an absolute path";
	} else if (body->stdin_encoding && !body->input.data) {
		field = "stdinEncoding";
		text = "needs stdin";
	} else if (body->shell && shell_of(body->shell) == EXEC_SHELL_BY_CONTEXT) {
		field = "shell";
		text = "must be never or fallback";
	} else if (body->shell && !body->command) {
		field = "shell";
		text = "needs command";
	} else if (!body->wait && stream) {
		field = "wait";
		text = "must be true for a stream";
	}
	if (!field)
		return 0;
	refuse(error, MOAT_E_BAD_VALUE, "%s %s", field, text);
	snprintf(error->field, sizeof(error->field), "%s", field);
	return -EINVAL;
}

/* RFC 9110, 12.4.2: "q=0" says that it is not accepted. range: "type;parameter=value;…" */
static bool range_is_stream(char *range)
{
	char *parameter = strsep(&range, ";"), *rest;

	parameter[strcspn(parameter, " \t")] = '\0';
	if (strcasecmp(parameter, "application/x-ndjson") != 0)
		return false;
	while ((parameter = strsep(&range, ";"))) {
		parameter += strspn(parameter, " \t");
		if (strncasecmp(parameter, "q=0", 3) != 0)
			continue;
		rest = parameter + 3 + strspn(parameter + 3, ".0");
		rest += strspn(rest, " \t");
		return *rest != '\0';
	}
	return true;
}

static enum MHD_Result find_stream(void *cls, enum MHD_ValueKind kind, const char *name,
				   const char *value)
{
	char *copy PTR_OWNED = NULL;
	char *rest, *range;

	(void)kind;
	if (strcasecmp(name, "Accept") != 0 || !value)
		return MHD_YES;
	rest = copy = strdup(value);
	while ((range = strsep(&rest, ",")))
		*(bool *)cls = *(bool *)cls || range_is_stream(range + strspn(range, " \t"));
	return MHD_YES;
}

static bool wants_stream(struct api_request *r)
{
	bool stream = false;

	MHD_get_connection_values(r->connection, MHD_HEADER_KIND, find_stream, &stream);
	return stream;
}

static void stream_event(struct api_request *r, const char *type)
{
	/* What is sent already makes room. */
	if (r->sent) {
		memmove(r->reply.data, r->reply.data + r->sent, api_stream_pending(r));
		r->reply.len -= r->sent;
		r->sent = 0;
	}
	jbuf_open(&r->reply, '{');
	jbuf_add_unsigned(&r->reply, "seq", ++r->sequence);
	jbuf_add_text(&r->reply, "type", type);
}

static void stream_event_end(struct api_request *r)
{
	jbuf_close(&r->reply, '}');
	jbuf_newline(&r->reply);
}

static void write_warnings(struct api_request *r, enum context_state_fate fate)
{
	if (r->secrets || r->warnings.n > 0 || api_warns_of(fate))
		api_write_warnings(&r->reply, r->secrets, &r->warnings, fate);
}

static void on_started(struct exec_observer *o, struct exec *exec)
{
	struct api_request *r = container_of(o, struct api_request, observer);
	struct exec_info info;

	exec_get_info(exec, &info);
	r->exec = exec;
	if (r->streaming) {
		stream_event(r, "start");
		jbuf_add_text(&r->reply, "id", info.id);
		jbuf_add_text(&r->reply, "context", info.context);
		jbuf_add_bool(&r->reply, "created", info.created);
		jbuf_add_signed(&r->reply, "pid", info.pid);
		jbuf_add_time(&r->reply, "startedAt", info.started_unix_ms);
		write_warnings(r, CONTEXT_STATE_UNASKED);
		stream_event_end(r);
		api_resume(r);
	} else if (!r->wait) {
		jbuf_open(&r->reply, '{');
		jbuf_add_text(&r->reply, "id", info.id);
		jbuf_add_text(&r->reply, "context", info.context);
		jbuf_add_bool(&r->reply, "created", info.created);
		write_warnings(r, CONTEXT_STATE_UNASKED);
		jbuf_close(&r->reply, '}');
		r->status = 202;
		api_exec_detach(r);
		api_resume(r);
	}
}

static void on_failed(struct exec_observer *o, const struct refusal *error)
{
	struct api_request *r = container_of(o, struct api_request, observer);

	r->exec = NULL;
	r->streaming = false;
	r->error = *error;
	r->failed = true;
	api_resume(r);
}

static void emit_stdout(const char *piece, size_t n, void *arg)
{
	struct api_request *r = arg;

	stream_event(r, "stdout");
	api_write_output(&r->reply, "data", piece, n);
	stream_event_end(r);
}

static void emit_stderr(const char *piece, size_t n, void *arg)
{
	struct api_request *r = arg;

	stream_event(r, "stderr");
	api_write_output(&r->reply, "data", piece, n);
	stream_event_end(r);
}

static const text_piece_fn emitters[] = { [EXEC_STDOUT] = emit_stdout, [EXEC_STDERR] = emit_stderr };

static void on_output(struct exec_observer *o, struct exec *exec, enum exec_stream stream,
		      const void *data, size_t n)
{
	struct api_request *r = container_of(o, struct api_request, observer);

	if (!r->streaming)
		return;
	text_split(&r->text[stream], data, n, emitters[stream], r);
	api_count_held(r);
	if (!r->paused && (held_scarce() || api_stream_pending(r) > API_STREAM_HIGH)) {
		r->paused = true;
		exec_pause(exec, true);
	}
	api_resume(r);
}

static void on_ended(struct exec_observer *o, struct exec *exec)
{
	struct api_request *r = container_of(o, struct api_request, observer);
	struct exec_info info;

	exec_get_info(exec, &info);
	r->exec = NULL;
	if (r->streaming) {
		for (int i = 0; i < 2; i++)
			text_flush(&r->text[i], emitters[i], r);
		stream_event(r, "exit");
		api_write_result(&r->reply, &info, API_OUTPUT_SENT, NULL);
		if (api_warns_of(info.state_fate))
			api_write_warnings(&r->reply, NULL, NULL, info.state_fate);
		stream_event_end(r);
		r->stream_ended = true;
	} else {
		jbuf_open(&r->reply, '{');
		api_write_result(&r->reply, &info, API_OUTPUT_HERE, r->pieces);
		write_warnings(r, info.state_fate);
		jbuf_close(&r->reply, '}');
		r->status = 200;
	}
	api_resume(r);
}

void api_exec_detach(struct api_request *r)
{
	if (!r->exec)
		return;
	if (r->paused)
		exec_pause(r->exec, false);
	r->paused = false;
	/* Who gave up before the first line does not know its id, and could not end it. */
	if (r->streaming && r->sequence == 0)
		(void)exec_kill(r->exec);
	exec_unobserve(take_ptr(r->exec));
}

/* Decodes stdin; *ret_owned is what the caller has to wipe and free. */
static int take_input(const struct exec_body *body, struct exec_request *request, char **ret_owned,
		      struct refusal *error)
{
	char *owned;

	request->stdin_data = body->input.data;
	request->stdin_len = body->input.len;
	if (!body->stdin_encoding)
		return 0;
	owned = malloc(body->input.len + 1);
	if (!owned)
		return refuse(error, MOAT_E_OUT_OF_MEMORY, "out of memory");
	if (base64_decode(body->input.data, body->input.len, owned, &request->stdin_len) < 0) {
		free_wiped(owned, body->input.len + 1);
		refuse(error, MOAT_E_BAD_VALUE, "stdin is not base64");
		snprintf(error->field, sizeof(error->field), "stdin");
		return -EINVAL;
	}
	request->stdin_data = owned;
	*ret_owned = owned;
	return 0;
}

static int start(struct api_request *r, const struct exec_body *body)
{
	struct exec_request request = {
		.argv = body->argv,
		.command = body->command,
		.interpreter = body->interpreter,
		.context = body->context,
		.env = body->env,
		.session = body->session,
		.isolation = body->isolated ? EXEC_ISOLATED :
			     body->shared   ? EXEC_NOT_ISOLATED :
					      EXEC_ISOLATED_BY_ENV,
		.cwd = body->cwd,
		.timeout_ms = body->timeout_ms,
	};
	struct exec *exec = NULL;
	char *input = NULL;
	int result;

	result = take_input(body, &request, &input, &r->error);
	if (result < 0)
		return result;
	r->observer = (struct exec_observer){ on_started, on_failed, on_output, on_ended };
	result = exec_start(r->api->agent->execs, &request, &r->observer, &exec, &r->error);
	free_wiped(input, body->input.len + 1);
	if (result == 0) {
		struct exec_info info;

		r->exec = exec;
		exec_get_info(exec, &info);
		api_record_secrets(r->api, info.context, r->secrets);
	}
	return result;
}

/* Of an env that is not for the command alone. */
static int find_secrets(struct api_request *r, const json_t *root)
{
	return api_find_secrets(json_object_get(root, "env"), &r->secrets) < 0 ?
		       refuse(&r->error, MOAT_E_OUT_OF_MEMORY, "out of memory") : 0;
}

enum MHD_Result api_exec_handle(struct api_request *r)
{
	struct exec_body body = { .wait = true };
	bool refused = false;
	json_t *root;
	int result;

	if (json_parse(r->body, r->body_len, &root, &r->error) < 0)
		return api_refuse(r);
	result = json_decode(root, exec_fields, ARRAY_LEN(exec_fields), &body, &r->error);
	if (result == 0) {
		r->streaming = wants_stream(r);
		r->wait = body.wait;
		body.shared = json_is_false(json_object_get(root, "isolated"));
		result = check_body(&body, r->streaming, &r->error);
		if (result == 0 && body.shared)
			result = find_secrets(r, root);
		if (result == 0 && body.command)
			refused = !api_string_accept(r, body.command,
						     execs_falls_back(r->api->agent->execs,
								      body.context, body.session,
								      shell_of(body.shell)),
						     &body.interpreter);
		if (result == 0 && !refused)
			result = start(r, &body);
		json_release(exec_fields, ARRAY_LEN(exec_fields), &body);
	}
	json_decref(root);
	if (refused)
		r->streaming = false;
	if (result < 0 || refused)
		return refused ? api_respond(r, r->status) : api_refuse(r);
	api_suspend(r);
	return MHD_YES;
}
