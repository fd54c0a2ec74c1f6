/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: opening and looking at files: /proc, other doors to the kernel, devices, protected files.
 *
 * Policy for /proc: where in a PID namespace there are tasks that may not touch each other, moat-init mounts
 * it with hidepid=ptraceable, so that the kernel asks
 * ptrace_access_check (task.bpf.c) before it names a process in readdir, lookup or stat, also to
 * root, and answers ENOENT where that refuses. User code gets no other view of those processes: a
 * procfs without hidepid=ptraceable cannot be mounted (mount.bpf.c) or be received as a descriptor, and
 * nothing in it can be opened or stat'ed; except in a procfs of a PID namespace that user code made
 * itself, where everybody is its own child, or of the one in which it is when nobody else is there
 * but a moat-init, of which only the kernel's public files can be read. Of a procfs it opens for writing only
 * what belongs to a process, and not to moat-init: no sysctl, no sysrq-trigger.
 *
 * The other control file systems (door.h) it may read or not even look at, and in cgroupfs it reads no
 * list of processes, which would name hidden ones. It opens no block device, which would get beneath
 * every file system, and of the character devices only what a program finds anywhere (/dev/null and
 * the like, pseudo-terminals of its own (terminal.h), tun) and what the configuration adds. Files that are protected
 * (protect.h) it does not open for writing, and of those that are hidden nothing at all: not stat'ed, received
 * as a descriptor, or opened by a path descriptor that it got nonetheless.
 *
 * What anybody may have put there and is no file, the control plane does not open (follow.h).
 *
 * None of these hooks is asked for each part of a path, as inode_permission would be: that would make
 * every path of every task on the machine dearer. What changes a directory has hooks of its own: protect.bpf.c.
 *
 * Hooks: file_open, file_receive, inode_getattr.
 */
#include "door.h"
#include "follow.h"
#include "name.h"
#include "protect.h"
#include "terminal.h"

/* Character devices that are no more than a program expects anywhere (admin-guide/devices.txt). */
static __always_inline bool is_common_device(__u32 major, __u32 minor)
{
	if (major >= 136 && major <= 143) /* pseudo-terminals */
		return true;
	switch (major) {
	case 1: /* null, zero, full, random, urandom */
		return minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9;
	case 5: /* tty, ptmx */
		return minor == 0 || minor == 2;
	case 10: /* net/tun; not fuse: a file system that does not answer holds up whoever waits for it */
		return minor == 200;
	default:
		return false;
	}
}

/* Whether user code may open a character device: the others are the machine's. */
static __always_inline bool is_open_device(__u32 device)
{
	__u32 major = device >> MOAT_MINOR_BITS, any = device | MOAT_MINOR_ANY;

	return is_common_device(major, device & MOAT_MINOR_ANY) ||
	       bpf_map_lookup_elem(&devices, &device) || bpf_map_lookup_elem(&devices, &any);
}

static __always_inline bool is_closed_device(struct inode *inode, __u32 type)
{
	return type == S_IFBLK || (type == S_IFCHR && !is_open_device(inode->i_rdev));
}

/* In version 2, and "tasks" in version 1. */
static __always_inline bool lists_processes(const union name *name)
{
	return is(name, (union name){ "cgroup.procs" }) ||
	       is(name, (union name){ "cgroup.threads" }) || is(name, (union name){ "tasks" });
}

/* Of /proc: what tells of everybody's processes, keys and memory. moat-init covers it, but a cover can be
 * taken off. */
static __always_inline bool tells_of_others(const union name *name)
{
	return is(name, (union name){ "locks" }) || is(name, (union name){ "keys" }) ||
	       is(name, (union name){ "key-users" }) || is(name, (union name){ "timer_list" }) ||
	       is(name, (union name){ "sched_debug" }) || is(name, (union name){ "latency_stats" }) ||
	       is(name, (union name){ "kpagecount" }) || is(name, (union name){ "kpageflags" }) ||
	       is(name, (union name){ "kpagecgroup" });
}

/* Of a process: what its memory is asked for. From 6.13 or so who has CAP_PERFMON is let through without a hook
 * (may_access_mm() in kernel/fork.c). */
static __always_inline bool tells_of_memory(const union name *name)
{
	return is(name, (union name){ "environ" }) || is(name, (union name){ "auxv" }) ||
	       is(name, (union name){ "maps" }) || is(name, (union name){ "smaps" }) ||
	       is(name, (union name){ "smaps_rollup" }) || is(name, (union name){ "numa_maps" }) ||
	       is(name, (union name){ "pagemap" });
}

static __always_inline bool is_cgroupfs(const struct super_block *sb)
{
	return sb->s_magic == CGROUP2_SUPER_MAGIC || sb->s_magic == CGROUP_SUPER_MAGIC;
}

static __always_inline int look_at(__u32 hook, const struct super_block *sb)
{
	enum door door = door_of(sb->s_magic);

	if (door == DOOR_NONE || door == DOOR_READ || !user_subject())
		return 0;
	return door == DOOR_PROC ? use_proc(hook, sb) : deny(hook, EPERM, MOAT_OBJECT_MOUNT, sb->s_dev);
}

SEC("lsm/inode_getattr")
int BPF_PROG(moat_inode_getattr, const struct path *path, int ret)
{
	if (ret)
		return ret;
	ret = look_at_entry(MOAT_HOOK_inode_getattr, path->dentry);
	return ret ? ret : look_at(MOAT_HOOK_inode_getattr, path->mnt->mnt_sb);
}

/* A directory of a door is one, whatever its receiver does with it: it would be the start of a path. */
SEC("lsm/file_receive")
int BPF_PROG(moat_file_receive, struct file *file, int ret)
{
	if (ret)
		return ret;
	if (is_hidden(file->f_path.dentry, file->f_inode, false))
		return deny_hidden(MOAT_HOOK_file_receive, file->f_inode);
	return look_at(MOAT_HOOK_file_receive, file->f_inode->i_sb);
}

static __always_inline int open_in_proc(struct file *file, bool for_writing)
{
	struct inode *inode = file->f_inode;
	union name name = read_name(BPF_CORE_READ(file, f_path.dentry, d_name.name));

	if (is_kernel_file(inode)) {
		if (for_writing || (tells_of_others(&name) && !proc_is_own(inode->i_sb->s_fs_info)))
			return deny(MOAT_HOOK_file_open, EPERM, MOAT_OBJECT_FILE, inode->i_ino);
	} else if ((for_writing || tells_of_memory(&name)) && is_about_init(inode)) {
		return deny(MOAT_HOOK_file_open, for_writing ? EPERM : EACCES, MOAT_OBJECT_FILE, inode->i_ino);
	}
	return use_proc(MOAT_HOOK_file_open, inode->i_sb);
}

static __always_inline int open_in_door(enum door door, struct file *file)
{
	struct inode *inode = file->f_inode;
	bool for_writing = file->f_mode & FMODE_WRITE;
	struct kernfs_node *kn;
	union name name;

	if (!user_subject())
		return 0;
	if (door == DOOR_PROC)
		return open_in_proc(file, for_writing);
	if (door == DOOR_READ && !for_writing) {
		/* kernfs's own: the path may be that of an overlay above it, with another name */
		kn = inode->i_private;
		name = read_name(BPF_CORE_READ(kn, name));
		if (!is_cgroupfs(inode->i_sb) || !lists_processes(&name))
			return allow(MOAT_HOOK_file_open);
	}
	return deny(MOAT_HOOK_file_open, EPERM, MOAT_OBJECT_FILE, inode->i_ino);
}

static __always_inline int open_file(struct file *file)
{
	struct inode *inode = file->f_inode;
	__u32 type = inode->i_mode & S_IFMT;
	struct place place;

	if (is_trap(file->f_path.dentry, inode))
		return deny(MOAT_HOOK_file_open, EACCES, MOAT_OBJECT_FILE, inode->i_ino);
	if (is_hidden(file->f_path.dentry, inode, true))
		return deny_hidden(MOAT_HOOK_file_open, inode);
	if (is_closed_device(inode, type)) {
		if (!user_subject())
			return 0;
		return deny(MOAT_HOOK_file_open, EPERM, MOAT_OBJECT_DEVICE, inode->i_rdev);
	}
	if (type == S_IFCHR)
		return open_terminal(file);
	/* writing to a socket, a FIFO or a device changes nothing of the file */
	if (!(file->f_mode & FMODE_WRITE) || type != S_IFREG || !user_subject())
		return 0;
	place = place_of_device(inode->i_sb->s_dev);
	if (!place.flags || !inode_is_protected(inode, place))
		return allow(MOAT_HOOK_file_open);
	return deny(MOAT_HOOK_file_open, EPERM, MOAT_OBJECT_FILE, inode->i_ino);
}

SEC("lsm/file_open")
int BPF_PROG(moat_file_open, struct file *file, int ret)
{
	enum door door;

	if (ret)
		return ret;
	door = door_of(file->f_inode->i_sb->s_magic);
	return door == DOOR_NONE ? open_file(file) : open_in_door(door, file);
}
