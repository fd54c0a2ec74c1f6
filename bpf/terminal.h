/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose terminal it is. Who may open a terminal may read what is typed there, set it, and have the kernel
 * send SIGINT to who works there, for which no hook is asked.
 *
 * A pseudo-terminal is its maker's: whoever opened the side that is called master (ptmx). The credentials
 * that it was opened with live as long as that file, and have a label (cred.bpf.c). Where they have none,
 * because the agent or another task of the machine made it, it is the session's that works there.
 *
 * The slave is found by the entry in devpts, wherever that is mounted: a device node of the same number
 * elsewhere opens nothing (pty_unix98_lookup() in drivers/tty/pty.c).
 */
#ifndef MOAT_BPF_TERMINAL_H
#define MOAT_BPF_TERMINAL_H

#include "cred.h"

#define DEVPTS_SUPER_MAGIC 0x1cd1

/* admin-guide/devices.txt */
static __always_inline bool is_slave(__u32 device)
{
	__u32 major = device >> MOAT_MINOR_BITS;

	return major >= 136 && major <= 143;
}

/* One that user code may open without a `device` line: a slave, its master, /dev/tty. */
static __always_inline __attribute__((unused)) bool is_terminal(__u32 device)
{
	return is_slave(device) || device == (5 << MOAT_MINOR_BITS | 0) ||
	       device == (5 << MOAT_MINOR_BITS | 2);
}

static __always_inline bool is_own_session(const struct moat_label *subject, struct tty_struct *tty)
{
	struct pid *session = BPF_CORE_READ(tty, ctrl.session);
	struct hlist_node *leader = BPF_CORE_READ(session, tasks[0].first);
	struct task_struct *task;

	if (!leader)
		return false;
	task = (void *)leader - bpf_core_field_offset(struct task_struct, pid_links);
	return may_touch(subject, label_of_credentials(BPF_CORE_READ(task, real_cred)));
}

static __always_inline __attribute__((unused)) bool may_open_terminal(const struct moat_label *subject,
					      struct tty_struct *slave)
{
	struct tty_struct *master = BPF_CORE_READ(slave, link);
	struct list_head *first = BPF_CORE_READ(master, tty_files.next);
	const struct moat_label *maker;
	struct tty_file_private *open;

	open = (void *)first - bpf_core_field_offset(struct tty_file_private, list);
	maker = label_of_credentials(BPF_CORE_READ(open, file, f_cred));
	return maker ? may_touch(subject, maker) : is_own_session(subject, slave);
}

/* For character devices. A newborn is moat-init's code, which may be making the terminal its own. */
static __always_inline __attribute__((unused)) int open_terminal(struct file *file)
{
	struct inode *inode = file->f_inode;
	const struct moat_label *subject;
	__u32 device = inode->i_rdev;

	if (!is_slave(device) || inode->i_sb->s_magic != DEVPTS_SUPER_MAGIC)
		return 0;
	subject = user_subject();
	if (!subject)
		return 0;
	if ((subject->flags & MOAT_LABEL_NEWBORN) ||
	    may_open_terminal(subject, BPF_CORE_READ(file, f_path.dentry, d_fsdata)))
		return allow(MOAT_HOOK_file_open);
	return deny(MOAT_HOOK_file_open, EPERM, MOAT_OBJECT_DEVICE, device);
}

#endif
