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

/* A cgroup directory. */
struct cgroup_place {
	int dir;    /* in a mount that can be written */
	int shown;  /* in one that is attached to the mount namespace, read-only perhaps; -EBADF: none */
	char *path; /* for people; where it is shown, a path */
};

#define CGROUP_PLACE_NONE { .dir = -EBADF, .shown = -EBADF }

/*
 * That of path, or (NULL) of the calling process. Where it is mounted read-only, or nowhere, as in
 * containers that are not privileged, by a detached mount. Only in a process with one thread: for a
 * moment it is in another cgroup namespace. The caller closes it, also a CGROUP_PLACE_NONE.
 */
int cgroup_place_open(const char *path, struct cgroup_place *ret_place, struct failure *f);
bool cgroup_place_equal(const struct cgroup_place *a, const struct cgroup_place *b);
void cgroup_place_close(struct cgroup_place *place);

/* Whether it is the root of the cgroup namespace. */
bool cgroup_own_is_root(void);

/* cgroup_find_own() from the text of the two files (cgroups(7), proc_pid_mountinfo(5)); touches
 * nothing. */
int cgroup_find_in(const char *mountinfo, const char *cgroup, char **ret_path);

#endif
