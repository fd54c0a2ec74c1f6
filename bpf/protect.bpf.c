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
 * Opening for writing is decided by file_open (open.bpf.c), mounting over by sb_mount and move_mount
 * (mount.bpf.c), truncate(2) by inode_setattr.
 *
 * Where somebody who may (an editor, an update) renames a new file over a marked one, or gives a
 * protected file another name, the mark goes along; where it finds no room the answer is ENOSPC. A file
 * that is gone for good has no mark.
 *
 * Beside it, directories that are mount points in another mount namespace: removing such a directory
 * unmounts there (__detach_mounts() in fs/namespace.c). Locks and leases are in hold.bpf.c, requests that
 * change a file by a descriptor in ioctl.bpf.c.
 *
 * Hooks: inode_create, inode_mkdir, inode_mknod, inode_symlink, inode_link, inode_unlink, inode_rmdir,
 * inode_rename, inode_setattr, inode_setxattr, inode_removexattr, inode_set_acl, inode_remove_acl,
 * inode_file_setattr, path_notify (how the agent marks an inode; also fanotify's permission events, which
 * hold others up), inode_free_security.
 */
#include "door.h"
#include "protect.h"

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

/* Whether it is, or leads to, a socket that the control plane bound and that is still there; see socket.bpf.c. */
static __always_inline bool leads_to_socket(struct dentry *entry)
{
	struct inode *inode = entry->d_inode, *socket;
	struct socket_file *f;
	__u32 type;

	if (!inode)
		return false;
	type = inode->i_mode & S_IFMT;
	if (type != S_IFSOCK && type != S_IFDIR)
		return false;
	f = bpf_inode_storage_get(&socket_files, inode, 0, 0);
	if (!f)
		return false;
	socket = (struct inode *)f->inode; /* or what is there now */
	return BPF_CORE_READ(socket, i_ino) == f->number && BPF_CORE_READ(socket, i_nlink) &&
	       (BPF_CORE_READ(socket, i_mode) & S_IFMT) == S_IFSOCK;
}

static __always_inline int change_entry(__u32 hook, struct inode *dir, struct dentry *entry)
{
	struct inode *inode;

	if (!user_subject())
		return 0;
	if (!entry_must_stay(dir, entry) && !leads_to_socket(entry))
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
	struct moat_task *t;

	if (ret)
		return ret;
	if ((mode & S_IFMT) == S_IFSOCK) { /* whose socket it becomes: moat_d_instantiate() */
		t = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), 0, 0);
		if (t && t->label.role == MOAT_ROLE_CONTROL)
			t->next.exec = (__u64)dentry;
	}
	return change_entry(MOAT_HOOK_inode_mknod, dir, dentry);
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
	if (entry_must_stay(old_dir, old_dentry) || leads_to_socket(old_dentry))
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
