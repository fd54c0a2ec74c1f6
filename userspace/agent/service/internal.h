/* SPDX-License-Identifier: Apache-2.0 */
/* Between service.c (one service), ready.c and services.c (all of them). */
#ifndef MOAT_SERVICE_INTERNAL_H
#define MOAT_SERVICE_INTERNAL_H

#include "agent/service/handed.h"
#include "agent/service/service.h"

#define SERVICE_BACKOFF_MIN (100 * NSEC_PER_MSEC)

struct service {
	struct services *owner;
	struct service_info info;
	struct cgroup *cgroup;    /* of its present life; NULL: none */
	char *place;              /* see place.h */
	struct process process;   /* pidfd -EBADF: not running */
	struct loop_source exits; /* on the pidfd */
	int report;               /* see service_spawn(); -EBADF: it runs, or is not there */
	struct loop_source reports;
	uint64_t started_ns;
	uint64_t backoff_ns;      /* the next delay */
	struct loop_timer timer;  /* BACKOFF: the next start. STARTING: the next look at the port */
	struct loop_timer bound;  /* STARTING: when that is too long */
	uint64_t look_ns;         /* delay before the next look */
	struct handed handed;     /* the sockets of its ports, while info.listens */
	int probe;                /* STARTING: a connection to one of them; -EBADF: none */
	bool took; /* once in the life of the agent it has taken a connection from them */
	bool told;                /* why this start failed is in last_error and in the log */
	bool was_ready;           /* once in the life of the agent */
};

struct services {
	const struct config *config;
	struct cgroups *cgroups;
	struct enforce *enforce;
	struct loop *loop;
	struct service *list;
	size_t n;
	struct services_callbacks callbacks;
	bool all_ready; /* has been told */
	bool stopping;
	struct loop_timer grace;
	bool killed; /* the grace is over */
	void (*on_stopped)(void *data);
	void *stopped_data;
};

/*
 * What happens to a service; what it means in each state is the table in service.c. Where that says nothing
 * the event comes too late to matter.
 */
enum service_event {
	SERVICE_EVENT_START,  /* the first time, or back-off is over */
	SERVICE_EVENT_RUNS,   /* execve(2) has succeeded */
	SERVICE_EVENT_LISTEN, /* it serves */
	SERVICE_EVENT_LATE,   /* STARTING has lasted too long */
	SERVICE_EVENT_END,    /* the main process is gone, or could not be made; info.last_status is set */
	SERVICE_EVENT_STOP,
	SERVICE_EVENT_EMPTY,  /* so are all the others of its cgroup */
	SERVICE_EVENT_COUNT,
};

void service_dispatch(struct service *s, enum service_event event);
/* Ends the process without services_stop(), waits for it (bounded), and lets go of everything. */
void service_release(struct service *s);

/* Looks at the port, now and again with growing delays, until it can say SERVICE_EVENT_LISTEN or the timer is
 * cancelled. What it sees meanwhile is in last_error. */
void service_await_ready(struct service *s);

/* Tells, once, that somebody else has the port. What is said is in last_error. */
void service_note_held(struct service *s, uint16_t port, const char *who);

/* services.c: what a change of one service means for all. */
void services_note_ready(struct services *services);
void services_note_exited(struct services *services);
void services_note_stopped(struct services *services);

#endif
