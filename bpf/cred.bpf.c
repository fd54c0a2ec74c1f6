/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: looking at a task where the kernel does not say which: at its limits, and by ioctl(2) of a
 * pidfd (ioctl.bpf.c).
 *
 * Policy: may_touch(subject, target), as in task.bpf.c; the answer is EPERM. But task_prlimit is given
 * credentials, not the task that has them. They belong to one process and its threads (copy_creds() in
 * kernel/cred.c), so they get the label of whoever prepares them: user code's own at its fork and
 * execve. Those without a label are not user code's, or those of a command before its execve.
 *
 * Where there is no room for a label there is none, and the limits are not to be read. Setting limits
 * is judged by task_setrlimit.
 *
 * Hooks: cred_prepare, cred_free, task_prlimit.
 */
#include "cred.h"

#define LSM_PRLIMIT_READ 1 /* include/linux/security.h */

static __always_inline void forget(__u64 address)
{
	if (bpf_map_lookup_elem(&creds, &address))
		bpf_map_delete_elem(&creds, &address);
}

SEC("lsm/cred_prepare")
int BPF_PROG(moat_cred_prepare, struct cred *new, const struct cred *old, unsigned int gfp, int ret)
{
	const struct moat_label *subject = user_subject();
	__u64 address = (__u64)new;
	struct moat_label label;

	if (ret)
		return ret;
	forget(address);
	if (!subject)
		return 0;
	label = *subject;
	label.flags &= ~MOAT_LABEL_NEWBORN; /* execve prepares them before it makes an end of that */
	bpf_map_update_elem(&creds, &address, &label, BPF_ANY);
	return allow(MOAT_HOOK_cred_prepare);
}

SEC("lsm/cred_free")
int BPF_PROG(moat_cred_free, struct cred *cred)
{
	forget((__u64)cred);
	return 0;
}

SEC("lsm/task_prlimit")
int BPF_PROG(moat_task_prlimit, const struct cred *cred, const struct cred *tcred,
	     unsigned int flags, int ret)
{
	const struct moat_label *subject;

	if (ret)
		return ret;
	if (!(flags & LSM_PRLIMIT_READ))
		return 0;
	subject = user_subject();
	if (!subject)
		return 0;
	if (may_touch(subject, label_of_credentials(tcred)))
		return allow(MOAT_HOOK_task_prlimit);
	return deny(MOAT_HOOK_task_prlimit, EPERM, MOAT_OBJECT_TASK, 0);
}
