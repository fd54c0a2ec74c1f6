/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process writes, as NDJSON. Lines are made when the client can take them, out of what the exec keeps: so any number of
 * clients may follow, from whatever byte on, and a slow one costs nothing but a gap. Only the client whose request started the
 * command is waited for, and not for ever.
 */
#include "agent/api/internal.h"
#include "base/held.h"

static char piece_data[API_STREAM_BATCH];

void api_line(struct api_request *r, const char *type)
{
	jbuf_open(&r->reply, '{');
	jbuf_add_unsigned(&r->reply, "seq", ++r->sequence);
	jbuf_add_text(&r->reply, "type", type);
}

void api_line_end(struct api_request *r)
{
	jbuf_close(&r->reply, '}');
	jbuf_newline(&r->reply);
	r->sent_ns = now_ns();
}

void api_write_start(struct api_request *r, const struct exec_info *info)
{
	jbuf_add_text(&r->reply, "id", info->id);
	jbuf_add_text(&r->reply, "context", info->context);
	jbuf_add_bool(&r->reply, "created", info->created);
	jbuf_add_signed(&r->reply, "pid", info->pid);
	jbuf_add_time(&r->reply, "startedAt", info->started_unix_ms);
	jbuf_add_text(&r->reply, "instance", execs_instance(r->api->agent->execs));
}

static void write_gap(struct api_request *r, const struct exec_piece *piece)
{
	api_line(r, "gap");
	jbuf_add_unsigned(&r->reply, "at", piece->at);
	jbuf_add_unsigned(&r->reply, "lost", piece->lost);
	if (piece->known) {
		jbuf_add_unsigned(&r->reply, "stdout", piece->lost_of[EXEC_STDOUT]);
		jbuf_add_unsigned(&r->reply, "stderr", piece->lost_of[EXEC_STDERR]);
	}
	api_line_end(r);
}

/* n of the bytes at the place where the reader is. */
static void write_bytes(struct api_request *r, const struct exec_piece *piece, const char *data,
			size_t n)
{
	api_line(r, piece->stream == EXEC_STDOUT ? "stdout" : "stderr");
	jbuf_add_unsigned(&r->reply, "at", r->reader.at);
	jbuf_add_unsigned(&r->reply, "t", piece->ms);
	api_write_output(&r->reply, "data", data, n);
	api_line_end(r);
	exec_reader_take(r->source, &r->reader, piece, n);
}

/* No line ends within a UTF-8 sequence as long as the rest of it may come. False: it is waited for. */
static bool write_piece(struct api_request *r, const struct exec_piece *piece, bool ending)
{
	size_t partial = utf8_partial_tail(piece_data, piece->n), whole = piece->n - partial;

	if (whole)
		write_bytes(r, piece, piece_data, whole);
	if (partial && (piece->over || ending))
		write_bytes(r, piece, piece_data + whole, partial);
	return whole || !partial || piece->over || ending;
}

static void write_exit(struct api_request *r)
{
	struct exec_info info;

	exec_get_info(r->source, &info);
	api_line(r, info.state == EXEC_ENDED ? "exit" : "running");
	jbuf_add_unsigned(&r->reply, "at", r->reader.at);
	api_write_result(&r->reply, &info, API_OUTPUT_SENT, NULL);
	if (api_warns_of(info.state_fate))
		api_write_warnings(&r->reply, NULL, NULL, info.state_fate);
	api_line_end(r);
	r->stream_ended = true;
}

bool api_stream_has_ended(const struct api_request *r)
{
	struct exec_info info;

	exec_get_info(r->source, &info);
	return info.state == EXEC_ENDED && !(r->observer.of_tree && info.background);
}

static void refill(struct api_request *r)
{
	bool ending = !r->follow || api_stream_has_ended(r);
	struct exec_piece piece;
	enum exec_read kind = EXEC_READ_BYTES;
	size_t max = held_scarce() ? sizeof(piece_data) / 16 : sizeof(piece_data);

	while (kind != EXEC_READ_NOTHING && r->reply.len < API_STREAM_BATCH / 2) {
		kind = exec_read(r->source, &r->reader, piece_data, max, &piece);
		if (kind == EXEC_READ_LOST)
			write_gap(r, &piece);
		else if (kind == EXEC_READ_BYTES && !write_piece(r, &piece, ending))
			break;
	}
	explicit_bzero(piece_data, max);
	if (kind == EXEC_READ_NOTHING && ending && !r->stream_ended)
		write_exit(r);
	api_count_held(r);
}

void api_stream_on_output(struct exec_observer *o, struct exec *exec)
{
	(void)exec;
	api_resume(container_of(o, struct api_request, observer));
}

/* --- What time brings ---------------------------------------------------------------------- */

static void on_stream_timer(struct loop_timer *timer);

static void set_timer(struct api_request *r, uint64_t now)
{
	uint64_t until = r->sent_ns + r->beat_ns;

	if (r->slow_ns && r->progress_ns + r->slow_ns < until)
		until = r->progress_ns + r->slow_ns;
	/* Without a timer a silent stream stays silent, and a slow client is waited for no more. */
	if (loop_timer_set(r->api->agent->loop, &r->stream_timer, until > now ? until - now : 1,
			   on_stream_timer) < 0 &&
	    r->exec && r->slow_ns)
		exec_unhold(r->exec);
}

/* A client that has lines to take and takes none is slow; one that has nothing to take hears that all is well. */
static void on_stream_timer(struct loop_timer *timer)
{
	struct api_request *r = container_of(timer, struct api_request, stream_timer);
	uint64_t now = now_ns();

	bool due = now - r->sent_ns >= r->beat_ns;

	if (r->suspended)
		r->progress_ns = now;
	if (r->suspended && due) {
		api_line(r, "beat");
		jbuf_add_unsigned(&r->reply, "at", r->reader.at);
		jbuf_add_time(&r->reply, "time", unix_ms());
		api_line_end(r);
		api_resume(r);
	} else if (r->slow_ns && r->exec && now - r->progress_ns >= r->slow_ns) {
		r->slow_ns = 0;
		exec_unhold(r->exec);
	} else if (due) {
		r->sent_ns = now;
	}
	set_timer(r, now);
}

void api_stream_open(struct api_request *r, struct exec *exec)
{
	r->source = exec;
	exec_pin(exec);
	r->refill = refill;
	r->streaming = true;
	r->sent_ns = r->progress_ns = now_ns();
	set_timer(r, r->sent_ns);
}

void api_stream_detach(struct api_request *r)
{
	struct exec *exec = take_ptr(r->source);

	if (!exec)
		return;
	loop_timer_cancel(r->api->agent->loop, &r->stream_timer);
	r->refill = NULL;
	exec_unpin(exec);
}

/* --- GET /v1/processes/{id}/events --------------------------------------------------------- */

void api_stream_on_ended(struct exec_observer *o, struct exec *exec)
{
	struct api_request *r = container_of(o, struct api_request, observer);

	(void)exec;
	r->exec = NULL;
	api_resume(r);
}

static int bad_query(struct api_request *r, const char *name, const char *what)
{
	refuse(&r->error, MOAT_E_BAD_VALUE, "%s must be %s", name, what);
	snprintf(r->error.field, sizeof(r->error.field), "%s", name);
	return -EINVAL;
}

int api_query_number(struct api_request *r, const char *name, uint64_t min, uint64_t max,
		     uint64_t *ret)
{
	const char *text = api_query(r, name);
	uint64_t value;

	if (!text)
		return 0;
	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18)
		return bad_query(r, name, "a whole number");
	value = strtoull(text, NULL, 10);
	if (value < min || value > max) {
		bad_query(r, name, value < min ? "larger" : "smaller");
		r->error.limit = (long long)(value < min ? min : max);
		return -EINVAL;
	}
	*ret = value;
	return 0;
}

int api_parse_follow(struct api_request *r)
{
	const char *text = api_query(r, "follow");

	r->observer.of_tree = text && strcmp(text, "tree") == 0;
	r->follow = !text || r->observer.of_tree || strcmp(text, "true") == 0;
	return r->follow || strcmp(text, "false") == 0 ?
		       0 :
		       bad_query(r, "follow", "true, false or tree");
}

enum MHD_Result api_process_events(struct api_request *r)
{
	struct exec *exec = api_process_find(r);
	uint64_t beat_ms = API_BEAT_MS;
	struct exec_info info;

	if (!exec || api_parse_follow(r) < 0 ||
	    api_query_number(r, "since", 0, INT64_MAX, &r->reader.at) < 0 ||
	    api_query_number(r, "beatMs", API_BEAT_MIN_MS, API_BEAT_MAX_MS, &beat_ms) < 0)
		return api_refuse(r);
	if (r->reader.at > exec_written(exec)) {
		bad_query(r, "since", "at most what was written");
		r->error.limit = (long long)exec_written(exec);
		return api_refuse(r);
	}
	exec_get_info(exec, &info);
	r->reader.known = r->reader.at == 0;
	r->beat_ns = beat_ms * NSEC_PER_MSEC;
	r->observer.on_output = api_stream_on_output;
	r->observer.on_ended = api_stream_on_ended;
	api_line(r, "start");
	api_write_start(r, &info);
	api_line_end(r);
	api_stream_open(r, exec);
	if (!api_stream_has_ended(r)) {
		r->exec = exec;
		exec_observe(exec, &r->observer);
	}
	return api_respond_stream(r);
}
