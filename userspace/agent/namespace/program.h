/* SPDX-License-Identifier: Apache-2.0 */
/* The programs moat-init and moat-run, found beside the agent's own program or in its libexec directory. */
#ifndef MOAT_NAMESPACE_PROGRAM_H
#define MOAT_NAMESPACE_PROGRAM_H

#include <limits.h>

#include "base/base.h"

/* A descriptor of the copy that is executed (execveat(2)), made by the first call; borrowed. Or -errno. */
int namespace_open_init(struct failure *f);
int namespace_open_runner(struct failure *f);
/* Where the file of moat-init is. 0 or -errno. */
int namespace_program(char ret_path[PATH_MAX], struct failure *f);

#endif
