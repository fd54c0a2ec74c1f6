/* SPDX-License-Identifier: Apache-2.0 */
/* files.c (a request's life), parse.c (what moat-run says), root.c (where a path lies), failure.c (words). */
#ifndef MOAT_FILES_INTERNAL_H
#define MOAT_FILES_INTERNAL_H

#include "agent/context/context.h"
#include "agent/files/files.h"

struct files_path {
	char root[FILES_PATH_MAX + 1];
	char path[FILES_PATH_MAX + 1]; /* beneath the root */
};

/* root.c: by the text alone, no file is looked at. field: what it is called in an error. 0, or -EINVAL with *e. */
int files_place(const struct context_settings *settings, const char *field, const char *path,
		struct files_path *ret, struct refusal *e);

/* failure.c: what moat-run's error means to a client. */
void files_describe(const struct files_error *error, const char *path, struct refusal *e);

#endif
