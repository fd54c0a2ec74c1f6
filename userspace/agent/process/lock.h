/* SPDX-License-Identifier: Apache-2.0 */
/* Locks that somebody else has, but not for long. The kernel has no wait for one that ends at a given time. */
#ifndef MOAT_PROCESS_LOCK_H
#define MOAT_PROCESS_LOCK_H

#include "base/base.h"

/* flock(2), exclusive. 0, or -errno: the lock is not to be relied on; -EBUSY: it was not free in time. */
int lock_in_time(int fd, uint64_t wait_ns);
/* The same for lock_removable(). */
int lock_removable_in_time(int fd, uint64_t wait_ns);

#endif
