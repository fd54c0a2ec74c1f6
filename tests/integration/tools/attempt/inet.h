/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and sockets of both inet families. */
#ifndef MOAT_ATTEMPT_INET_H
#define MOAT_ATTEMPT_INET_H

#include <netinet/in.h>

#include "attempt.h"

#define PROTO_SCTP 132
#define PROTO_UDPLITE 136
#define PROTO_MPTCP 262

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Its length. */
socklen_t address_of(int domain, const char *host, uint16_t port, union address *ret);
/* The descriptor, or -NOT_HERE when the kernel has no such protocol, or -errno with a step. */
int inet_socket(struct target *t, int domain, int type, int protocol);

#endif
