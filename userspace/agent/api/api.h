/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP API on a unix socket: libmicrohttpd inside the agent's loop. Routes: see moatd(8). */
#ifndef MOAT_API_H
#define MOAT_API_H

#include "agent/agent.h"

#define API_BODY_MAX (2u * 1024 * 1024)
#define API_CONNECTIONS_MAX 2048u

/* Makes the socket (mode 0600, in a directory of mode 0700), guards it, serves it from the loop:
 * so many connections at a time, and API_CONNECTIONS_MAX. */
int api_open(struct agent *agent, unsigned connections, struct api **ret, struct failure *f);
/* As long as it is held no connection is taken: clients wait. */
void api_hold(struct api *api, bool hold);
/* Refuses new requests with SHUTTING_DOWN; those under way go on. */
void api_drain(struct api *api);
/* Closes every connection, removes the socket. */
void api_close(struct api *api);

#endif
