/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOAT_LAYERS_INTERNAL_H
#define MOAT_LAYERS_INTERNAL_H

#include "agent/layers/layers.h"

struct filter {
	void *bytes;
	size_t len;
};

/* The filter of a class for struct sock_fprog; the caller frees ret->bytes. 0 or -errno. */
int seccomp_build(enum seccomp_class class, struct filter *ret);
/* Whether this kernel takes filters. 0 or -errno. */
int seccomp_probe(void);

#endif
