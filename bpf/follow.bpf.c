/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: symbolic links that user code put in the way of the control plane.
 *
 * Policy: follow.h. The answer is EACCES, as that of the kernel's own fs.protected_symlinks. A service
 * with `follow = yes` is not asked. Opening FIFOs and devices is decided by file_open (open.bpf.c).
 *
 * Asked for every link on the machine that is followed, /proc/self among them, also while the kernel
 * walks a path without locks; whoever has no label pays one look at the task.
 *
 * Hooks: inode_follow_link.
 */
#include "follow.h"
#include "verdict.h"

SEC("lsm/inode_follow_link")
int BPF_PROG(moat_inode_follow_link, struct dentry *dentry, struct inode *inode, bool rcu, int ret)
{
	if (ret)
		return ret;
	if (!takes_care() || !anybody_may_have_put(dentry, inode))
		return 0;
	return deny(MOAT_HOOK_inode_follow_link, EACCES, MOAT_OBJECT_FILE, inode->i_ino);
}

char LICENSE[] SEC("license") = "GPL";
