/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a service is at home unless the configuration says otherwise: STATE_DIR/services/NAME, which
 * user code can neither see nor change. What a program finds in its working directory or in its home
 * directory it often executes (modules, dotfiles), so these must not be anybody's.
 *
 *   work   its working directory
 *   home   HOME, with XDG_CONFIG_HOME, XDG_CACHE_HOME, XDG_DATA_HOME, XDG_STATE_HOME beneath it
 *   tmp    TMPDIR
 *   run    XDG_RUNTIME_DIR
 */
#ifndef MOAT_SERVICE_PLACE_H
#define MOAT_SERVICE_PLACE_H

#include "base/base.h"

/* STATE_DIR/services; the caller frees. NULL: out of memory. */
char *service_places(const char *state_dir);
/* Makes what is missing of it, mode 0700. -EINVAL: something there is not the agent's own. Caller
 * frees *ret_path. */
int service_place_make(const char *state_dir, const char *name, char **ret_path, struct failure *f);
/* Removes what is empty of it: what a service has written stays. path: of service_place_make(). */
void service_place_remove(const char *path);

/*
 * Sets the variables in *env. own: what the configuration sets itself, which is left alone; with a
 * HOME of its own the service's XDG_*_HOME are where they are by default, beneath that. 0 or -ENOMEM.
 */
int service_place_env(const char *path, char *const *own, char ***env);

#endif
