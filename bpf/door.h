/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File systems that are doors to the kernel, and what user code may do there; see open.bpf.c.
 */
#ifndef MOAT_BPF_DOOR_H
#define MOAT_BPF_DOOR_H

#include "verdict.h"

#define PID_NS_LEVELS_MAX 33 /* MAX_PID_NS_LEVEL + 1, include/linux/pid_namespace.h */

enum door {
	DOOR_NONE,   /* an ordinary file system */
	DOOR_PROC,   /* has a rule of its own */
	DOOR_READ,   /* may be read */
	DOOR_CLOSED, /* may not be entered */
};

static __always_inline enum door door_of(unsigned long magic)
{
	switch (magic) {
	case PROC_SUPER_MAGIC:
		return DOOR_PROC;
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case FUSE_CTL_SUPER_MAGIC:
	case RDTGROUP_SUPER_MAGIC:
	case SELINUX_MAGIC:
	case SMACK_MAGIC:
		return DOOR_READ;
	case BPF_FS_MAGIC:
	case BINFMTFS_MAGIC:
	case CONFIGFS_MAGIC:
	case EFIVARFS_MAGIC:
	case NFSD_SUPER_MAGIC:
	case PSTOREFS_MAGIC:
	case SECURITYFS_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
		return DOOR_CLOSED;
	default:
		return DOOR_NONE;
	}
}

/*
 * Whether ns was made by user code: not one of those that hold protected tasks, but beneath one.
 * Anything else (the container's parent, a sibling) is foreign.
 */
static __noinline bool pid_ns_is_own(struct pid_namespace *ns)
{
	__u32 inum = BPF_CORE_READ(ns, ns.inum);

	if (bpf_map_lookup_elem(&namespaces, &inum))
		return false;
	for (int i = 0; i < PID_NS_LEVELS_MAX; i++) {
		ns = BPF_CORE_READ(ns, parent);
		if (!ns)
			return false;
		inum = BPF_CORE_READ(ns, ns.inum);
		if (bpf_map_lookup_elem(&namespaces, &inum))
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

/* Whether the running task is in ns or beneath it. */
static __always_inline bool is_in_pid_ns(struct pid_namespace *ns)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(ns, level);
	struct upid *number;

	if (level > BPF_CORE_READ(pid, level))
		return false;
	number = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
		 (__u64)level * bpf_core_type_size(struct upid);
	return BPF_CORE_READ(number, ns) == ns;
}

/*
 * A procfs that hides nothing, of the PID namespace in which a context is alone with its moat-init, for who
 * is in there: what he is not to touch is not in it.
 */
static __always_inline bool proc_is_of_context(void *fs_info)
{
	struct pid_namespace *ns = BPF_CORE_READ((struct proc_fs_info *)fs_info, pid_ns);
	__u32 inum = BPF_CORE_READ(ns, ns.inum), *kind;

	kind = bpf_map_lookup_elem(&namespaces, &inum);
	return kind && *kind == MOAT_NAMESPACE_CONTEXT && is_in_pid_ns(ns);
}

/* Whether an inode of a procfs is a file about moat-init, which is the first process of its PID namespace. */
static __always_inline bool is_about_init(struct inode *inode)
{
	struct proc_fs_info *fs_info = BPF_CORE_READ(inode, i_sb, s_fs_info);
	struct pid_namespace *ns = BPF_CORE_READ(fs_info, pid_ns);
	struct proc_inode *pi = (void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);
	__u32 inum = BPF_CORE_READ(ns, ns.inum);

	return bpf_map_lookup_elem(&namespaces, &inum) &&
	       BPF_CORE_READ(pi, pid) == BPF_CORE_READ(ns, child_reaper, thread_pid);
}

/* sysctl, sysrq-trigger and the like: files of a procfs that belong to no process. */
static __always_inline bool is_kernel_file(struct inode *inode)
{
	struct proc_inode *pi;

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return false;
	pi = (void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);
	return !BPF_CORE_READ(pi, pid);
}

/* Whether an inode is part of a door, so that user code changes nothing of it, whoever owns it. */
static __always_inline bool is_of_a_door(struct inode *inode)
{
	enum door door = door_of(BPF_CORE_READ(inode, i_sb, s_magic));

	return door == DOOR_PROC ? is_kernel_file(inode) : door != DOOR_NONE;
}

/* For superblocks already known to be a procfs. */
static __always_inline int use_proc(__u32 hook, const struct super_block *sb)
{
	void *fs_info;

	if (!user_subject())
		return 0;
	fs_info = sb->s_fs_info;
	if (proc_is_hiding(fs_info) || proc_is_of_context(fs_info) || proc_is_own(fs_info))
		return allow(hook);
	return deny(hook, EPERM, MOAT_OBJECT_PROC, sb->s_dev);
}

#endif
