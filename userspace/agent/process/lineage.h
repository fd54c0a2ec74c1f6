/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who descends from whom, as /proc tells: what stands in for a cgroup where there is none (an ordinary
 * user's, see moatd --dev; a rootless container's that was given none). A process belongs to a root that is its ancestor or began its session; who has made a
 * session of his own and whose parents have ended is lost. It is a snapshot, and a process chooses its
 * session: not for what has to hold against user code.
 */
#ifndef MOAT_LINEAGE_H
#define MOAT_LINEAGE_H

#include "base/base.h"

struct lineage {
	pid_t root;     /* 0: nobody */
	uint64_t since; /* when it was started, in ticks since boot: a pid may be another's later */
};

/* 0 or -errno; -ESRCH: there is no such process. */
int lineage_of(pid_t pid, struct lineage *ret);
/* Those that live, the root among them. The caller frees *ret_pids. 0 or -errno. */
int lineage_find(const struct lineage *lineage, pid_t **ret_pids, size_t *ret_n);
/* Signals them, but not the caller itself; with SIGKILL until none is left or forks faster. 0 or -errno. */
int lineage_signal(const struct lineage *lineage, int signal);
/* Who is called number in the PID namespace that init began: the pid here. 0 or -errno; -ESRCH: nobody. */
int lineage_named(pid_t init, pid_t number, pid_t *ret_pid);
/* Whether pid is one of those beneath any of n roots, not such a root itself. 0, 1 or -errno. */
int lineage_beneath(pid_t pid, const pid_t *roots, size_t n);

#endif
