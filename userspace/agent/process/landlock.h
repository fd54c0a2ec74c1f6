/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock domains: landlock(7), Documentation/userspace-api/landlock.rst of the kernel. */
#ifndef MOAT_LANDLOCK_H
#define MOAT_LANDLOCK_H

#include "base/base.h"

#define LANDLOCK_USED 2   /* the first ABI that is of use here */
#define LANDLOCK_SCOPES 6 /* the first that keeps signals and abstract sockets apart */

/* Of this kernel, or -errno: -EOPNOTSUPP, it is built in and not in the list of lsm=. */
int landlock_abi(void);
/* What this kernel has mended, as bits; 0 also where it does not say. */
unsigned landlock_errata(void);
/* What each ABI, or since which erratum, gives; false at the end of the table. */
bool landlock_abi_at(size_t index, int *ret_abi, unsigned *ret_erratum, const char **ret_gives);
/* What this ABI, from 1 on, gives, and what was mended with it, by that table. */
void landlock_describe(int abi, unsigned errata, char *text, size_t size);
/* The ruleset for domains. 0; -EOPNOTSUPP: of no use in this ABI; or -errno. */
int landlock_make_ruleset(int abi, int *ret_ruleset);

#endif
