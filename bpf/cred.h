/* SPDX-License-Identifier: GPL-2.0-only */
/* Labels of credentials; see cred.bpf.c. */
#ifndef MOAT_BPF_CRED_H
#define MOAT_BPF_CRED_H

#include "verdict.h"

/* NULL: not those of user code, or of a command that has not executed its program yet. */
static __always_inline const struct moat_label *label_of_credentials(const struct cred *cred)
{
	__u64 address = (__u64)cred;

	return bpf_map_lookup_elem(&creds, &address);
}

#endif
