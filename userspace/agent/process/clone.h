/* SPDX-License-Identifier: Apache-2.0 */
/* Making a child of the agent. */
#ifndef MOAT_CLONE_H
#define MOAT_CLONE_H

#include "base/base.h"

/*
 * clone3(2) in the manner of fork(2), with a pidfd. 0 in the child; 1 in the parent, where *ret_process
 * is the child; or -errno. flags: CLONE_NEW…, CLONE_CLEAR_SIGHAND, CLONE_FILES. cgroup_fd: the directory of the
 * cgroup that it begins in; -1: it begins in that of the agent.
 */
int process_clone(uint64_t flags, int cgroup_fd, struct process *ret_process);

#endif
