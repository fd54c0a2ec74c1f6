/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports that are never free: the sockets of a service's ports, bound before it runs, handed over to each of its lives
 * as descriptors from 3 on (sd_listen_fds(3): LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES), and kept between two of them,
 * so that whoever connects meanwhile waits instead of being refused.
 */
#ifndef MOAT_SERVICE_HANDED_H
#define MOAT_SERVICE_HANDED_H

#include "agent/config/config.h"

#define HANDED_FIRST 3 /* SD_LISTEN_FDS_START */

struct handed {
	int fds[CONFIG_PORTS_MAX]; /* in the order of the configuration */
	size_t n;                  /* 0: none are open */
};

/*
 * Opens them, unless they are open, and has those of TCP listen, also where a life before has ended that (shutdown(2)).
 * 0, or -errno with the port that it was about; then none are open.
 */
int handed_open(struct handed *handed, const struct config_service *config, uint16_t *ret_port);
void handed_close(struct handed *handed);

/* Sets the variables. What stands behind LISTEN_PID= is for the child to fill in: *ret_pid, HANDED_PID_SIZE bytes in one of
 * the strings of *env. 0 or -ENOMEM. */
#define HANDED_PID_SIZE 12
int handed_env(const struct handed *handed, const struct config_service *config, char ***env,
	       char **ret_pid);

/*
 * In the child: fills the process id in and gives the descriptors their numbers. *report is a descriptor that may be in
 * the way, and is moved. Async-signal-safe. 0 or -errno.
 */
int handed_take(const struct handed *handed, char *pid, int *report);

/* The open socket of a TCP port; -EBADF: there is none. Borrowed. */
int handed_find(const struct handed *handed, const struct config_service *config, uint16_t port);
/* Connects to such a socket, without waiting. A descriptor or -errno. */
int handed_connect(int fd);
/* Whether the connection is there, and nothing waits to be taken from the socket: so somebody takes. -errno: the connection
 * is gone. */
int handed_is_taken(int fd, int connection);

#endif
