/* SPDX-License-Identifier: Apache-2.0 */
/* Targets made for one case: a process that is a stranger to the attacker, a listening socket. */
#ifndef MOAT_ATTEMPT_FRESH_H
#define MOAT_ATTEMPT_FRESH_H

#include "attempt.h"

struct fresh {
	int pidfd;     /* the stranger, or -1 */
	int listen_fd; /* the socket, or -1 */
	int abstract_fd[2]; /* stream and datagram, or -1 */
	bool cgroup;   /* made for the stranger */
	char dir[32], socket[64], link[64], cgroup_path[96], tree[64], alias[64];
};

/* Fills in t what the cases of this group attack. 0, or -errno with t->step set; fresh_close() is
 * due in both cases. */
int fresh_open(const char *group, struct target *t, struct fresh *ret);
void fresh_close(struct fresh *f);

#endif
