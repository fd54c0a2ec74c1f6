/* SPDX-License-Identifier: Apache-2.0 */
/* Where the agent's own cgroup (v2) is: /proc/self/cgroup seen through /proc/self/mountinfo. */
#ifndef MOAT_CGROUP_FIND_H
#define MOAT_CGROUP_FIND_H

#include "base/base.h"

/*
 * The directory of the calling process's cgroup on a cgroup2 mount. -ENOENT: no cgroup2 mount shows
 * it; f says what to do. Caller frees *ret_path.
 */
int cgroup_find_own(char **ret_path, struct failure *f);

/* Whether it is the root of the cgroup namespace. */
bool cgroup_own_is_root(void);

/* cgroup_find_own() from the text of the two files (cgroups(7), proc_pid_mountinfo(5)); touches
 * nothing. */
int cgroup_find_in(const char *mountinfo, const char *cgroup, char **ret_path);

#endif
