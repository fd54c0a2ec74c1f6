/* SPDX-License-Identifier: Apache-2.0 */
/* One request from its headers to its last byte out. */
#include <malloc.h>
#include <sys/epoll.h>

#include "agent/api/internal.h"
#include "base/held.h"
#include "base/log.h"

/* Of this life of the agent: who may ask it anything is told it with every answer. */
static enum MHD_Result add_instance(struct api_request *r, struct MHD_Response *response)
{
	const struct execs *execs = r->api->agent->execs;

	return !execs || r->peer->refused ?
		       MHD_YES :
		       MHD_add_response_header(response, "Moat-Instance", execs_instance(execs));
}

enum MHD_Result api_queue(struct api_request *r, unsigned status, struct MHD_Response *response,
			  const char *type)
{
	enum MHD_Result result = MHD_NO;

	if (!response)
		return MHD_NO;
	if (MHD_add_response_header(response, "Content-Type", type) == MHD_YES &&
	    add_instance(r, response) == MHD_YES &&
	    (!r->allow[0] || MHD_add_response_header(response, "Allow", r->allow) == MHD_YES) &&
	    (!r->last || MHD_add_response_header(response, "Connection", "close") == MHD_YES))
		result = MHD_queue_response(r->connection, status, response);
	r->api->answers[status / 100] += result == MHD_YES;
	MHD_destroy_response(response);
	return result;
}

static void set_busy(struct api_peer *peer, bool busy)
{
	peer->api->n_busy += busy - peer->busy;
	peer->busy = busy;
}

void api_moving(struct api_request *r, bool moving)
{
	set_busy(r->peer, !moving);
	r->peer->deadline_ns = now_ns() + API_REQUEST_NS;
}

/* An answer holds what a command has printed. */
static void free_reply(void *data)
{
	free_wiped(data, malloc_usable_size(data));
}

static enum MHD_Result respond_pieces(struct api_request *r, unsigned status)
{
	struct api_answer *answer = NULL;
	struct MHD_Response *response;
	size_t len;

	if (!r->reply.failed)
		answer = api_answer_open(&r->reply, r->pieces, &len);
	api_count_held(r);
	if (!answer)
		return MHD_NO;
	response = MHD_create_response_from_callback(len, API_ANSWER_BLOCK, api_answer_read, answer,
						     api_answer_close);
	if (!response)
		api_answer_close(answer);
	return api_queue(r, status, response, "application/json");
}

static enum MHD_Result respond(struct api_request *r, unsigned status, const char *type)
{
	struct jbuf reply = r->reply;
	struct MHD_Response *response;
	char *fitting;

	/* From here the client has to take the answer; see on_deadline(). */
	set_busy(r->peer, false);
	r->peer->deadline_ns = now_ns() + API_REQUEST_NS;
	if (r->pieces[1].at)
		return respond_pieces(r, status);
	r->reply = (struct jbuf){ 0 };
	if (reply.failed) {
		jbuf_free(&reply);
		return MHD_NO; /* no memory even for an error: hang up */
	}
	/* Smaller stays in its place; what was never written need not be wiped either. */
	fitting = realloc(reply.data, reply.len);
	if (fitting)
		reply.data = fitting;
	response = MHD_create_response_from_buffer_with_free_callback(reply.len, reply.data,
								      free_reply);
	if (!response)
		jbuf_free(&reply);
	return api_queue(r, status, response, type);
}

enum MHD_Result api_respond(struct api_request *r, unsigned status)
{
	jbuf_newline(&r->reply);
	return respond(r, status, "application/json");
}

void api_list_open(struct api_request *r, const char *name)
{
	jbuf_open(&r->reply, '{');
	jbuf_add_open(&r->reply, name, '[');
}

enum MHD_Result api_respond_list(struct api_request *r)
{
	jbuf_close(&r->reply, ']');
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}

enum MHD_Result api_respond_text(struct api_request *r, const char *type)
{
	return respond(r, 200, type);
}

enum MHD_Result api_refuse(struct api_request *r)
{
	jbuf_free(&r->reply);
	api_pieces_free(r->pieces);
	api_write_error(&r->reply, &r->error);
	return api_respond(r, api_error_status(r->error.code));
}

size_t api_stream_pending(const struct api_request *r)
{
	return r->reply.len - r->sent;
}

static ssize_t on_stream_read(void *cls, uint64_t position, char *buf, size_t max)
{
	struct api_request *r = cls;
	size_t n;

	(void)position;
	if (r->gone || r->reply.failed)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (api_stream_pending(r) == 0) {
		r->reply.len = r->sent = 0;
		if (r->reply.capacity > API_STREAM_BATCH || held_scarce())
			jbuf_free(&r->reply);
		api_count_held(r);
		if (r->refill)
			r->refill(r);
		if (r->gone)
			return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	n = api_stream_pending(r);
	if (n == 0 && r->stream_ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		api_suspend(r);
		return 0;
	}
	n = n < max ? n : max;
	memcpy(buf, r->reply.data + r->sent, n);
	r->sent += n;
	r->progress_ns = now_ns();
	return (ssize_t)n;
}

/* The last answer of its connection: what the client writes beside a stream is never a request, not
 * even where it passes a command's output on to the wrong descriptor. */
enum MHD_Result api_respond_stream_as(struct api_request *r, const char *type)
{
	struct MHD_Response *response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, on_stream_read, r, NULL);

	r->streaming = r->last = true;
	return api_queue(r, 200, response, type);
}

enum MHD_Result api_respond_stream(struct api_request *r)
{
	return api_respond_stream_as(r, "application/x-ndjson");
}

static void on_hangup(struct loop_source *source, uint32_t events)
{
	struct api_request *r = container_of(source, struct api_request, hangup);

	(void)events;
	r->gone = true;
	api_detach(r);
	api_resume(r);
}

void api_suspend(struct api_request *r)
{
	if (r->suspended)
		return;
	/* libmicrohttpd takes the socket out of its epoll set, so a client that goes away would
	 * hold its connection until the command ends. EPOLLHUP: closed, not merely half-closed. */
	MHD_suspend_connection(r->connection);
	r->suspended = true;
	if (loop_add(r->api->agent->loop, &r->hangup, r->peer->fd, 0, on_hangup) < 0)
		log_debug("a waiting client is not watched");
}

void api_resume(struct api_request *r)
{
	if (!r->suspended)
		return;
	loop_remove(r->api->agent->loop, &r->hangup);
	r->suspended = false;
	/* Without a thread of its own libmicrohttpd tells nobody that there is something to do. */
	MHD_resume_connection(r->connection);
	api_wake(r->api);
}

void api_detach(struct api_request *r)
{
	api_exec_detach(r);
	api_stream_detach(r);
	api_stdin_detach(r);
	api_wait_detach(r);
	api_port_detach(r);
	api_events_detach(r);
	api_context_detach(r);
	api_files_detach(r);
}

static void body_free(struct api_request *r)
{
	free_wiped(r->body, r->body_capacity);
	r->body = NULL;
	r->body_len = r->body_capacity = 0;
	api_count_held(r);
}

void api_on_completed(void *cls, struct MHD_Connection *connection, void **request,
		      enum MHD_RequestTerminationCode why)
{
	struct api_request *r = *request;

	(void)cls;
	(void)connection;
	(void)why;
	if (!r)
		return;
	*request = NULL;
	api_detach(r);
	if (r->suspended)
		loop_remove(r->api->agent->loop, &r->hangup);
	list_remove(&r->link);
	set_busy(r->peer, false);
	r->peer->deadline_ns = now_ns() + API_IDLE_NS;
	list_remove(&r->peer->idle);
	list_append(&r->api->idle, &r->peer->idle);
	body_free(r);
	jbuf_free(&r->reply);
	api_pieces_free(r->pieces);
	api_count_held(r);
	strv_free(r->secrets);
	api_files_free(r);
	free(r);
}

/*
 * Where one side sees the end of a body in another place than the other, bytes of the body are
 * taken for a request. What could be read in two ways is refused, and ends the connection.
 */
static enum MHD_Result check_header(void *cls, enum MHD_ValueKind kind, const char *name,
				    const char *value)
{
	struct api_request *r = cls;
	bool wrong = strpbrk(name, " \t");

	(void)kind;
	if (strcasecmp(name, "Content-Length") == 0)
		wrong = ++r->n_lengths > 1 || r->n_encodings;
	else if (strcasecmp(name, "Transfer-Encoding") == 0)
		wrong = ++r->n_encodings > 1 || r->n_lengths || !value ||
			strcasecmp(value, "chunked") != 0;
	if (!wrong)
		return MHD_YES;
	r->failed = r->last = true;
	refuse(&r->error, MOAT_E_BAD_VALUE, "the header %.64s leaves open where the request ends",
	       name);
	snprintf(r->error.field, sizeof(r->error.field), "%s", name);
	return MHD_NO;
}

static void too_large(struct api_request *r)
{
	body_free(r);
	r->failed = true;
	refuse(&r->error, MOAT_E_BODY_TOO_LARGE, "the body is larger than %u bytes",
		      API_BODY_MAX);
	r->error.limit = API_BODY_MAX;
}

static void no_room(struct api_request *r)
{
	body_free(r);
	r->failed = true;
	refuse(&r->error, MOAT_E_BUSY, "%zu MiB are held for clients already; try again",
	       held_used() >> 20);
	r->error.limit = (long long)held_max();
}

static unsigned long long announced(struct api_request *r)
{
	const char *text = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND,
						       "Content-Length");

	return text ? strtoull(text, NULL, 10) : 0;
}

/* RFC 9112, 3.2.2: a proxy is asked for "http://host/path", and so is any server. */
static const char *without_origin(const char *url)
{
	if (strncasecmp(url, "http://", 7) != 0)
		return url;
	url = strchr(url + 7, '/');
	return url ? url : "/";
}

/* Whether it may be worked on now; else r->failed. */
static void admit(struct api_request *r)
{
	if (!r->failed && r->api->draining) {
		r->failed = true;
		refuse(&r->error, MOAT_E_SHUTTING_DOWN, "the agent stops");
	}
	if (!r->failed && r->route->waits && r->api->n_busy >= r->api->busy_max) {
		r->failed = true;
		refuse(&r->error, MOAT_E_TOO_MANY_PROCESSES, "%u requests wait already",
		       r->api->busy_max);
		r->error.limit = r->api->busy_max;
	}
}

/* The headers have arrived. */
static enum MHD_Result begin(struct api *api, struct MHD_Connection *connection, const char *url,
			     const char *method, void **request)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct api_request *r;

	if (!info || !info->socket_context)
		return MHD_NO;
	r = calloc(1, sizeof(*r));
	if (!r)
		return MHD_NO;
	r->api = api;
	r->peer = info->socket_context;
	r->connection = connection;
	r->hangup.fd = -EBADF;
	list_init(&r->waiter.link);
	list_append(&api->requests, &r->link);
	*request = r;

	r->peer->deadline_ns = now_ns() + API_REQUEST_NS;
	list_remove(&r->peer->idle);
	if (r->peer->refused) {
		refuse(&r->error, r->peer->refused, r->peer->refused == MOAT_E_BUSY ?
		       "no memory or descriptor to find out who asks; try again" :
		       "this process may not use the API");
		r->last = true;
		return api_refuse(r);
	}
	MHD_get_connection_values(connection, MHD_HEADER_KIND, check_header, r);
	if (r->failed)
		return api_refuse(r);
	r->route = api_route_find(r, method, without_origin(url));
	r->failed = !r->route;
	if (r->route)
		api_check_query(r);
	if (r->route && r->route->begin) {
		admit(r);
		if (!r->failed)
			r->route->begin(r);
		return MHD_YES;
	}
	if (announced(r) > API_BODY_MAX)
		too_large(r);
	/* An answer before the end of the body ends the connection, and many clients see a broken
	 * pipe instead of it: a body that is only somewhat too large is read and thrown away. */
	return announced(r) > API_DISCARD_MAX ? api_refuse(r) : MHD_YES;
}

static enum MHD_Result take_body(struct api_request *r, const char *data, size_t n)
{
	size_t capacity = r->body_capacity ? r->body_capacity : 4096;
	char *body;

	if (r->failed) {
		r->discarded += n;
		return r->discarded <= API_DISCARD_MAX ? MHD_YES : MHD_NO;
	}
	if (n > API_BODY_MAX - r->body_len) {
		too_large(r);
		return MHD_YES;
	}
	if (n > r->body_capacity - r->body_len) {
		if (r->body_capacity && held_scarce()) {
			no_room(r);
			return MHD_YES;
		}
		while (capacity < r->body_len + n)
			capacity *= 2;
		body = grow_wiped(r->body, r->body_len, r->body_capacity, capacity);
		if (!body)
			return MHD_NO;
		r->body = body;
		r->body_capacity = capacity;
		api_count_held(r);
	}
	memcpy(r->body + r->body_len, data, n);
	r->body_len += n;
	return MHD_YES;
}

/* A body that is passed on. One that is refused is read to its end all the same, whatever its length: only then do
 * clients look at the answer. */
static enum MHD_Result pass_body(struct api_request *r, const char *data, size_t *n)
{
	size_t taken;

	if (r->gone)
		return MHD_NO;
	api_moving(r, true);
	taken = r->failed ? *n : r->route->take(r, data, *n);
	if (taken == 0 && !r->failed) {
		api_moving(r, false);
		api_suspend(r);
	}
	*n -= r->failed ? *n : taken;
	return MHD_YES;
}

/* The request is complete, or was resumed. */
static enum MHD_Result answer(struct api_request *r)
{
	enum MHD_Result result;

	if (r->gone)
		return MHD_NO;
	if (!r->handled && !(r->route && r->route->begin))
		admit(r);
	if (r->failed)
		return api_refuse(r);
	if (!r->handled) {
		r->handled = true;
		set_busy(r->peer, true);
		result = r->route->handle(r);
		if (!r->body_in_use)
			body_free(r);
		return result;
	}
	if (r->respond)
		return r->respond(r);
	if (r->streaming)
		return api_respond_stream(r);
	if (r->status)
		return api_respond(r, r->status);
	refuse(&r->error, MOAT_E_INTERNAL, "the request has no answer");
	return api_refuse(r);
}

enum MHD_Result api_on_request(void *cls, struct MHD_Connection *connection, const char *url,
			       const char *method, const char *version, const char *upload,
			       size_t *upload_size, void **request)
{
	struct api_request *r = *request;
	enum MHD_Result result;

	(void)version;
	if (!r)
		return begin(cls, connection, url, method, request);
	if (*upload_size && r->route && r->route->begin)
		return pass_body(r, upload, upload_size);
	if (*upload_size) {
		result = take_body(r, upload, *upload_size);
		*upload_size = 0;
		return result;
	}
	return answer(r);
}
