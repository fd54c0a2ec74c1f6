/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is covered in the mount namespaces of user code: moat's own files everywhere, and what the configuration
 * hides where no context that runs there is shown it. Where the kernel refuses it as well (bpf/protect.h)
 * the cover is only the second layer.
 */
#ifndef MOAT_NAMESPACE_HIDDEN_H
#define MOAT_NAMESPACE_HIDDEN_H

#include "agent/config/config.h"

struct hidden_files {
	char **own;   /* moat's: without links, each once */
	char **names; /* of the others, as config_hidden() has them ... */
	char **paths; /* ... and without links */
};

/* The first that is not there now, or NULL. Borrowed. */
const char *hidden_files_missing(const struct hidden_files *files);
/* Everything must exist: a cover is a mount. Free with hidden_files_free(), also after a failure. */
int hidden_files_find(const struct config *config, struct hidden_files *ret, struct failure *f);
void hidden_files_free(struct hidden_files *files);

#endif
