/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of kernel namespaces held open by one moat-init, made at start and reused by every exec.
 * Spawn requests are queued here; several may be on their way to execve at a time (see init/protocol.h),
 * of one context not so many that others wait for them.
 */
#ifndef MOAT_NAMESPACE_H
#define MOAT_NAMESPACE_H

#include "agent/cgroup/cgroup.h"
#include "agent/enforce/enforce.h"
#include "base/list.h"
#include "base/loop.h"
#include "init/protocol.h"

struct namespace;

struct namespace_options {
	const char *name;  /* "user", "secure", "user-shared", "context-NAME" */
	bool shared_pid;   /* stays in the agent's PID namespace */
	bool own;          /* each command in mount, IPC and UTS namespaces of its own */
	char *const *hidden; /* NULL-terminated absolute paths user code must not see */
	uint64_t capabilities; /* all that any command in it may get */
};

/* One command to start. Owned by the caller, must live until on_spawned (or cancellation). */
struct namespace_spawn {
	struct list queue;        /* internal, as is deadline_ns */
	uint64_t deadline_ns;
	bool late;                /* was killed because it did not come to execve in time */
	uint64_t exec;            /* unique; names the command in INIT_SIGNAL and INIT_EXITED */
	struct moat_label label;
	char *const *argv, *const *env;
	const char *cwd;
	int stdio[3];             /* borrowed; may be closed after on_spawned. [0] may be -EBADF:
				   * the /dev/null of the namespace */
	int cgroup_fd;            /* borrowed; -EBADF: none */
	uint64_t capabilities;
	bool no_new_privs;
	bool own_tmp; /* in a namespace with own: /tmp as well */
	/* Called when its turn has come, right before it is sent; may be NULL. Takes what a waiting
	 * command does without (stdio, cgroup_fd), so that a thousand of them cost little. On -errno
	 * it is not sent. May be called again if it did not fit into the socket. */
	int (*prepare)(struct namespace_spawn *spawn);
	/* err 0: runs, pid is in the namespace; else a positive errno with the step. Called exactly
	 * once, from the loop. */
	void (*on_spawned)(struct namespace_spawn *spawn, int err, enum init_step step, pid_t pid);
};

/* An exit. reply->exec is 0 when the namespace was lost: then everything that ran in it is dead, as
 * if by SIGKILL (with a shared PID namespace: the caller kills what is left, by its cgroups). */
typedef void (*namespace_exit_fn)(const struct init_reply *reply, void *data);

/*
 * Makes the namespaces and starts moat-init in them (blocking, at agent start only, bounded by
 * 30 s). on_exit is called for each exited command. If moat-init dies, queued spawns fail with
 * ESRCH and INIT_STEP_NONE, the loss is reported (see above), and it is started again.
 * on_exit and on_spawned may call namespace_spawn() and namespace_signal(), not namespace_stop().
 */
int namespace_start(const struct namespace_options *options, struct enforce *enforce,
		    struct cgroups *cgroups, struct loop *loop, namespace_exit_fn on_exit,
		    void *data, struct namespace **ret, struct failure *f);
/* Ends moat-init and with it every process inside (with a shared PID namespace the caller kills
 * the commands by their cgroups). Queued spawns fail with ESRCH first. Frees. */
void namespace_stop(struct namespace *ns);

const char *namespace_name(const struct namespace *ns);
/* The pid of moat-init in the agent's PID namespace, for /v1/status. */
pid_t namespace_pid(const struct namespace *ns);

/* Queues a spawn. -E2BIG: argv + env + cwd exceed INIT_STRINGS_MAX; -ESRCH: moat-init is gone; other
 * -errno: it could not be sent. on_spawned is not called after a failure here. */
int namespace_spawn(struct namespace *ns, struct namespace_spawn *spawn);
/* Signal to a running command, or to its process group. 0 or -errno of send(2). */
int namespace_signal(struct namespace *ns, uint64_t exec, int signal, bool group);

#endif
