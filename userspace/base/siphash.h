/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-2-4 with 128 bits (Aumasson, Bernstein): a keyed hash. Who does not know the key can find no two texts of one hash,
 * nor learn anything of a text from its hash. */
#ifndef MOAT_SIPHASH_H
#define MOAT_SIPHASH_H

#include "base/base.h"

void siphash128(const uint64_t key[2], const void *data, size_t n, uint64_t ret[2]);

#endif
