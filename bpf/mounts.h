/* SPDX-License-Identifier: GPL-2.0-only */
/* The mount namespaces in which commands begin; see mount.bpf.c. */
#ifndef MOAT_BPF_MOUNTS_H
#define MOAT_BPF_MOUNTS_H

#include "maps.h"

/* Whether the running task is in the mount namespace of a moat-init, where later commands begin. */
static __always_inline bool in_mounts_of_init(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 inum = task->nsproxy->mnt_ns->ns.inum;

	return bpf_map_lookup_elem(&namespaces, &inum);
}

#endif
