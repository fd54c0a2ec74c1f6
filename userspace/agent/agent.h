/* SPDX-License-Identifier: Apache-2.0 */
/* A running agent: its modules, in the order in which they are opened (and closed in reverse). */
#ifndef MOAT_AGENT_H
#define MOAT_AGENT_H

#include "agent/cgroup/cgroup.h"
#include "agent/config/config.h"
#include "agent/enforce/enforce.h"
#include "agent/exec/exec.h"
#include "agent/enforce/probe.h"
#include "agent/service/service.h"
#include "base/loop.h"

struct api;
struct audit;

struct agent {
	struct config *config;
	struct probe_report probes;
	struct loop *loop;
	struct enforce *enforce;
	struct cgroups *cgroups;
	struct execs *execs;
	struct services *services;
	struct audit *audit;
	struct api *api;
	uint64_t started_unix_ms, started_ns; /* the clock may be set, the second goes on */
	bool stopping;
	int exit_status;
};

/*
 * First of all: what is to be handled waits until agent_run() can. Without it PID 1 would not hear a SIGTERM
 * in the time that the probes take: the kernel drops what the first process has no handler for.
 */
void agent_block_signals(void);

/*
 * Runs until SIGTERM or SIGINT, or until every service has ended for good. Nothing is left behind:
 * no process, mount, cgroup or socket, and no pin unless config->keep_pins. Returns the exit status
 * of moatd: 0 after a signal, that of the first service (128 + n for signal n), or 1 when the agent
 * could not start, which is then logged. config is borrowed, and changed no more.
 */
int agent_run(struct config *config, const struct probe_report *probes);

#endif
