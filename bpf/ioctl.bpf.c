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

/* What a request is about, which says what decides: use_ioctl(). */
enum subject {
	NOTHING,
	FLAGS,       /* of a file */
	WHOLE,       /* file system, by a descriptor of anything on it */
	KERNEL,      /* what user code has no part in */
	KERNEL_FILE, /* the same, if the file is one of the kernel's own */
	PROCESS,
	TERMINAL,
};

/* The requests that are decided: type, number, whatever the size of their argument (32-bit callers), subject. */
#define IOCTLS(X)                                                                                  \
	/* linux/fs.h, linux/fsverity.h: flags of a file, by a descriptor that only reads */       \
	X(FS_IOC_SETFLAGS, 'f', 2, FLAGS)                                                          \
	X(FS_IOC_SETVERSION, 'v', 2, FLAGS)                                                        \
	/* fs/ext4/ext4.h: the generation, by which a mark knows its inode */                      \
	X(EXT4_IOC_SETVERSION, 'f', 4, FLAGS)                                                      \
	X(FS_IOC_FSSETXATTR, 'X', 32, FLAGS)                                                       \
	X(FS_IOC_ENABLE_VERITY, 'f', 133, FLAGS)                                                   \
	/* linux/fscrypt.h: of an empty directory */                                               \
	X(FS_IOC_SET_ENCRYPTION_POLICY, 'f', 19, FLAGS)                                            \
	/* of the whole file system, by a descriptor of anything on it */                          \
	X(FS_FREEZE, 'X', 119, WHOLE)                                                              \
	X(FS_THAW, 'X', 120, WHOLE)                                                                \
	X(FS_SHUTDOWN, 'X', 125, WHOLE)                                                            \
	X(FS_RESIZE, 'f', 16, WHOLE)                                                               \
	X(FS_EXTEND, 'f', 7, WHOLE)                                                                \
	X(FS_ADD_GROUP, 'f', 8, WHOLE)                                                             \
	/* linux/fscrypt.h: nobody reads what it encrypts any more */                              \
	X(FS_REMOVE_KEY, 'f', 24, WHOLE)                                                           \
	X(FS_REMOVE_KEY_OF_ALL, 'f', 25, WHOLE)                                                    \
	X(FS_TUNE, 'f', 46, WHOLE)                                                                 \
	/* linux/f2fs.h */                                                                         \
	X(F2FS_RESIZE, 0xf5, 16, WHOLE)                                                            \
	/* xfs_fs.h: growing, reserving what is free, failing on purpose, repairing */             \
	X(XFS_SCRUB, 'X', 60, WHOLE)                                                               \
	X(XFS_SCRUB_VECTOR, 'X', 64, WHOLE)                                                        \
	X(XFS_GROW_DATA, 'X', 110, WHOLE)                                                          \
	X(XFS_GROW_LOG, 'X', 111, WHOLE)                                                           \
	X(XFS_GROW_REALTIME, 'X', 112, WHOLE)                                                      \
	X(XFS_RESERVE, 'X', 114, WHOLE)                                                            \
	X(XFS_INJECT_ERROR, 'X', 116, WHOLE)                                                       \
	X(XFS_CLEAR_ERRORS, 'X', 117, WHOLE)                                                       \
	/* and files past the hooks that paths are asked by */                                     \
	X(XFS_OPEN_BY_HANDLE, 'X', 107, WHOLE)                                                     \
	X(XFS_ATTRMULTI_BY_HANDLE, 'X', 123, WHOLE)                                                \
	/* linux/nsfs.h, 6.12: hands out mount namespaces, also the control plane's, to CAP_SYS_ADMIN */ \
	X(NS_MNT_GET_NEXT, 0xb7, 11, KERNEL)                                                       \
	X(NS_MNT_GET_PREV, 0xb7, 12, KERNEL)                                                       \
	/* linux/pidfd.h, 6.13: parent, user and cgroup of a process */                            \
	X(PIDFD_GET_INFO, 0xff, 11, PROCESS)                                                       \
	/* asm-generic/ioctls.h: what is written to /dev/console goes to this terminal */          \
	X(TIOCCONS, 'T', 0x1d, KERNEL)                                                             \
	/* as if it had been typed, for whoever reads next */                                      \
	X(TIOCSTI, 'T', 0x12, KERNEL)                                                              \
	/* the same by selecting and pasting, on a console */                                      \
	X(TIOCLINUX, 'T', 0x1c, KERNEL)                                                            \
	/* line disciplines: drivers of the kernel's, also as modules */                           \
	X(TIOCSETD, 'T', 0x23, KERNEL)                                                             \
	X(TIOCSCTTY, 'T', 0x0e, TERMINAL)                                                          \
	/* linux/kd.h: what keys mean, on a console */                                             \
	X(KDSKBENT, 'K', 0x47, KERNEL)                                                             \
	X(KDSKBSENT, 'K', 0x49, KERNEL)                                                            \
	X(KDSKBDIACR, 'K', 0x4b, KERNEL)                                                           \
	X(KDSETKEYCODE, 'K', 0x4d, KERNEL)                                                         \
	X(KDSKBDIACRUC, 'K', 0xfb, KERNEL)

enum {
#define IOCTL_ROW(name, type, number, subject) name = (type) << 8 | (number),
	IOCTLS(IOCTL_ROW)
#undef IOCTL_ROW
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

static __always_inline enum subject subject_of(unsigned int cmd)
{
	if (cmd == EXT4_IOC_SETFSUUID)
		return WHOLE;
	switch (cmd & 0xffff) {
#define IOCTL_ROW(name, type, number, subject)                                                     \
	case name:                                                                                 \
		return subject;
		IOCTLS(IOCTL_ROW)
#undef IOCTL_ROW
	}
	switch (cmd >> 8 & 0xff) {
	case 0x94:
		return is_harmless_to_btrfs(cmd & 0xff) ? NOTHING : WHOLE;
	case 'M':
		return KERNEL_FILE;
	default:
		return NOTHING;
	}
}

static __always_inline int use_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (subject_of(cmd)) {
	case FLAGS:
		return change_inode(MOAT_HOOK_file_ioctl, file->f_inode);
	case WHOLE:
		return use_file_system(file, cmd);
	case KERNEL:
		if (!user_subject())
			return 0;
		return deny(MOAT_HOOK_file_ioctl, EPERM, MOAT_OBJECT_KERNEL, cmd);
	case KERNEL_FILE:
		return use_kernel_file(file, cmd);
	case PROCESS:
		return look_at_process(file);
	case TERMINAL:
		return take_terminal(file, arg);
	default:
		return 0;
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
