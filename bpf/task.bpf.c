/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: signals to a task and control of a task.
 *
 * Policy: may_touch(subject, target) decides every one of them; the answer is EPERM (never ESRCH:
 * kill(2) would look the task up again, for ever).
 *
 * SIGIO is sent from wherever the event happens, so the running task means nothing there: the
 * subject is who made the receiver the owner of the file, by whatever call (F_SETOWN, FIOSETOWN also
 * from 32-bit code, O_ASYNC on a terminal, leases). That is remembered per file.
 *
 * Hooks: task_kill, file_set_fowner, file_free_security, file_send_sigiotask,
 * ptrace_access_check (also what hides /proc entries, see open.bpf.c), ptrace_traceme,
 * task_setrlimit, task_setnice, task_setscheduler, task_getscheduler, task_setioprio,
 * task_getioprio, task_setpgid, task_getpgid, task_getsid, task_movememory, capget, perf_event_alloc.
 */
#include "verdict.h"

/* include/linux/ptrace.h */
#define PTRACE_MODE_READ 1
#define PTRACE_MODE_NOAUDIT 4
#define PTRACE_MODE_FSCREDS 8

static __always_inline int touch_or_look(__u32 hook, struct task_struct *target, bool look)
{
	const struct moat_label *subject;

	if (target == bpf_get_current_task_btf())
		return 0;
	subject = user_subject();
	if (!subject)
		return 0;
	if (may_touch(subject, label_of(target)))
		return allow(hook);
	return deny_as(NULL, hook, EPERM, MOAT_OBJECT_TASK, target->tgid, look);
}

static __always_inline int touch(__u32 hook, struct task_struct *target)
{
	return touch_or_look(hook, target, false);
}

HOOK(task_kill, touch(hook, p), struct task_struct *p, struct kernel_siginfo *info, int sig,
     const struct cred *cred)

SEC("lsm/ptrace_access_check")
int BPF_PROG(moat_ptrace_access_check, struct task_struct *child, unsigned int mode, int ret)
{
	/* what a look at /proc asks for each process there is: has_pid_permissions() in fs/proc/base.c */
	bool look = (mode & ~PTRACE_MODE_NOAUDIT) == (PTRACE_MODE_READ | PTRACE_MODE_FSCREDS);

	return ret ? ret : touch_or_look(MOAT_HOOK_ptrace_access_check, child, look);
}

HOOK(ptrace_traceme, touch(hook, parent), struct task_struct *parent)

/*
 * A limit above 0 lets its holder have real-time or raised priority without CAP_SYS_NICE (sched(7)), so
 * that machine.bpf.c would not be asked. moat-init has set both to 0.
 */
static __always_inline bool lifts_priority(unsigned int resource, const struct rlimit *limit)
{
	return (resource == RLIMIT_RTPRIO || resource == RLIMIT_NICE) &&
	       (limit->rlim_cur || limit->rlim_max);
}

/* With CAP_SYS_RESOURCE, which is not refused for one's own limits. 1 is what user code starts
 * with. */
static __always_inline bool allows_cores(unsigned int resource, const struct rlimit *limit)
{
	return resource == RLIMIT_CORE && (limit->rlim_cur > 1 || limit->rlim_max > 1);
}

SEC("lsm/task_setrlimit")
int BPF_PROG(moat_task_setrlimit, struct task_struct *p, unsigned int resource,
	     struct rlimit *new_rlim, int ret)
{
	if (ret)
		return ret;
	if ((lifts_priority(resource, new_rlim) || allows_cores(resource, new_rlim)) &&
	    user_subject())
		return deny(MOAT_HOOK_task_setrlimit, EPERM, MOAT_OBJECT_TASK, p->tgid);
	return touch(MOAT_HOOK_task_setrlimit, p);
}

HOOK(capget, touch(hook, (struct task_struct *)target), const struct task_struct *target,
     void *effective, void *inheritable, void *permitted)
HOOK(task_setnice, touch(hook, p), struct task_struct *p, int nice)
HOOK(task_setscheduler, touch(hook, p), struct task_struct *p)
HOOK(task_getscheduler, touch(hook, p), struct task_struct *p)
HOOK(task_setioprio, touch(hook, p), struct task_struct *p, int ioprio)
HOOK(task_getioprio, touch(hook, p), struct task_struct *p)
HOOK(task_setpgid, touch(hook, p), struct task_struct *p, int pgid)
HOOK(task_getpgid, touch(hook, p), struct task_struct *p)
HOOK(task_getsid, touch(hook, p), struct task_struct *p)
HOOK(task_movememory, touch(hook, p), struct task_struct *p)

/* Tracepoints and probes: of whatever else happens where the task meets them (sched_switch: who is next). */
static __always_inline bool tells_of_others(struct perf_event *event)
{
	return bpf_core_field_exists(event->tp_event) && event->tp_event;
}

/* A user task may count events of tasks that it may touch; a CPU-wide event would see everybody. */
SEC("lsm/perf_event_alloc")
int BPF_PROG(moat_perf_event_alloc, struct perf_event *event, int ret)
{
	const struct moat_label *subject = user_subject();
	struct task_struct *target;

	if (ret)
		return ret;
	if (!subject)
		return 0;
	if (event->parent) /* inherited by a child that has no label yet; the original was judged */
		return allow(MOAT_HOOK_perf_event_alloc);
	target = event->hw.target;
	if (target && !tells_of_others(event) && may_touch(subject, label_of(target)))
		return allow(MOAT_HOOK_perf_event_alloc);
	return deny(MOAT_HOOK_perf_event_alloc, EPERM, MOAT_OBJECT_TASK, target ? target->tgid : 0);
}

/* Whether file_owners ever held anything: spares every close of a file the look-up until then. */
bool owners_known;
/* An owner could not be noted: from then on no SIGIO reaches a labelled task unless its owner is. In
 * the map, at no file's address, so that the next agent's programs know it, too. */
static const __u64 lost = MOAT_OWNER_LOST;

static __always_inline void note_loss(void)
{
	struct moat_subject *noted = bpf_map_lookup_elem(&file_owners, &lost);

	if (noted)
		noted->pid = 1;
}

static __always_inline bool owner_may_be_lost(void)
{
	struct moat_subject *noted = bpf_map_lookup_elem(&file_owners, &lost);

	return !noted || noted->pid;
}

SEC("lsm/file_set_fowner")
int BPF_PROG(moat_file_set_fowner, struct file *file)
{
	const struct moat_label *subject = user_subject();
	struct moat_subject owner = {};
	__u64 address = (__u64)file;

	if (!subject) {
		if (owners_known)
			bpf_map_delete_elem(&file_owners, &address);
		return 0;
	}
	owner.label = *subject;
	owner.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(owner.comm, sizeof(owner.comm));
	owners_known = true;
	if (bpf_map_update_elem(&file_owners, &address, &owner, BPF_ANY))
		note_loss();
	allow(MOAT_HOOK_file_set_fowner);
	return 0;
}

SEC("lsm/file_free_security")
int BPF_PROG(moat_file_free_security, struct file *file)
{
	__u64 address = (__u64)file;

	if (owners_known)
		bpf_map_delete_elem(&file_owners, &address);
	return 0;
}

static __always_inline __u64 file_of_owner(struct fown_struct *fown)
{
	struct fown_struct___apart *apart = (void *)fown;

	if (bpf_core_field_exists(apart->file))
		return (__u64)BPF_CORE_READ(apart, file);
	return (__u64)fown - bpf_core_field_offset(struct file___inside, f_owner);
}

SEC("lsm/file_send_sigiotask")
int BPF_PROG(moat_file_send_sigiotask, struct task_struct *tsk, struct fown_struct *fown, int sig,
	     int ret)
{
	__u64 address = file_of_owner(fown);
	struct moat_subject subject = {}; /* unknown */
	const struct moat_subject *owner;

	if (ret)
		return ret;
	owner = bpf_map_lookup_elem(&file_owners, &address);
	if (!owner && (!label_of(tsk) || !owner_may_be_lost()))
		return 0;
	if (owner && may_touch(&owner->label, label_of(tsk)))
		return allow(MOAT_HOOK_file_send_sigiotask);
	if (owner)
		subject = *owner;
	return deny_subject(&subject, MOAT_HOOK_file_send_sigiotask, EPERM, MOAT_OBJECT_TASK, tsk->tgid);
}
