/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One cgroup (v2) per exec and per service, beneath one directory of the instance's own:
 * BASE/moat-INSTANCE/{exec-N, service-NAME, init-NAME}. Used to kill whole trees and to know when
 * a tree is empty. Exec cgroups are pooled: making one costs more than the exec itself.
 */
#ifndef MOAT_CGROUP_H
#define MOAT_CGROUP_H

#include "base/base.h"
#include "base/loop.h"

struct cgroups;
struct cgroup;

/* Called once, from the loop, when the last process of the cgroup is gone. */
typedef void (*cgroup_empty_fn)(struct cgroup *cgroup, void *data);

/*
 * Finds the cgroup2 hierarchy (also the "unified" mount of a hybrid set-up), makes the instance's
 * directory and clears what a dead agent left there (killing it first). base: NULL, or a directory
 * on cgroup2 to use instead of the agent's own cgroup.
 */
int cgroups_open(const char *instance, const char *base, struct loop *loop,
		 struct cgroups **ret, struct failure *f);
/* Kills everything left, waits for it to be gone (bounded by 5 s), removes the directories. */
void cgroups_close(struct cgroups *cgroups);
/* Directory of the instance, for people and for /v1/status. Borrowed. */
const char *cgroups_path(const struct cgroups *cgroups);
/* Whether memory events are counted (the memory controller is there). */
bool cgroups_have_memory(const struct cgroups *cgroups);

/* name: NULL takes an empty exec cgroup from the pool (or makes one); otherwise BASE/…/name, with a
 * number behind it while one of that name still dies. */
int cgroup_get(struct cgroups *cgroups, const char *name, struct cgroup **ret, struct failure *f);
/* Gives an empty cgroup back (to the pool, or removes a named one). Frees. If it is not empty it is
 * killed first and reclaimed when empty; the caller hears nothing more of it. */
void cgroup_put(struct cgroup *cgroup);

/* O_DIRECTORY descriptor for CLONE_INTO_CGROUP; borrowed. */
int cgroup_fd(const struct cgroup *cgroup);
/* The one given out whose cgroup_fd() it is, or NULL. A search, for rare occasions. */
struct cgroup *cgroup_by_fd(struct cgroups *cgroups, int fd);
/*
 * cgroup.kill: SIGKILL to everything in it, atomically against fork. 0 or -errno. From then on
 * nothing can be started in it (recent kernels kill that, too): put it and get another one. Do not
 * write cgroup.kill by other ways: a cgroup that was killed must not return to the pool.
 */
int cgroup_kill(struct cgroup *cgroup);
/* Whether something lives in it now: dead tasks do not count, even where the kernel still does.
 * true also when that cannot be read (fail closed). */
bool cgroup_populated(struct cgroup *cgroup);
/* Calls back when it becomes empty (soon, if it is already). NULL cancels. */
int cgroup_watch_empty(struct cgroup *cgroup, cgroup_empty_fn on_empty, void *data);
/* OOM kills since cgroup_get(); -ENOTSUP without the memory controller. */
int cgroup_oom_kills(struct cgroup *cgroup, uint64_t *ret_count);

#endif
