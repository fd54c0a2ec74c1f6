/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running commands: from a decoded request to a finished result.
 *
 *   STARTING --on_spawned--> RUNNING --INIT_EXITED--> ENDED --(cgroup empty)--> reclaimed
 *       \--failure--> FAILED (never listed)
 *
 * The whole table, in finer phases, is in life.c.
 *
 * An exec ends when its command ends, although a background child may keep its output open: what
 * is in the pipes by then belongs to the result. Such a child goes on (namespace user) with its
 * output still captured, or is killed (secure). Ended execs stay listed, the newest
 * EXEC_ENDED_MAX of them, and of those with an id of the client's EXEC_ENDED_CLAIMED_MAX.
 */
#ifndef MOAT_EXEC_H
#define MOAT_EXEC_H

#include <sys/types.h>

#include "agent/context/state.h"
#include "base/histogram.h"
#include "agent/namespace/namespace.h"
#include "agent/process/capture.h"
#include "base/refusal.h"

#define EXEC_RUNNING_MAX 4096u
#define EXEC_ENDED_MAX 256u
#define EXEC_COMMAND_SHOWN 4100u           /* bytes of a command string that are kept */
#define EXEC_ENDED_CLAIMED_MAX 4096u    /* of those whose id a client chose */
#define EXEC_OUTPUT_DEFAULT CAPTURE_MAX /* kept per stream, the first and the last bytes */
#define EXEC_ID_MAX 64u
#define EXEC_CLAIMS_MAX 65536u
#define EXEC_CLAIM_NS                                                                              \
	(3600 * NSEC_PER_SEC) /* how long an id is taken after its result is forgotten */
#define EXEC_SESSION_MAX 128u /* bytes of the id of a session */
#define EXEC_KILL_AFTER_MS 5000u
#define EXEC_TIMEOUT_MAX_MS (7ull * 24 * 3600 * 1000)
#define EXEC_OUTPUT_LIMIT_MAX (1ull << 40) /* bytes; that of a request, if it has one */

struct execs;
struct exec;

/* Whether a command runs apart from all others, in secure. */
enum exec_isolation {
	EXEC_ISOLATED_BY_ENV, /* when it has an env of its own */
	EXEC_ISOLATED,
	EXEC_NOT_ISOLATED,    /* its env is seen by all of its context */
};

/* What becomes of a command string that the language refuses, or reads as another text than a shell. */
enum exec_shell {
	EXEC_SHELL_BY_CONTEXT,
	EXEC_SHELL_NEVER,
	EXEC_SHELL_FALLBACK, /* a shell of the context gets it */
};

/* A decoded request. Borrowed by exec_start(), which copies what it keeps. */
struct exec_request {
	char *const *argv;    /* at least one, argv[0] not empty; NULL: command */
	const char *command;  /* a string that command_parse() takes; evaluated by moat-run */
	char *const *
		words; /* the command is nothing but these: tried without moat-run first; NULL: it is more */
	bool interpreter;     /* the command is for a shell of the context */
	bool files; /* neither of them: moat-run serves a request for files, which comes by stdin_fd. It has
			       * no environment, is not listed */
	int stdin_fd;         /* borrowed, and duplicated */
	const char *context;  /* NULL: "default", or that of the session */
	const char *session;  /* its context is made if it is not there; NULL: none. Not with context */
	bool no_create;       /* it is not */
	char *const *env;     /* KEY=VALUE */
	enum exec_isolation isolation;
	const char *cwd;      /* NULL: the context's directory */
	const void *stdin_data; /* NULL: /dev/null */
	size_t stdin_len;
	bool stdin_file;      /* it is there to be opened: who reads standard input finds its end */
	bool stdin_open;      /* stdin is written with exec_write_input(); not with stdin_data */
	uint64_t timeout_ms;  /* 0: none */
	unsigned short rows, cols; /* not 0: on a terminal of this size; stdin is open then */
	uint64_t
		output_limit; /* bytes of both streams together, with the next one it ends; 0: none */
	int kill_signal;      /* what all of it is sent at the end of these; 0: SIGKILL at once */
	uint64_t kill_after_ms; /* so much later it is killed */
	const char *id;       /* chosen by the client; NULL: none */
	const void *body;     /* with id: what it came with, so that a retry is known as one */
	size_t body_len;
};

enum exec_state { EXEC_STARTING, EXEC_RUNNING, EXEC_ENDED };
enum exec_stream { EXEC_STDOUT, EXEC_STDERR };

/* Bounded capture of one stream. */
struct exec_output {
	const char *data; /* `kept` bytes: of the beginning `head`, the others of the end */
	struct capture_block *block; /* where they are; NULL: nothing */
	size_t kept, head;
	uint64_t total;   /* bytes written by the command so far */
};

/* What can be asked of an exec at any time; pointers are valid until the next loop iteration. */
struct exec_info {
	const char *id; /* "x1-k3f9qa", "x2-k3f9qa", …: never given again; or the client's */
	uint64_t number;       /* the label's exec */
	enum exec_state state;
	const char *context, *ns;
	bool created;          /* it made its context */
	char *const *argv;     /* of a command string: moat-run's own */
	const char *
		command; /* the first EXEC_COMMAND_SHOWN bytes of the string as it was sent; NULL: it was an argv */
	bool interpreted;                   /* a shell was to be given it */
	const char *interpreter;            /* ENDED: which; NULL: none, or not known. Static */
	enum context_state_fate state_fate; /* ENDED: of what the string changed */
	bool secure;           /* it runs apart from all others */
	bool own_env;          /* its request had an env: what its arguments hold may be secret */
	pid_t pid;             /* in its namespace; 0 while starting */
	bool background;       /* ENDED, but children of it still run */
	int exit_code;         /* ENDED: 0..255, or -1 when ended by a signal */
	int signal;            /* ENDED: the signal, or 0 */
	bool timed_out;
	bool output_limited;   /* it wrote more than its limit, which is not kept */
	int oom_killed;        /* 0, 1, or -1: not known on this kernel */
	uint64_t oom_files;    /* oom_killed: bytes of its context's memory that files took then */
	uint64_t started_unix_ms, duration_ms; /* duration so far while running */
	uint64_t user_usec, system_usec, max_rss_kib;
	struct exec_output output[2]; /* by enum exec_stream */
};

/* How far somebody has read the output of an exec: bytes of both streams together, and of each where that is known. */
struct exec_reader {
	uint64_t at, offset[2];
	bool known;
};

/*
 * Watches one exec; embedded in what the API keeps per request. Any callback may be NULL; all run
 * from the loop, in the order started, output…, ended. After on_failed or on_ended nothing follows.
 */
struct exec_observer {
	struct list link; /* internal */
	bool of_tree;     /* on_ended comes when nothing that it has started runs any more */
	/* Nothing that lies behind it is lost: the command waits, when its reader does. NULL: it does not. Of the observer
	 * that exec_start() was given only. */
	struct exec_reader *held;
	void (*on_started)(struct exec_observer *o, struct exec *exec);
	void (*on_failed)(struct exec_observer *o, const struct refusal *error);
	/* There is more for exec_read(). */
	void (*on_output)(struct exec_observer *o, struct exec *exec);
	void (*on_ended)(struct exec_observer *o, struct exec *exec);
};

int execs_open(const struct config *config, struct enforce *enforce, struct cgroups *cgroups,
	       struct loop *loop, struct execs **ret, struct failure *f);
/* What is applied to commands beside the kernel programs. Borrowed. */
const struct layers *execs_layers(const struct execs *execs);
/* At most so many commands at a time (and EXEC_RUNNING_MAX), and so many contexts with namespaces of
 * their own. */
void execs_limit(struct execs *execs, unsigned running, unsigned contexts);
/* Kills every exec and stops every namespace; observers get on_ended or on_failed first. What is pinned can still be read. */
void execs_stop(struct execs *execs);
/* The same, and frees all. Nothing may be pinned any more. */
void execs_close(struct execs *execs);

/*
 * Starts a command. On success *ret_exec is the exec (borrowed; valid while observed or listed) and
 * the observer, which may be NULL, hears the rest. On refusal returns -EINVAL with *error filled;
 * the observer hears nothing and nothing has changed.
 */
int exec_start(struct execs *execs, const struct exec_request *request,
	       struct exec_observer *observer, struct exec **ret_exec, struct refusal *error);
/* One more who watches; of an exec that has not ended, or with of_tree left something running. */
void exec_observe(struct exec *exec, struct exec_observer *o);
/* Stops observing (the client went away); the exec goes on. */
void exec_unobserve(struct exec *exec, struct exec_observer *o);
/* The command waits for its reader no more. */
void exec_unhold(struct exec *exec);
/* As long as somebody reads, it can be read, also when it is forgotten. */
void exec_pin(struct exec *exec);
void exec_unpin(struct exec *exec);

enum exec_read {
	EXEC_READ_NOTHING, /* there is no more now */
	EXEC_READ_LOST,    /* bytes are gone, see ret->lost; then what follows them */
	EXEC_READ_BYTES,
};

struct exec_piece {
	enum exec_stream stream;
	uint64_t at;
	uint32_t ms; /* since the start, when it began to come */
	size_t n;
	bool over;           /* what comes next, if anything, is not of this stream */
	uint64_t lost;       /* EXEC_READ_LOST */
	uint64_t lost_of[2]; /* by stream, where known is true */
	bool known;
};

/*
 * Copies what comes next to buf, at most max bytes, which are of one stream; the reader is where it was until
 * exec_reader_take() says how many were used. Any `at` can be begun from, with offset 0 and known = (at == 0).
 */
enum exec_read exec_read(struct exec *exec, struct exec_reader *r, char *buf, size_t max,
			 struct exec_piece *ret);
void exec_reader_take(struct exec *exec, struct exec_reader *r, const struct exec_piece *piece,
		      size_t n);
/* Copies what lies at *offset of one stream; where that is lost, *offset is moved to what follows. Returns how much. */
size_t exec_read_stream(const struct exec *exec, enum exec_stream stream, uint64_t *offset, char *buf, size_t max);
/* Bytes of both streams so far. */
uint64_t exec_written(const struct exec *exec);

/*
 * Whether a request was sent before, by its id: *ret is then its exec, or NULL when it was not. -EINVAL with *e: the id is
 * another request's, or the result is gone (e->exit_code).
 */
int execs_recall(struct execs *execs, const struct exec_request *request, struct exec **ret,
		 struct refusal *e);
bool exec_id_valid(const char *id);
/* So many ids may be taken; EXEC_CLAIMS_MAX at first. */
void execs_limit_claims(struct execs *execs, size_t max);
/* Of this agent, from its start to its end. */
const char *execs_instance(const struct execs *execs);

struct exec *exec_find(struct execs *execs, const char *id);
void exec_get_info(struct exec *exec, struct exec_info *ret_info);
/* ENDED: as it is answered, 128 and the number of a signal. */
static inline int exec_info_exit_code(const struct exec_info *info)
{
	return info->signal ? 128 + info->signal : info->exit_code;
}
/* Its output as well: what exec_get_info() says of it is only how much there is. */
void exec_get_output(struct exec *exec, struct exec_info *ret_info);
/* Newest last: execs that run, have background children, or ended lately. */
void execs_for_each(struct execs *execs, void (*fn)(struct exec *exec, void *data), void *data);

/* Bytes for standard input, embedded in what they come from; they must stay where they are until on_done. */
struct exec_write {
	struct list link; /* internal, as is placed */
	bool placed;
	const char *data;
	size_t n, done;      /* done: written or left out, being there already */
	uint64_t offset;     /* with has_offset: bytes of stdin before them. In on_done: of all so far */
	bool has_offset;
	bool close;          /* the end of stdin comes behind them */
	/* 0; -ERANGE: bytes before them are missing; -EPIPE: nobody reads it (any more). May come before
	 * exec_write_input() returns. */
	void (*on_done)(struct exec_write *w, int err);
};

/* 0; -EPIPE: it is not open, or not any more; -EOPNOTSUPP: a terminal's cannot be closed. Then on_done is not called. */
int exec_write_input(struct exec *exec, struct exec_write *w);
/* The size of its terminal. 0; -ENOTTY: it has none; -ESRCH: it has ended. */
int exec_resize(struct exec *exec, unsigned short rows, unsigned short cols);
/* What is written of it stays written; on_done is not called. */
void exec_cancel_input(struct exec *exec, struct exec_write *w);

enum exec_target { EXEC_GROUP, EXEC_MAIN, EXEC_TREE };
/* A signal to the command, to its process group, or to all that it has started. -ESRCH when that has ended. */
int exec_signal(struct exec *exec, int signal, enum exec_target to);
/* The same as the end of its time: the signal of its request first, if that has one, then exec_kill(). */
int exec_end(struct exec *exec);
/* SIGKILL to the whole tree, background children included. -ESRCH when nothing is left. One that is still STARTING
 * fails with NOT_STARTED before this returns, and is not to be used any more. */
int exec_kill(struct exec *exec);

/* A TCP socket that a command listens on, or a UDP socket that it has bound. */
struct exec_port {
	const char *protocol; /* "tcp" or "udp" */
	char address[46];
	uint16_t port;
	struct exec *exec;
};
/* In the agent's network namespace, by the kernel's word. 0 or -errno. */
int execs_for_each_port(struct execs *execs, void (*fn)(const struct exec_port *port, void *data), void *data);

/* The id of an exec by its number in labels and events, also of one that is forgotten; NULL when it is not one
 * of this agent's. Until the next call. */
const char *execs_name(struct execs *execs, uint64_t number);
/* The number of a context, by its name; 0: there is none. */
uint64_t execs_context_number(const struct execs *execs, const char *name);
/* The name of a context by its number in labels and events; NULL when there is none. Borrowed. */
const char *execs_context_name(struct execs *execs, uint64_t number);

/* All of them, to be looked at. */
struct contexts *execs_contexts(struct execs *execs);
/* Makes a context, or gives it other settings: of what runs in it nothing changes. values and name are copied;
 * the name is to be checked by the caller. 0, or -EINVAL with *e. */
int execs_context_add(struct execs *execs, const char *name, const struct config_context *values,
		      struct context **ret, struct refusal *e);
int execs_context_change(struct execs *execs, struct context *c, const struct config_context *values,
			 struct refusal *e);

/* Whether a request for this context or session, either of which may be NULL, falls back to a shell. */
bool execs_falls_back(struct execs *execs, const char *context, const char *session,
		      enum exec_shell shell);
/*
 * Makes again what contexts an agent before this one has left in the directory, and keeps from now on what there is
 * there. To be called before the first of them is made, and after execs_limit(). 0 or -errno.
 */
int execs_keep(struct execs *execs, const char *directory, struct failure *f);
/* Why contexts are not kept now; NULL: they are. */
const char *execs_not_kept(const struct execs *execs);
/* Forgets what the commands of a context left of their directory and variables; whether there was anything. */
bool execs_context_reset(struct execs *execs, struct context *c);

/* Whether it is one: UTF-8 without control characters, at most EXEC_SESSION_MAX bytes. */
bool exec_session_id_valid(const char *id);
/* on_end hears of each command whose request had an env, once: when it has ended, or could not be started. */
void execs_watch_ends(struct execs *execs, void (*on_end)(const struct exec_info *info, void *data),
		      void *data);
/* on_expired hears of each context of a session that is removed because nothing has run in it for session_idle. */
void execs_watch_sessions(struct execs *execs, void (*on_expired)(const char *context, void *data), void *data);

/* Who waits for the end of a context. Embedded in what it is for; take it out of its list to wait no more. */
struct context_waiter {
	struct list link;
	void (*on_gone)(struct context_waiter *w); /* from the loop */
};
/*
 * Nothing is started in it any more. What runs in it is killed, or with keep goes on; when nothing does, the
 * context is gone. 0: it is, and must not be used any more. 1: not yet, and w, which may be NULL, hears of it.
 * -EINVAL with *e: it cannot be removed.
 */
int execs_context_remove(struct execs *execs, struct context *c, bool keep, struct context_waiter *w,
			 struct refusal *e);

/* For /v1/status: calls fn for each namespace. */
void execs_for_each_namespace(struct execs *execs, void (*fn)(struct namespace *ns, void *data),
			      void *data);

/* What is counted since start. A command that was accepted is STARTED, and either FAILED, RUNNING
 * (also while it is being started), or one of those behind it; where several are true, the last. */
enum execs_counter {
	EXECS_STARTED,
	EXECS_FAILED,
	EXECS_RUNNING,
	EXECS_EXITED,
	EXECS_SIGNALLED,
	EXECS_OOM_KILLED,
	EXECS_OUTPUT_LIMITED,
	EXECS_TIMED_OUT,
	EXECS_COUNTERS,
};

/* For /v1/status and /metrics. */
struct execs_stats {
	uint64_t counts[CONTEXT_PRIVATE + 1][EXECS_COUNTERS]; /* by enum context_namespace */
	struct histogram spawn; /* from the request to the answer that its command executes */
	uint64_t contexts;
};
void execs_get_stats(const struct execs *execs, struct execs_stats *ret);
/* One counter, or the sum of those from first to last, over all namespaces. */
uint64_t execs_total(const struct execs_stats *stats, enum execs_counter first,
		     enum execs_counter last);

#endif
