/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looking labels up, and the one rule.
 *
 * Task storage may answer NULL for a task that has a label: on 6.1 the helper gives up when the
 * per-CPU lock of all task storage is held by whatever it interrupted (kernel/bpf/bpf_task_storage.c,
 * bpf_task_storage_trylock; look-ups do without the lock since 6.2). A subject taken for unlabelled
 * would be a hole, so on such kernels a second map, keyed by the task's address, is kept and asked.
 * A target without a label needs no such care: user code may not touch unlabelled tasks anyway.
 */
#ifndef MOAT_BPF_LABEL_H
#define MOAT_BPF_LABEL_H

#include "maps.h"

static __always_inline const struct moat_settings *moat_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

/* Set by the agent before it loads the programs; where it is false the verifier leaves out what depends on it. */
const volatile bool labels_are_backed_up __weak;

/*
 * The label kept in `tasks`. Whoever has one has a storage, whatever the look-up says, and to see that there is none is
 * quicker than the lock. Only where there is that lock: newer verifiers read the types of the whole kernel four times
 * for each pointer that a program takes out of a task (btf_nested_type_is_trusted() in kernel/bpf/btf.c).
 */
static __always_inline struct moat_task *task_of(struct task_struct *task)
{
	if (labels_are_backed_up && !task->bpf_storage)
		return NULL;
	return bpf_task_storage_get(&tasks, task, 0, 0);
}

/* t: what task_of() said. */
static __always_inline const struct moat_label *label_in(const struct moat_task *t,
							 struct task_struct *task)
{
	__u64 address = (__u64)task;

	if (t)
		return &t->label;
	return labels_are_backed_up && task->bpf_storage ? bpf_map_lookup_elem(&labels, &address) :
							   NULL;
}

static __always_inline const struct moat_label *label_of(struct task_struct *task)
{
	return label_in(task_of(task), task);
}

/* The label of the running task if it is user code that is to be judged, else NULL. */
static __always_inline const struct moat_label *user_subject(void)
{
	const struct moat_label *l = label_of(bpf_get_current_task_btf());

	return l && l->role == MOAT_ROLE_USER ? l : NULL;
}

/* What of hidden files (protect.h) is hidden from the running task: a MOAT_PROTECT_*, or 0: nothing. */
static __always_inline __u32 hidden_from(const struct moat_label *subject)
{
	if (!subject)
		return 0;
	if (subject->role == MOAT_ROLE_USER)
		return MOAT_PROTECT_HIDDEN;
	if (subject->role == MOAT_ROLE_CONTROL && (subject->flags & MOAT_LABEL_SERVICE))
		return MOAT_PROTECT_OWN;
	return 0;
}

/*
 * The one rule: user code may touch a task only if that task is user code of the same context and,
 * where execs are principals of their own (secure), of the same exec.
 */
static __always_inline bool may_touch(const struct moat_label *subject,
				      const struct moat_label *target)
{
	if (!target || target->role != MOAT_ROLE_USER || target->context != subject->context)
		return false;
	if (target->flags & MOAT_LABEL_NEWBORN)
		return false;
	if ((subject->flags | target->flags) & MOAT_LABEL_PER_EXEC)
		return target->exec == subject->exec;
	return true;
}

#endif
