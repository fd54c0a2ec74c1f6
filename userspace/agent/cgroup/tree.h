/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fixed part of an instance's cgroups, and what is limited there:
 *
 *   BASE/moat-INSTANCE/control    the agent itself; beneath it its services and moat-inits.
 *                                 memory.min, and a cpu.weight above that of user code
 *                     /user       all user code: memory.max, pids.max, cpu.max
 *
 * control gives no controller to its children: so they are all charged to control itself, and its
 * memory.min is theirs whether or not cgroup2 was mounted with memory_recursiveprot.
 */
#ifndef MOAT_CGROUP_TREE_H
#define MOAT_CGROUP_TREE_H

#include "agent/cgroup/find.h"
#include "agent/config/config.h"

struct cgroup_tree {
	char *path;       /* BASE/moat-INSTANCE, for people */
	char *name;       /* moat-INSTANCE */
	struct cgroup_place base;
	struct cgroup_place home; /* where the agent came from; none: it never moved */
	int dir, control, user;
	int view; /* a cgroup namespace that begins at dir */
	bool have[LIMIT_COUNT];    /* the controller is on, for control and for user */
	bool give_back[LIMIT_COUNT]; /* it was not on in BASE before us */
	char missing[LIMIT_COUNT][160]; /* of those that are not on: why, for people */
	uint64_t user_max[LIMIT_COUNT]; /* in force over all user code; CONFIG_NO_LIMIT: none */
	uint64_t user_memory; /* bytes that user code has, whether or not limited to them */
	uint64_t reserve; /* bytes in force as memory.min of control; 0: none */
	uint64_t for_clients; /* what the agent may hold for them */
};

/*
 * Makes the directories, after clearing what a dead agent left there (killing it first), moves the
 * agent to control and sets the limits of config. Where a limit that the configuration names cannot
 * be set: -EINVAL, or a warning with enforce = best-effort. Where only defaults cannot: a warning.
 * *tree may be uninitialised; on failure nothing is left of it.
 */
int cgroup_tree_open(const struct config *config, struct cgroup_tree *tree, struct failure *f);
/* Kills all user code and services, waits for them (bounded by 5 s), moves the agent back, and
 * removes the directories. */
void cgroup_tree_close(struct cgroup_tree *tree);

/* Switches a controller on for the children of dir, which holds no process: a directory of user, or
 * user itself. 0 or -errno. */
int cgroup_tree_enable(int dir, enum config_limit limit);

/* view.c: a cgroup namespace whose root is dir, which gives no controllers to its children yet. 0 or -errno. */
int cgroup_view_open(int dir, int *ret_ns);

/* limit.c */

/*
 * Sets limits (0 and CONFIG_NO_LIMIT: none) on a directory of user code. All that is set is in
 * ret_set, the rest of which is CONFIG_NO_LIMIT. of: whose they are, for messages. A limit whose
 * controller is missing: -EINVAL; with best_effort a warning.
 */
int cgroup_limits_set(const struct cgroup_tree *tree, int dir, const char *of, bool best_effort,
		      const uint64_t limits[LIMIT_COUNT], uint64_t ret_set[LIMIT_COUNT],
		      struct failure *f);
/* The limits over all user code, by configuration or by default, and the share of the control
 * plane; fails as cgroup_tree_open() does. */
int cgroup_limits_divide(struct cgroup_tree *tree, const struct config *config, struct failure *f);
/* Only what user code and the agent for its clients have of the memory, where nothing is limited. */
int cgroup_memory_divide(struct cgroup_tree *tree, const struct config *config, struct failure *f);

#endif
