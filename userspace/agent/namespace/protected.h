/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What user code can read but not change: what services list or execute, what resolves names, moat's own programs. Where the
 * kernel programs do not refuse it, read-only mounts do (init/protect.c): as good as they are for who cannot mount.
 */
#ifndef MOAT_NAMESPACE_PROTECTED_H
#define MOAT_NAMESPACE_PROTECTED_H

#include "agent/config/config.h"

/* Appends them. *optional: those that need not exist. Both may be NULL at first; the caller frees them, also after a
 * failure. 0 or -errno. */
int protected_paths(const struct config *config, char ***paths, char ***optional, struct failure *f);

/*
 * The same as moat-init wants them: without links, each before what is beneath it, after INIT_PROTECT_READONLY or, of the
 * directories that lead there, INIT_PROTECT_PINNED. Caller frees *ret_mounts. 0 or -errno.
 */
int protected_mounts(const struct config *config, char ***ret_mounts, struct failure *f);

#endif
