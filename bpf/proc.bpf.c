/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: /proc.
 *
 * Policy: moat-init mounts /proc with hidepid=ptraceable, so that the kernel asks
 * ptrace_access_check (task.bpf.c) before it names a process in readdir, lookup or stat, also to
 * root, and answers ENOENT where that refuses. User code gets no other view of those processes: a
 * procfs that is mounted without hidepid=ptraceable is closed to it, however it got there (mount,
 * fsmount, bind mount, umount of what covered it, descriptor), except a procfs of a PID namespace
 * that user code made itself: everybody in there is its own child.
 *
 * Hooks: inode_permission (decides), sb_kern_mount, sb_remount, move_mount (refuse early, with a
 * clear error, what could not be used, and keep the options of the common /proc as they are).
 */
#include "verdict.h"

#define PID_NS_LEVELS_MAX 33 /* MAX_PID_NS_LEVEL + 1, include/linux/pid_namespace.h */

/*
 * Whether ns was made by user code: not one of those that hold protected tasks, but beneath one.
 * Anything else (the container's parent, a sibling) is foreign.
 */
static __noinline bool pid_ns_is_own(struct pid_namespace *ns)
{
	__u32 inum = BPF_CORE_READ(ns, ns.inum);

	if (bpf_map_lookup_elem(&pid_namespaces, &inum))
		return false;
	for (int i = 0; i < PID_NS_LEVELS_MAX; i++) {
		ns = BPF_CORE_READ(ns, parent);
		if (!ns)
			return false;
		inum = BPF_CORE_READ(ns, ns.inum);
		if (bpf_map_lookup_elem(&pid_namespaces, &inum))
			return true;
	}
	return false;
}

static __always_inline bool proc_is_own(void *fs_info)
{
	return pid_ns_is_own(BPF_CORE_READ((struct proc_fs_info *)fs_info, pid_ns));
}

static __always_inline bool proc_is_hiding(void *fs_info)
{
	return BPF_CORE_READ((struct proc_fs_info *)fs_info, hide_pid) == HIDEPID_NOT_PTRACEABLE;
}

/* For superblocks already known to be a procfs. */
static __always_inline int use_proc(__u32 hook, const struct super_block *sb)
{
	void *fs_info;

	if (!user_subject())
		return 0;
	fs_info = sb->s_fs_info;
	if (proc_is_hiding(fs_info) || proc_is_own(fs_info))
		return allow(hook);
	return deny(hook, EPERM, MOAT_OBJECT_PROC, sb->s_dev);
}

SEC("lsm/inode_permission")
int BPF_PROG(moat_inode_permission, struct inode *inode, int mask, int ret)
{
	if (ret)
		return ret;
	if (inode->i_sb->s_magic != PROC_SUPER_MAGIC)
		return 0;
	return use_proc(MOAT_HOOK_inode_permission, inode->i_sb);
}

SEC("lsm/sb_kern_mount")
int BPF_PROG(moat_sb_kern_mount, struct super_block *sb, int ret)
{
	if (ret)
		return ret;
	if (sb->s_magic != PROC_SUPER_MAGIC)
		return 0;
	return use_proc(MOAT_HOOK_sb_kern_mount, sb);
}

SEC("lsm/move_mount")
int BPF_PROG(moat_move_mount, const struct path *from, const struct path *to, int ret)
{
	struct super_block *sb;

	if (ret)
		return ret;
	sb = from->mnt->mnt_sb;
	if (sb->s_magic != PROC_SUPER_MAGIC)
		return 0;
	return use_proc(MOAT_HOOK_move_mount, sb);
}

SEC("lsm/sb_remount")
int BPF_PROG(moat_sb_remount, struct super_block *sb, void *options, int ret)
{
	if (ret)
		return ret;
	if (sb->s_magic != PROC_SUPER_MAGIC || !user_subject())
		return 0;
	if (proc_is_own(sb->s_fs_info))
		return allow(MOAT_HOOK_sb_remount);
	return deny(MOAT_HOOK_sb_remount, EPERM, MOAT_OBJECT_PROC, sb->s_dev);
}
