/* SPDX-License-Identifier: Apache-2.0 */
/* What the audit is told of execs and contexts, which know nothing of it. */
#ifndef MOAT_RECORDED_H
#define MOAT_RECORDED_H

#include "agent/agent.h"

/* An audit_name_fn; data: the agent. */
const char *recorded_context_name(uint64_t context, void *data);
/* From now on, with what the configuration gives to all commands of a context: the API says it of what it is given. */
void recorded_begin(struct agent *agent);

#endif
