/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: permission to use a file: /proc, other doors to the kernel, devices, protected files.
 *
 * Policy for /proc: moat-init mounts it with hidepid=ptraceable, so that the kernel asks
 * ptrace_access_check (task.bpf.c) before it names a process in readdir, lookup or stat, also to
 * root, and answers ENOENT where that refuses. User code gets no other view of those processes: a
 * procfs that is mounted without hidepid=ptraceable is closed to it, however it got there (mount,
 * fsmount, bind mount, umount of what covered it, descriptor), except a procfs of a PID namespace
 * that user code made itself: everybody in there is its own child. Of a procfs it writes only what
 * belongs to a process: no sysctl, no sysrq-trigger.
 *
 * The other control file systems (door.h) it may read or not even enter, and in cgroupfs it reads no
 * list of processes, which would name hidden ones. It opens no block device, which would get beneath
 * every file system, and no terminal, console, keyboard or watchdog of the machine. Files and
 * directories that are protected (protect.h) it does not open for writing, and makes or removes nothing
 * in them.
 *
 * Hooks: inode_permission, file_open (cgroup.procs by name).
 */
#include "door.h"
#include "protect.h"

/* sysctl, sysrq-trigger and the like: files of a procfs that belong to no process. */
static __always_inline bool is_kernel_file(struct inode *inode)
{
	struct proc_inode *pi;

	if ((inode->i_mode & S_IFMT) != S_IFREG)
		return false;
	pi = (void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);
	return !BPF_CORE_READ(pi, pid);
}

static __always_inline int use_door(enum door door, struct inode *inode, int mask)
{
	if (!user_subject())
		return 0;
	if (door == DOOR_PROC && !((mask & MAY_WRITE) && is_kernel_file(inode)))
		return use_proc(MOAT_HOOK_inode_permission, inode->i_sb);
	if (door == DOOR_READ && !(mask & MAY_WRITE))
		return allow(MOAT_HOOK_inode_permission);
	return deny(MOAT_HOOK_inode_permission, EPERM, MOAT_OBJECT_FILE, inode->i_ino);
}

/* Character devices, from Documentation/admin-guide/devices.txt; raw memory is locked_down's. */
static __always_inline bool is_machine_device(__u32 device)
{
	__u32 major = device >> 20, minor = device & 0xfffff;

	switch (major) {
	case 4:  /* virtual consoles and serial terminals */
	case 7:  /* what is on a virtual console */
	case 13: /* keyboards and mice */
		return true;
	case 5:
		return minor == 1; /* /dev/console */
	case 10:
		return minor == 130 || minor == 231; /* watchdog, snapshot (hibernation) */
	default:
		return false;
	}
}

static __always_inline bool is_closed_device(struct inode *inode, __u32 type)
{
	return type == S_IFBLK || (type == S_IFCHR && is_machine_device(inode->i_rdev));
}

/* Most calls are look-ups of a path: they ask for neither reading nor writing. */
static __always_inline int use_file(struct inode *inode, int mask)
{
	__u32 type;

	if (!(mask & (MAY_READ | MAY_WRITE)))
		return 0;
	type = inode->i_mode & S_IFMT;
	if (is_closed_device(inode, type)) {
		if (!user_subject())
			return 0;
		return deny(MOAT_HOOK_inode_permission, EPERM, MOAT_OBJECT_DEVICE, inode->i_rdev);
	}
	/* writing to a socket, a FIFO or a device changes nothing of the file */
	if (!(mask & MAY_WRITE) || (type != S_IFREG && type != S_IFDIR) || !user_subject())
		return 0;
	if (!device_has_marks(inode->i_sb->s_dev) || !inode_is_protected(inode))
		return allow(MOAT_HOOK_inode_permission);
	return deny(MOAT_HOOK_inode_permission, EPERM, MOAT_OBJECT_FILE, inode->i_ino);
}

SEC("lsm/inode_permission")
int BPF_PROG(moat_inode_permission, struct inode *inode, int mask, int ret)
{
	enum door door;

	if (ret)
		return ret;
	door = door_of(inode->i_sb);
	return door == DOOR_NONE ? use_file(inode, mask) : use_door(door, inode, mask);
}

/* A file name, zero-padded, as two words: compared without a loop. */
union name {
	char text[16];
	__u64 words[2];
};

static __always_inline bool is(const union name *a, union name b)
{
	return a->words[0] == b.words[0] && a->words[1] == b.words[1];
}

/* In version 2, and "tasks" in version 1. */
static __always_inline bool lists_processes(const union name *name)
{
	return is(name, (union name){ "cgroup.procs" }) ||
	       is(name, (union name){ "cgroup.threads" }) || is(name, (union name){ "tasks" });
}

SEC("lsm/file_open")
int BPF_PROG(moat_file_open, struct file *file, int ret)
{
	struct inode *inode = file->f_inode;
	unsigned long magic = inode->i_sb->s_magic;
	union name name = {};

	if (ret)
		return ret;
	if (magic != CGROUP2_SUPER_MAGIC && magic != CGROUP_SUPER_MAGIC)
		return 0;
	if (!user_subject())
		return 0;
	bpf_probe_read_kernel_str(name.text, sizeof(name.text),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (!lists_processes(&name))
		return allow(MOAT_HOOK_file_open);
	return deny(MOAT_HOOK_file_open, EPERM, MOAT_OBJECT_FILE, inode->i_ino);
}
