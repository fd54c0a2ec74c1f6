/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 4648 base64, with padding. */
#ifndef MOAT_BASE64_H
#define MOAT_BASE64_H

#include "base/base.h"

static inline size_t base64_length(size_t n)
{
	return (n + 2) / 3 * 4;
}

/* ret holds base64_length(n) bytes; it is not terminated. */
void base64_encode(const void *data, size_t n, char *ret);
/* Strict: no spaces, padding required, no stray bits. ret holds n / 4 * 3 bytes. 0 or -EINVAL. */
int base64_decode(const char *text, size_t n, void *ret, size_t *ret_len);

#endif
