/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's sockets that can be connected or sent to, by sock_diag(7), in the network namespace of the agent. */
#ifndef MOAT_SOCK_DIAG_H
#define MOAT_SOCK_DIAG_H

#include <linux/netlink.h>

#include "base/base.h"

/* An answer of the kind SOCK_DIAG_BY_FAMILY; its length is still to be checked. */
typedef void (*sock_diag_fn)(const struct nlmsghdr *message, void *data);

/* Those that listen, or of UDP those that are bound and not connected: a struct inet_diag_msg each. family: AF_INET or
 * AF_INET6; protocol: IPPROTO_TCP or IPPROTO_UDP. 0 or -errno; -EOPNOTSUPP: no such diagnosis in this kernel. */
int sock_diag_inet(int family, int protocol, sock_diag_fn fn, void *data);
/* Those of AF_UNIX that listen: a struct unix_diag_msg each, with UNIX_DIAG_NAME. The same. */
int sock_diag_unix(sock_diag_fn fn, void *data);

/* Each socket that a process has open, by its inode, until fn says false. Who cannot be looked at has none. */
void sockets_of(pid_t pid, bool (*fn)(uint32_t inode, void *data), void *data);

#endif
