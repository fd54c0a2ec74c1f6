/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/processes/{id}/stdout?since=N&follow: the bytes of one stream and nothing else, for what is large or no text. They
 * cannot say that something is missing between them, so where the agent did not keep something the answer is cut off.
 */
#include "agent/api/internal.h"

static void refill(struct api_request *r)
{
	bool ending = !r->follow || api_stream_has_ended(r);
	uint64_t at = r->raw_at;
	char *place = jbuf_reserve(&r->reply, API_STREAM_BATCH);
	size_t n = place ? exec_read_stream(r->source, r->raw, &at, place, API_STREAM_BATCH) : 0;

	if (!place || at != r->raw_at) {
		r->gone = true;
		return;
	}
	r->reply.len += n;
	r->raw_at += n;
	r->stream_ended = n == 0 && ending;
	api_count_held(r);
}

static enum MHD_Result lost(struct api_request *r, uint64_t first)
{
	refuse(&r->error, MOAT_E_RESULT_GONE, "byte %llu is not kept any more; %llu is the first that is, behind it",
	       (unsigned long long)r->raw_at, (unsigned long long)first);
	r->error.expected = (long long)first;
	return api_refuse(r);
}

static enum MHD_Result respond(struct api_request *r, enum exec_stream stream)
{
	struct exec *exec = api_process_find(r);
	struct exec_info info;
	uint64_t first;
	char none[1];

	if (!exec || api_parse_follow(r) < 0 || api_query_number(r, "since", 0, INT64_MAX, &r->raw_at) < 0)
		return api_refuse(r);
	exec_get_info(exec, &info);
	if (r->raw_at > info.output[stream].total) {
		refuse(&r->error, MOAT_E_BAD_VALUE, "since must be at most what was written");
		snprintf(r->error.field, sizeof(r->error.field), "since");
		r->error.limit = (long long)info.output[stream].total;
		return api_refuse(r);
	}
	first = r->raw_at;
	(void)exec_read_stream(exec, stream, &first, none, 0);
	if (first != r->raw_at)
		return lost(r, first);
	r->raw = stream;
	r->observer.on_output = api_stream_on_output;
	r->observer.on_ended = api_stream_on_ended;
	r->source = exec;
	exec_pin(exec);
	r->refill = refill;
	if (!api_stream_has_ended(r)) {
		r->exec = exec;
		exec_observe(exec, &r->observer);
	}
	return api_respond_stream_as(r, "application/octet-stream");
}

enum MHD_Result api_process_stdout(struct api_request *r)
{
	return respond(r, EXEC_STDOUT);
}

enum MHD_Result api_process_stderr(struct api_request *r)
{
	return respond(r, EXEC_STDERR);
}
