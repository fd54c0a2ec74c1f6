/* SPDX-License-Identifier: Apache-2.0 */
/* Whose the listening sockets of a TCP port are: of the processes in one cgroup, or somebody else's. */
#ifndef MOAT_SERVICE_LISTENER_H
#define MOAT_SERVICE_LISTENER_H

#include "base/base.h"

enum listener {
	LISTENER_NONE,  /* nobody listens */
	LISTENER_OWN,   /* a socket that belongs to the cgroup, or to one beneath it */
	LISTENER_OTHER, /* somebody else's alone */
};

/*
 * Looks once and waits for nothing. cgroup: the directory of a service's. With LISTENER_OTHER ret_holder
 * says whose it is, and where it is found the process: "process 7 (bun) of service web", "process 9 (nc) of user code,
 * context shared", "a process outside of moat". enum listener, or -errno.
 */
int listener_find(uint16_t port, int cgroup, char *ret_holder, size_t size);

/* The same without the kernel's socket diagnosis, from /proc: for kernels that do not have it, and for its
 * test. Does not tell who the others are. */
int listener_find_in_proc(uint16_t port, int cgroup);
/* The same, of the processes whose own it is to be. */
int listener_find_among(uint16_t port, const pid_t *pids, size_t n);

#endif
