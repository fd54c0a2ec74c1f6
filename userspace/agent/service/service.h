/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Supervised control-plane processes. They are labelled CONTROL by inheritance, their ports are
 * guarded from before the first start until the agent stops, so also while a service restarts.
 *
 *   STOPPED -> STARTING -(ready)-> READY -(exit)-> BACKOFF -(timer)-> STARTING
 *                                        \-(exit, no restart)-> EXITED
 *   any -> STOPPING -> STOPPED
 *
 * The whole table is in service.c. STARTING is bounded: by start_timeout of the configuration, and
 * what comes before its program runs in any case; then the service is killed, which is a failed start.
 */
#ifndef MOAT_SERVICE_H
#define MOAT_SERVICE_H

#include <sys/types.h>

#include "agent/cgroup/cgroup.h"
#include "agent/config/config.h"
#include "agent/enforce/enforce.h"
#include "base/loop.h"

struct services;
struct service;

enum service_state {
	SERVICE_STOPPED,
	SERVICE_STARTING,
	SERVICE_READY,
	SERVICE_BACKOFF,
	SERVICE_EXITED,
	SERVICE_STOPPING,
};

struct service_info {
	const struct config_service *config;
	enum service_state state;
	pid_t pid;              /* 0 when not running */
	unsigned restarts;
	int last_status;        /* wait(2) status of the last exit; -1: none yet */
	char last_error[256];   /* why the last start failed, or is not over yet; "" none */
	uint64_t since_unix_ms; /* of the present state */
	bool listens;           /* its ports are bound by the agent, and handed over */
};

struct services_callbacks {
	/* Every service ended for good (restart = no); status is that of the first. */
	void (*all_exited)(int wait_status, void *data);
	/* Somebody else has a port of a service, which cannot be ready therefore; who: as in listener.h. Once in each
	 * of its starts, unless who changes. */
	void (*port_held)(const char *service, uint16_t port, const char *who, void *data);
	/* Once: each has been ready. May come from inside services_start(). */
	void (*all_ready)(void *data);
	void *data;
};

/* Makes their directories. enforce: NULL for none. */
int services_open(const struct config *config, struct cgroups *cgroups, struct enforce *enforce,
		  struct loop *loop, const struct services_callbacks *callbacks, struct services **ret,
		  struct failure *f);
/* Starts all, one after the other in the order of the file; none waits until another is ready. A service
 * that cannot start is reported and retried; it does not take the agent down. */
void services_start(struct services *services);
/* SIGTERM to all in reverse order, SIGKILL to their cgroups after 5 s; on_stopped from the loop. */
void services_stop(struct services *services, void (*on_stopped)(void *data), void *data);
void services_free(struct services *services);
void services_for_each(struct services *services,
		       void (*fn)(const struct service_info *info, void *data), void *data);
/* A socket of a service that others can reach, where the kernel does not guard it. */
struct service_socket {
	const char *service;  /* its name */
	const char *protocol; /* "tcp", "udp", "unix": static */
	char address[112];    /* a number; of a unix socket its path, or @NAME; "": it has none */
	uint16_t port;
	bool configured;      /* the port is one that the configuration guards or opens */
	bool reachable;       /* the configuration opens it to user code */
};
typedef void (*service_socket_fn)(const struct service_socket *socket, void *data);

/* Each that listens, or is bound for datagrams, now. 0, or -errno of the first kind that the kernel does not
 * tell; the others have been listed. */
int services_for_each_socket(struct services *services, service_socket_fn fn, void *data);

/* "ready", "backoff", …: static. */
const char *service_state_name(enum service_state state);

#endif
