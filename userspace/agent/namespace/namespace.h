/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of kernel namespaces held open by one moat-init and reused by every exec in it.
 * Spawn requests are queued here and sent one at a time (see init/protocol.h for why).
 *
 *   user, user-shared       context default: made at start
 *   secure, secure-shared   what is a principal of its own, of all contexts: made at start; each command there
 *                           has mount, IPC and UTS namespaces of its own
 *   secure-of-NAME          the same of one context, whose capabilities would show it the others', or that is shown
 *                           what is hidden from them, where the kernel does not enforce; or whose capabilities
 *                           are more than the common one's; made and ended as the next
 *   context-NAME            every other context: made when it runs something, ended when it has run
 *                           nothing for namespace_idle, or is gone; so no two contexts share one, mounts
 *                           above all
 *   template                runs nothing: the others are cloned from it (init/clone.c)
 *
 * "-shared": in the agent's own PID namespace.
 *
 *   DOWN -> WAITING -> LAUNCHING -> READY -> LOST     -> DOWN     (see the table in life.c)
 *                                         \> STOPPING -> DOWN
 *
 * Several commands may be on their way to execve at a time (see init/protocol.h), of one context not so many
 * that others wait for them. What is to run waits in every state: for a launch, for its turn, for the next launch.
 */
#ifndef MOAT_NAMESPACE_H
#define MOAT_NAMESPACE_H

#include "agent/cgroup/cgroup.h"
#include "agent/enforce/enforce.h"
#include "agent/layers/layers.h"
#include "base/list.h"
#include "base/loop.h"
#include "init/protocol.h"

struct namespace;
struct namespaces;

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
	int program;              /* borrowed: executed in the place of argv[0]; -EBADF: argv[0] is looked for */
	int given[INIT_GIVEN_MAX]; /* the same, for the program; -EBADF: none, nor any behind it */
	uint64_t capabilities;
	bool no_new_privs;
	unsigned short rows, cols; /* not 0: on a terminal of this size, in the place of stdio */
	int terminal; /* with rows: our end of it, for the owner, once it is there; -EBADF at first */
	bool own_tmp; /* in a namespace with own: /tmp as well */
	char missing[INIT_TEXT_MAX + 1]; /* on_spawned at step INTERPRETER: its name, if that is known */
	/* Called when its turn has come, right before it is sent; may be NULL. Takes what a waiting
	 * command does without (stdio, cgroup_fd), so that a thousand of them cost little. On -errno
	 * it is not sent. May be called again if it did not fit into the socket. */
	int (*prepare)(struct namespace_spawn *spawn);
	/* err 0: runs, pid is in the namespace; else a positive errno with the step. Called exactly
	 * once, from the loop. */
	void (*on_spawned)(struct namespace_spawn *spawn, int err, enum init_step step, pid_t pid);
};

/* An exit in ns. reply->exec is 0 when the namespace was lost: then everything that ran in it is dead, as
 * if by SIGKILL (with a shared PID namespace: the caller kills what is left, by its cgroups). */
typedef void (*namespace_exit_fn)(struct namespace *ns, const struct init_reply *reply, void *data);

/*
 * Makes the template, and what is always there (blocking, bounded by 30 s; SIGTERM and SIGINT, which must be
 * blocked, end it with -EINTR). on_exit is called for each exited command. on_exit and on_spawned may call
 * namespace_spawn(), namespace_signal(), namespace_hold() and namespace_release().
 */
int namespaces_open(const struct config *config, struct enforce *enforce, struct cgroups *cgroups,
		    struct loop *loop, namespace_exit_fn on_exit, void *data,
		    struct namespaces **ret, struct failure *f);
/* So many live at a time; idle ones are ended for others, which else wait. At first: any number. */
void namespaces_limit(struct namespaces *set, size_t living);
/* Ends every moat-init and with it every process inside (with a shared PID namespace the caller kills
 * the commands by their cgroups), and waits for that. What is queued or sent fails with ESRCH first. */
void namespaces_stop(struct namespaces *set);
/* Once stopped. */
void namespaces_free(struct namespaces *set);

/*
 * Where a command of a context runs, secure or not. place: what those of its own are called. show: may be NULL;
 * borrowed as long as they live. own: what the caller keeps for the context, NULL at first, and gives to
 * namespace_forget() when it is gone. NULL: out of memory.
 */
struct namespace *namespaces_of(struct namespaces *set, const char *place,
				const struct config_context *values, char *const *show, bool secure,
				struct namespace *own[2]);
/* What is applied to what runs in them, beside the kernel programs. Borrowed. */
const struct layers *namespaces_layers(const struct namespaces *set);
/* Whether they would have what the context is to have: capabilities come from the contexts of the configuration. */
bool namespaces_can(const struct namespaces *set, const struct config_context *values);
/* So many contexts may be private, and keep a place for ever. */
size_t namespaces_private_max(const struct namespaces *set);
/* Nothing runs in it, nor will: its moat-init is ended, if it has one. NULL is permitted. */
void namespace_end(struct namespace *ns);
/* The same, and it is freed when that is done: not to be used any more. */
void namespace_forget(struct namespace *ns);
/* Those that have a moat-init, or are to have one always. */
void namespaces_for_each(struct namespaces *set, void (*fn)(struct namespace *ns, void *data),
			 void *data);

const char *namespace_name(const struct namespace *ns);
/* CONTEXT_SECURE: each command is a principal of its own. CONTEXT_PRIVATE: a context's own. */
enum context_namespace namespace_kind(const struct namespace *ns);
/* The pid of moat-init in the agent's PID namespace, for /v1/status; 0: there is none. */
pid_t namespace_pid(const struct namespace *ns);

/* As long as something holds it, it is not idle: whatever is to run, runs, or left something running. */
void namespace_hold(struct namespace *ns);
void namespace_release(struct namespace *ns);

/*
 * Queues a spawn; where there is no moat-init it is launched. -E2BIG: argv + env + cwd exceed INIT_STRINGS_MAX;
 * -ESRCH: the agent stops; other -errno: it could not be sent. on_spawned is not called after a failure here, nor
 * before this returns. err of on_spawned with INIT_STEP_NONE: ESRCH when moat-init was lost before it answered,
 * else why none could be made.
 */
int namespace_spawn(struct namespace *ns, struct namespace_spawn *spawn);
/* The caller no longer waits for on_spawned, and it does not come. Where the request was sent already, the
 * caller kills what comes of it, by its cgroup. */
void namespace_cancel(struct namespace *ns, struct namespace_spawn *spawn);
/* Signal to a running command, or to its process group. 0 or -errno of send(2). */
int namespace_signal(struct namespace *ns, uint64_t exec, int signal, bool group);

#endif
