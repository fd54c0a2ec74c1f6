/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share: namespace.c (commands on their way), message.c (what is sent), life.c (its states),
 * set.c (which there are), launch.c (making one from nothing). */
#ifndef MOAT_NAMESPACE_INTERNAL_H
#define MOAT_NAMESPACE_INTERNAL_H

#include "agent/namespace/hidden.h"
#include "agent/namespace/namespace.h"
#include "agent/namespace/protected.h"

enum namespace_state {
	NAMESPACE_DOWN,      /* there is no moat-init */
	NAMESPACE_WAITING,   /* is to be launched when it is its turn */
	NAMESPACE_LAUNCHING, /* is being made, or sets itself up */
	NAMESPACE_READY,
	NAMESPACE_LOST,      /* killed or dead, its end has not been seen yet */
	NAMESPACE_STOPPING,  /* the same, but meant */
	NAMESPACE_STATES,
};

enum namespace_event {
	NAMESPACE_WANTED,   /* something is to run in it */
	NAMESPACE_BEGUN,    /* its launch */
	NAMESPACE_ANSWERED, /* INIT_READY */
	NAMESPACE_FAILED,   /* there will be no moat-init by this launch, and there is none */
	NAMESPACE_BROKEN,   /* moat-init is dead, makes no sense, or does not answer */
	NAMESPACE_IDLE,     /* nothing has run in it for long enough */
	NAMESPACE_GONE,     /* moat-init is reaped */
	NAMESPACE_EVENTS,
};

struct namespace {
	struct namespaces *set;
	struct list link;    /* in set->all */
	struct list waiting; /* in set->waiting */
	struct list idle;    /* in set->idle */
	char *name;
	enum context_namespace kind;
	bool template;   /* runs nothing itself */
	bool lasting;    /* there from the start, made again when lost; else made when needed */
	bool cloned;     /* made from the template, not from nothing */
	char *const *show; /* of one context: hidden paths that it sees. Borrowed */
	bool keep;       /* not ended when idle, once made */
	bool ended;      /* its context is gone: there will be no moat-init any more */
	bool forgotten;  /* and nobody knows it: freed as soon as there is none */
	bool own;        /* each command in mount, IPC and UTS namespaces of its own */
	bool unfiltered; /* no filter of system calls, where others have one */
	bool shared_pid;
	uint64_t capabilities; /* as the contexts have them */
	uint64_t shm_size; /* bytes of cgroups_shm_take(), while there is a moat-init; 0: none */
	struct enforce *enforce;
	struct loop *loop;
	struct cgroups *cgroups;
	struct cgroup *cgroup; /* NULL: that of the template */
	namespace_exit_fn on_exit;
	void *data;

	enum namespace_state state;
	struct process init;
	struct enforce_namespaces declared; /* to the kernel programs */
	int socket;
	struct loop_source on_socket, on_death;
	struct loop_timer timer;    /* of the state, see life.c */
	struct loop_timer watchdog; /* of what is pending */
	uint64_t started_ns;
	int launch_err;             /* of the last launch that failed, positive */
	bool launching, living;     /* counted in set->n_launching, n_living; not what is lasting */
	struct namespace *cloning;  /* template: whose INIT_CLONE is not answered */

	size_t n_held;      /* commands that are to run, run, or left something running */
	uint64_t idle_ns;   /* since when there are none */

	struct list queue;              /* of namespace_spawn, not sent yet */
	struct list starting;           /* sent, not answered, in the order sent */
	size_t n_starting;
	struct namespace_spawn *unborn; /* the last sent, while its announcement may not be used up */
	bool asked;                     /* when that will be */
	bool congested; /* waits for the socket to take a packet */
};

/* The namespaces of an agent. */
struct namespaces {
	struct config const *config;
	struct enforce *enforce;
	struct cgroups *cgroups;
	struct loop *loop;
	struct hidden_files hidden;
	char **devices; /* names beneath /dev, see devices.c */
	char **protected; /* see protected.h; NULL where the kernel programs do it */
	struct layers *layers;
	enum init_world world; /* OWN, but for an ordinary user */
	uint64_t capabilities; /* of all contexts together */
	namespace_exit_fn on_exit;
	void *data;

	struct list all;
	struct namespace *template, *user, *secure[2]; /* [shared_pid] */
	struct list waiting; /* for their turn to be launched */
	struct list idle;    /* the longest first */
	size_t n_launching, n_living, living_max;
	size_t n_ending; /* of n_living: they make room */
	struct loop_timer idle_timer;
	bool closing;
};

/* --- namespace.c ------------------------------------------------------------------------------ */

extern uint64_t namespace_spawn_ms; /* tests shorten it */

/* Sends the next queued spawn, if it is its turn. */
void namespace_pump(struct namespace *ns);
/* Fails what was sent, or all. err: positive. */
void namespace_fail_sent(struct namespace *ns, int err);
void namespace_fail_all(struct namespace *ns, int err);
/* Reads what has arrived, at most that many packets: other sources get their turn. */
void namespace_read(struct namespace *ns, int limit);
void namespace_on_socket(struct loop_source *source, uint32_t events);
/* --- message.c: 0 or -errno of sendmsg(2) ------------------------------------------------------- */

/* Bytes of all strings of a spawn; above INIT_STRINGS_MAX the sum may be short, but is still above. */
size_t namespace_strings_size(const struct namespace_spawn *s);
int namespace_send_spawn(struct namespace *ns, const struct namespace_spawn *s);
int namespace_send_ask(struct namespace *ns, uint64_t exec);
int namespace_send_setup(struct namespace *ns);
int namespace_send_clone(struct namespace *template, const struct namespace *ns, int socket);

/* --- life.c ----------------------------------------------------------------------------------- */

/* why: for the log, where it is bad news; else NULL. */
void namespace_event(struct namespace *ns, enum namespace_event event, const char *why);
/* Of one that waits: event BEGUN, FAILED or BROKEN. */
void namespace_launch_now(struct namespace *ns);
/* There is no moat-init any more that could have a /dev/shm. */
void namespace_give_shm_back(struct namespace *ns);
/* What came of INIT_CLONE. pidfd is owned. reply NULL: the template is lost. */
void namespace_cloned(struct namespace *template, const struct init_reply *reply, int pidfd);
/* At agent start: waits until ns is ready, or stop_fd is readable. */
int namespace_wait_ready(struct namespace *ns, int stop_fd, uint64_t until_ns, struct failure *f);
/* Kills moat-init, waits for its end, frees: one after the other. */
void namespace_kill(struct namespace *ns);
void namespace_wait_gone(struct namespace *ns);
void namespace_free(struct namespace *ns);
/* The same from the loop, of one that is forgotten and has no moat-init. */
void namespace_free_soon(struct namespace *ns);

/* --- devices.c --------------------------------------------------------------------------------- */

/* The names beneath /dev, at most INIT_DEVICES_MAX, of the devices that config gives user code. The
 * caller frees *ret_names, also after a failure. */
int namespace_find_devices(const struct config *config, char ***ret_names, struct failure *f);

/* --- set.c ------------------------------------------------------------------------------------ */

/* Launches those that wait, as far as it may be. */
void namespaces_pump(struct namespaces *set);
/* A launch is over, well or not. */
void namespaces_launched(struct namespace *ns);
/* There is no moat-init any more. */
void namespaces_gone(struct namespace *ns);
/* Nothing runs in ns, which is ready: it may be ended. */
void namespaces_idle(struct namespace *ns);

#endif
