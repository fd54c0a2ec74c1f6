/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /v1/contexts/{id}/files, for files.c (what is asked) and files_answer.c (what comes of it). What is read and
 * written goes through in pieces: a client that does not read, or a moat-run that does not, holds up the other side
 * and nobody else.
 */
#ifndef MOAT_API_FILES_H
#define MOAT_API_FILES_H

#include "agent/api/internal.h"
#include "agent/files/files.h"

/* What the answer is made of. */
enum form { FORM_OTHER, FORM_CONTENT, FORM_ENTRY, FORM_EXISTS, FORM_LIST, FORM_DONE };

struct api_files {
	struct files *files; /* NULL: it has ended */
	struct files_observer observer;
	struct api_request *request;
	struct files_ask ask;
	enum form form;
	char path[FILES_PATH_MAX + 1];

	/* FORM_OTHER: what answers, and what goes before the error. */
	enum MHD_Result (*respond)(struct api_request *r);
	void (*on_failed)(struct api_request *r);

	/* FORM_CONTENT: what came and is not sent yet. */
	char *data;
	size_t len, at, capacity;
	struct files_entry entry;
	bool partial, paused, complete;
};

/* files_answer.c: those of every request. */
extern const struct files_observer api_files_observer;

#endif
