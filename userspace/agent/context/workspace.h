/* SPDX-License-Identifier: Apache-2.0 */
/* What a workspace does to the environment of its context. */
#ifndef MOAT_WORKSPACE_H
#define MOAT_WORKSPACE_H

#include "agent/config/config.h"

/* Sets PATH and PWD in the base environment. 0 or -ENOMEM. */
int workspace_base_env(const struct config_context *values, const char *directory, char ***env);
/*
 * Takes out of PATH, if it is there, what does not begin with a slash, and what lies where commands of the context
 * have their files: a secure exec executes nothing that others have put there. 0 or -ENOMEM.
 */
int workspace_careful_path(const struct config_context *values, char ***env);
/* Whether path is the workspace, or beneath it, by its text: then *ret_rest is what comes behind it. */
bool workspace_contains(const char *workspace, const char *path, const char **ret_rest);

#endif
