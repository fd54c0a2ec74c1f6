/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a moat-init: the one place where the agent makes kernel namespaces. */
#ifndef MOAT_NAMESPACE_LAUNCH_H
#define MOAT_NAMESPACE_LAUNCH_H

#include <limits.h>

#include "base/base.h"

/*
 * Clones a child into new mount, IPC and UTS (and, unless shared_pid, PID) namespaces and the given
 * cgroup, and executes moat-init in it, found beside the agent's own program or in its libexec directory. It
 * gets the other end of *ret_socket as descriptor 3, /dev/null on 0 and 1, our stderr, nothing else,
 * and waits for INIT_SETUP. Descriptors belong to the caller.
 */
int namespace_launch(bool shared_pid, int cgroup_fd, struct process *ret_init, int *ret_socket,
		     struct failure *f);

/* The two ends of a connection to a moat-init, with buffers for a whole packet. 0 or -errno. */
int namespace_make_socket(int ret_ends[2], struct failure *f);

/*
 * moat-run, to be executed by descriptor: a sealed copy in memory, which nobody can write to, whatever becomes of
 * the file; where the machine executes no such copies (vm.memfd_noexec) the file itself. 0 or -errno.
 */
int namespace_open_runner(int *ret_fd, struct failure *f);

/* Where the moat-init is that this agent starts. 0 or -errno. */
int namespace_program(char ret_path[PATH_MAX], struct failure *f);

#endif
