/* SPDX-License-Identifier: Apache-2.0 */
/* How long something took, in fixed buckets: counting allocates nothing and cannot fail. */
#ifndef MOAT_HISTOGRAM_H
#define MOAT_HISTOGRAM_H

#include "base/base.h"

#define HISTOGRAM_BOUNDS 12u

struct histogram {
	/* Bucket i: above bound i - 1, at most bound i; the last one is all above every bound. */
	uint64_t buckets[HISTOGRAM_BOUNDS + 1];
	uint64_t sum_ns;
};

/* Rising: 0.25 ms to 1 s. */
extern const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS];

void histogram_add(struct histogram *h, uint64_t ns);

#endif
