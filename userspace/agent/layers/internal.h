/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOAT_LAYERS_INTERNAL_H
#define MOAT_LAYERS_INTERNAL_H

#include "agent/layers/layers.h"

struct filter {
	void *bytes;
	size_t len;
};

/* A filter for struct sock_fprog; the caller frees ret->bytes. 0 or -errno. */
int seccomp_build(enum seccomp_filter filter, const uint64_t secret[SECCOMP_SECRET],
		  struct filter *ret);
/* Whether this kernel takes filters. 0 or -errno. */
int seccomp_probe(void);

#endif
