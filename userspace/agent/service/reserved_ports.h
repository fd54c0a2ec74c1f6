/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guarded port in the ephemeral range could be taken by the kernel's own choice: for bind() to
 * port 0, for connect() without bind(). net.ipv4.ip_local_reserved_ports takes ports out of that
 * choice (kernel: Documentation/networking/ip-sysctl.rst); it holds for the agent's network
 * namespace, and for IPv6 too.
 *
 * What is added is written down first, in the state directory, so that the agent after one that was killed
 * knows what to take back; agents that start together wait for each other by a lock on the sysctl.
 */
#ifndef MOAT_RESERVED_PORTS_H
#define MOAT_RESERVED_PORTS_H

#include "agent/config/config.h"

/* What was added, to be taken back. Zero-initialise. */
struct reserved_ports {
	uint16_t *ports; /* owned */
	size_t n;
	bool adopted;    /* an agent that died had added them: a start that fails leaves them */
	char *journal;   /* the file in config->state_dir that says so, owned */
};

/*
 * Adds the configured ports of the ephemeral range that are not reserved yet, keeping what is, and takes
 * back what an agent that died had added and this one does not need. The state directory must be locked.
 * 0, also when there are none; otherwise f names the ports.
 */
int reserved_ports_add(const struct config *config, struct reserved_ports *reserved,
		       struct failure *f);
/* Takes back what was added, and nothing else. */
void reserved_ports_remove(struct reserved_ports *reserved);

#endif
