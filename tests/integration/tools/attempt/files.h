/* SPDX-License-Identifier: Apache-2.0 */
/* What the cases have in common that attack a protected tree of files, see files.c. */
#ifndef MOAT_ATTEMPT_FILES_H
#define MOAT_ATTEMPT_FILES_H

#include "attempt.h"

/* t->tree/name; static, one at a time. */
const char *in_tree(const struct target *t, const char *name);
/* A name beside the tree that nobody uses; static, one at a time. */
const char *own_path(const struct target *t, const char *name);
/* A file of one's own. NULL: no. */
const char *own_file(struct target *t);
/* The tree under another path, in a mount namespace of one's own. 0 or -errno. */
int bind_elsewhere(struct target *t);

#endif
