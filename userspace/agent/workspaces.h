/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workspaces of the contexts of the configuration: made at start, one after the other, by moat-run in each
 * context. Until then nothing is started there, since the API takes no connection.
 */
#ifndef MOAT_WORKSPACES_H
#define MOAT_WORKSPACES_H

#include "agent/config/config.h"
#include "agent/files/files.h"

struct workspaces {
	const struct config *config;
	struct execs *execs;
	struct loop *loop;
	struct files_observer observer;
	struct files *files; /* that of contexts[next - 1]; NULL: none is under way */
	size_t next;
	void (*on_done)(void *data);
	void *data;
};

/* What cannot be made is logged; a command in it is then refused. on_done comes from the loop, or before this returns. */
void workspaces_start(struct workspaces *w, const struct config *config, struct execs *execs,
		      struct loop *loop, void (*on_done)(void *data), void *data);
/* on_done comes no more. Also where nothing was started. */
void workspaces_stop(struct workspaces *w);

#endif
