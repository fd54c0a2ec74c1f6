/* SPDX-License-Identifier: Apache-2.0 */
/* Telling a service manager, as sd_notify(3) does: $NOTIFY_SOCKET. */
#ifndef MOAT_NOTIFY_H
#define MOAT_NOTIFY_H

#include "base/base.h"
#include "base/loop.h"

struct notify {
	struct loop *loop;
	char *socket; /* owned; NULL: there is nobody to be told */
	const char *pending[2]; /* not yet taken by the manager, in order */
	size_t n_pending;
	struct loop_timer again;
};

/* Takes the variable out of the environment: it is the agent's, not its services'. */
void notify_open(struct notify *notify, struct loop *loop);
/* state: static, one of at most two in the agent's life. What the manager has no room for is kept and
 * said again later. */
void notify_send(struct notify *notify, const char *state);
/* Tries once more what is left. */
void notify_close(struct notify *notify);

#endif
