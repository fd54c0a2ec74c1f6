/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running commands: from a decoded request to a finished result.
 *
 *   STARTING --on_spawned--> RUNNING --INIT_EXITED--> ENDED --(cgroup empty)--> reclaimed
 *       \--failure--> FAILED (never listed)
 *
 * An exec ends when its command ends, although a background child may keep its output open: what
 * is in the pipes by then belongs to the result. Such a child goes on (namespace user) with its
 * output still captured, or is killed (secure). Ended execs stay listed, the newest
 * EXEC_ENDED_MAX of them.
 */
#ifndef MOAT_EXEC_H
#define MOAT_EXEC_H

#include <sys/types.h>

#include "agent/context/state.h"
#include "base/histogram.h"
#include "agent/namespace/namespace.h"
#include "base/refusal.h"

#define EXEC_RUNNING_MAX 4096u
#define EXEC_ENDED_MAX 256u
#define EXEC_OUTPUT_DEFAULT (1024u * 1024) /* kept per stream, the first bytes */
#define EXEC_COMMAND_SHOWN 4100u           /* bytes of a command string that are kept */
#define EXEC_SESSION_MAX 128u /* bytes of the id of a session */
#define EXEC_TIMEOUT_MAX_MS (7ull * 24 * 3600 * 1000)

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
	bool interpreter;     /* the command is for a shell of the context */
	const char *context;  /* NULL: "default", or that of the session */
	const char *session;  /* its context is made if it is not there; NULL: none. Not with context */
	char *const *env;     /* KEY=VALUE */
	enum exec_isolation isolation;
	const char *cwd;      /* NULL: the context's directory */
	const void *stdin_data; /* NULL: /dev/null */
	size_t stdin_len;
	uint64_t timeout_ms;  /* 0: none */
};

enum exec_state { EXEC_STARTING, EXEC_RUNNING, EXEC_ENDED };
enum exec_stream { EXEC_STDOUT, EXEC_STDERR };

/* Captured output in memory, shared by its exec and the answers that still send it: what is in it
 * does not change, more may be added behind. Counted by held_take() as long as it is there. */
struct exec_block {
	unsigned refs;
	size_t size, used;
	char data[];
};

struct exec_block *exec_block_ref(struct exec_block *block); /* NULL is permitted */
void exec_block_unref(struct exec_block *block);

/* Bounded capture of one stream. */
struct exec_output {
	const char *data; /* the first `kept` bytes */
	struct exec_block *block; /* where they are; NULL: nothing */
	size_t kept;
	uint64_t total;   /* bytes written by the command so far */
};

/* What can be asked of an exec at any time; pointers are valid until the next loop iteration. */
struct exec_info {
	const char *id;        /* "x1-k3f9qa", "x2-k3f9qa", …: never given again */
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
	bool own_env;          /* its request had an env: what its arguments hold may be secret */
	pid_t pid;             /* in its namespace; 0 while starting */
	bool background;       /* ENDED, but children of it still run */
	int exit_code;         /* ENDED: 0..255, or -1 when ended by a signal */
	int signal;            /* ENDED: the signal, or 0 */
	bool timed_out;
	int oom_killed;        /* 0, 1, or -1: not known on this kernel */
	uint64_t oom_files;    /* oom_killed: bytes of its context's memory that files took then */
	uint64_t started_unix_ms, duration_ms; /* duration so far while running */
	uint64_t user_usec, system_usec, max_rss_kib;
	struct exec_output output[2]; /* by enum exec_stream */
};

/*
 * Watches one exec; embedded in what the API keeps per request. Any callback may be NULL; all run
 * from the loop, in the order started, output…, ended. After on_failed or on_ended nothing follows.
 */
struct exec_observer {
	void (*on_started)(struct exec_observer *o, struct exec *exec);
	void (*on_failed)(struct exec_observer *o, const struct refusal *error);
	/* Bytes just read from the command; also given to the capture. */
	void (*on_output)(struct exec_observer *o, struct exec *exec, enum exec_stream stream,
			  const void *data, size_t n);
	void (*on_ended)(struct exec_observer *o, struct exec *exec);
};

int execs_open(const struct config *config, struct enforce *enforce, struct cgroups *cgroups,
	       struct loop *loop, struct execs **ret, struct failure *f);
/* At most so many commands at a time (and EXEC_RUNNING_MAX), and so many contexts with namespaces of
 * their own. */
void execs_limit(struct execs *execs, unsigned running, unsigned contexts);
/* Kills every exec and stops every namespace; observers get on_ended or on_failed first. */
void execs_close(struct execs *execs);

/*
 * Starts a command. On success *ret_exec is the exec (borrowed; valid while observed or listed) and
 * the observer, which may be NULL, hears the rest. On refusal returns -EINVAL with *error filled;
 * the observer hears nothing and nothing has changed.
 */
int exec_start(struct execs *execs, const struct exec_request *request,
	       struct exec_observer *observer, struct exec **ret_exec, struct refusal *error);
/* Stops observing (the client went away); the exec goes on. */
void exec_unobserve(struct exec *exec);
/* Backpressure for a streaming client: stops or resumes reading the command's output. */
void exec_pause(struct exec *exec, bool paused);

struct exec *exec_find(struct execs *execs, const char *id);
void exec_get_info(struct exec *exec, struct exec_info *ret_info);
/* Newest last: execs that run, have background children, or ended lately. */
void execs_for_each(struct execs *execs, void (*fn)(struct exec *exec, void *data), void *data);

/* A signal to the command's process group. -ESRCH when it has ended. */
int exec_signal(struct exec *exec, int signal);
/* SIGKILL to the whole tree, background children included. -ESRCH when nothing is left. */
int exec_kill(struct exec *exec);

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
/* Forgets what the commands of a context left of their directory and variables; whether there was anything. */
bool execs_context_reset(struct execs *execs, struct context *c);

/* Whether it is one: UTF-8 without control characters, at most EXEC_SESSION_MAX bytes. */
bool exec_session_id_valid(const char *id);
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
 * (also while it is being started), or one of those behind it: of several the last. */
enum execs_counter {
	EXECS_STARTED,
	EXECS_FAILED,
	EXECS_RUNNING,
	EXECS_EXITED,
	EXECS_SIGNALLED,
	EXECS_OOM_KILLED,
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
