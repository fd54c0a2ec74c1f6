/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be remembered: denials on their way out of the kernel, switches of the mode, and of contexts
 * what nobody would otherwise see. The
 * last AUDIT_KEPT of them are in memory for /v1/events; then followers, and the log file. Nothing
 * here can delay or change a verdict: the kernel has already answered.
 */
#ifndef MOAT_AUDIT_H
#define MOAT_AUDIT_H

#include <sys/types.h>

#include "json/json.h"
#include "base/base.h"
#include "base/list.h"
#include "moat/abi.h"

#define AUDIT_KEPT 1024u

struct audit;
struct loop;

enum audit_type {
	AUDIT_DENIAL,
	AUDIT_MODE,
	AUDIT_SECRET_NAME, /* a variable that looks like a secret was given to all commands of a context */
	AUDIT_PORT_HELD,       /* somebody else has a port of a service */
	AUDIT_SESSION_EXPIRED, /* its context was removed: nothing has run in it for session_idle */
	AUDIT_EXEC_BEGIN,      /* a command with variables of its own was accepted, */
	AUDIT_EXEC_END,        /* and has ended, or could not be started */
};

/* Who has switched the mode: the process that made the connection, as the kernel knows it. */
struct audit_mode {
	pid_t pid;
	uid_t uid;
	enum moat_mode from, to;
};

struct audit_context {
	char *name;
	char *variable; /* AUDIT_SECRET_NAME: the name alone, at most AUDIT_NAME_MAX bytes of it */
};
#define AUDIT_NAME_MAX 128u

struct audit_port {
	char *service, *holder;
	uint16_t port;
};

#define AUDIT_NAMES_MAX 32u /* of variables; the rest is counted */

/* Of the variables the names alone, and of the arguments nothing: they often hold what the variables do. */
struct audit_exec {
	char *id, *context;
	char *program; /* begin: its first AUDIT_NAME_MAX bytes; NULL: a command string, of which nothing is shown */
	char **names; /* begin: at most AUDIT_NAMES_MAX, with the values when they are recorded, without them when kept */
	size_t n_names; /* begin: all */
	pid_t pid;      /* begin: of the process that made the connection, as the kernel knows it */
	uid_t uid;
	bool secure;   /* begin: it runs apart from all others */
	int exit_code; /* end: as answered; -1: it was not started */
	int signal;    /* end */
	bool timed_out, output_limited; /* end */
	int oom_killed; /* end: 0, 1, or -1: not known on this kernel */
};

struct audit_entry {
	uint64_t sequence; /* from 1 up, without gaps */
	uint64_t unix_ms;
	enum audit_type type;
	union {
		struct moat_event denial;
		struct audit_mode mode;
		struct audit_port port;
		struct audit_context context; /* of secret names and sessions */
		struct audit_exec exec;       /* of both of an exec */
	};
};

struct audit_follower {
	struct list link;
	/* The entry is valid during the call only. */
	void (*on_entry)(struct audit_follower *f, const struct audit_entry *entry);
};

/* The name of a context, or NULL where it is gone. */
typedef const char *(*audit_name_fn)(uint64_t context, void *data);

/*
 * log_file: each record is appended to it as a line (audit/log.h); NULL: no file. instance: stands in each
 * record. loop: borrowed, may be NULL without a log_file. name: may be NULL.
 */
int audit_open(const char *log_file, const char *instance, struct loop *loop, audit_name_fn name,
	       void *data, struct audit **ret, struct failure *f);
/* Has the id of an exec written for its number in labels, null for what is not one of this agent's. */
void audit_name_execs(struct audit *audit, audit_name_fn name);
void audit_close(struct audit *audit);
/* An enforce_event_fn; data is the struct audit. */
void audit_record(const struct moat_event *event, void *data);
void audit_record_mode(struct audit *audit, const struct audit_mode *mode);
void audit_record_secret_name(struct audit *audit, const char *context, const char *variable);
void audit_record_port_held(struct audit *audit, const char *service, uint16_t port,
			    const char *holder);
void audit_record_session_expired(struct audit *audit, const char *context);
/* type: AUDIT_EXEC_BEGIN or AUDIT_EXEC_END. Copies what it keeps of exec. */
void audit_record_exec(struct audit *audit, enum audit_type type, const struct audit_exec *exec);
/* The sequence of the newest entry; 0: there is none yet. */
uint64_t audit_newest(const struct audit *audit);
/* Calls fn for each kept entry with a sequence above since, oldest first. */
void audit_replay(struct audit *audit, uint64_t since,
		  void (*fn)(const struct audit_entry *entry, void *data), void *data);
/* The one form that a record has, in the log file and in the API: a line of JSON. */
void audit_write(const struct audit *audit, const struct audit_entry *entry, struct jbuf *b);
void audit_follow(struct audit *audit, struct audit_follower *f);
void audit_unfollow(struct audit_follower *f);
/* Opens the log file again by its path, as after logrotate(8). */
void audit_reopen_log(struct audit *audit);
/* How many entries could not be written to the log file. */
uint64_t audit_log_drops(const struct audit *audit);

/* "denial", "task": static strings; "unknown" when out of range. */
const char *audit_type_name(enum audit_type type);
const char *audit_object_name(uint32_t object_kind);

#endif
