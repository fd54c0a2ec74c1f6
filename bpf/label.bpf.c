/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: labels.
 *
 * Policy: a child has the label of its parent, threads included. A child of moat-init is what was announced
 * for it, once: user code with that label, or another moat-init, which is then in namespaces of its own;
 * without an announcement there is no child. A child of moatd is a service's, from which moat's own
 * files are hidden (protect.h), with the flags announced for it, if there are any. A child that cannot be labelled is not created, nor is one of user code in another
 * cgroup.
 *
 * Until it executes its program a child of moat-init shares moat-init's memory and descriptors
 * (userspace/init/spawn.c), so whoever could trace or stop it would have moat-init: it is marked
 * as newborn, and nobody may touch it.
 *
 * Hooks: task_alloc (EPERM, ENOMEM), bprm_committed_creds (the new memory is in place), task_free.
 */
#include "verdict.h"

/* include/uapi/linux/sched.h */
#define CLONE_VM 0x00000100ul
#define CLONE_THREAD 0x00010000ul
#define CLONE_NEWNS 0x00020000ul
#define CLONE_NEWUTS 0x04000000ul
#define CLONE_NEWIPC 0x08000000ul
#define CLONE_INTO_CGROUP 0x200000000ul
#define OF_ANOTHER_INIT (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC)

static __always_inline int back_up(struct task_struct *task, const struct moat_label *label)
{
	__u64 address = (__u64)task;

	if (!labels_are_backed_up)
		return 0;
	return bpf_map_update_elem(&labels, &address, label, BPF_ANY) ? -ENOMEM : 0;
}

/* Labels the new task; its parent is the running one. */
static __always_inline int set_label(struct task_struct *task, const struct moat_label *label)
{
	struct moat_task *t = bpf_task_storage_get(&tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!t)
		return -ENOMEM;
	t->label = *label;
	return back_up(task, label);
}

/* Whether a moat-init may have this child: the announced one, made as its kind is made. */
static __always_inline bool is_announced(const struct moat_label *next, unsigned long clone_flags)
{
	if (next->role == MOAT_ROLE_INIT)
		return (clone_flags & (OF_ANOTHER_INIT | CLONE_VM)) == OF_ANOTHER_INIT;
	return next->role == MOAT_ROLE_USER;
}

SEC("lsm/task_alloc")
int BPF_PROG(moat_task_alloc, struct task_struct *task, unsigned long clone_flags, int ret)
{
	struct task_struct *parent = bpf_get_current_task_btf();
	struct moat_label label = {};
	const struct moat_label *l;
	struct moat_task *t;

	if (ret)
		return ret;
	t = task_of(parent);
	l = label_in(t, parent);
	if (!l || l->role == MOAT_ROLE_NONE)
		return 0;
	/* While a new agent replaces an old one's programs both run, on the same maps: the first of
	 * them has labelled the child and used up the announcement. */
	if (task_of(task))
		return 0;
	label = *l;
	/* into another cgroup: no file of it is opened for that (cgroup_css_set_fork() in
	 * kernel/cgroup/cgroup.c), and it would be the way out of every limit */
	if (label.role == MOAT_ROLE_USER && (clone_flags & CLONE_INTO_CGROUP))
		return deny(MOAT_HOOK_task_alloc, EPERM, MOAT_OBJECT_NONE, 0);
	/* the agent labels itself and moat-init from outside: make sure of their own back-up */
	if (label.role != MOAT_ROLE_USER && back_up(parent, &label))
		return -ENOMEM;
	if (label.role == MOAT_ROLE_INIT) {
		if (!t || !is_announced(&t->next, clone_flags))
			return deny(MOAT_HOOK_task_alloc, EPERM, MOAT_OBJECT_NONE, 0);
		label = t->next;
		if (label.role == MOAT_ROLE_USER)
			label.flags |= MOAT_LABEL_NEWBORN;
		t->next.role = MOAT_ROLE_NONE;
	}
	if (label.role == MOAT_ROLE_CONTROL && t && t->next.role == MOAT_ROLE_CONTROL) {
		label.flags |= t->next.flags;
		t->next.role = MOAT_ROLE_NONE;
	}
	/* whatever moatd starts (moat-init gets its own label yet), and its children; not a thread of its own */
	if (label.role == MOAT_ROLE_CONTROL && !(clone_flags & CLONE_THREAD))
		label.flags |= MOAT_LABEL_SERVICE;
	if (label.role == MOAT_ROLE_USER)
		allow(MOAT_HOOK_task_alloc);
	return set_label(task, &label);
}

SEC("lsm/bprm_committed_creds")
int BPF_PROG(moat_bprm_committed_creds, struct linux_binprm *bprm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct moat_task *t = task_of(task);

	if (!t || !(t->label.flags & MOAT_LABEL_NEWBORN))
		return 0;
	t->label.flags &= ~MOAT_LABEL_NEWBORN;
	back_up(task, &t->label);
	return 0;
}

SEC("lsm/task_free")
int BPF_PROG(moat_task_free, struct task_struct *task)
{
	__u64 address = (__u64)task;

	if (labels_are_backed_up)
		bpf_map_delete_elem(&labels, &address);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
