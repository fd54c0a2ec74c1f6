/* SPDX-License-Identifier: Apache-2.0 */
/* files.c (a request's life), input.c (what moat-run is given), parse.c (what it says), root.c (where a path lies), failure.c (words). */
#ifndef MOAT_FILES_INTERNAL_H
#define MOAT_FILES_INTERNAL_H

#include "agent/context/context.h"
#include "agent/files/files.h"

struct files_path {
	char root[FILES_PATH_MAX + 1];
	char path[FILES_PATH_MAX + 1]; /* beneath the root */
};

struct files {
	struct execs *execs;
	struct loop *loop;
	struct files_observer *observer;
	struct exec_observer watch;
	struct exec *exec; /* pinned; NULL: it has not started, or is no more */
	struct exec_reader reader; /* of what moat-run writes, which waits for it */
	bool paused, ended;
	bool *freed; /* to be told while it is read */
	struct files_parser parser;
	struct loop_timer stall, again;
	char path[128]; /* for words */

	/* To moat-run: what is in `out` from `sent` on, then the end. */
	int fd; /* our end of its standard input; -EBADF: closed */
	struct loop_source source;
	char *out;
	size_t size, len, sent;
	bool ending; /* the end is still to be sent */
	bool waited; /* somebody waits for room */
	bool started;
};

/* Something of it goes on: the time that it may stall begins anew. */
void files_moved(struct files *f);

/* input.c: standard input of moat-run. */
/* The first that moat-run reads; places as of files_place(). 0 or -ENOMEM. */
int files_input_request(struct files *f, const struct files_ask *ask, const struct files_path *at,
			const struct files_path *to);
/* Its end for moat-run in *ret_theirs. 0 or -errno. */
int files_input_open(struct files *f, int *ret_theirs);
/* Writes what there is, and waits for room for the rest. What the other side does not read any more is dropped. */
void files_input_flush(struct files *f);
void files_input_close(struct files *f);

/*
 * root.c: by the text and the configuration alone, no file is looked at. Roots are the workspace and what its links
 * lead to; without a workspace it is /. writes: for what changes something. field: what it is called in an error.
 * 0, or -EINVAL with *e.
 */
int files_place(const struct context_settings *settings, const char *field, const char *path,
		bool writes, struct files_path *ret, struct refusal *e);

/* failure.c: what moat-run's error means to a client. */
void files_describe(const struct files_error *error, const char *path, struct refusal *e);

#endif
