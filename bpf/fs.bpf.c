/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: /proc, and the other file systems that are doors to the kernel.
 *
 * Policy: moat-init mounts /proc with hidepid=ptraceable, so that the kernel asks
 * ptrace_access_check (task.bpf.c) before it names a process in readdir, lookup or stat, also to
 * root, and answers ENOENT where that refuses. User code gets no other view of those processes: a
 * procfs that is mounted without hidepid=ptraceable is closed to it, however it got there (mount,
 * fsmount, bind mount, umount of what covered it, descriptor), except a procfs of a PID namespace
 * that user code made itself: everybody in there is its own child.
 *
 * Beside it, the other control file systems: user code has no use at all of a bpffs and of
 * binfmt_misc (which would have a service execute a program of its choice), writes nothing to
 * cgroupfs, and of a procfs writes only what belongs to a process (see self.bpf.c).
 *
 * Hooks: inode_permission (decides), sb_kern_mount, sb_remount, move_mount (refuse early, with a
 * clear error, what could not be used, and keep the options of the common mounts as they are).
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

/* sysctl, sysrq-trigger and the like: files of a procfs that belong to no process. */
static __always_inline bool is_kernel_file(struct inode *inode)
{
	struct proc_inode *pi;

	if ((inode->i_mode & S_IFMT) != S_IFREG)
		return false;
	pi = (void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);
	return !BPF_CORE_READ(pi, pid);
}

enum door { DOOR_NONE, DOOR_PROC, DOOR_CGROUP, DOOR_CLOSED };

static __always_inline enum door door_of(const struct super_block *sb)
{
	switch (sb->s_magic) {
	case PROC_SUPER_MAGIC:
		return DOOR_PROC;
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
		return DOOR_CGROUP;
	case BPF_FS_MAGIC:
	case BINFMTFS_MAGIC:
		return DOOR_CLOSED;
	default:
		return DOOR_NONE;
	}
}

SEC("lsm/inode_permission")
int BPF_PROG(moat_inode_permission, struct inode *inode, int mask, int ret)
{
	enum door door;

	if (ret)
		return ret;
	door = door_of(inode->i_sb);
	if (door == DOOR_NONE || !user_subject())
		return 0;
	if (door == DOOR_PROC && !((mask & MAY_WRITE) && is_kernel_file(inode)))
		return use_proc(MOAT_HOOK_inode_permission, inode->i_sb);
	if (door == DOOR_CGROUP && !(mask & MAY_WRITE))
		return allow(MOAT_HOOK_inode_permission);
	return deny(MOAT_HOOK_inode_permission, EPERM, MOAT_OBJECT_FILE, inode->i_ino);
}

/* Mounting one of them, or moving or binding such a mount. */
static __always_inline int use_mount(__u32 hook, const struct super_block *sb)
{
	enum door door = door_of(sb);

	if (door == DOOR_NONE || door == DOOR_CGROUP || !user_subject())
		return 0;
	if (door == DOOR_PROC)
		return use_proc(hook, sb);
	return deny(hook, EPERM, MOAT_OBJECT_MOUNT, sb->s_dev);
}

SEC("lsm/sb_kern_mount")
int BPF_PROG(moat_sb_kern_mount, struct super_block *sb, int ret)
{
	return ret ? ret : use_mount(MOAT_HOOK_sb_kern_mount, sb);
}

SEC("lsm/move_mount")
int BPF_PROG(moat_move_mount, const struct path *from, const struct path *to, int ret)
{
	return ret ? ret : use_mount(MOAT_HOOK_move_mount, from->mnt->mnt_sb);
}

/* Options belong to the superblock, so they are the control plane's as well. */
SEC("lsm/sb_remount")
int BPF_PROG(moat_sb_remount, struct super_block *sb, void *options, int ret)
{
	enum door door;

	if (ret)
		return ret;
	door = door_of(sb);
	if (door == DOOR_NONE || !user_subject())
		return 0;
	if (door == DOOR_PROC && proc_is_own(sb->s_fs_info))
		return allow(MOAT_HOOK_sb_remount);
	return deny(MOAT_HOOK_sb_remount, EPERM, MOAT_OBJECT_MOUNT, sb->s_dev);
}
