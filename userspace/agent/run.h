/* SPDX-License-Identifier: Apache-2.0 */
/* The life of an agent: opening its modules in order, running them, closing them in reverse. */
#ifndef MOAT_RUN_H
#define MOAT_RUN_H

#include "agent/config.h"
#include "agent/probe.h"

/*
 * Runs until SIGTERM or SIGINT, or until every service has ended for good. Nothing is left behind:
 * no process, mount, cgroup or socket, and no pin unless config->keep_pins. Returns the exit status
 * of moatd: 0 after a signal, that of the first service (128 + n for signal n), or 1 when the agent
 * could not start, which is then logged. config is borrowed, and changed no more.
 */
int agent_run(struct config *config, const struct probe_report *probes);

#endif
