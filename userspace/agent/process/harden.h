/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent changes about its own process, and how what it starts gets back what the agent was
 * started with.
 */
#ifndef MOAT_HARDEN_H
#define MOAT_HARDEN_H

#include <sys/types.h>

#include "base/base.h"

/*
 * Not dumpable, no core files, spared by the OOM killer, all the descriptors the hard limit allows,
 * a umask of 077. Each as far as it is allowed; what is not is logged. Call it once, early.
 */
void harden_self(void);

/*
 * Who is killed first where memory ends and no cgroup limit has decided: user code, which inherits
 * its score from moat-init; long before it services; last the agent.
 */
enum harden_child { HARDEN_SERVICE, HARDEN_INIT, HARDEN_CHILDREN };

/* RLIMIT_CORE of what leaves no core: see forbid_core(). */
#define HARDEN_NO_CORE 1

/*
 * For a child between fork and exec: the limits and umask that the agent had before harden_self(),
 * the OOM score of its kind, default signal handlers, an empty signal mask; for user code the
 * limits of the table in moatd(8). No core files unless core is set. Async-signal-safe. 0 or
 * -errno.
 */
int harden_undo_in_child(enum harden_child child, bool core);

/*
 * Where neither labels nor cgroups tell whose a process is: from now on user code has a hard limit of file locks below
 * the agent's. The kernel keeps no such limit (getrlimit(2)), each process inherits it, and who is not privileged
 * cannot raise it again.
 */
void harden_mark_user_code(void);
/* Whether the process has less than the agent. 0, 1 or -errno. */
int harden_is_marked(pid_t pid);

#endif
