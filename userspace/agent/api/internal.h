/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the API server, for userspace/agent/api*.c only.
 *
 *   api.c          the socket, the connections, libmicrohttpd inside the loop
 *   peer.c     who may speak to the agent
 *   request.c  one request: body, answer, suspension, streams
 *   routes.c   the table of routes
 *   answer.c   answers with output of a command
 *   exec.c     POST /v1/exec
 *   process.c  /v1/processes
 *   wait.c     for its end, or for what it writes
 *   stdin.c    what a process reads
 *   stream.c   what a process writes, as it comes
 *   raw.c      the same, nothing but its bytes
 *   ports.c    /v1/ports
 *   context.c  /v1/contexts
 *   files.c, files_answer.c   /v1/contexts/{id}/files
 *   query.c    the query
 *   status.c   /v1/status, /v1/services, /v1/health
 *   events.c   /v1/events
 *   mode.c     /v1/mode
 *   metrics.c  /metrics
 *   openapi.c  /v1/openapi.json, which says of all of them what they take and answer
 *
 * A request is answered at once or suspended: then libmicrohttpd forgets about its connection until
 * api_resume(), and only the disappearance of the client is watched. Everything that comes from a
 * peer has a limit below.
 */
#ifndef MOAT_API_INTERNAL_H
#define MOAT_API_INTERNAL_H

#include <microhttpd.h>
#include <sys/socket.h>

#include "agent/api/api.h"
#include "command/command.h"
#include "json/json.h"
#include "base/list.h"

#define API_ID_MAX 160u /* the name of a session's context is the longest, and its NUL */
#define API_WARNINGS_MAX 16u
#define API_DISCARD_MAX (8u * 1024 * 1024) /* of a body that is refused anyway; then hang up */
#define API_ANSWER_BLOCK (16u * 1024)
#define API_STREAM_BATCH (64u * 1024) /* so much is made of a stream at a time */
#define API_FILES_HIGH (256u * 1024)      /* above: the command is no longer read */
#define API_FILES_LOW (64u * 1024)        /* below: it is read again */
#define API_BEAT_MS 15000u            /* a stream that is silent says so much later that it lives */
#define API_BEAT_MIN_MS 100u
#define API_BEAT_MAX_MS 3600000u
#define API_SLOW_MS 30000u /* so long a command waits for who reads its stream */
/* Requests that wait (a command, a stream); the other connections stay free for short ones. */
#define API_FREE_MAX 64u      /* so many, or a quarter of what there may be */
#define API_REFUSED_MAX 64u   /* connections kept open only to say FORBIDDEN; or a quarter */
#define API_REQUEST_NS (30 * NSEC_PER_SEC) /* for a request to arrive, for an answer to be taken */
#define API_IDLE_NS (300 * NSEC_PER_SEC)   /* between two requests of one connection */

struct api {
	struct agent *agent;
	struct MHD_Daemon *daemon;
	int listen_fd;
	char *path;
	uid_t uid;
	int wake_fd; /* eventfd: libmicrohttpd has more to do, in a turn of its own */
	struct loop_source listen, mhd, wake;
	struct loop_timer retry; /* no descriptor or memory was left for accept4() */
	struct list requests;    /* struct api_request.link */
	struct list idle;        /* struct api_peer.idle, longest idle first */
	struct api_peer *accepting;
	unsigned n_peers, n_refused, n_busy;
	unsigned peers_max, refused_max, busy_max;
	uint64_t answers[6]; /* by the first digit of the HTTP status */
	bool listening, draining;
	bool held; /* nobody is listened to yet */
};

/* One connection. Lives from accept to MHD_CONNECTION_NOTIFY_CLOSED. */
struct api_peer {
	struct api *api;
	int fd; /* owned by libmicrohttpd */
	enum moat_error refused; /* every request of it is answered so; MOAT_OK: it may speak */
	bool busy; /* a request is being worked on: no deadline */
	uint64_t deadline_ns;
	struct loop_timer timer; /* expires at the deadline or before */
	struct list idle;
};

struct api_request;
struct api_files;

/* Output that is encoded while it is sent, behind the first `at` bytes of the answer's text. */
struct api_piece {
	size_t at;
	struct capture_block *block; /* a reference */
	struct {
		size_t from, n;
	} part[2];      /* of it, one behind the other */
	size_t encoded; /* what they are in the answer */
	bool base64;
};

/* What a body of JSON may have. */
struct api_body {
	const struct json_field *fields;
	size_t n;
};

struct api_route {
	const char *method, *path; /* "{…}" stands for one segment */
	const char *const *query;  /* permitted names, NULL-terminated; NULL: none. "name?": also bare */
	bool waits;                /* may take long: counts against busy_max */
	/* Called with the whole body. Answers or suspends; after each api_resume() an unanswered
	 * request is answered with `reply` and `status`, or with its stream. */
	enum MHD_Result (*handle)(struct api_request *r);
	/* A body that is not collected but passed on. begin: called with the headers; r->failed when it refuses. take:
	 * the next bytes; all, or none as long as there is no room: then the request is suspended until api_resume(). */
	void (*begin)(struct api_request *r);
	size_t (*take)(struct api_request *r, const char *data, size_t n);
	/* NULL: no JSON, or a context's, which config/context_keys.h has. */
	const struct api_body *body;
};

struct api_request {
	struct list link;
	struct api *api;
	struct api_peer *peer;
	struct MHD_Connection *connection;
	const struct api_route *route; /* NULL: error says why */
	char id[API_ID_MAX];           /* what stands for {…}, percent escapes decoded */
	char *body;
	size_t body_len, body_capacity, discarded;
	unsigned query; /* bit n: the nth parameter that the route knows was given */
	unsigned n_lengths, n_encodings; /* headers that say where the body ends */
	bool last;   /* the connection ends with this answer */
	bool failed; /* error is the answer */
	struct refusal error;
	char allow[64]; /* methods of the path, for METHOD_NOT_ALLOWED */

	bool handled; /* route->handle was called */
	bool suspended;
	bool gone; /* the client went away */
	struct loop_source hangup;

	unsigned status; /* HTTP status of reply */
	struct jbuf reply;
	struct api_piece pieces[2]; /* of reply; all zero: none */
	size_t held; /* what is counted of body and reply */

	/* A stream: `reply` holds lines that are not sent yet, `sent` bytes of it are. */
	bool streaming, stream_ended;
	size_t sent;
	/* More lines, please; NULL: they come by themselves. */
	void (*refill)(struct api_request *r);

	/* POST /v1/exec */
	struct exec_observer observer;
	struct exec *exec; /* while observed */
	struct command_warnings warnings; /* of its command string */
	bool wait;
	bool lease; /* exec ends with the connection */
	bool starter; /* whose request started exec */
	bool retry; /* of a request that was sent before */
	uint64_t sequence;
	char **secrets; /* names to warn of; NULL: none. Owned */

	/* POST /v1/processes/{id}/stdin */
	struct exec_write input;
	struct exec *input_of; /* while it waits */
	bool body_in_use; /* body stays until the answer */

	/* A stream of what an exec writes, see stream.c */
	struct exec *source; /* pinned; NULL: none */
	struct exec_reader reader;
	struct loop_timer stream_timer;
	uint64_t beat_ns, slow_ns; /* slow_ns 0: nobody waits for it */
	uint64_t sent_ns,
		progress_ns; /* when the last line was made, and the client last took some or had taken all */
	bool follow;
	enum exec_stream raw; /* of which the bytes are sent as they are, from raw_at on */
	uint64_t raw_at;

	struct api_wait *waiting; /* see wait.c; NULL: none */
	/* /v1/contexts/{id}/files; NULL: none. Owned */
	struct api_files *files;
	enum MHD_Result (*respond)(struct api_request *r); /* the answer; NULL: reply */
	struct api_port_wait *port_wait; /* see ports.c; NULL: none */

	/* DELETE /v1/contexts/{id} */
	struct context_waiter waiter;

	/* GET /v1/events */
	struct audit_follower *follower;
	uint64_t since;
};

/* ---- api.c ---- */
/* Lets libmicrohttpd work until it has nothing more to do now. */
void api_run(struct api *api);
/* Has api_run() called soon. Answers made in callbacks of other modules go out this way, so that no
 * request is handled, and no exec started or killed, while such a module is at work. */
void api_wake(struct api *api);

/* ---- peer.c ---- */
/* Checks that peers can be judged at all here: everybody would be refused otherwise. */
int api_peer_check(struct failure *f);
/* Judges the process at the other end of a connection: MOAT_OK, it may speak; FORBIDDEN; or BUSY,
 * want of memory or descriptors kept it from being found out. */
enum moat_error api_peer_judge(struct api *api, int fd);
/* Who made the connection, as the kernel says; a name would be what the process says. */
struct ucred api_peer_credentials(const struct api_request *r);
/* Whether the text of /proc/PID/cgroup names a cgroup of user code or of a moat-init: one beneath
 * the directory of the instance that is not a service's. */
bool api_cgroup_is_user(const char *text, const char *instance_dir);
/* Whether the text of /proc/PID/cgroup names a place of the user code of any instance. */
bool api_cgroup_is_of_user_code(const char *text);

/* ---- request.c ---- */
enum MHD_Result api_on_request(void *cls, struct MHD_Connection *connection, const char *url,
			       const char *method, const char *version, const char *upload,
			       size_t *upload_size, void **request);
void api_on_completed(void *cls, struct MHD_Connection *connection, void **request,
		      enum MHD_RequestTerminationCode why);
/* Queues an answer of any kind; response: taken over, NULL is permitted. */
enum MHD_Result api_queue(struct api_request *r, unsigned status, struct MHD_Response *response,
			  const char *type);
/* Bytes of an answer are on their way: the client has time to take them from now on; or, false, it is waited for
 * others, as long as that takes. */
void api_moving(struct api_request *r, bool moving);
/* Answers with r->reply, which is taken: one JSON value, or (200) text of another type. */
enum MHD_Result api_respond(struct api_request *r, unsigned status);
enum MHD_Result api_respond_text(struct api_request *r, const char *type);
/* The answer is a list, {"name": [...]}: what is written to r->reply between the two is in it. */
void api_list_open(struct api_request *r, const char *name);
enum MHD_Result api_respond_list(struct api_request *r);
/* Answers with r->error. */
enum MHD_Result api_refuse(struct api_request *r);
/* Answers with an NDJSON stream of r->reply, or with one of another type. */
enum MHD_Result api_respond_stream(struct api_request *r);
enum MHD_Result api_respond_stream_as(struct api_request *r, const char *type);
/* The answer comes later, from the loop. Only inside route->handle. */
void api_suspend(struct api_request *r);
/* There is something to send now. Harmless when not suspended. */
void api_resume(struct api_request *r);
/* Bytes of a stream that wait for the client. */
size_t api_stream_pending(const struct api_request *r);
/* {"code": …, "message": …, "details": {…}} */
void api_write_error(struct jbuf *b, const struct refusal *error);
unsigned api_error_status(enum moat_error code);
/* Drops what the request still holds of other modules (its exec, its follower). */
void api_detach(struct api_request *r);

/* ---- query.c ---- */
/* Whether the route knows all parameters, each once; else r->failed. */
void api_check_query(struct api_request *r);
/* Reads the value of a query parameter; NULL when absent. */
const char *api_query(struct api_request *r, const char *name);
/* Whether it is there at all, with a value or without. */
bool api_has_query(struct api_request *r, const char *name);

/* ---- routes.c ---- */
/* All of them, which openapi.json describes. */
const struct api_route *api_routes(size_t *ret_n);
/* The route, with r->id filled; or NULL with r->error, and r->allow for METHOD_NOT_ALLOWED. */
const struct api_route *api_route_find(struct api_request *r, const char *method,
				       const char *path);

/* ---- stream.c: start, stdout, stderr, gap, beat, exit ---- */
/* A line; api_line_end() ends it. */
void api_line(struct api_request *r, const char *type);
void api_line_end(struct api_request *r);
/* The members of a start line. */
void api_write_start(struct api_request *r, const struct exec_info *info);
/* From now on r, which is streaming, says what exec writes from reader.at on, and what becomes of it. */
void api_stream_open(struct api_request *r, struct exec *exec);
void api_stream_detach(struct api_request *r);
/* on_output of the observer of a stream. */
void api_stream_on_output(struct exec_observer *o, struct exec *exec);
enum MHD_Result api_process_events(struct api_request *r);
/* Whether it has ended, or what is waited for of it. */
bool api_stream_has_ended(const struct api_request *r);
/* The query parameter "follow". 0, or -EINVAL with r->error. */
int api_parse_follow(struct api_request *r);
/* The end of what is followed; on_ended of its observer. */
void api_stream_on_ended(struct exec_observer *o, struct exec *exec);
/* raw.c */
enum MHD_Result api_process_stdout(struct api_request *r);
enum MHD_Result api_process_stderr(struct api_request *r);
/* A whole number; where the text is none, or beyond max: -EINVAL with r->error. NULL: *ret is as it was. */
int api_query_number(struct api_request *r, const char *name, uint64_t min, uint64_t max,
		     uint64_t *ret);
/* hex_digit of RFC 3986: 0 to 15, or -1. */
int api_hex_digit(char c);

/* ---- files.c ---- */
void api_files_begin(struct api_request *r);
size_t api_files_take(struct api_request *r, const char *data, size_t n);
enum MHD_Result api_files_get(struct api_request *r);
enum MHD_Result api_files_put(struct api_request *r);
enum MHD_Result api_files_post(struct api_request *r);
enum MHD_Result api_files_delete(struct api_request *r);
/* Makes the workspace of context r->id: 1, respond comes then, or on_failed before the error is the answer. 0: it has none.
 * -EINVAL with r->error. */
int api_files_prepare(struct api_request *r, enum MHD_Result (*respond)(struct api_request *r),
		      void (*on_failed)(struct api_request *r));
/* Ends what it waits for; and frees it. */
void api_files_detach(struct api_request *r);
void api_files_free(struct api_request *r);

/* ---- openapi.c ---- */
/* The text of openapi.json, n bytes. */
const char *api_openapi(size_t *ret_n);

extern const struct api_body api_exec_body, api_wait_body, api_signal_body, api_resize_body,
	api_mode_body, api_change_body;

/* ---- string.c ---- */
/*
 * Whether the language takes the command string; if not, r->reply says why and api_respond() sends it. falls_back: what
 * the language has not, or reads as another text, is accepted for a shell: *ret_interpreter. *ret_words: as of
 * command_plain_words(), the caller's.
 */
bool api_string_accept(struct api_request *r, const char *text, bool falls_back, char ***ret_words,
		       bool *ret_interpreter);

enum MHD_Result api_exec_handle(struct api_request *r);
void api_exec_detach(struct api_request *r);
enum MHD_Result api_processes_list(struct api_request *r);
enum MHD_Result api_process_get(struct api_request *r);
enum MHD_Result api_process_kill(struct api_request *r);
enum MHD_Result api_ports_list(struct api_request *r);
enum MHD_Result api_port_get(struct api_request *r);
void api_port_detach(struct api_request *r);
enum MHD_Result api_process_wait(struct api_request *r);
void api_wait_detach(struct api_request *r);
enum MHD_Result api_process_resize(struct api_request *r);
enum MHD_Result api_process_stdin(struct api_request *r);
void api_stdin_detach(struct api_request *r);
enum MHD_Result api_process_signal(struct api_request *r);
enum MHD_Result api_contexts_list(struct api_request *r);
enum MHD_Result api_context_create(struct api_request *r);
enum MHD_Result api_context_get(struct api_request *r);
enum MHD_Result api_context_patch(struct api_request *r);
enum MHD_Result api_context_reset(struct api_request *r);
enum MHD_Result api_context_remove(struct api_request *r);
void api_context_detach(struct api_request *r);
enum MHD_Result api_services_list(struct api_request *r);
enum MHD_Result api_status_get(struct api_request *r);
enum MHD_Result api_health_get(struct api_request *r);
enum MHD_Result api_mode_get(struct api_request *r);
enum MHD_Result api_mode_put(struct api_request *r);
enum MHD_Result api_metrics_get(struct api_request *r);
enum MHD_Result api_events_get(struct api_request *r);
enum MHD_Result api_openapi_get(struct api_request *r);
void api_events_detach(struct api_request *r);

/* ---- process.c ---- */
/* Where the output of a command is: beside its result; all of it sent already, as a stream; or only
 * with the agent. */
enum api_output { API_OUTPUT_HERE, API_OUTPUT_SENT, API_OUTPUT_ELSEWHERE };

struct exec *api_process_find(struct api_request *r);
const char *api_state_name(const struct exec_info *info);
/* The members of a result, without the braces. pieces: with API_OUTPUT_HERE. */
void api_write_result(struct jbuf *b, const struct exec_info *info, enum api_output output,
		      struct api_piece pieces[2]);

/* ---- context.c ---- */
/* The names in an object of variables that look like secrets, the first API_WARNINGS_MAX; NULL: there are none.
 * 0 or -ENOMEM. */
int api_find_secrets(const json_t *env, char ***ret_names);
/* Records them: all commands of the context can read them. */
void api_record_secrets(struct api *api, const char *context, char *const *names);
/* "warnings": […], of these names, and of a command string; either may be NULL; and of the state. */
void api_write_warnings(struct jbuf *b, char *const *names, const struct command_warnings *string,
			enum context_state_fate fate);
bool api_warns_of(enum context_state_fate fate);

/* ---- answer.c ---- */
/* Counts what the request holds now; see base/held.h. */
void api_count_held(struct api_request *r);
/* "key": text, or base64 with "keyEncoding". */
void api_write_output(struct jbuf *b, const char *key, const char *data, size_t n);
/* The same with an empty string, whose content *ret is sent in its place. cut: an incomplete
 * sequence at the end is left out. */
void api_defer_output(struct jbuf *b, const char *key, const struct exec_output *output, bool cut,
		      struct api_piece *ret);
void api_pieces_free(struct api_piece pieces[2]);
/* An answer of the text with its pieces, all of which it takes over; NULL: out of memory. It is read
 * in blocks of API_ANSWER_BLOCK, less at its end, in order. */
struct api_answer *api_answer_open(struct jbuf *text, struct api_piece pieces[2], size_t *ret_len);
ssize_t api_answer_read(void *answer, uint64_t position, char *buf, size_t max);
void api_answer_close(void *answer);

/* ---- metrics.c ---- */
/* NAME{LABEL="VALUE",…} value, a line of the text exposition format. labels: names and values in
 * turn, up to a NULL; values are escaped. */
void api_write_sample(struct jbuf *b, const char *name, const char *const *labels,
		      const char *value);
/* The _bucket, _sum and _count of a histogram, in seconds. */
void api_write_histogram(struct jbuf *b, const char *name, const struct histogram *h);

/* --- requirements.c ---------------------------------------------------------------------------- */

/* Adds the member "requirements". */
void api_write_requirements(struct jbuf *b, const struct agent *agent);

#endif
