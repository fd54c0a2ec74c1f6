/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent changes about its own process, and how what it starts gets back what the agent was
 * started with.
 */
#ifndef MOAT_HARDEN_H
#define MOAT_HARDEN_H

#include "base/base.h"

/*
 * Not dumpable, no core files, spared by the OOM killer, all the descriptors the hard limit allows,
 * a umask of 077. Each as far as it is allowed; what is not is logged. Call it once, early.
 */
void harden_self(void);

/*
 * For a child between fork and exec: the limits, umask and OOM score that the agent had before
 * harden_self(), default signal handlers, an empty signal mask. Async-signal-safe. 0 or -errno.
 */
int harden_undo_in_child(void);

#endif
