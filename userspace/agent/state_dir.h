/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's runtime directory, which holds its socket and the lock that makes it the only one. */
#ifndef MOAT_STATE_DIR_H
#define MOAT_STATE_DIR_H

#include "base/base.h"

/*
 * Makes the directory (mode 0700; an existing one must belong to the agent's user and be writable
 * by nobody else) and takes PATH/lock. -EBUSY: another agent holds it. The caller owns *ret_lock.
 */
int state_dir_lock(const char *path, int *ret_lock, struct failure *f);
/* Removes the lock, and the directory if nothing else is in it. Closes the descriptor. */
void state_dir_unlock(const char *path, int *lock);

#endif
