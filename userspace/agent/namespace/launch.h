/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a moat-init: the one place where the agent makes kernel namespaces. */
#ifndef MOAT_NAMESPACE_LAUNCH_H
#define MOAT_NAMESPACE_LAUNCH_H

#include "init/protocol.h"
#include "base/base.h"

/*
 * Clones a child into new mount, IPC and UTS (and, unless shared_pid, PID) namespaces and the given
 * cgroup, and executes moat-init in it (see program.h). It
 * gets the other end of *ret_socket as descriptor 3, /dev/null on 0 and 1, our stderr, nothing else,
 * and waits for INIT_SETUP. Descriptors belong to the caller.
 */
int namespace_launch(enum init_world world, bool shared_pid, int cgroup_fd,
		     struct process *ret_init, int *ret_socket, struct failure *f);

/* The two ends of a connection to a moat-init, with buffers for a whole packet. 0 or -errno. */
int namespace_make_socket(int ret_ends[2], struct failure *f);

#endif
