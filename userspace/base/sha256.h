/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4), for telling whether the content of a file is what somebody has seen. */
#ifndef MOAT_SHA256_H
#define MOAT_SHA256_H

#include "base/base.h"

#define SHA256_SIZE 32u

struct sha256 {
	uint32_t state[8];
	uint64_t total; /* bytes */
	uint8_t block[64];
};

void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t n);
/* Overwrites the state. */
void sha256_end(struct sha256 *s, uint8_t ret[SHA256_SIZE]);

#endif
