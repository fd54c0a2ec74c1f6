/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/processes/{id}/wait: until it has ended, nothing is left of it, or it has written some text. */
#include "agent/api/internal.h"

#define WAIT_TEXT_MAX 4096u

enum wait_for { WAIT_EXIT, WAIT_TREE, WAIT_OUTPUT };
static const char *const names[] = {
	[WAIT_EXIT] = "exit", [WAIT_TREE] = "tree", [WAIT_OUTPUT] = "output", NULL
};

struct wait_body {
	const char *kind;
	struct json_blob text;
	uint64_t timeout_ms;
};

#define FIELD(name, kind, member) name, kind, offsetof(struct wait_body, member)

static const struct json_field wait_fields[] = {
	{ FIELD("for", JSON_KIND_TEXT, kind), .mandatory = true, .choices = names },
	{ FIELD("text", JSON_KIND_BLOB, text), .min = 1, .max = WAIT_TEXT_MAX },
	{ FIELD("timeoutMs", JSON_KIND_NUMBER, timeout_ms), .min = 1, .max = EXEC_TIMEOUT_MAX_MS },
};

const struct api_body api_wait_body = { wait_fields, ARRAY_LEN(wait_fields) };

struct api_wait {
	struct api_request *request;
	struct exec *exec; /* pinned */
	struct loop_timer timer;
	enum wait_for kind;
	uint64_t seen[2]; /* of each stream, the text is not before that */
	size_t n;
	char text[];
};

/* Whether the text is in what has come of a stream; looks at nothing twice but what may be its beginning. */
static bool search(struct api_wait *w, enum exec_stream stream)
{
	static char window[65536];
	uint64_t start = w->seen[stream];
	size_t n = 0;
	bool found = false;

	while (!found) {
		uint64_t at = start + n;
		size_t more = exec_read_stream(w->exec, stream, &at, window + n, sizeof(window) - n);

		if (at != start + n) { /* lost: what is before it is no beginning any more */
			memmove(window, window + n, more);
			start = at;
			n = 0;
		}
		n += more;
		found = memmem(window, n, w->text, w->n);
		if (more == 0)
			break;
		if (n >= w->n) {
			size_t keep = w->n - 1;

			memmove(window, window + n - keep, keep);
			start += n - keep;
			n = keep;
		}
	}
	w->seen[stream] = start;
	explicit_bzero(window, sizeof(window));
	return found;
}

static bool is_met(struct api_wait *w)
{
	struct exec_info info;

	exec_get_info(w->exec, &info);
	switch (w->kind) {
	case WAIT_EXIT:
		return info.state == EXEC_ENDED;
	case WAIT_TREE:
		return info.state == EXEC_ENDED && !info.background;
	case WAIT_OUTPUT:
		break;
	}
	return search(w, EXEC_STDOUT) || search(w, EXEC_STDERR);
}

static void write_answer(struct api_request *r, bool met)
{
	struct exec_info info;

	exec_get_info(r->waiting->exec, &info);
	jbuf_open(&r->reply, '{');
	jbuf_add_bool(&r->reply, "met", met);
	jbuf_add_text(&r->reply, "for", names[r->waiting->kind]);
	jbuf_add_text(&r->reply, "state", api_state_name(&info));
	api_write_result(&r->reply, &info, API_OUTPUT_ELSEWHERE, NULL);
	jbuf_close(&r->reply, '}');
	r->status = 200;
	api_resume(r);
}

static void on_output(struct exec_observer *o, struct exec *exec)
{
	struct api_request *r = container_of(o, struct api_request, observer);

	(void)exec;
	if (r->status || !is_met(r->waiting))
		return;
	write_answer(r, true);
}

static void on_ended(struct exec_observer *o, struct exec *exec)
{
	struct api_request *r = container_of(o, struct api_request, observer);

	(void)exec;
	r->exec = NULL;
	if (!r->status)
		write_answer(r, is_met(r->waiting));
}

static void on_failed(struct exec_observer *o, const struct refusal *error)
{
	struct api_request *r = container_of(o, struct api_request, observer);

	r->exec = NULL;
	r->error = *error;
	r->failed = true;
	api_resume(r);
}

static void on_timer(struct loop_timer *timer)
{
	struct api_wait *w = container_of(timer, struct api_wait, timer);

	if (!w->request->status)
		write_answer(w->request, false);
}

void api_wait_detach(struct api_request *r)
{
	struct api_wait *w = take_ptr(r->waiting);

	if (!w)
		return;
	loop_timer_cancel(r->api->agent->loop, &w->timer);
	exec_unpin(w->exec);
	free_wiped(w, sizeof(*w) + w->n);
}

static int bad(struct api_request *r, const char *field, const char *text)
{
	refuse(&r->error, MOAT_E_BAD_VALUE, "%s %s", field, text);
	snprintf(r->error.field, sizeof(r->error.field), "%s", field);
	return -EINVAL;
}

static int open_wait(struct api_request *r, struct exec *exec, const struct wait_body *body)
{
	struct api_wait *w;
	size_t kind = json_choice(names, body->kind);

	if ((kind == WAIT_OUTPUT) != (body->text.len > 0))
		return bad(r, "text",
			   kind == WAIT_OUTPUT ? "is what is waited for" : "needs for: output");
	w = calloc(1, sizeof(*w) + body->text.len);
	if (!w)
		return refuse(&r->error, MOAT_E_OUT_OF_MEMORY, "out of memory");
	w->request = r;
	w->exec = exec;
	w->kind = (enum wait_for)kind;
	w->n = body->text.len;
	if (w->n)
		memcpy(w->text, body->text.data, w->n);
	exec_pin(exec);
	r->waiting = w;
	if (body->timeout_ms &&
	    loop_timer_set(r->api->agent->loop, &w->timer, body->timeout_ms * NSEC_PER_MSEC, on_timer) < 0)
		return refuse(&r->error, MOAT_E_OUT_OF_MEMORY, "out of memory");
	return 0;
}

enum MHD_Result api_process_wait(struct api_request *r)
{
	struct exec *exec = api_process_find(r);
	struct wait_body body = { 0 };
	struct exec_info info;
	json_t *root;
	int result;

	if (!exec || json_parse(r->body, r->body_len, &root, &r->error) < 0)
		return api_refuse(r);
	result = json_decode(root, wait_fields, ARRAY_LEN(wait_fields), &body, &r->error);
	if (result == 0)
		result = open_wait(r, exec, &body);
	json_decref(root);
	if (result < 0)
		return api_refuse(r);
	exec_get_info(exec, &info);
	if (is_met(r->waiting)) {
		write_answer(r, true);
	} else if (info.state == EXEC_ENDED && r->waiting->kind != WAIT_TREE && !info.background) {
		write_answer(r, false);
	} else {
		r->observer = (struct exec_observer){ .on_failed = on_failed, .on_ended = on_ended,
						      .on_output = r->waiting->kind == WAIT_OUTPUT ? on_output : NULL,
						      .of_tree = r->waiting->kind != WAIT_EXIT };
		r->exec = exec;
		exec_observe(exec, &r->observer);
		api_suspend(r);
		return MHD_YES;
	}
	return api_respond(r, r->status);
}
