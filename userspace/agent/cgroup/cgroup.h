/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One cgroup (v2) per exec and per service, beneath one directory of the instance's own:
 *
 *   BASE/moat-INSTANCE/control/{service-NAME, init-NAME}
 *                     /user/context-NAME/exec-N
 *
 * Used to kill whole trees, to know when a tree is empty, and to limit what user code takes from
 * the control plane (see tree.h) and contexts from each other (see group.c). Exec cgroups are
 * pooled, each where it is: making one costs more than the exec itself.
 */
#ifndef MOAT_CGROUP_H
#define MOAT_CGROUP_H

#include "agent/config/config.h"
#include "base/loop.h"

struct cgroups;
struct cgroup;
struct cgroup_group; /* a context */

/* Called once, from the loop, when the last process of the cgroup is gone. */
typedef void (*cgroup_empty_fn)(struct cgroup *cgroup, void *data);

/*
 * Finds the cgroup2 hierarchy (also the "unified" mount of a hybrid set-up), makes the instance's
 * directory, clears what a dead agent left there (killing it first), and sets the limits of [moat]:
 * see cgroup_tree_open(). Without one that can be written enforce = best-effort goes on, see cgroup_lead().
 */
int cgroups_open(const struct config *config, struct loop *loop, struct cgroups **ret,
		 struct failure *f);
/* Kills everything left, waits for it to be gone (bounded by 5 s each), removes the directories. */
void cgroups_close(struct cgroups *cgroups);
/* Keeps no more empty ones than pool for the next commands, and no idle group open while more than
 * so many groups are. */
void cgroups_limit(struct cgroups *cgroups, size_t pool, size_t groups);
/* Directory of the instance, for people and for /v1/status. Borrowed. */
const char *cgroups_path(const struct cgroups *cgroups);
/* Directories of the instance, and of all user code. Borrowed descriptors. */
int cgroups_instance(const struct cgroups *cgroups);
int cgroups_user(const struct cgroups *cgroups);
/* A cgroup namespace that begins there: what user code sees of cgroups. Borrowed descriptor. */
int cgroups_view(const struct cgroups *cgroups);
/* Whether memory events are counted (the memory controller is there). */
bool cgroups_have_memory(const struct cgroups *cgroups);

/* What is limited, for /v1/status. */
struct cgroup_limits {
	const char *context; /* NULL: all user code together */
	uint64_t max[LIMIT_COUNT]; /* in force; CONFIG_NO_LIMIT: none */
	bool used; /* of a context: something has run in it lately */
	uint64_t files; /* of a context: bytes of memory that its files in memory take */
};
/* First that of all user code, then each context's. */
void cgroups_for_each_limits(const struct cgroups *cgroups,
			     void (*fn)(const struct cgroup_limits *limits, void *data),
			     void *data);
/* Why a controller limits nothing at all here; NULL when it can. Borrowed. */
const char *cgroups_missing(const struct cgroups *cgroups, enum config_limit limit);
/* Bytes kept for the control plane (memory.min); 0: none. */
uint64_t cgroups_reserve(const struct cgroups *cgroups);
/* How much of the control plane's memory the agent may hold for its clients (base/held.h). */
uint64_t cgroups_for_clients(const struct cgroups *cgroups);

/*
 * Of an eighth of user code's memory, which all /dev/shm together may be: wanted, or half of what
 * is left, but at least 1 MiB, so that there is something for everybody. Give back what it returns.
 */
uint64_t cgroups_shm_take(struct cgroups *cgroups, uint64_t wanted);
void cgroups_shm_give_back(struct cgroups *cgroups, uint64_t size);

/*
 * A place for the execs of a context, with its limits; 0: a share of those of all user code, which
 * is three quarters of the memory and not quite half of the processes. -EINVAL where one that is
 * given cannot be set (best_effort: a warning). Lives as long as cgroups, or until it is forgotten.
 */
int cgroup_group_add(struct cgroups *cgroups, const char *context,
		     const uint64_t limits[LIMIT_COUNT], bool best_effort,
		     struct cgroup_group **ret, struct failure *f);
/* What all of a context's commands take now, and of processor time what they have ever taken. */
#define CGROUP_UNKNOWN UINT64_MAX /* there is no controller that counts it, or no cgroup */

struct cgroup_usage {
	uint64_t memory;    /* bytes, what its files in memory take among them */
	uint64_t processes; /* and threads */
	uint64_t cpu_us;
};

void cgroup_group_usage(const struct cgroup_group *group, struct cgroup_usage *ret);
/* Its context is no more: it goes when the last of its exec cgroups is empty, its directory with it. What files in
 * memory were charged to it counts for all user code together from then on. */
void cgroup_group_forget(struct cgroup_group *group);

/* control/name, with a number behind it while one of that name is in use or still dies. */
int cgroup_get(struct cgroups *cgroups, const char *name, struct cgroup **ret, struct failure *f);
/* An empty exec cgroup of a context, from its pool if that has one. */
int cgroup_get_exec(struct cgroups *cgroups, struct cgroup_group *group, struct cgroup **ret,
		    struct failure *f);
/* Gives an empty cgroup back (to the pool, or removes a named one). Frees. If it is not empty it is
 * killed first and reclaimed when empty; the caller hears nothing more of it. */
void cgroup_put(struct cgroup *cgroup);

/*
 * Where there are no cgroups (config.dev, or enforce = best-effort without one that can be written) a struct cgroup
 * is whoever descends from the process that is put there by this, once it is started; else it does nothing.
 */
bool cgroups_are_there(const struct cgroups *cgroups);
void cgroup_lead(struct cgroup *cgroup, pid_t pid);

/* O_DIRECTORY descriptor for CLONE_INTO_CGROUP (none: -EBADF); borrowed. That of an exec may come into the hands of user
 * code: nothing can be written by it, and nothing above the cgroups of its group be reached. */
int cgroup_fd(const struct cgroup *cgroup);
/* The one given out whose cgroup_fd() it is, or NULL. A search, for rare occasions. */
struct cgroup *cgroup_by_fd(struct cgroups *cgroups, int fd);
/*
 * cgroup.kill: SIGKILL to everything in it, atomically against fork. 0 or -errno. From then on
 * nothing can be started in it (recent kernels kill that, too): put it and get another one. Do not
 * write cgroup.kill by other ways: a cgroup that was killed must not return to the pool.
 */
int cgroup_kill(struct cgroup *cgroup);
/* A signal to everything in it; what comes in meanwhile may miss it. 0 or -errno. */
int cgroup_signal(const struct cgroup *cgroup, int signal);
/* The processes that live in it and beneath it; those that are dead do not count. The caller frees *ret_pids. 0 or -errno. */
int cgroup_pids(const struct cgroup *cgroup, pid_t **ret_pids, size_t *ret_n);
int cgroup_count(const struct cgroup *cgroup, size_t *ret_n);
/* Whether something lives in it now: dead tasks do not count, even where the kernel still does.
 * true also when that cannot be read (fail closed). */
bool cgroup_populated(struct cgroup *cgroup);
/* Calls back when it becomes empty (soon, if it is already). NULL cancels. */
int cgroup_watch_empty(struct cgroup *cgroup, cgroup_empty_fn on_empty, void *data);
/* OOM kills since cgroup_get(); -ENOTSUP without the memory controller. */
int cgroup_oom_kills(struct cgroup *cgroup, uint64_t *ret_count);
/* Bytes of memory that files of the whole context take (tmpfs, shared memory); 0: none, or not
 * known. */
uint64_t cgroup_files(const struct cgroup *cgroup);

#endif
