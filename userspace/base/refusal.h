/* SPDX-License-Identifier: Apache-2.0 */
/* The error that a client gets: filled by every function that can refuse a request. */
#ifndef MOAT_BASE_REFUSAL_H
#define MOAT_BASE_REFUSAL_H

#include "base/base.h"
#include "moat/errors.h"

struct refusal {
	enum moat_error code;
	char message[256];
	int err;            /* errno, 0: none */
	const char *step;   /* static, NULL: none */
	char field[64];     /* "" : none */
	long long offset;   /* -1: none */
	long long limit;    /* -1: none */
	long long expected; /* what would have been right; -1: none */
	int exit_code;      /* of a command whose result is gone; -1: none */
	long long count;    /* -1: none */
};

/* The code for an errno that tells of want: of memory, descriptors, processes. The same request may
 * succeed later, and clients may try it again. MOAT_OK: it is none of these. */
enum moat_error refusal_of_want(int err);

/* Fills *r and returns -EINVAL (a refusal; the code says the rest). */
int refuse(struct refusal *r, enum moat_error code, const char *fmt, ...) PRINTF(3, 4);

#endif
