/* SPDX-License-Identifier: Apache-2.0 */
/* What cgroup.c (one cgroup) and group.c (those of a context together) share. */
#ifndef MOAT_CGROUP_INTERNAL_H
#define MOAT_CGROUP_INTERNAL_H

#include "agent/cgroup/cgroup.h"
#include "agent/cgroup/tree.h"
#include "agent/process/lineage.h"
#include "base/list.h"

/* Empty exec cgroups kept for the next commands, of all groups together. The kernel tells that a
 * cgroup has become empty up to 10 ms late (CGROUP_FILE_NOTIFY_MIN_INTV), so that this many are
 * enough for 25,000 execs/s. */
#define CGROUPS_POOL_MAX 256u

struct cgroup_group {
	struct list link; /* in groups */
	struct list idle; /* in the idle ones, or the parked */
	struct cgroups *cgroups;
	char *context;
	char name[64];    /* of its directory */
	bool best_effort;
	bool forgotten;   /* its context is gone, it goes with the last of its exec cgroups */
	bool parked;      /* it has a directory, which is not open: for the files charged to it */
	int dir;          /* -EBADF: it has no directory now, or is parked */
	int readonly;     /* the same, see open_readonly() */
	unsigned n_busy;  /* exec cgroups given out, or dying */
	uint64_t cpu_us;  /* of the directories that it had before */
	struct list pool; /* empty exec cgroups; only those of this context: they keep its charges */
	uint64_t max[LIMIT_COUNT]; /* in force, or to be when it has a directory */
};

struct cgroups {
	struct loop *loop;
	struct cgroup_tree tree;
	uint64_t next_exec;
	struct list groups;
	struct list forgotten; /* groups that are still busy */
	uint64_t next_group;   /* behind the name of one whose context's name is none for a directory */
	struct list idle;   /* groups with a directory and nothing in it, the longest idle first */
	size_t n_idle;
	struct list parked;
	size_t n_open, open_max; /* groups whose directory is open, idle or busy */
	size_t n_pool, pool_max; /* of all groups */
	uint64_t shm;       /* bytes of /dev/shm given out */
	struct list in_use; /* given out */
	struct list dying;  /* put while not empty: killed, wait to be empty */
};

struct cgroup {
	struct list link;
	struct cgroups *cgroups;
	struct cgroup_group *group; /* NULL: of the control plane, and removed rather than pooled */
	char *name;
	bool killed;           /* never to be used again, see cgroup_kill() */
	int dir, events; /* the directory (of an exec: read-only), and cgroup.events in it */
	struct lineage lineage; /* where there are no cgroups, and no descriptors */
	uint64_t oom_base;     /* oom_kill of memory.events when it was given out */
	struct loop_source source;
	struct loop_timer soon; /* calls back when it was empty from the start; dying: see put */
	cgroup_empty_fn on_empty;
	void *data;
};

/* cgroup.c: forgets it; the directory stays. */
void cgroup_free(struct cgroup *cgroup);

void cgroup_tell_empty(struct cgroup *cgroup);

/* lineage.c */

bool cgroup_has_lineage(const struct cgroup *cgroup);
/* Calls cgroup_tell_empty() when the last has ended. 0 with source.fd < 0: there is nobody. */
int cgroup_watch_lineage(struct cgroup *cgroup);
void cgroup_unwatch_lineage(struct cgroup *cgroup);

/* group.c */

/* One more of its exec cgroups is in use: makes its directory if it has none. 0 or -errno. */
int cgroup_group_take(struct cgroup_group *group, struct failure *f);
/* One less. With none left its directory may go. */
void cgroup_group_put(struct cgroup_group *group);
/* Gives an exec cgroup, by name, what programs read of the limits of its group. 0 or -errno. */
int cgroup_group_limit(const struct cgroup_group *group, const char *name);
/* Forgets it, its pool being empty; the directory stays. */
void cgroup_group_free(struct cgroup_group *group);

#endif
