/* SPDX-License-Identifier: Apache-2.0 */
/* The files of one cgroup directory (kernel: Documentation/admin-guide/cgroup-v2.rst). */
#ifndef MOAT_CGROUP_FILE_H
#define MOAT_CGROUP_FILE_H

#include "agent/config/config.h"

/* The value behind "key " in an open flat-keyed file. 0 or -errno; -ENOENT: no such key. */
int cgroup_read_key(int fd, const char *key, uint64_t *ret_value);

/* "populated" of an open cgroup.events. Fails closed: what cannot be read is populated. */
bool cgroup_events_populated(int events);

/* Calls fn for each child cgroup, which it may remove, until one is not 0. That, or -errno. */
int cgroup_for_each_child(int dir, int (*fn)(int dir, const char *name, void *data), void *data);

/* Removes all that is beneath dir, as cgroup_remove() does. */
void cgroup_remove_children(int dir);

/* Whether the calling process is in dir or beneath it: 0, 1, or -errno where that cannot be told. */
int cgroup_has_self(int dir);

/* Whether the text of cgroup.controllers or .subtree_control has the controller of a limit. */
bool cgroup_offers(const char *list, enum config_limit limit);

/* Removes a cgroup and its descendants, all empty. What cannot be removed is logged. */
void cgroup_remove(int dir, const char *name);

#endif
