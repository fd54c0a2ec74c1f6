/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the exec module share: start.c (requests), exec.c (all of them), life.c (what happens to one),
 * failure.c (why not), string.c (command strings), contexts.c (how they come and go), output.c (pipes),
 * read.c (what is kept of them, and who reads it), input.c (stdin), ended.c (results that are kept),
 * claim.c (ids of clients), info.c (what can be asked). */
#ifndef MOAT_EXEC_INTERNAL_H
#define MOAT_EXEC_INTERNAL_H

#include "agent/context/kept.h"
#include "agent/context/state.h"
#include "agent/exec/exec.h"
#include "agent/process/records.h"
#include "base/list.h"

#define EXEC_BUCKETS 1024u
#define EXEC_ID_SIZE (EXEC_ID_MAX + 1)
#define EXEC_CHUNK 65536u
/* Captured output of ended execs, or a quarter of held_max() where that is less. */
#define EXECS_OUTPUT_ENDED_MAX (16u * 1024 * 1024)
/* How long nothing of a killed tree may die before its exec counts as ended all the same. */
#define EXEC_KILL_GRACE_NS (5 * NSEC_PER_SEC)

struct execs {
	const struct config *config;
	struct enforce *enforce;
	struct cgroups *cgroups;
	struct loop *loop;
	struct contexts *contexts;
	struct namespaces *namespaces;
	struct kept *kept;         /* NULL: nothing is */
	struct list idle_sessions; /* contexts, the longest idle first */
	struct loop_timer session_timer;
	void (*on_session_expired)(const char *context, void *data);
	void *session_data;
	void (*on_end)(const struct exec_info *info, void *data);
	void *end_data;
	bool closing, walking;
	int runner;      /* moat-run, borrowed; negative: it was not there when the agent started */
	int spare[2][2]; /* pipes for the next command: our end, its end; -EBADF: none */

	struct list all;   /* in the order started */
	struct list ended[2]; /* reclaimed, in the order ended; [1]: with an id of the client's */
	size_t n_active;   /* in all, but not in ended */
	unsigned running_max;
	size_t n_ended[2];
	uint64_t last_ended;
	size_t kept_ended; /* bytes of captured output */
	struct exec *buckets[EXEC_BUCKETS];
	uint64_t first_number; /* of this agent; ids count from it */
	uint64_t last_number;
	char life[8];          /* of this agent, in every id */
	char instance[24];     /* the same, so that no two are alike */
	struct exec_claims *claims;
	struct execs_stats stats;
	char chunk[EXEC_CHUNK];
};

struct exec_pipe {
	struct loop_source source;
	int fd;        /* our end, non-blocking; -EBADF when closed */
	int child_end; /* until spawned */
	struct capture kept;
	size_t owed; /* it held when the command ended, and is not taken yet */
	bool stalled; /* not listened to, until its reader has made room */
};

/* Of a command string. */
struct exec_string {
	char *shown;   /* its beginning, for listings */
	char *text;    /* until it executes; counted as held */
	char *entries; /* what goes with it, see run/protocol.h */
	size_t len, entries_len;
	bool wants_state;      /* what it changes is the context's */
	bool interpreted;      /* a shell gets it */
	const char *interpreter; /* static, NULL: not known */
	char **words; /* of one that is no more than an argv, until it executes; NULL: for moat-run */
	size_t words_size;
	int file, end, socket; /* for moat-run both; ours */
	enum context_state_fate fate;
};

struct exec_claim;

/* Finer than enum exec_state; life.c has the table. */
enum exec_phase {
	EXEC_PHASE_NEW,        /* not accepted yet */
	EXEC_PHASE_STARTING,
	EXEC_PHASE_RUNNING,    /* its command executes */
	EXEC_PHASE_KILLED,     /* the same, and is killed with all that it has started */
	EXEC_PHASE_LEAVING,    /* its command is gone; what that left behind is killed, and waited for */
	EXEC_PHASE_CLOSING,    /* the result lacks only what the pipes held when the command ended */
	EXEC_PHASE_BACKGROUND, /* the result is there; what the command left behind goes on */
	EXEC_PHASE_CLEARING,   /* nothing runs any more */
	EXEC_PHASE_GONE,       /* only the result is left */
};

struct exec {
	struct list link, ended_link;
	struct list in_context; /* in context->execs */
	struct exec *next; /* in its bucket */
	struct execs *execs;
	struct context *context;
	struct namespace *ns;
	struct list observers;
	struct exec_reader *held; /* of the observer that the command waits for; NULL: for none */
	unsigned pins;
	bool forgotten;           /* freed when it is pinned no more */
	struct exec_claim *claim; /* of an id that the client chose */
	struct records records;
	struct cgroup *cgroup;
	struct loop_timer timer; /* the time limit; once killed, the grace period */
	struct loop_timer again; /* more of what the pipes held at the end */
	int kill_signal;         /* what its time limit begins with; 0: SIGKILL */
	uint64_t kill_after_ns;  /* of that */
	bool asked;              /* it was sent */
	uint64_t deadline_ns;    /* of the command and all it has started; 0: none */
	uint64_t number;
	char id[EXEC_ID_SIZE];

	struct namespace_spawn spawn; /* valid while STARTING */
	char *cwd;
	bool in_state; /* cwd is where an earlier command of the context went */
	char **env;
	size_t env_size;
	char **argv;
	size_t argv_size;
	bool is_string;
	bool is_files; /* not a command: a request for files */
	struct exec_string string;
	int stdin_fd; /* -EBADF: /dev/null */
	bool is_terminal;
	unsigned short rows, cols; /* of it, at first */
	struct {
		int fd; /* our end, non-blocking; -EBADF: closed, or there is none */
		struct loop_source source;
		struct list writes;
		uint64_t written;
	} input;
	struct exec_pipe out[2];

	enum exec_phase phase;
	bool killed; /* we killed the tree: nothing of it waits for a reader */
	size_t alive; /* KILLED, LEAVING: how many of it there were when we last looked */
	bool left;   /* the command has ended, and processes of the tree run on */
	bool timed_out, output_limited;
	uint64_t output_limit; /* bytes; 0: none */
	bool own_env; /* the request had one */
	bool of_client; /* its id */
	uint64_t nth_ended;
	bool created; /* its context was made for it */
	int status, oom_killed;
	uint64_t oom_files; /* what files in memory took of its context when it was short of it */
	pid_t pid;
	uint64_t started_ns, ended_ns, started_unix_ms;
	uint64_t user_usec, system_usec, max_rss_kib;
};

/* start.c: once; without moat-run everything works but command strings. */
void exec_open_runner(struct execs *execs);

/* failure.c */

/* Of -errno from within the agent, before anything runs. Returns -EINVAL. */
int exec_describe_errno(struct refusal *e, int err);
/* Of what moat-init, or the namespace, says. err: positive. */
void exec_describe_failure(struct refusal *e, const struct exec *x, int err, enum init_step step);

/* string.c */
void exec_string_init(struct exec *x);
/* Takes what is needed of it along; directory: where it starts. Whether it sees the context's
 * state, and changes it. 0 or -errno. */
int exec_string_copy(struct exec *x, const char *text, const char *directory, bool sees,
		     bool changes);
/* What is nothing but words is executed as an argv is, unless it cannot be: what to say then moat-run knows. */
int exec_string_copy_words(struct exec *x, char *const *words);
/* Leaves it to moat-run; false: it was already. */
bool exec_string_leave_words(struct exec *x);
/* Its turn has come; it has executed; it has ended, and what it changed is the context's; it is forgotten. */
int exec_string_open(struct exec *x);
void exec_string_started(struct exec *x);
void exec_string_ended(struct exec *x);
void exec_string_close(struct exec *x);
void exec_string_free(struct exec *x);

/* contexts.c */

/* The cgroups of those that are there. 0 or -errno. */
int exec_contexts_open(struct execs *execs, struct failure *f);
/* Once namespaces are there: what the configuration requires by name. 0 or -EINVAL. */
int exec_check_required(struct execs *execs, struct failure *f);
/* The one that the request names; that of a session is made where it is not there, *ret_created. 0, or -EINVAL
 * with *e. */
int exec_context_of(struct execs *execs, const struct exec_request *request, struct context **ret,
		    bool *ret_created, struct refusal *e);
/* It was made for a command that is refused. */
void exec_context_unmake(struct execs *execs, struct context *c);
/* Settings for a context, one reference of them, if it may have them. 0, or -EINVAL with *e. */
int exec_settings_make(struct execs *execs, const struct config_context *values,
		       struct context_settings **ret, struct refusal *e);
/* A context with them; takes over the reference, also in case of errors. */
int exec_context_enter(struct execs *execs, const char *name, struct context_settings *settings,
		       struct context **ret, struct refusal *e);
/* Nothing runs in it from now on: a session's time runs. */
void exec_session_idle(struct execs *execs, struct context *c);
/* x is to run in its context; has nothing more to do with running; and is no more. */
void exec_enter_context(struct exec *x);
void exec_leave_context(struct exec *x);
void exec_forget_context(struct exec *x);

/* claim.c */

/* 0 or -errno. */
int exec_claims_open(struct execs *execs);
void exec_claims_close(struct execs *execs);
/* The one with an id that a client chose, NULL. */
struct exec *exec_claimed(const struct execs *execs, const char *id);
/* Takes the id of the request for x, if it has one. 0, or -EINVAL with *e. */
int exec_claim(struct exec *x, const struct exec_request *request, struct refusal *e);
/* x is forgotten. */
void exec_claim_leave(struct exec *x, int exit_code);

/* read.c */

/* There is more; room that was missing may be there. */
void exec_tell_output(struct exec *x);
/* How much may be read from a pipe now: 0, its reader has to make room. */
size_t exec_room(struct exec *x, enum exec_stream stream, size_t want);
void exec_keep(struct exec *x, enum exec_stream stream, const char *data, size_t n);
/* capture_take_fn; arg: the exec that the memory is for. */
bool exec_take_memory(size_t n, void *arg);

/* info.c: it has ended, or could not be started. */
void exec_tell_watcher(struct exec *x);
/* Those who wait for its end, or with tree for that of all it has started; none of them hears more. */
void exec_tell_ended(struct exec *x, bool tree);

/* info.c: as answered, 128 and the number of a signal. */
int exec_exit_code(const struct exec *x);
/* info.c: ENDED: what it is counted as. */
enum execs_counter exec_result(const struct exec *x);

/* info.c: numbers and ids of this agent, which none before or after it gives. 0 or -errno. */
int exec_ids_open(struct execs *execs);
void exec_id_make(const struct execs *execs, uint64_t number, char ret[EXEC_ID_SIZE]);

/* exec.c */
void exec_wipe_env(struct exec *x);
/* Frees what only a living command needs. */
void exec_release(struct exec *x);
/* GONE: nothing of it is to run, or runs, any more. */
void exec_leave(struct exec *x);
/* Frees an exec in whatever phase it is; no accounting but that of its output. */
void exec_free(struct exec *x);

/* life.c: the namespace's callbacks. An exit, or with reply->exec = 0 the loss of ns. */
void exec_on_exit(struct namespace *ns, const struct init_reply *reply, void *data);
void exec_on_spawned(struct namespace_spawn *spawn, int err, enum init_step step, pid_t pid);
void exec_on_timer(struct loop_timer *timer);
/* The next piece of what the pipes owe. */
void exec_on_again(struct loop_timer *timer);
/* Its context was removed: it does not start, or is killed with all it has started. May free x. */
void exec_stop(struct exec *x);
/* The agent ends. */
void exec_end_now(struct exec *x);

static inline enum exec_state exec_state_of(const struct exec *x)
{
	if (x->phase <= EXEC_PHASE_STARTING)
		return EXEC_STARTING;
	return x->phase < EXEC_PHASE_BACKGROUND ? EXEC_RUNNING : EXEC_ENDED;
}

/* Whether it counts as one that runs. With !left the result may be there already. */
static inline bool exec_is_active(const struct exec *x)
{
	return x->phase != EXEC_PHASE_NEW && x->phase != EXEC_PHASE_GONE;
}

/* Whether only what the pipes hold is waited for. */
static inline bool exec_is_closing(const struct exec *x)
{
	return x->phase == EXEC_PHASE_CLOSING || x->phase == EXEC_PHASE_CLEARING;
}

/* ended.c: x has ended, and nothing of it runs; may free older ones, not x. */
void exec_ended_add(struct exec *x);
void exec_ended_remove(struct exec *x);
/* Forgets results until what is kept is within the limits. */
void execs_evict(struct execs *execs);
/* Forgets the oldest results, until n bytes more can be held or none is left; x stays. */
void execs_make_room(struct execs *execs, size_t n, const struct exec *x);

/* input.c */
int exec_input_open(struct exec *x);
void exec_input_started(struct exec *x);
void exec_input_close(struct exec *x);

/* terminal.c */
/* What moat-init made takes the place of the pipes. 0 or -errno. */
int exec_terminal_started(struct exec *x);
/* env with TERM; the caller frees and wipes it. 0 or -errno. */
int exec_terminal_env(char *const *env, char ***ret);

/* output.c */
int exec_stdin_open(struct exec *x, const void *data, size_t n, bool as_file);
int exec_output_open(struct exec *x);
void exec_output_spare(struct execs *execs);
void exec_output_started(struct exec *x); /* closes the command's ends, starts reading */
/* What the pipes hold now is owed, what comes later is not. */
void exec_output_owed(struct exec *x);
/* Takes a piece of it, for one turn of the loop. Whether that was the last. */
bool exec_output_drain(struct exec *x);
void exec_output_close(struct exec *x);
/* Its reader has made room, or is waited for no more. */
void exec_output_resume(struct exec *x);
/* BACKGROUND begins: nobody is waited for. */
void exec_output_go_on(struct exec *x);

#endif
