/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: protected files (`protect` of a service; moat's own programs, configuration and state).
 *
 * Policy: user code may read them, but not write, truncate, remove, rename, replace, link, lock or
 * mount over them, nor change owner, mode, times, attributes or flags, nor make anything beneath a
 * protected directory; by whatever name and in whatever mount namespace (protect.h). The directories
 * that lead to them it may neither move nor change. Nor does it make, remove or change anything in a
 * door to the kernel (door.h), whatever its own permissions there. The answer is EPERM.
 *
 * Opening for writing is decided by file_open (fs.bpf.c), mounting over by sb_mount and move_mount
 * (mount.bpf.c), truncate(2) by inode_setattr.
 *
 * Where somebody who may (an editor, an update) renames a new file over a marked one, or gives a
 * protected file another name, the mark goes along; where it finds no room the answer is ENOSPC. A file
 * that is gone for good has no mark.
 *
 * Beside it, what holds others up by means of a file they share: leases, freezing of file systems,
 * fanotify permission events; and directories that are mount points in another mount namespace:
 * removing such a directory unmounts there (__detach_mounts() in fs/namespace.c).
 *
 * Hooks: inode_create, inode_mkdir, inode_mknod, inode_symlink, inode_link, inode_unlink, inode_rmdir,
 * inode_rename, inode_setattr, inode_setxattr, inode_removexattr, inode_set_acl, inode_remove_acl,
 * inode_file_setattr, file_ioctl, file_ioctl_compat, file_lock, file_fcntl, path_notify (also how the
 * agent marks an inode), inode_free_security.
 */
#include "cred.h"
#include "door.h"
#include "protect.h"
#include "superblock.h"

static __always_inline int deny_file(__u32 hook, struct inode *inode)
{
	return deny(hook, EPERM, MOAT_OBJECT_FILE, inode ? BPF_CORE_READ(inode, i_ino) : 0);
}

/* Whether what belongs to an inode has to stay as it is, by whichever of its names. */
static __always_inline bool inode_must_stay(struct inode *inode)
{
	return may_be_protected(inode) && (marks_of(inode) || inode_is_protected(inode));
}

static __always_inline int change_inode(__u32 hook, struct inode *inode)
{
	if (!user_subject())
		return 0;
	if (!inode_must_stay(inode))
		return allow(hook);
	return deny_file(hook, inode);
}

/* Entries */

/*
 * Whether a directory entry, which may have no inode yet, has to stay as it is: it is protected, or
 * beneath something that is, a mount point in whatever mount namespace, or in a door (door.h).
 */
static __always_inline bool entry_must_stay(struct inode *dir, struct dentry *entry)
{
	struct inode *inode = BPF_CORE_READ(entry, d_inode);

	if (is_of_a_door(dir) || is_mount_point(entry))
		return true;
	if (!may_be_protected(dir))
		return false;
	return (inode && marks_of(inode)) || entry_is_protected(entry, device_of(dir));
}

static __always_inline int change_entry(__u32 hook, struct inode *dir, struct dentry *entry)
{
	struct inode *inode;

	if (!user_subject())
		return 0;
	if (!entry_must_stay(dir, entry))
		return allow(hook);
	inode = BPF_CORE_READ(entry, d_inode);
	return deny_file(hook, inode ? inode : dir);
}

SEC("lsm/inode_create")
int BPF_PROG(moat_inode_create, struct inode *dir, struct dentry *dentry, unsigned short mode, int ret)
{
	return ret ? ret : change_entry(MOAT_HOOK_inode_create, dir, dentry);
}

SEC("lsm/inode_mkdir")
int BPF_PROG(moat_inode_mkdir, struct inode *dir, struct dentry *dentry, unsigned short mode, int ret)
{
	return ret ? ret : change_entry(MOAT_HOOK_inode_mkdir, dir, dentry);
}

SEC("lsm/inode_mknod")
int BPF_PROG(moat_inode_mknod, struct inode *dir, struct dentry *dentry, unsigned short mode,
	     unsigned int dev, int ret)
{
	return ret ? ret : change_entry(MOAT_HOOK_inode_mknod, dir, dentry);
}

SEC("lsm/inode_symlink")
int BPF_PROG(moat_inode_symlink, struct inode *dir, struct dentry *dentry, const char *old_name,
	     int ret)
{
	return ret ? ret : change_entry(MOAT_HOOK_inode_symlink, dir, dentry);
}

SEC("lsm/inode_unlink")
int BPF_PROG(moat_inode_unlink, struct inode *dir, struct dentry *dentry, int ret)
{
	return ret ? ret : change_entry(MOAT_HOOK_inode_unlink, dir, dentry);
}

SEC("lsm/inode_rmdir")
int BPF_PROG(moat_inode_rmdir, struct inode *dir, struct dentry *dentry, int ret)
{
	return ret ? ret : change_entry(MOAT_HOOK_inode_rmdir, dir, dentry);
}

/* 0 or -ENOSPC. */
static __always_inline int put_mark(struct inode *inode, __u32 flags, __u64 epoch)
{
	struct moat_inode_key key = { .inode = BPF_CORE_READ(inode, i_ino), .device = device_of(inode) };
	struct moat_inode m = {
		.flags = flags,
		.generation = BPF_CORE_READ(inode, i_generation),
		.epoch = epoch,
	};

	return bpf_map_update_elem(&protected, &key, &m, BPF_ANY) ? -ENOSPC : 0;
}

/* Somebody who may renames: what takes the place of a marked inode is marked as well. 0 or -ENOSPC. */
static __always_inline int hand_mark_on(struct dentry *entry, struct inode *replaced)
{
	struct inode *inode = BPF_CORE_READ(entry, d_inode);
	struct moat_inode *m;

	if (!inode || !replaced || !may_be_protected(replaced))
		return 0;
	m = mark_on(replaced, device_of(replaced));
	return m ? put_mark(inode, m->flags | marks_of(inode), m->epoch) : 0;
}

SEC("lsm/inode_rename")
int BPF_PROG(moat_inode_rename, struct inode *old_dir, struct dentry *old_dentry,
	     struct inode *new_dir, struct dentry *new_dentry, int ret)
{
	if (ret)
		return ret;
	if (!user_subject())
		return hand_mark_on(old_dentry, BPF_CORE_READ(new_dentry, d_inode));
	if (entry_must_stay(old_dir, old_dentry))
		return deny_file(MOAT_HOOK_inode_rename, BPF_CORE_READ(old_dentry, d_inode));
	return change_entry(MOAT_HOOK_inode_rename, new_dir, new_dentry);
}

SEC("lsm/inode_link")
int BPF_PROG(moat_inode_link, struct dentry *old_dentry, struct inode *dir,
	     struct dentry *new_dentry, int ret)
{
	struct inode *inode = BPF_CORE_READ(old_dentry, d_inode);

	if (ret)
		return ret;
	if (user_subject() && inode_must_stay(inode))
		return deny_file(MOAT_HOOK_inode_link, inode);
	if (user_subject())
		return change_entry(MOAT_HOOK_inode_link, dir, new_dentry);
	/* from now on it has two names, and one of them may be outside of what is protected */
	if (may_be_protected(inode) &&
	    (inode_is_protected(inode) || entry_is_protected(new_dentry, device_of(inode))))
		return put_mark(inode, MOAT_PROTECT_TREE, MOAT_EPOCH_ANY);
	return 0;
}

/* Attributes */

static __always_inline int change_attributes(__u32 hook, struct dentry *dentry)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	if (!user_subject())
		return 0;
	return is_of_a_door(inode) ? deny_file(hook, inode) : change_inode(hook, inode);
}

/* From 6.3 on with the mount's idmap before the others: which one is loaded, BTF tells the agent. */
SEC("?lsm/inode_setattr")
int BPF_PROG(moat_inode_setattr, struct mnt_idmap *idmap, struct dentry *dentry,
	     struct iattr *attr, int ret)
{
	return ret ? ret : change_attributes(MOAT_HOOK_inode_setattr, dentry);
}

SEC("?lsm/inode_setattr")
int BPF_PROG(moat_inode_setattr_6_1, struct dentry *dentry, struct iattr *attr, int ret)
{
	return ret ? ret : change_attributes(MOAT_HOOK_inode_setattr, dentry);
}

/* The first argument was the mount's user namespace in 6.1; it is not read. */
SEC("lsm/inode_setxattr")
int BPF_PROG(moat_inode_setxattr, void *idmap, struct dentry *dentry, const char *name,
	     const void *value, unsigned long size, int flags, int ret)
{
	return ret ? ret : change_attributes(MOAT_HOOK_inode_setxattr, dentry);
}

SEC("lsm/inode_removexattr")
int BPF_PROG(moat_inode_removexattr, void *idmap, struct dentry *dentry, const char *name, int ret)
{
	return ret ? ret : change_attributes(MOAT_HOOK_inode_removexattr, dentry);
}

/* Before 6.2 access lists came as extended attributes. */
SEC("?lsm/inode_set_acl")
int BPF_PROG(moat_inode_set_acl, struct mnt_idmap *idmap, struct dentry *dentry,
	     const char *acl_name, struct posix_acl *kacl, int ret)
{
	return ret ? ret : change_attributes(MOAT_HOOK_inode_set_acl, dentry);
}

SEC("?lsm/inode_remove_acl")
int BPF_PROG(moat_inode_remove_acl, struct mnt_idmap *idmap, struct dentry *dentry,
	     const char *acl_name, int ret)
{
	return ret ? ret : change_attributes(MOAT_HOOK_inode_remove_acl, dentry);
}

/* file_setattr(2), 6.17 */
SEC("?lsm/inode_file_setattr")
int BPF_PROG(moat_inode_file_setattr, struct dentry *dentry, struct file_kattr *fa, int ret)
{
	return ret ? ret : change_attributes(MOAT_HOOK_inode_file_setattr, dentry);
}

/* Requests */

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

static __always_inline int use_ioctl(struct file *file, unsigned int cmd)
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
		if (!user_subject())
			return 0;
		return deny(MOAT_HOOK_file_ioctl, EPERM, MOAT_OBJECT_KERNEL, cmd);
	case PIDFD_GET_INFO:
		return look_at_process(file);
	default:
		return use_ioctl_of_type(file, cmd);
	}
}

SEC("lsm/file_ioctl")
int BPF_PROG(moat_file_ioctl, struct file *file, unsigned int cmd, unsigned long arg, int ret)
{
	return ret ? ret : use_ioctl(file, cmd);
}

/* Loaded where the kernel has the hook; others ask file_ioctl for 32-bit callers as well. */
SEC("?lsm/file_ioctl_compat")
int BPF_PROG(moat_file_ioctl_compat, struct file *file, unsigned int cmd, unsigned long arg, int ret)
{
	return ret ? ret : use_ioctl(file, cmd);
}

#define F_UNLCK 2
#define F_SETLEASE 1024
#define F_SETDELEG 1040 /* 7.0: of directories as well; its argument is a pointer */

/* A lock, which flock(2) gives also to who only reads, would keep the owner out. */
SEC("lsm/file_lock")
int BPF_PROG(moat_file_lock, struct file *file, unsigned int cmd, int ret)
{
	if (ret)
		return ret;
	return cmd == F_UNLCK ? 0 : change_inode(MOAT_HOOK_file_lock, file->f_inode);
}

/* A lease holds every other open(2) of the file up, for 45 s (/proc/sys/fs/lease-break-time). */
SEC("lsm/file_fcntl")
int BPF_PROG(moat_file_fcntl, struct file *file, unsigned int cmd, unsigned long arg, int ret)
{
	if (ret)
		return ret;
	if (cmd != F_SETDELEG && (cmd != F_SETLEASE || arg == F_UNLCK))
		return 0;
	if (!user_subject())
		return 0;
	return deny(MOAT_HOOK_file_fcntl, EPERM, MOAT_OBJECT_FILE, file->f_inode->i_ino);
}

/* Marking */

#define FAN_PERMISSION_EVENTS (0x10000 | 0x20000 | 0x40000 | 0x100000) /* linux/fanotify.h */

/* Without both entries the announcement stays, and the agent sees that it failed. */
static __always_inline void mark_announced(struct moat_task *t, struct inode *inode)
{
	struct moat_inode_key device = { .device = device_of(inode) };
	struct moat_inode any = { .epoch = MOAT_EPOCH_ANY };
	struct moat_inode *m = mark_on(inode, device.device);
	__u32 flags = t->next.flags;

	if (m && (m->epoch == t->next.context || m->epoch == MOAT_EPOCH_ANY))
		flags |= m->flags;
	if (put_mark(inode, flags, t->next.context))
		return;
	if (bpf_map_update_elem(&protected, &device, &any, BPF_ANY))
		return;
	t->next.flags = 0;
}

SEC("lsm/path_notify")
int BPF_PROG(moat_path_notify, const struct path *path, __u64 mask, unsigned int obj_type, int ret)
{
	struct moat_task *t = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), 0, 0);

	if (ret)
		return ret;
	if (t && t->label.role == MOAT_ROLE_CONTROL && t->next.flags)
		mark_announced(t, BPF_CORE_READ(path, dentry, d_inode));
	if (!(mask & FAN_PERMISSION_EVENTS) || !user_subject())
		return 0;
	return deny(MOAT_HOOK_path_notify, EPERM, MOAT_OBJECT_FILE, mask);
}

/*
 * Asked for every inode that leaves memory; without names it will not come back. Its number may already
 * be another's, which has another generation. FUSE servers need not count names.
 */
SEC("lsm/inode_free_security")
int BPF_PROG(moat_inode_free_security, struct inode *inode)
{
	struct moat_inode_key key = {};

	if (inode->i_nlink || !may_be_protected(inode) || inode->i_sb->s_magic == FUSE_SUPER_MAGIC)
		return 0;
	key.inode = inode->i_ino;
	key.device = device_of(inode);
	if (mark_on(inode, key.device))
		bpf_map_delete_elem(&protected, &key);
	return 0;
}
