/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: what holds others up by means of a file they share: locks on protected files, leases on any.
 * Freezing of file systems is in ioctl.bpf.c, fanotify's permission events are in protect.bpf.c.
 * The answer is EPERM.
 *
 * Hooks: file_lock, file_fcntl.
 */
#include "protect.h"

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
