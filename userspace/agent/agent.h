/* SPDX-License-Identifier: Apache-2.0 */
/* The modules of a running agent, in the order in which they are opened (and closed in reverse). */
#ifndef MOAT_AGENT_H
#define MOAT_AGENT_H

#include "agent/cgroup.h"
#include "agent/config.h"
#include "agent/enforce.h"
#include "agent/exec.h"
#include "agent/probe.h"
#include "agent/service.h"
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
	uint64_t started_unix_ms;
	bool stopping;
	int exit_status;
};

#endif
