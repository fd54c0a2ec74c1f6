/* SPDX-License-Identifier: Apache-2.0 */
/* The files of one cgroup directory (kernel: Documentation/admin-guide/cgroup-v2.rst). */
#ifndef MOAT_CGROUP_FILE_H
#define MOAT_CGROUP_FILE_H

#include "base/base.h"

/* The value behind "key " in an open flat-keyed file. 0 or -errno; -ENOENT: no such key. */
int cgroup_read_key(int fd, const char *key, uint64_t *ret_value);

/* "populated" of an open cgroup.events. Fails closed: what cannot be read is populated. */
bool cgroup_events_populated(int events);

/* Calls fn for each child cgroup, which it may remove. 0 or -errno. */
int cgroup_for_each_child(int dir, void (*fn)(int dir, const char *name));

/*
 * Turns on what there is of memory and pids for the children of dir. *ret_disable, which the caller
 * frees, is what is to be written to undo it ("" when they were on); it may be NULL. 0 or -errno;
 * -EBUSY: processes sit in dir itself.
 */
int cgroup_enable_controllers(int dir, char **ret_disable);

#endif
