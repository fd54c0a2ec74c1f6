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
#include "agent/audit/audit.h"
#include "base/held.h"

#define ARGV_MAX 65536u
#define ENV_MAX 8192u

struct exec_body {
	char **argv, **env;
	const char *command, *context, *session, *cwd, *stdin_encoding, *stdin_as, *shell;
	struct json_blob input;
	const char *id, *instance, *on_slow, *on_disconnect;
	int kill_signal;
	bool tty;
	uint64_t rows, cols;
	uint64_t timeout_ms, output_limit, kill_after_ms, beat_ms, slow_ms;
	bool stdin_open, isolated, shared, wait, create; /* shared: isolated is there, and false */
	char **words; /* of a command that is nothing else */
	bool interpreter; /* the command is beyond the language, and a shell is to have it */
};

#define FIELD(name, kind, member) name, kind, offsetof(struct exec_body, member)

static const char *const encodings[] = { "base64", NULL };
static const char *const stdins[] = { "stream", "file", NULL };
static const char *const shells[] = { "never", "fallback", NULL };
static const char *const slow[] = { "wait", "skip", NULL };
static const char *const disconnected[] = { "keep", "kill", NULL };

static const struct json_field exec_fields[] = {
	{ FIELD("argv", JSON_KIND_TEXTS, argv), .min = 1, .max = ARGV_MAX },
	{ FIELD("command", JSON_KIND_TEXT, command), .max = COMMAND_LENGTH_MAX },
	{ FIELD("context", JSON_KIND_TEXT, context), .min = 1,
	  .max = sizeof(CONFIG_SESSION_PREFIX) - 1 + EXEC_SESSION_MAX },
	{ FIELD("session", JSON_KIND_TEXT, session), .min = 1, .max = EXEC_SESSION_MAX },
	{ FIELD("create", JSON_KIND_BOOL, create) },
	{ FIELD("env", JSON_KIND_ENV, env), .max = ENV_MAX },
	{ FIELD("cwd", JSON_KIND_TEXT, cwd), .min = 1, .max = PATH_MAX - 1 },
	{ FIELD("stdin", JSON_KIND_BLOB, input) },
	{ FIELD("stdinEncoding", JSON_KIND_TEXT, stdin_encoding), .choices = encodings },
	{ FIELD("stdinAs", JSON_KIND_TEXT, stdin_as), .choices = stdins },
	{ FIELD("stdinOpen", JSON_KIND_BOOL, stdin_open) },
	{ FIELD("timeoutMs", JSON_KIND_NUMBER, timeout_ms), .min = 1, .max = EXEC_TIMEOUT_MAX_MS },
	{ FIELD("outputLimit", JSON_KIND_NUMBER, output_limit), .min = 1,
	  .max = EXEC_OUTPUT_LIMIT_MAX },
	{ FIELD("tty", JSON_KIND_BOOL, tty) },
	{ FIELD("rows", JSON_KIND_NUMBER, rows), .min = 1, .max = UINT16_MAX },
	{ FIELD("cols", JSON_KIND_NUMBER, cols), .min = 1, .max = UINT16_MAX },
	{ FIELD("killSignal", JSON_KIND_SIGNAL, kill_signal) },
	{ FIELD("killAfterMs", JSON_KIND_NUMBER, kill_after_ms), .min = 1,
	  .max = EXEC_TIMEOUT_MAX_MS },
	{ FIELD("shell", JSON_KIND_TEXT, shell), .choices = shells },
	{ FIELD("isolated", JSON_KIND_BOOL, isolated) },
	{ FIELD("wait", JSON_KIND_BOOL, wait) },
	{ FIELD("id", JSON_KIND_TEXT, id), .min = 1, .max = EXEC_ID_MAX },
	{ FIELD("instance", JSON_KIND_TEXT, instance), .min = 1, .max = 64 },
	{ FIELD("beatMs", JSON_KIND_NUMBER, beat_ms), .min = API_BEAT_MIN_MS,
	  .max = API_BEAT_MAX_MS },
	{ FIELD("onSlow", JSON_KIND_TEXT, on_slow), .choices = slow },
	{ FIELD("onDisconnect", JSON_KIND_TEXT, on_disconnect), .choices = disconnected },
	{ FIELD("slowMs", JSON_KIND_NUMBER, slow_ms), .min = 1, .max = EXEC_TIMEOUT_MAX_MS },
};

const struct api_body api_exec_body = { exec_fields, ARRAY_LEN(exec_fields) };

static enum exec_shell shell_of(const char *text)
{
	if (!text)
		return EXEC_SHELL_BY_CONTEXT;
	return strcmp(text, "never") == 0 ? EXEC_SHELL_NEVER : EXEC_SHELL_FALLBACK;
}

/* NULL, or what is wrong with *ret_field. */
static const char *check_stdin(const struct exec_body *body, const char **ret_field)
{
	if (body->input.data) {
		*ret_field = body->stdin_open ? "stdinOpen" : "tty";
		if (body->stdin_open || body->tty)
			return "must not stand beside stdin";
	} else {
		*ret_field = body->stdin_encoding ? "stdinEncoding" : "stdinAs";
		if (body->stdin_encoding || body->stdin_as)
			return "needs stdin";
	}
	*ret_field = NULL;
	return NULL;
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
	} else if (!body->create && !body->session) {
		field = "create";
		text = "needs session";
	} else if ((text = check_stdin(body, &field))) {
		;
	} else if (body->id && !exec_id_valid(body->id)) {
		field = "id";
		text = "must be of A-Z a-z 0-9 . _ - and not begin as x1";
	} else if (body->shell && !body->command) {
		field = "shell";
		text = "needs command";
	} else if (!body->wait && body->on_disconnect && strcmp(body->on_disconnect, "kill") == 0) {
		field = "onDisconnect";
		text = "must be keep, or with wait: true kill";
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
	if (info.state != EXEC_ENDED)
		r->exec = exec;
	if (r->streaming) {
		api_line(r, "start");
		api_write_start(r, &info);
		write_warnings(r, CONTEXT_STATE_UNASKED);
		api_line_end(r);
		api_stream_open(r, exec);
		api_resume(r);
	} else if (!r->wait) {
		jbuf_open(&r->reply, '{');
		jbuf_add_text(&r->reply, "id", info.id);
		jbuf_add_text(&r->reply, "context", info.context);
		jbuf_add_bool(&r->reply, "created", info.created);
		jbuf_add_text(&r->reply, "instance", execs_instance(r->api->agent->execs));
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

static void answer_result(struct api_request *r, struct exec *exec)
{
	struct exec_info info;

	exec_get_info(exec, &info);
	exec_get_output(exec, &info);
	jbuf_open(&r->reply, '{');
	api_write_result(&r->reply, &info, API_OUTPUT_HERE, r->pieces);
	jbuf_add_text(&r->reply, "instance", execs_instance(r->api->agent->execs));
	write_warnings(r, info.state_fate);
	jbuf_close(&r->reply, '}');
	r->status = 200;
}

static void on_ended(struct exec_observer *o, struct exec *exec)
{
	struct api_request *r = container_of(o, struct api_request, observer);

	r->exec = NULL;
	if (!r->streaming)
		answer_result(r, exec);
	api_resume(r);
}

void api_exec_detach(struct api_request *r)
{
	struct exec *exec = take_ptr(r->exec);

	if (!exec)
		return;
	if (r->lease)
		(void)exec_end(exec);
	exec_unobserve(exec, &r->observer);
	/* Who gave up before the first line does not know its id, and could not end it. */
	if (r->streaming && r->starter && r->sequence == 0 && !r->retry)
		(void)exec_kill(exec);
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

static void open_observer(struct api_request *r, const struct exec_body *body)
{
	r->reader.known = r->follow = true;
	r->beat_ns = body->beat_ms * NSEC_PER_MSEC;
	if (r->streaming && (!body->on_slow || strcmp(body->on_slow, "wait") == 0))
		r->slow_ns = body->slow_ms * NSEC_PER_MSEC;
	r->observer = (struct exec_observer){
		.on_started = on_started,
		.on_failed = on_failed,
		.on_output = r->streaming ? api_stream_on_output : NULL,
		.on_ended = on_ended,
		.held = r->slow_ns ? &r->reader : NULL,
	};
	list_init(&r->observer.link);
}

/* The request was sent before: its answer is what became of that one. */
static int join(struct api_request *r, struct exec *exec)
{
	struct exec_info info;

	r->retry = true;
	r->slow_ns = 0;
	exec_get_info(exec, &info);
	if (info.state != EXEC_ENDED) {
		r->exec = exec;
		exec_observe(exec, &r->observer);
	}
	if (info.state != EXEC_STARTING && (r->streaming || !r->wait))
		on_started(&r->observer, exec);
	else if (info.state == EXEC_ENDED)
		answer_result(r, exec);
	return 0;
}

/* It is accepted, and nothing of it has run. */
static void record_begin(struct api_request *r, const struct exec_body *body,
			 const struct exec_info *info)
{
	struct ucred peer;

	if (!info->own_env)
		return;
	peer = api_peer_credentials(r);
	audit_record_exec(r->api->agent->audit, AUDIT_EXEC_BEGIN,
			  &(struct audit_exec){
				  .id = (char *)info->id,
				  .context = (char *)info->context,
				  .program = body->argv ? body->argv[0] : NULL,
				  .names = body->env,
				  .pid = peer.pid,
				  .uid = peer.uid,
				  .secure = info->secure,
			  });
}

static int start(struct api_request *r, const struct exec_body *body)
{
	struct exec_request request = {
		.argv = body->argv,
		.command = body->command,
		.words = body->words,
		.interpreter = body->interpreter,
		.context = body->context,
		.env = body->env,
		.session = body->session,
		.no_create = !body->create,
		.isolation = body->isolated ? EXEC_ISOLATED :
			     body->shared   ? EXEC_NOT_ISOLATED :
					      EXEC_ISOLATED_BY_ENV,
		.cwd = body->cwd,
		.stdin_file = body->stdin_as && strcmp(body->stdin_as, "file") == 0,
		.stdin_open = body->stdin_open,
		.timeout_ms = body->timeout_ms,
		.output_limit = body->output_limit,
		.rows = body->tty ? (unsigned short)body->rows : 0,
		.cols = body->tty ? (unsigned short)body->cols : 0,
		.kill_signal = body->kill_signal,
		.kill_after_ms = body->kill_after_ms,
		.id = body->id,
		.body = r->body,
		.body_len = r->body_len,
	};
	struct exec *exec = NULL;
	char *input = NULL;
	int result;

	result = execs_recall(r->api->agent->execs, &request, &exec, &r->error);
	if (result < 0)
		return result;
	open_observer(r, body);
	if (exec)
		return join(r, exec);
	result = take_input(body, &request, &input, &r->error);
	if (result < 0)
		return result;
	result = exec_start(r->api->agent->execs, &request, &r->observer, &exec, &r->error);
	free_wiped(input, body->input.len + 1);
	if (result == 0) {
		struct exec_info info;

		r->starter = true;
		r->exec = exec;
		exec_get_info(exec, &info);
		r->lease = body->wait && (body->on_disconnect ? strcmp(body->on_disconnect, "kill") == 0 : info.secure && !body->id);
		api_record_secrets(r->api, info.context, r->secrets);
		record_begin(r, body, &info);
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
	struct exec_body body = { .wait = true,
				  .create = true,
				  .rows = 24,
				  .cols = 80,
				  .kill_after_ms = EXEC_KILL_AFTER_MS,
				  .beat_ms = API_BEAT_MS,
				  .slow_ms = API_SLOW_MS };
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
		if (result == 0 && body.instance &&
		    strcmp(body.instance, execs_instance(r->api->agent->execs)) != 0)
			result = refuse(
				&r->error, MOAT_E_AGENT_RESTARTED,
				"the agent has been started anew since: what ran is gone, and nothing has run now");
		if (result == 0 && body.shared)
			result = find_secrets(r, root);
		if (result == 0 && body.command)
			refused = !api_string_accept(r, body.command,
						     execs_falls_back(r->api->agent->execs,
								      body.context, body.session,
								      shell_of(body.shell)),
						     &body.words, &body.interpreter);
		if (result == 0 && !refused)
			result = start(r, &body);
		strv_free_wiped(body.words);
		json_release(exec_fields, ARRAY_LEN(exec_fields), &body);
	}
	json_decref(root);
	if (refused)
		r->streaming = false;
	if (result < 0 || refused)
		return refused ? api_respond(r, r->status) : api_refuse(r);
	if (r->retry && r->source)
		return api_respond_stream(r);
	if (r->status)
		return api_respond(r, r->status);
	api_suspend(r);
	return MHD_YES;
}
