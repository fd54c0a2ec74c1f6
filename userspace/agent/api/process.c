/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/processes: what runs, what ended lately, and their results. */
#include "agent/api/internal.h"

static void write_status(struct jbuf *b, const struct exec_info *info)
{
	bool ended = info->state == EXEC_ENDED;
	char name[24];

	if (ended)
		jbuf_add_signed(b, "exitCode", exec_info_exit_code(info));
	else
		jbuf_add_null(b, "exitCode");
	jbuf_add_text(b, "signal", ended && info->signal ?
		      signal_name(info->signal, name, sizeof(name)) : NULL);
	jbuf_add_bool(b, "timedOut", info->timed_out);
	jbuf_add_bool(b, "outputLimited", info->output_limited);
	if (info->oom_killed < 0)
		jbuf_add_null(b, "oomKilled");
	else
		jbuf_add_bool(b, "oomKilled", info->oom_killed > 0);
	if (info->oom_killed > 0)
		jbuf_add_unsigned(b, "filesInMemory", info->oom_files);
}

void api_write_result(struct jbuf *b, const struct exec_info *info, enum api_output output,
		      struct api_piece pieces[2])
{
	const struct exec_output *out = &info->output[EXEC_STDOUT];
	const struct exec_output *err = &info->output[EXEC_STDERR];
	bool running = info->state != EXEC_ENDED;

	jbuf_add_text(b, "id", info->id);
	write_status(b, info);
	if (output == API_OUTPUT_HERE) {
		api_defer_output(b, "stdout", out, running, &pieces[0]);
		api_defer_output(b, "stderr", err, running, &pieces[1]);
	}
	jbuf_add_unsigned(b, "stdoutBytes", out->total);
	jbuf_add_unsigned(b, "stderrBytes", err->total);
	jbuf_add_bool(b, "truncated", output != API_OUTPUT_SENT &&
		      (out->total > out->kept || err->total > err->kept));
	jbuf_add_unsigned(b, "durationMs", info->duration_ms);
	jbuf_add_text(b, "context", info->context);
	jbuf_add_bool(b, "created", info->created);
	if (info->interpreted)
		jbuf_add_text(b, "interpreter", info->interpreter);
}

const char *api_state_name(const struct exec_info *info)
{
	switch (info->state) {
	case EXEC_STARTING:
		return "starting";
	case EXEC_RUNNING:
		return "running";
	case EXEC_ENDED:
		break;
	}
	return info->background ? "background" : "ended";
}

/* Arguments are written until they are as long; what an own env gives the command, its arguments
 * often hold as well: of these only the program. */
#define ARGV_SHOWN_MAX 4096u

static void write_argv(struct jbuf *b, const struct exec_info *info)
{
	size_t shown = 0, n = strv_len(info->argv);
	bool cut = info->own_env && n > 1;

	jbuf_add_open(b, "argv", '[');
	for (size_t i = 0; i < n && (i == 0 || !info->own_env); i++) {
		size_t len = strlen(info->argv[i]);

		shown += len + 1;
		cut |= shown > ARGV_SHOWN_MAX + 1;
		if (i && shown > ARGV_SHOWN_MAX)
			break;
		if (len > ARGV_SHOWN_MAX)
			len = ARGV_SHOWN_MAX;
		jbuf_bytes(b, info->argv[i], len);
	}
	jbuf_close(b, ']');
	jbuf_add_unsigned(b, "argc", n);
	jbuf_add_bool(b, "cut", cut);
}

/*
 * In the place of argv: the string as it was sent, never what its words became. Cut at a
 * character. Its first word may be an assignment: beside an own env nothing of it is shown.
 */
static void write_command(struct jbuf *b, const char *command, bool own_env)
{
	size_t n = strlen(command);

	jbuf_add_null(b, "argv");
	jbuf_add_bool(b, "cut", own_env || n > ARGV_SHOWN_MAX);
	if (own_env) {
		jbuf_add_null(b, "command");
		return;
	}
	if (n > ARGV_SHOWN_MAX)
		n = ARGV_SHOWN_MAX - utf8_partial_tail(command, ARGV_SHOWN_MAX);
	jbuf_key(b, "command");
	jbuf_text_n(b, command, n);
}

/* What a process is, beside its result. */
static void write_process(struct jbuf *b, const struct exec_info *info)
{
	jbuf_add_text(b, "state", api_state_name(info));
	jbuf_add_text(b, "namespace", info->ns);
	if (info->command)
		write_command(b, info->command, info->own_env);
	else
		write_argv(b, info);
	jbuf_add_signed(b, "pid", info->pid);
	jbuf_add_unsigned(b, "number", info->number);
	jbuf_add_time(b, "startedAt", info->started_unix_ms);
	jbuf_add_unsigned(b, "userUs", info->user_usec);
	jbuf_add_unsigned(b, "systemUs", info->system_usec);
	jbuf_add_unsigned(b, "maxRssKiB", info->max_rss_kib);
}

static void list_one(struct exec *exec, void *data)
{
	struct jbuf *b = data;
	struct exec_info info;

	exec_get_info(exec, &info);
	jbuf_open(b, '{');
	api_write_result(b, &info, API_OUTPUT_ELSEWHERE, NULL);
	write_process(b, &info);
	jbuf_close(b, '}');
}

enum MHD_Result api_processes_list(struct api_request *r)
{
	api_list_open(r, "processes");
	execs_for_each(r->api->agent->execs, list_one, &r->reply);
	return api_respond_list(r);
}

struct exec *api_process_find(struct api_request *r)
{
	struct exec *exec = exec_find(r->api->agent->execs, r->id);

	if (!exec)
		refuse(&r->error, MOAT_E_NO_SUCH_PROCESS, "there is no process %s", r->id);
	return exec;
}

enum MHD_Result api_process_get(struct api_request *r)
{
	struct exec *exec = api_process_find(r);
	struct exec_info info;

	if (!exec)
		return api_refuse(r);
	exec_get_info(exec, &info);
	exec_get_output(exec, &info);
	jbuf_open(&r->reply, '{');
	api_write_result(&r->reply, &info, API_OUTPUT_HERE, r->pieces);
	jbuf_add_text(&r->reply, "instance", execs_instance(r->api->agent->execs));
	write_process(&r->reply, &info);
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}

/* -ESRCH says that there was nothing left to kill, which is what the client wanted. */
enum MHD_Result api_process_kill(struct api_request *r)
{
	struct exec *exec = api_process_find(r);
	int result;

	if (!exec)
		return api_refuse(r);
	result = exec_kill(exec);
	if (result < 0 && result != -ESRCH) {
		refuse(&r->error, MOAT_E_INTERNAL, "cannot kill %s", r->id);
		r->error.err = -result;
		return api_refuse(r);
	}
	jbuf_open(&r->reply, '{');
	jbuf_add_text(&r->reply, "id", r->id);
	jbuf_add_bool(&r->reply, "killed", result == 0);
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}

struct signal_body {
	int signal;
	const char *to;
};

static const char *const targets[] = {
	[EXEC_GROUP] = "group", [EXEC_MAIN] = "main", [EXEC_TREE] = "tree", NULL
};

static const struct json_field signal_fields[] = {
	{ "signal", JSON_KIND_SIGNAL, offsetof(struct signal_body, signal), .mandatory = true },
	{ "to", JSON_KIND_TEXT, offsetof(struct signal_body, to), .choices = targets },
};

const struct api_body api_signal_body = { signal_fields, ARRAY_LEN(signal_fields) };

static int decode_signal(struct api_request *r, struct signal_body *body, enum exec_target *ret)
{
	json_t *root;
	size_t to = EXEC_GROUP;
	int result;

	if (json_parse(r->body, r->body_len, &root, &r->error) < 0)
		return -EINVAL;
	result = json_decode(root, signal_fields, ARRAY_LEN(signal_fields), body, &r->error);
	if (result == 0 && body->to)
		to = json_choice(targets, body->to);
	json_decref(root);
	*ret = (enum exec_target)to;
	return result;
}

enum MHD_Result api_process_signal(struct api_request *r)
{
	struct signal_body body = { 0 };
	struct exec *exec = api_process_find(r);
	enum exec_target to;
	char name[24];
	int result;

	if (!exec || decode_signal(r, &body, &to) < 0)
		return api_refuse(r);
	result = exec_signal(exec, body.signal, to);
	if (result == -ESRCH)
		refuse(&r->error, MOAT_E_NO_SUCH_PROCESS, "%s has ended", r->id);
	else if (result < 0)
		refuse(&r->error, MOAT_E_INTERNAL, "cannot signal %s", r->id);
	if (result < 0) {
		r->error.err = -result;
		return api_refuse(r);
	}
	jbuf_open(&r->reply, '{');
	jbuf_add_text(&r->reply, "id", r->id);
	jbuf_add_text(&r->reply, "signal", signal_name(body.signal, name, sizeof(name)));
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}
