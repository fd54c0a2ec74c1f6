/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOAT_LAYERS_INTERNAL_H
#define MOAT_LAYERS_INTERNAL_H

#include "agent/layers/layers.h"

struct filter {
	void *bytes;
	size_t len;
};

/* A filter for struct sock_fprog; the caller frees ret->bytes. 0 or -errno. */
int seccomp_build(enum seccomp_filter filter, const uint64_t secret[SECCOMP_SECRET], struct filter *ret);
/* Whether this kernel takes filters. 0 or -errno. */
int seccomp_probe(void);

/* Of this kernel, or -errno; bits. */
int landlock_abi(void);
unsigned landlock_errata(void);
/* The ruleset for domains. 0; -EOPNOTSUPP: of no use in this ABI; or -errno. */
int landlock_make_ruleset(int abi, int *ret_ruleset);

#endif
