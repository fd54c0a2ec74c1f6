/* SPDX-License-Identifier: Apache-2.0 */
/* Which files the agent has the kernel protect from user code; how is enforce_protect()'s business. */
#ifndef MOAT_PROTECT_H
#define MOAT_PROTECT_H

#include "agent/config/config.h"
#include "agent/enforce/enforce.h"

/*
 * The `protect` paths of every service, the programs of moat, its configuration, its state directory
 * and its audit log. All have to exist by now. 0, also where the kernel enforces nothing, or -errno.
 */
int protect_files(struct enforce *e, const struct config *config, struct failure *f);

#endif
