/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: moat itself.
 *
 * Policy: user code has no use of bpf(2): neither moat's programs, maps, links and pins nor anybody
 * else's, nor programs of its own that could look at or interfere with them. EPERM.
 *
 * Hooks: bpf. (Its arguments grew from three to four after 6.12; only the first, the command, is
 * read, from the context directly, which is right on all of them.)
 */
#include "verdict.h"

SEC("lsm/bpf")
int moat_bpf(unsigned long long *ctx)
{
	if (!user_subject())
		return 0;
	return deny(MOAT_HOOK_bpf, EPERM, MOAT_OBJECT_BPF, (int)ctx[0]);
}
