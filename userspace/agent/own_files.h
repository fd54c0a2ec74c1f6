/* SPDX-License-Identifier: Apache-2.0 */
/* Which files the agent has the kernel protect from user code; how is enforce_protect()'s business. */
#ifndef MOAT_PROTECT_H
#define MOAT_PROTECT_H

#include "agent/config/config.h"
#include "agent/enforce/enforce.h"
#include "agent/exec/exec.h"

/*
 * Protected are the `protect` paths of every service and the programs of moat; hidden, also from services, its
 * configuration, its state directory and its audit log; hidden from user code what `hide` names, but for the
 * contexts that `show` it. All have to exist by now. 0, also where the kernel enforces nothing, or -errno.
 */
int protect_files(struct enforce *e, const struct config *config, const struct execs *execs,
		  struct failure *f);

#endif
