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
 * What is hidden (`hide`; moat's own configuration, state and audit log) user code may not read or look at
 * either: everything is answered with ENOENT. What tells a name alone is left: listing the directory above,
 * access(2), name_to_handle_at(2), chdir(2), which open nothing. moat's own is hidden from services as
 * well: they open none of it and take none of it elsewhere; they reach its socket.
 *
 * Beside it, directories that are mount points in another mount namespace: removing such a directory
 * unmounts there (__detach_mounts() in fs/namespace.c). Locks and leases are in hold.bpf.c, requests that
 * change a file by a descriptor in ioctl.bpf.c.
 *
 * Hooks: inode_create, inode_mkdir, inode_mknod, inode_symlink, inode_link, inode_unlink, inode_rmdir,
 * inode_rename, inode_setattr, inode_setxattr, inode_removexattr, inode_set_acl, inode_remove_acl,
 * inode_file_setattr, path_notify (how the agent marks an inode; also fanotify's permission events, which
 * hold others up), inode_free_security, sb_delete. Of what is hidden also inode_readlink, inode_getxattr,
 * inode_listxattr, inode_get_acl, inode_file_getattr; opening and stat are in open.bpf.c.
 */
#include "door.h"
#include "follow.h"
#include "protect.h"

/* Entries */

/*
 * Whether a directory entry, which may have no inode yet, has to stay as it is: it is protected, or
 * beneath something that is, a mount point in whatever mount namespace, or in a door (door.h).
 */
static __always_inline bool entry_must_stay(struct inode *dir, struct dentry *entry, struct place place)
{
	struct inode *inode = BPF_CORE_READ(entry, d_inode);

	if (is_of_a_door(dir) || is_mount_point(entry))
		return true;
	if (!place.flags)
		return false;
	return (inode && marks_of(inode, place)) || entry_is_protected(entry, place);
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
	struct place place;
	struct inode *inode;

	if (!user_subject())
		return 0;
	place = place_of(dir);
	if (!entry_must_stay(dir, entry, place) && !leads_to_socket(entry))
		return allow(hook);
	inode = BPF_CORE_READ(entry, d_inode);
	return deny_change(hook, entry, inode ? inode : dir, place);
}

HOOK(inode_create, change_entry(hook, dir, dentry), struct inode *dir, struct dentry *dentry,
     unsigned short mode)
HOOK(inode_mkdir, change_entry(hook, dir, dentry), struct inode *dir, struct dentry *dentry,
     unsigned short mode)

SEC("lsm/inode_mknod")
int BPF_PROG(moat_inode_mknod, struct inode *dir, struct dentry *dentry, unsigned short mode,
	     unsigned int dev, int ret)
{
	struct moat_task *t;

	if (ret)
		return ret;
	if ((mode & S_IFMT) == S_IFSOCK) { /* whose socket it becomes: moat_d_instantiate() */
		t = task_of(bpf_get_current_task_btf());
		if (t && t->label.role == MOAT_ROLE_CONTROL)
			t->next.exec = (__u64)dentry;
	}
	return change_entry(MOAT_HOOK_inode_mknod, dir, dentry);
}

HOOK(inode_symlink, change_entry(hook, dir, dentry), struct inode *dir, struct dentry *dentry,
     const char *old_name)
HOOK(inode_unlink, change_entry(hook, dir, dentry), struct inode *dir, struct dentry *dentry)
HOOK(inode_rmdir, change_entry(hook, dir, dentry), struct inode *dir, struct dentry *dentry)

/* The place of an inode that gets a mark with these flags; without flags: there is no room for it. */
static __always_inline struct place prepare_place(struct inode *inode, __u32 flags)
{
	struct place place = place_of(inode);
	struct moat_inode_key key = { .device = place.device };
	struct moat_inode m = { .flags = place.flags, .epoch = MOAT_EPOCH_ANY };

	if (!(m.flags & MOAT_DEVICE_MARKED))
		m.flags = MOAT_DEVICE_MARKED |
			  (numbers_last(BPF_CORE_READ(inode, i_sb)) ? 0 : MOAT_DEVICE_BY_ADDRESS);
	filter_add(MOAT_FILTER_TREE, ~(__u64)place.device);
	if (flags & (MOAT_PROTECT_HIDDEN | MOAT_PROTECT_SHOWN)) {
		filter_add(MOAT_FILTER_HIDDEN, ~(__u64)place.device);
		m.flags |= MOAT_PROTECT_HIDDEN;
	}
	if (m.flags != place.flags && bpf_map_update_elem(&protected, &key, &m, BPF_ANY))
		return (struct place){ 0 };
	place.flags = m.flags;
	return place;
}

/* 0 or -ENOSPC. */
static __always_inline int put_mark(struct inode *inode, __u32 flags, __u64 epoch)
{
	struct place place = prepare_place(inode, flags);
	struct moat_inode_key key = { .inode = identity_of(inode, place), .device = place.device };
	struct moat_inode m = {
		.flags = flags,
		.generation = generation_of(inode, place),
		.epoch = epoch,
	};

	if (!place.flags)
		return -ENOSPC;
	if (flags & MOAT_PROTECT_TREE)
		filter_add(MOAT_FILTER_TREE, key.inode);
	if (flags & (MOAT_PROTECT_HIDDEN | MOAT_PROTECT_SHOWN))
		filter_add(MOAT_FILTER_HIDDEN, key.inode);
	return bpf_map_update_elem(&protected, &key, &m, BPF_ANY) ? -ENOSPC : 0;
}

/* Somebody who may renames: what takes the place of a marked inode is marked as well. 0 or -ENOSPC. */
static __always_inline int hand_mark_on(struct dentry *entry, struct inode *replaced)
{
	struct inode *inode = BPF_CORE_READ(entry, d_inode);
	struct moat_inode *m;
	struct place place;

	if (!inode || !replaced)
		return 0;
	place = place_of(replaced);
	m = place.flags ? mark_on(replaced, place) : NULL;
	return m ? put_mark(inode, m->flags | marks_of(inode, place), m->epoch) : 0;
}

/* A service takes nothing of moat's own to where it could read it. */
static __always_inline bool is_taken_by_service(struct dentry *entry)
{
	struct climb c = { .wanted = MOAT_PROTECT_OWN };
	struct inode *inode = BPF_CORE_READ(entry, d_inode);

	if (!inode || hidden_from(label_of(bpf_get_current_task_btf())) != MOAT_PROTECT_OWN)
		return false;
	c.place = place_of(inode);
	return (c.place.flags & MOAT_PROTECT_HIDDEN) && inode_has_mark(inode, &c);
}

SEC("lsm/inode_rename")
int BPF_PROG(moat_inode_rename, struct inode *old_dir, struct dentry *old_dentry,
	     struct inode *new_dir, struct dentry *new_dentry, int ret)
{
	if (ret)
		return ret;
	if (is_taken_by_service(old_dentry))
		return deny_hidden(MOAT_HOOK_inode_rename, BPF_CORE_READ(old_dentry, d_inode));
	if (!user_subject())
		return hand_mark_on(old_dentry, BPF_CORE_READ(new_dentry, d_inode));
	ret = change_entry(MOAT_HOOK_inode_rename, old_dir, old_dentry);
	if (ret)
		return ret;
	if (note_move(old_dir, old_dentry->d_inode))
		return -ENOMEM;
	return change_entry(MOAT_HOOK_inode_rename, new_dir, new_dentry);
}

static __always_inline bool has_mark(struct inode *inode, struct dentry *new_name, struct place place,
				     __u32 flag)
{
	struct climb c = { .place = place, .wanted = flag };

	if (inode_has_mark(inode, &c))
		return true;
	c.at = new_name;
	return entry_has_mark(&c);
}

/* From now on it has two names, and one of them may be outside of what is protected. 0 or -ENOSPC. */
static __always_inline int mark_linked(struct inode *inode, struct dentry *new_name, struct place place)
{
	__u32 flags = 0;

	if (!has_mark(inode, new_name, place, MOAT_PROTECT_TREE))
		return 0;
	if (place.flags & MOAT_PROTECT_HIDDEN) {
		if (has_mark(inode, new_name, place, MOAT_PROTECT_HIDDEN))
			flags |= MOAT_PROTECT_HIDDEN;
		if (has_mark(inode, new_name, place, MOAT_PROTECT_OWN))
			flags |= MOAT_PROTECT_OWN;
	}
	return put_mark(inode, MOAT_PROTECT_TREE | flags, MOAT_EPOCH_ANY);
}

SEC("lsm/inode_link")
int BPF_PROG(moat_inode_link, struct dentry *old_dentry, struct inode *dir,
	     struct dentry *new_dentry, int ret)
{
	struct inode *inode = BPF_CORE_READ(old_dentry, d_inode);
	struct place place;

	if (ret)
		return ret;
	if (is_taken_by_service(old_dentry))
		return deny_hidden(MOAT_HOOK_inode_link, inode);
	place = place_of(inode);
	if (user_subject() && inode_must_stay(inode, place))
		return deny_change(MOAT_HOOK_inode_link, NULL, inode, place);
	if (user_subject())
		return change_entry(MOAT_HOOK_inode_link, dir, new_dentry);
	return place.flags ? mark_linked(inode, new_dentry, place) : 0;
}

/* Attributes */

static __always_inline int change_attributes(__u32 hook, struct dentry *dentry)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	if (!user_subject())
		return 0;
	if (is_of_a_door(inode))
		return deny(hook, EPERM, MOAT_OBJECT_FILE, BPF_CORE_READ(inode, i_ino));
	return change_inode(hook, inode);
}

/* From 6.3 on with the mount's idmap before the others: which one is loaded, BTF tells the agent. */
OPTIONAL_HOOK(inode_setattr, change_attributes(hook, dentry), struct mnt_idmap *idmap,
	      struct dentry *dentry, struct iattr *attr)

SEC("?lsm/inode_setattr")
int BPF_PROG(moat_inode_setattr_6_1, struct dentry *dentry, struct iattr *attr, int ret)
{
	return ret ? ret : change_attributes(MOAT_HOOK_inode_setattr, dentry);
}

/* The first argument was the mount's user namespace in 6.1; it is not read. */
HOOK(inode_setxattr, change_attributes(hook, dentry), void *idmap, struct dentry *dentry,
     const char *name, const void *value, unsigned long size, int flags)
HOOK(inode_removexattr, change_attributes(hook, dentry), void *idmap, struct dentry *dentry,
     const char *name)

/* Before 6.2 access lists came as extended attributes. */
OPTIONAL_HOOK(inode_set_acl, change_attributes(hook, dentry), struct mnt_idmap *idmap,
	      struct dentry *dentry, const char *acl_name, struct posix_acl *kacl)
OPTIONAL_HOOK(inode_remove_acl, change_attributes(hook, dentry), struct mnt_idmap *idmap,
	      struct dentry *dentry, const char *acl_name)

/* file_setattr(2), 6.17 */
OPTIONAL_HOOK(inode_file_setattr, change_attributes(hook, dentry), struct dentry *dentry,
	      struct file_kattr *fa)

/* Marking */

#define FAN_PERMISSION_EVENTS (0x10000 | 0x20000 | 0x40000 | 0x100000) /* linux/fanotify.h */

/* 0 or -ENOSPC. */
static __always_inline int put_name(struct moat_task *t, struct inode *directory, struct place place,
				    __u32 flags)
{
	struct moat_name_key key = { .hash = t->next.exec };
	struct moat_inode m = { .flags = flags, .generation = generation_of(directory, place),
				.epoch = t->next.context };
	struct moat_inode *known;

	key.directory.inode = identity_of(directory, place);
	key.directory.device = place.device;
	known = bpf_map_lookup_elem(&names, &key);
	if (known && known->epoch == m.epoch)
		m.flags |= known->flags;
	filter_add(MOAT_FILTER_NAMES, key.directory.inode);
	if (flags & MOAT_PROTECT_HIDDEN)
		filter_add(MOAT_FILTER_HIDDEN, key.directory.inode);
	return bpf_map_update_elem(&names, &key, &m, BPF_ANY) ? -ENOSPC : 0;
}

/* Without both entries the announcement stays, and the agent sees that it failed. */
static __noinline void mark_announced(struct moat_task *t, struct inode *inode)
{
	__u32 flags = t->next.flags, one = 1;
	struct place place = prepare_place(inode, flags);
	struct moat_shown_key key = { .context = t->next.exec };
	struct moat_inode *m;

	if (!place.flags)
		return;
	if (flags & MOAT_PROTECT_NAME) {
		if (put_name(t, inode, place, flags & ~MOAT_PROTECT_NAME) == 0)
			t->next.flags = 0;
		return;
	}
	m = mark_on(inode, place);
	if (m && (m->epoch == t->next.context || m->epoch == MOAT_EPOCH_ANY))
		flags |= m->flags;
	if (put_mark(inode, flags, t->next.context))
		return;
	key.inode.inode = identity_of(inode, place);
	key.inode.device = place.device;
	if ((t->next.flags & MOAT_PROTECT_SHOWN) && bpf_map_update_elem(&shown, &key, &one, BPF_ANY))
		return;
	t->next.exec = is_by_address(place);
	t->next.flags = 0;
}

SEC("lsm/path_notify")
int BPF_PROG(moat_path_notify, const struct path *path, __u64 mask, unsigned int obj_type, int ret)
{
	struct moat_task *t = task_of(bpf_get_current_task_btf());

	if (ret)
		return ret;
	if (t && t->label.role == MOAT_ROLE_CONTROL && t->next.flags)
		mark_announced(t, BPF_CORE_READ(path, dentry, d_inode));
	ret = look_at_entry(MOAT_HOOK_path_notify, path->dentry);
	if (ret)
		return ret;
	if (!(mask & FAN_PERMISSION_EVENTS) || !user_subject())
		return 0;
	return deny(MOAT_HOOK_path_notify, EPERM, MOAT_OBJECT_FILE, mask);
}

/*
 * Asked for every inode that leaves memory: its address will be another's. Of a number: without names it
 * will not come back; it may already be another's, which has another generation.
 */
SEC("lsm/inode_free_security")
int BPF_PROG(moat_inode_free_security, struct inode *inode)
{
	struct moat_filter *f = the_filter();
	struct moat_inode_key key = { .device = inode->i_sb->s_dev };
	struct place place;

	if (f && !filter_has(f, MOAT_FILTER_TREE, ~(__u64)key.device))
		return 0;
	place = place_of_device(key.device);
	if (!place.flags || (inode->i_nlink && !is_by_address(place)) || !mark_on(inode, place))
		return 0;
	key.inode = identity_of(inode, place);
	bpf_map_delete_elem(&protected, &key);
	return 0;
}

static long forget_mark(struct bpf_map *map, const struct moat_inode_key *key, struct moat_inode *m,
			const __u32 *device)
{
	if (key->device == *device)
		bpf_map_delete_elem(map, key);
	return 0;
}

/* The number of a file system without a device of its own will be another's. */
SEC("lsm/sb_delete")
int BPF_PROG(moat_sb_delete, struct super_block *sb)
{
	__u32 device = sb->s_dev;

	if (device >> MOAT_MINOR_BITS || !place_of_device(device).flags)
		return 0;
	bpf_for_each_map_elem(&protected, forget_mark, &device, 0);
	return 0;
}

/* What is only read */

HOOK(inode_readlink, look_at_entry(hook, dentry), struct dentry *dentry)
HOOK(inode_getxattr, look_at_entry(hook, dentry), struct dentry *dentry, const char *name)
HOOK(inode_listxattr, look_at_entry(hook, dentry), struct dentry *dentry)

/* Before 6.2 an extended attribute. */
OPTIONAL_HOOK(inode_get_acl, look_at_entry(hook, dentry), struct mnt_idmap *idmap,
	      struct dentry *dentry, const char *acl_name)

/* file_getattr(2), 6.17 */
OPTIONAL_HOOK(inode_file_getattr, look_at_entry(hook, dentry), struct dentry *dentry,
	      struct file_kattr *fa)
