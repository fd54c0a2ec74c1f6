/* SPDX-License-Identifier: Apache-2.0 */
/* Starting the process of a service: everything between its configuration and its execve(2). */
#ifndef MOAT_SERVICE_SPAWN_H
#define MOAT_SERVICE_SPAWN_H

#include "agent/config/config.h"
#include "agent/enforce/enforce.h"
#include "agent/service/handed.h"

/* What the child writes to its report pipe when it does not get as far as execve(2). */
struct service_report {
	uint32_t step; /* enum init_step, whose names serve here as well */
	int32_t err;   /* positive errno; 0: the program is not in PATH */
};

/*
 * Starts the service in the cgroup: its own session, /dev/null as standard input, the agent's
 * output, no other descriptor but those of handed, the agent's environment, what service_place_env() adds, and its own on
 * top; in its directory, by default that of its place. Whatever is done by a path (directory, program, interpreter)
 * the child does, so that the agent waits for no file system. *ret_report is the read
 * end of a pipe (non-blocking) that brings a service_report when the child fails, or end of file
 * when it runs. place: of service_place_make(). enforce: NULL for none. The caller owns the pidfd and the pipe, and reaps. On failure nothing was started.
 */
int service_spawn(const struct config_service *config, const char *place, struct enforce *enforce,
		  const struct handed *handed, int cgroup_fd, struct process *ret_process,
		  int *ret_report, struct failure *f);

#endif
