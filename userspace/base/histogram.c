/* SPDX-License-Identifier: Apache-2.0 */
#include "base/histogram.h"

#define US 1000ull

const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS] = {
	250 * US,   500 * US,   1000 * US,   2500 * US,   5000 * US,   10000 * US,
	25000 * US, 50000 * US, 100000 * US, 250000 * US, 500000 * US, 1000000 * US,
};

void histogram_add(struct histogram *h, uint64_t ns)
{
	size_t i = 0;

	while (i < HISTOGRAM_BOUNDS && ns > histogram_bounds_ns[i])
		i++;
	h->buckets[i]++;
	h->sum_ns += ns;
}
