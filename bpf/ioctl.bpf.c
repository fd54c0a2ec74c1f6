/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: requests by ioctl(2) on a descriptor, which few other hooks see.
 *
 * Policy: user code changes no flags of protected files, does nothing to a whole file system that it did not
 * make, gets no other mount namespace handed out, looks at no process that it may not touch, and sends no
 * kernel messages elsewhere. It types into no terminal, changes no line discipline, keyboard or selection,
 * and takes no terminal away from a session that it may not touch. The answer is EPERM.
 *
 * Hooks: file_ioctl, file_ioctl_compat.
 */
#include "cred.h"
#include "door.h"
#include "protect.h"
#include "superblock.h"
#include "terminal.h"

/* linux/ext4.h; reading it has the same number */
#define EXT4_IOC_SETFSUUID (1u << 30 | 8u << 16 | 'f' << 8 | 44)

/* Type and number of an ioctl(2) request, whatever the size of its argument (32-bit callers). */
enum {
	/* linux/fs.h, linux/fsverity.h: flags of a file, by a descriptor that only reads */
	FS_IOC_SETFLAGS = 'f' << 8 | 2,
	FS_IOC_SETVERSION = 'v' << 8 | 2,
	EXT4_IOC_SETVERSION = 'f' << 8 | 4, /* fs/ext4/ext4.h: the generation, by which a mark knows its inode */
	FS_IOC_FSSETXATTR = 'X' << 8 | 32,
	FS_IOC_ENABLE_VERITY = 'f' << 8 | 133,
	FS_IOC_SET_ENCRYPTION_POLICY = 'f' << 8 | 19, /* linux/fscrypt.h: of an empty directory */
	/* of the whole file system, by a descriptor of anything on it */
	FS_FREEZE = 'X' << 8 | 119,
	FS_THAW = 'X' << 8 | 120,
	FS_SHUTDOWN = 'X' << 8 | 125,
	FS_RESIZE = 'f' << 8 | 16,
	FS_EXTEND = 'f' << 8 | 7,
	FS_ADD_GROUP = 'f' << 8 | 8,
	FS_REMOVE_KEY = 'f' << 8 | 24, /* linux/fscrypt.h: nobody reads what it encrypts any more */
	FS_REMOVE_KEY_OF_ALL = 'f' << 8 | 25,
	FS_TUNE = 'f' << 8 | 46,
	F2FS_RESIZE = 0xf5 << 8 | 16, /* linux/f2fs.h */
	/* xfs_fs.h: growing, reserving what is free, failing on purpose, repairing */
	XFS_SCRUB = 'X' << 8 | 60,
	XFS_SCRUB_VECTOR = 'X' << 8 | 64,
	XFS_GROW_DATA = 'X' << 8 | 110,
	XFS_GROW_LOG = 'X' << 8 | 111,
	XFS_GROW_REALTIME = 'X' << 8 | 112,
	XFS_RESERVE = 'X' << 8 | 114,
	XFS_INJECT_ERROR = 'X' << 8 | 116,
	XFS_CLEAR_ERRORS = 'X' << 8 | 117,
	/* and files past the hooks that paths are asked by */
	XFS_OPEN_BY_HANDLE = 'X' << 8 | 107,
	XFS_ATTRMULTI_BY_HANDLE = 'X' << 8 | 123,
	/* linux/nsfs.h, 6.12: hands out mount namespaces, also the control plane's, to CAP_SYS_ADMIN */
	NS_MNT_GET_NEXT = 0xb7 << 8 | 11,
	NS_MNT_GET_PREV = 0xb7 << 8 | 12,
	/* linux/pidfd.h, 6.13: parent, user and cgroup of a process */
	PIDFD_GET_INFO = 0xff << 8 | 11,
	/* asm-generic/ioctls.h: what is written to /dev/console goes to this terminal */
	TIOCCONS = 0x541d,
	TIOCSTI = 0x5412,   /* as if it had been typed, for whoever reads next */
	TIOCLINUX = 0x541c, /* the same by selecting and pasting, on a console */
	TIOCSETD = 0x5423,  /* line disciplines: drivers of the kernel's, also as modules */
	TIOCSCTTY = 0x540e,
	/* linux/kd.h: what keys mean, on a console */
	KDSKBENT = 0x4b47,
	KDSKBSENT = 0x4b49,
	KDSKBDIACR = 0x4b4b,
	KDSETKEYCODE = 0x4b4d,
	KDSKBDIACRUC = 0x4bfb,
};

static __always_inline int use_file_system(struct file *file, unsigned int cmd)
{
	struct inode *inode = file->f_inode;

	if (!user_subject())
		return 0;
	if (superblock_is_own(inode->i_sb))
		return allow(MOAT_HOOK_file_ioctl);
	return deny(MOAT_HOOK_file_ioctl, EPERM, MOAT_OBJECT_KERNEL, cmd);
}

static __always_inline int look_at_process(struct file *file)
{
	const struct moat_label *subject = user_subject();
	struct inode *inode = file->f_inode;
	struct task_struct *task;
	struct hlist_node *link;
	struct pid *pid;

	if (!subject || inode->i_sb->s_magic != PID_FS_MAGIC)
		return 0;
	pid = BPF_CORE_READ(inode, i_private);
	link = BPF_CORE_READ(pid, tasks[0].first);
	if (!link) /* it has ended, and there is only its status to be had */
		return allow(MOAT_HOOK_file_ioctl);
	task = (void *)link - bpf_core_field_offset(struct task_struct, pid_links);
	if (may_touch(subject, label_of_credentials(BPF_CORE_READ(task, real_cred))))
		return allow(MOAT_HOOK_file_ioctl);
	return deny(MOAT_HOOK_file_ioctl, EPERM, MOAT_OBJECT_TASK, BPF_CORE_READ(task, tgid));
}

/*
 * linux/btrfs.h, and those of linux/fs.h that came from there. Most act on the whole file system or, as
 * those that make and remove subvolumes, past the hooks that paths are asked by; not those that read
 * about it, sync, clone and compare what is open anyway, and the label (49; it is set by 50).
 */
static __always_inline bool is_harmless_to_btrfs(unsigned int number)
{
	const __u64 mask = 1ull << 8 | 1ull << 9 | 1ull << 13 | 1ull << 20 | 1ull << 22 | 1ull << 25 |
			   1ull << 30 | 1ull << 31 | 1ull << 49 | 1ull << 54 | 1ull << 60 |
			   1ull << 61 | 1ull << 62;

	return number < 64 && (mask & (1ull << number));
}

/* Of a file of procfs that belongs to no process: /proc/mtrr, which is opened for reading. */
static __always_inline int use_kernel_file(struct file *file, unsigned int cmd)
{
	struct inode *inode = file->f_inode;

	if (inode->i_sb->s_magic != PROC_SUPER_MAGIC || !is_kernel_file(inode) || !user_subject())
		return 0;
	return deny(MOAT_HOOK_file_ioctl, EPERM, MOAT_OBJECT_KERNEL, cmd);
}

static __always_inline int use_ioctl_of_type(struct file *file, unsigned int cmd)
{
	switch (cmd >> 8 & 0xff) {
	case 0x94:
		return is_harmless_to_btrfs(cmd & 0xff) ? 0 : use_file_system(file, cmd);
	case 'M':
		return use_kernel_file(file, cmd);
	default:
		return 0;
	}
}

/* By force, from the session that has it: with CAP_SYS_ADMIN and an argument of 1 (tty_jobctrl.c). */
static __always_inline int take_terminal(struct file *file, unsigned long arg)
{
	const struct moat_label *subject;
	struct tty_file_private *open;
	struct tty_struct *tty;

	if (arg != 1 || (file->f_inode->i_mode & S_IFMT) != S_IFCHR)
		return 0;
	subject = user_subject();
	if (!subject)
		return 0;
	open = file->private_data;
	tty = is_terminal(file->f_inode->i_rdev) ? BPF_CORE_READ(open, tty) : NULL;
	if (tty && (!BPF_CORE_READ(tty, ctrl.session) || is_own_session(subject, tty)))
		return allow(MOAT_HOOK_file_ioctl);
	return deny(MOAT_HOOK_file_ioctl, EPERM, MOAT_OBJECT_KERNEL, TIOCSCTTY);
}

static __always_inline int use_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	if (cmd == EXT4_IOC_SETFSUUID)
		return use_file_system(file, cmd);
	switch (cmd & 0xffff) {
	case FS_IOC_SETFLAGS:
	case FS_IOC_SETVERSION:
	case EXT4_IOC_SETVERSION:
	case FS_IOC_FSSETXATTR:
	case FS_IOC_ENABLE_VERITY:
	case FS_IOC_SET_ENCRYPTION_POLICY:
		return change_inode(MOAT_HOOK_file_ioctl, file->f_inode);
	case FS_FREEZE:
	case FS_THAW:
	case FS_SHUTDOWN:
	case FS_RESIZE:
	case FS_EXTEND:
	case FS_ADD_GROUP:
	case FS_REMOVE_KEY:
	case FS_REMOVE_KEY_OF_ALL:
	case FS_TUNE:
	case F2FS_RESIZE:
	case XFS_SCRUB:
	case XFS_SCRUB_VECTOR:
	case XFS_GROW_DATA:
	case XFS_GROW_LOG:
	case XFS_GROW_REALTIME:
	case XFS_RESERVE:
	case XFS_INJECT_ERROR:
	case XFS_CLEAR_ERRORS:
	case XFS_OPEN_BY_HANDLE:
	case XFS_ATTRMULTI_BY_HANDLE:
		return use_file_system(file, cmd);
	case NS_MNT_GET_NEXT:
	case NS_MNT_GET_PREV:
	case TIOCCONS:
	case TIOCSTI:
	case TIOCLINUX:
	case TIOCSETD:
	case KDSKBENT:
	case KDSKBSENT:
	case KDSKBDIACR:
	case KDSETKEYCODE:
	case KDSKBDIACRUC:
		if (!user_subject())
			return 0;
		return deny(MOAT_HOOK_file_ioctl, EPERM, MOAT_OBJECT_KERNEL, cmd);
	case TIOCSCTTY:
		return take_terminal(file, arg);
	case PIDFD_GET_INFO:
		return look_at_process(file);
	default:
		return use_ioctl_of_type(file, cmd);
	}
}

SEC("lsm/file_ioctl")
int BPF_PROG(moat_file_ioctl, struct file *file, unsigned int cmd, unsigned long arg, int ret)
{
	return ret ? ret : use_ioctl(file, cmd, arg);
}

/* Loaded where the kernel has the hook; others ask file_ioctl for 32-bit callers as well. */
SEC("?lsm/file_ioctl_compat")
int BPF_PROG(moat_file_ioctl_compat, struct file *file, unsigned int cmd, unsigned long arg, int ret)
{
	return ret ? ret : use_ioctl(file, cmd, arg);
}
