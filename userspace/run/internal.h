/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moat-run: evaluates one command string in the context it was started in, with the rights of a command, and
 * starts what is in it by execve, never by a shell. The language is userspace/command; this is what it does.
 *
 * What a string changes (the working directory, variables) is handed back to the agent when the string ends.
 * The last command of a string, where it is a program in the foreground, takes the place of moat-run.
 */
#ifndef MOAT_RUN_INTERNAL_H
#define MOAT_RUN_INTERNAL_H

#include <signal.h>
#include <sys/types.h>

#include "command/command.h"

#define RUN_VARIABLES_MAX 8192u
#define RUN_VALUE_MAX (1024u * 1024) /* bytes of one variable */
/* PATH before an activate: as that of bash, so that it outlives the string. */
#define RUN_OLD_PATH "_OLD_VIRTUAL_PATH"
#define RUN_JOBS_MAX 4096u           /* commands in the background that have not been waited for */

/* Statuses that POSIX gives, or leaves open and dash has. */
#define RUN_NOT_FOUND 127
#define RUN_NOT_EXECUTABLE 126
#define RUN_FAILED 2

struct variable {
	char *name, *value; /* value NULL: exported, but not set */
	bool exported;
	bool changed; /* by the string */
};

struct job {
	pid_t pid;
	int status; /* as $? has it; valid when done */
	int died;   /* of this signal; 0: it exited */
	bool done;
};

struct run {
	struct variable *variables;
	size_t n_variables, variables_size;
	char **foreign; /* of the environment: what is no variable, passed on */
	int status;     /* $? */
	pid_t background;
	char text[2][16]; /* of $? and $! */
	bool errexit, nounset, trace, pipefail;
	bool ended; /* nothing more is done; status is the result */
	int signal; /* that ended it; 0: none */
	struct job *jobs;
	size_t n_jobs, jobs_size;
	char *pwd;      /* as the user goes there, links kept; NULL: not known */
	int state_fd;   /* where changes are handed back; -EBADF: not, or no more */
	bool moved;     /* the string has changed the working directory */
	char **unset;   /* names that it has unset, perhaps set again since */
	sigset_t original, blocked;
};

/* How a command is run: its failure is looked at (set -e does not count); nothing comes after it. */
enum { RUN_TESTED = 1, RUN_LAST = 2 };

/* --- input.c --- */

/* The command string and what comes with it; all of it is in data. */
struct input {
	char *data;
	size_t size, entries_len, string_len;
	const char *entries, *string; /* not terminated */
	bool has_state, returns_state, interpreter;
	int state_fd; /* to be handed on; -EBADF: none */
};

/* From the descriptors that the agent gives, which are then closed. 0 or -errno; wipe it in any case. */
int input_read(struct input *ret);
void input_wipe(struct input *in);

/* --- interpreter.c --- */
/* Gives the string to a shell; with returns it takes the changes of that for its own. In r->status what came of it. */
void interpreter_run(struct run *r, const char *string, size_t len, bool returns);
/* What the trap of that shell runs. Exit status. */
int interpreter_report(const char *descriptor);

/* --- state.c --- */
/* Once: hands back what has changed. What happens later is not told. */
void state_return(struct run *r);
/* In a child, whose changes are its own. */
void state_forget(struct run *r);

/* --- main.c --- */
void complain(const char *fmt, ...) PRINTF(1, 2);

/* --- variables.c --- */
int variables_open(struct run *r, char **environment);
/* What an environment cannot hold: entries of run/protocol.h. Nothing that is there by now has been changed. */
int variables_add(struct run *r, const char *entries, size_t len);
bool variable_is_exported(const struct run *r, const char *name);
bool variable_is_there(const struct run *r, const char *name); /* set or not */
const char *variable_get(const struct run *r, const char *name);
/* exported: 1, 0, or -1: as it is. 0 or -errno, having complained. */
int variable_set(struct run *r, const char *name, const char *value, int exported);
/* 0 or -ENOMEM, having complained. */
int variable_unset(struct run *r, const char *name);
/* A variable as it was, for assignments before a builtin. */
int variable_save(const struct run *r, const char *name, struct variable *ret);
void variable_restore(struct run *r, struct variable *saved);
/* The environment of a program; only in the process that executes it. NULL: out of memory. */
char **variables_environment(const struct run *r);
struct command_world run_world(struct run *r);

/* --- evaluate.c --- */
void run_list(struct run *r, const struct command_list *list, unsigned flags);
/* Forks: 0 in the child, which is a subshell; -1: it cannot, and the string has ended. */
pid_t run_fork(struct run *r);

/* --- simple.c --- */
void run_simple(struct run *r, const struct command *c, unsigned flags);

/* --- jobs.c --- */
int job_add(struct run *r, pid_t pid);
/* Waits for a child in the foreground, or n that are jobs until then; the status of the last as $? has it, and *ret_failed
 * of the last that failed. What else ends meanwhile is kept. Looks then, once, at the signals that came. */
int job_wait(struct run *r, pid_t pid);
int jobs_wait(struct run *r, const pid_t *pids, size_t n, int *ret_failed);
/* For the builtin wait: signals end it. pid 0: all. */
int job_wait_background(struct run *r, pid_t pid);
/* Ends the string where a signal says so that came while nothing was in the foreground. */
void signals_look(struct run *r);

/* --- redirect.c --- */
struct redirected;
/* ret_saved NULL: for good. 0, or -1, having complained. */
int redirect(struct run *r, const struct command_redirection *first, struct redirected **ret_saved);
void redirect_undo(struct redirected *saved);

/* --- program.c --- */
/* Executes a program in the place of this process. Returns the status of the failure. */
int program_execute(struct run *r, char **argv);
/* Where it is, in PATH or by its own path; NULL: nowhere. buf has PATH_MAX bytes. */
const char *program_find(const struct run *r, const char *name, char *buf);

/* --- builtins.c --- */
int builtin_run(struct run *r, enum command_builtin builtin, char **argv);
/* A line of output. 0, or the status of having complained. */
int builtin_say(const char *text);
/* --- directory.c --- */
int builtin_cd(struct run *r, char **argv);
int builtin_pwd(struct run *r, char **argv);
int builtin_source(struct run *r, char **argv);
/* Where we are, from PWD or the kernel. */
void directory_open(struct run *r);

#endif
