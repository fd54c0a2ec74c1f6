/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What anybody may have put into a directory that all may write (sticky and writable by others: /tmp,
 * /var/tmp, /dev/shm). The kernel's own protected_symlinks and protected_fifos ask for the owner, and
 * in a container all are root. So the control plane and moat-init follow no symbolic link there and open
 * nothing that is neither a file nor a directory, whoever made it.
 *
 * The directory is the one that the entry is in when it is asked for. Who moves it elsewhere between the
 * kernel's look-up and the question would get around that: so what user code moves out of such a
 * directory counts as still in it for a while.
 */
#ifndef MOAT_BPF_FOLLOW_H
#define MOAT_BPF_FOLLOW_H

#include "label.h"

#define MOVED_NS (60 * 1000000000ull) /* far more than lies between a look-up and the hook */

static __always_inline bool all_may_write(const struct inode *dir)
{
	return dir && (dir->i_mode & (S_ISVTX | S_IWOTH)) == (S_ISVTX | S_IWOTH);
}

/* Whether the running task is of the control plane or a moat-init, and has to take care. */
static __always_inline bool takes_care(void)
{
	const struct moat_label *l = label_of(bpf_get_current_task_btf());

	return l && (l->role == MOAT_ROLE_CONTROL || l->role == MOAT_ROLE_INIT) &&
	       !(l->flags & MOAT_LABEL_FOLLOW);
}

/* entry: of inode. */
static __always_inline bool anybody_may_have_put(struct dentry *entry, struct inode *inode)
{
	__u64 *moved;

	if (all_may_write(entry->d_parent->d_inode))
		return true;
	moved = bpf_inode_storage_get(&moved_inodes, inode, 0, 0);
	return moved && bpf_ktime_get_ns() - *moved < MOVED_NS;
}

static __always_inline bool is_file_or_directory(const struct inode *inode)
{
	__u32 type = inode->i_mode & S_IFMT;

	return type == S_IFREG || type == S_IFDIR;
}

/* Something to be opened: a FIFO would hold the opener up, a device may be any, a disk too. */
static __always_inline bool is_trap(struct dentry *entry, struct inode *inode)
{
	return !is_file_or_directory(inode) && takes_care() && anybody_may_have_put(entry, inode);
}

/* User code moves inode out of dir. 0 or -ENOMEM. */
static __always_inline int note_move(const struct inode *dir, struct inode *inode)
{
	__u64 *moved;

	if (!inode || is_file_or_directory(inode) || !all_may_write(dir))
		return 0;
	moved = bpf_inode_storage_get(&moved_inodes, inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!moved)
		return -ENOMEM;
	*moved = bpf_ktime_get_ns();
	return 0;
}

#endif
