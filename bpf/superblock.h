/* SPDX-License-Identifier: GPL-2.0-only */
/* Whose file system it is; see mount.bpf.c. */
#ifndef MOAT_BPF_SUPERBLOCK_H
#define MOAT_BPF_SUPERBLOCK_H

#include "maps.h"

/* Made by user code (of whatever context: they all share the machine's mounts). */
static __always_inline bool superblock_is_own(const struct super_block *sb)
{
	__u64 address = (__u64)sb;

	return bpf_map_lookup_elem(&superblocks, &address);
}

#endif
