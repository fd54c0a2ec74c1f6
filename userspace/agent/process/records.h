/* SPDX-License-Identifier: Apache-2.0 */
/* In which order the bytes of a process's streams came, and when: an index of them, which costs nothing while there are few. */
#ifndef MOAT_RECORDS_H
#define MOAT_RECORDS_H

#include "base/base.h"

#define RECORDS_MAX 8192u
#define RECORDS_MERGE_MS 1000u

/* Bytes of one stream, up to the next record. */
struct record {
	uint64_t at;     /* bytes of all streams before it */
	uint64_t offset; /* of its own stream */
	uint32_t ms, stream;
};

struct records {
	struct record *many; /* NULL: they are in few */
	size_t n, size;
	struct record few[4];
};

/* Bytes of a stream have come, `offset` of it and `at` of all after what was there. The oldest are forgotten when there are too
 * many, or no memory for more. */
void records_add(struct records *r, uint32_t stream, uint64_t at, uint64_t offset, uint32_t ms);
/* The number of the record that `at` lies in, whose end is that of the next. -ENOENT: it is forgotten. */
ssize_t records_find(const struct records *r, uint64_t at);
const struct record *records_get(const struct records *r, size_t i);
void records_free(struct records *r);

#endif
