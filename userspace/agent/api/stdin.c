/* SPDX-License-Identifier: Apache-2.0 */
/* POST and PUT /v1/processes/{id}/stdin?offset=N&close: the body is what the command reads, byte for byte. */
#include "agent/api/internal.h"

static void write_answer(struct api_request *r)
{
	jbuf_open(&r->reply, '{');
	jbuf_add_text(&r->reply, "id", r->id);
	jbuf_add_unsigned(&r->reply, "accepted", r->input.done);
	jbuf_add_unsigned(&r->reply, "offset", r->input.offset);
	jbuf_add_bool(&r->reply, "closed", r->input.close);
	jbuf_close(&r->reply, '}');
	r->status = 200;
}

static void describe(struct api_request *r, int err)
{
	r->failed = true;
	if (err == -ERANGE) {
		refuse(&r->error, MOAT_E_WRONG_OFFSET, "only %llu bytes were written before",
		       (unsigned long long)r->input.offset);
		r->error.expected = (long long)r->input.offset;
	} else if (err == -EOPNOTSUPP) {
		refuse(&r->error, MOAT_E_BAD_VALUE, "the stdin of a terminal is not closed: send what its programs take for the end");
		snprintf(r->error.field, sizeof(r->error.field), "close");
	} else {
		refuse(&r->error, MOAT_E_STDIN_CLOSED, "the stdin of %.64s is not open, or nobody reads it any more", r->id);
		r->error.expected = (long long)r->input.offset;
	}
}

static void on_done(struct exec_write *w, int err)
{
	struct api_request *r = container_of(w, struct api_request, input);

	r->input_of = NULL;
	if (err < 0)
		describe(r, err);
	else
		write_answer(r);
	api_resume(r);
}

void api_stdin_detach(struct api_request *r)
{
	if (r->input_of)
		exec_cancel_input(take_ptr(r->input_of), &r->input);
}

/* close, close=true or close=false */
static int parse_close(struct api_request *r)
{
	const char *text = api_query(r, "close");

	r->input.close = api_has_query(r, "close") && (!text || strcmp(text, "true") == 0);
	if (!text || r->input.close || strcmp(text, "false") == 0)
		return 0;
	refuse(&r->error, MOAT_E_BAD_VALUE, "close must be true or false");
	snprintf(r->error.field, sizeof(r->error.field), "close");
	return -EINVAL;
}

enum MHD_Result api_process_stdin(struct api_request *r)
{
	struct exec *exec = api_process_find(r);
	int result;

	if (!exec || parse_close(r) < 0 || api_query_number(r, "offset", 0, INT64_MAX, &r->input.offset) < 0)
		return api_refuse(r);
	r->input.has_offset = api_query(r, "offset");
	r->input.data = r->body;
	r->input.n = r->body_len;
	r->input.on_done = on_done;
	r->body_in_use = true;
	r->input_of = exec;
	result = exec_write_input(exec, &r->input);
	if (result < 0) {
		r->input_of = NULL;
		r->input.offset = 0;
		describe(r, result);
	}
	if (r->failed)
		return api_refuse(r);
	if (r->status)
		return api_respond(r, r->status);
	api_suspend(r);
	return MHD_YES;
}

/* --- POST /v1/processes/{id}/resize -------------------------------------------------------- */

struct resize_body {
	uint64_t rows, cols;
};

static const struct json_field resize_fields[] = {
	{ "rows", JSON_KIND_NUMBER, offsetof(struct resize_body, rows), .mandatory = true, .min = 1, .max = UINT16_MAX },
	{ "cols", JSON_KIND_NUMBER, offsetof(struct resize_body, cols), .mandatory = true, .min = 1, .max = UINT16_MAX },
};

const struct api_body api_resize_body = { resize_fields, ARRAY_LEN(resize_fields) };

static int resize(struct api_request *r, struct exec *exec, const struct resize_body *body)
{
	int result = exec_resize(exec, (unsigned short)body->rows, (unsigned short)body->cols);

	if (result == -ENOTTY)
		return refuse(&r->error, MOAT_E_NO_TERMINAL, "%.64s has no terminal", r->id);
	if (result == -ESRCH)
		return refuse(&r->error, MOAT_E_NO_SUCH_PROCESS, "%.64s has ended", r->id);
	return result < 0 ? refuse(&r->error, MOAT_E_INTERNAL, "cannot resize the terminal of %.64s", r->id) : 0;
}

enum MHD_Result api_process_resize(struct api_request *r)
{
	struct exec *exec = api_process_find(r);
	struct resize_body body = { 0 };
	json_t *root;
	int result;

	if (!exec || json_parse(r->body, r->body_len, &root, &r->error) < 0)
		return api_refuse(r);
	result = json_decode(root, resize_fields, ARRAY_LEN(resize_fields), &body, &r->error);
	json_decref(root);
	if (result < 0 || resize(r, exec, &body) < 0)
		return api_refuse(r);
	jbuf_open(&r->reply, '{');
	jbuf_add_text(&r->reply, "id", r->id);
	jbuf_add_unsigned(&r->reply, "rows", body.rows);
	jbuf_add_unsigned(&r->reply, "cols", body.cols);
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}
