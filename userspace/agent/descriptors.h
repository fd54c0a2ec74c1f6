/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may hold how many of the agent's descriptors. RLIMIT_NOFILE is one number for all that it does: without
 * shares, whoever connects often enough would take what a service needs to be started again.
 */
#ifndef MOAT_DESCRIPTORS_H
#define MOAT_DESCRIPTORS_H

#include "agent/config/config.h"

struct descriptors {
	unsigned limit;       /* RLIMIT_NOFILE, as far as numbers go */
	unsigned connections; /* open at a time */
	unsigned execs;       /* commands, running or in the background; open groups */
	unsigned contexts;    /* with namespaces of their own */
	unsigned pool;        /* cgroups kept for the next commands */
};

/*
 * Shares out what is left of the limit when `used` are open and one start of each service and one
 * relaunch of each namespace have theirs. -EMFILE with both numbers where there would be no work to
 * be done with the rest.
 */
int descriptors_share(const struct config *config, unsigned used, unsigned limit,
		      struct descriptors *ret, struct failure *f);

/* How many this process has open now, and may have. 0 or -errno. */
int descriptors_count(unsigned *ret_used, unsigned *ret_limit);

#endif
