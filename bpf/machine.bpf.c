/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: moat itself and the kernel under it.
 *
 * Policy: user code, whatever capabilities it holds,
 *  - has no use of bpf(2), nor of any bpffs: neither moat's programs, maps, links and pins nor
 *    anybody else's, nor programs of its own that could look at or interfere with them (moat-init
 *    leaves no bpffs in its mount namespace, and none can be mounted: mount.bpf.c);
 *  - does not change or look into what the kernel runs: modules, kexec, raw memory and ports,
 *    tracing, its log, all that lockdown knows of;
 *  - lacks the capabilities that would get past the other hooks or act on the whole machine;
 *  - sends no message in the name of a pid, user or group that is not the sender's (SCM_CREDENTIALS,
 *    unix(7): the kernel asks for a capability then);
 *  - makes and uses no key (keyrings(7)): they belong to users, not to processes, so a control plane that
 *    runs as the same user would share its own, and a look-up may run a program of the machine's
 *    (request_key(2)).
 * The answer is EPERM.
 *
 * Hooks: bpf, capable, locked_down, syslog, kernel_module_request, key_alloc, key_permission.
 */
#include "mounts.h"
#include "verdict.h"

/* What is never for user code. */
static __always_inline int refuse(__u32 hook, __u32 kind, __u64 object)
{
	return user_subject() ? deny(hook, EPERM, kind, object) : 0;
}

/* include/uapi/linux/capability.h */
enum {
	CAP_DAC_READ_SEARCH = 2,
	CAP_SETGID = 6,
	CAP_SETUID = 7,
	CAP_NET_ADMIN = 12,
	CAP_NET_RAW = 13,
	CAP_SYS_MODULE = 16,
	CAP_SYS_RAWIO = 17,
	CAP_SYS_PTRACE = 19,
	CAP_SYS_PACCT = 20,
	CAP_SYS_ADMIN = 21,
	CAP_SYS_BOOT = 22,
	CAP_SYS_NICE = 23,
	CAP_SYS_RESOURCE = 24,
	CAP_SYS_TIME = 25,
	CAP_AUDIT_CONTROL = 30,
	CAP_MAC_OVERRIDE = 32,
	CAP_MAC_ADMIN = 33,
	CAP_SYSLOG = 34,
	CAP_AUDIT_READ = 37,
	CAP_PERFMON = 38,
	CAP_BPF = 39,
};

/* Only the first argument is read, from the context: after 6.12 the hook got a fourth one. */
SEC("lsm/bpf")
int moat_bpf(unsigned long long *ctx)
{
	return refuse(MOAT_HOOK_bpf, MOAT_OBJECT_BPF, (int)ctx[0]);
}

/*
 * SYS_MODULE, SYS_BOOT, SYS_RAWIO: the kernel itself; SYS_BOOT in a child PID namespace would also
 * end its moat-init. BPF, PERFMON: looking into others (mm_access() lets PERFMON through without
 * ptrace_access_check since 6.13). MAC_*: the LSMs. SYSLOG: kernel addresses. SYS_TIME, SYS_PACCT,
 * AUDIT_CONTROL, AUDIT_READ: the whole machine's clock, accounting and audit.
 */
static __always_inline bool dangerous_capability(int cap)
{
	const __u64 mask = 1ull << CAP_SYS_MODULE | 1ull << CAP_SYS_RAWIO | 1ull << CAP_SYS_BOOT |
			   1ull << CAP_MAC_OVERRIDE | 1ull << CAP_MAC_ADMIN | 1ull << CAP_SYSLOG |
			   1ull << CAP_PERFMON | 1ull << CAP_BPF | 1ull << CAP_SYS_TIME |
			   1ull << CAP_SYS_PACCT | 1ull << CAP_AUDIT_CONTROL |
			   1ull << CAP_AUDIT_READ;

	return cap >= 0 && cap < 64 && (mask & (1ull << cap));
}

/*
 * Redirecting packets, closing others' sockets, taking interfaces down. In network namespaces of the
 * control plane's user namespace, not only its own: from any of them rtnetlink acts on the others
 * (IFLA_TARGET_NETNSID). Whoever needs the capability makes a user namespace with the network namespace.
 */
static __always_inline bool rules_network(int cap, struct user_namespace *ns)
{
	return cap == CAP_NET_ADMIN && ns->level == 0;
}

#if defined(__TARGET_ARCH_x86)
#define CALL(native, compat, arm64, arm) native, compat
#elif defined(__TARGET_ARCH_arm64)
#define CALL(native, compat, arm64, arm) arm64, arm
#endif

/* A capability (0: any) in one system call: its number for native and for 32-bit callers. */
struct call {
	int cap;
	unsigned long native, compat;
};

/*
 * Capabilities that are refused in single system calls only. SYS_ADMIN: it is also taken for PERFMON,
 * which since 6.13 opens other tasks' memory to process_madvise(2) unasked (mm_access() in
 * kernel/fork.c), without it ptrace_access_check decides; swap, disk quotas, real-time disk priority;
 * taking memory from the machine (madvise, MADV_HWPOISON); namespaces by handle or number, and their
 * mounts; watching more than one's own files (fanotify hands out others' directories, as they see
 * them). DAC_READ_SEARCH: opening any file by handle, past every mount namespace and directory.
 * SYS_PTRACE: memory whose page faults in the kernel user code answers, or never does, while the kernel
 * holds what others wait for (the pipe that the agent reads). Faults of its own may be had without.
 */
static const struct call refused_calls[] = {
	{ CAP_SYS_ADMIN, CALL(440, 440, 440, 440) },       /* process_madvise */
	{ CAP_SYS_ADMIN, CALL(167, 87, 224, 87) },         /* swapon */
	{ CAP_SYS_ADMIN, CALL(168, 115, 225, 115) },       /* swapoff */
	{ CAP_SYS_ADMIN, CALL(179, 131, 60, 131) },        /* quotactl */
	{ CAP_SYS_ADMIN, CALL(443, 443, 443, 443) },       /* quotactl_fd */
	{ CAP_SYS_ADMIN, CALL(251, 289, 30, 314) },        /* ioprio_set */
	{ CAP_SYS_ADMIN, CALL(28, 219, 233, 220) },        /* madvise */
	{ CAP_SYS_ADMIN, CALL(304, 342, 265, 371) },       /* open_by_handle_at */
	{ CAP_SYS_ADMIN, CALL(300, 338, 262, 367) },       /* fanotify_init */
	{ CAP_SYS_ADMIN, CALL(301, 339, 263, 368) },       /* fanotify_mark */
	{ CAP_SYS_ADMIN, CALL(457, 457, 457, 457) },       /* statmount */
	{ CAP_SYS_ADMIN, CALL(458, 458, 458, 458) },       /* listmount */
	{ CAP_SYS_ADMIN, CALL(470, 470, 470, 470) },       /* listns */
	{ CAP_SYS_ADMIN, CALL(426, 426, 426, 426) },       /* io_uring_enter; its workers: PF_IO_WORKER */
	{ CAP_SYS_ADMIN, CALL(209, 248, 2, 246) },         /* io_submit: real-time disk priority */
	{ CAP_SYS_ADMIN, CALL(544, 248, 2, 246) },         /* the same of x32 */
	{ CAP_DAC_READ_SEARCH, CALL(304, 342, 265, 371) }, /* open_by_handle_at */
	{ CAP_SYS_PTRACE, CALL(323, 374, 282, 388) },      /* userfaultfd */
};

/*
 * Capabilities that are refused but in single system calls. SYS_NICE: running before the control
 * plane, always. SYS_RESOURCE: being killed for want of memory after it (oom_score_adj); what one's own
 * limits are raised to, the cgroups' limits hold all the same.
 */
static const struct call granted_calls[] = {
	{ CAP_SYS_NICE, CALL(440, 440, 440, 440) },     /* process_madvise, of one's own */
	{ CAP_SYS_RESOURCE, CALL(302, 340, 261, 369) }, /* prlimit64 */
	{ CAP_SYS_RESOURCE, CALL(160, 75, 164, 75) },   /* setrlimit */
	{ CAP_SYS_RESOURCE, CALL(72, 55, 25, 55) },     /* fcntl: the size of a pipe */
	{ CAP_SYS_RESOURCE, CALL(72, 221, 25, 221) },   /* fcntl64 */
};

/* Changing the flags of a mount, which no hook is told. Only where later commands would have it so. */
static const struct call mount_calls[] = {
	{ CAP_SYS_ADMIN, CALL(442, 442, 442, 442) }, /* mount_setattr */
	{ CAP_SYS_ADMIN, CALL(467, 467, 467, 467) }, /* open_tree_attr, 6.15: also of what it does not clone */
};

/*
 * Those that send messages. With credentials in them that are not the sender's: SYS_ADMIN, SETUID, SETGID
 * (scm_check_creds()). With a mark on the packet, by which the machine's rules may send it elsewhere or let it
 * pass: NET_RAW (__sock_cmsg_send()); a socket has it already.
 */
static const struct call sending_calls[] = {
	{ 0, CALL(46, 370, 211, 296) },  /* sendmsg */
	{ 0, CALL(518, 102, 211, 296) }, /* the same of x32; socketcall */
	{ 0, CALL(307, 345, 269, 374) }, /* sendmmsg */
	{ 0, CALL(538, 345, 269, 374) }, /* the same of x32 */
	{ 0, CALL(426, 426, 426, 426) }, /* io_uring_enter */
};

#define CALLS(table) table, sizeof(table) / sizeof((table)[0])

/* Whether the running call is in the table for this capability. */
static __always_inline bool is_listed(const struct call *calls, unsigned n, int cap)
{
	struct task_struct *task = bpf_get_current_task_btf();
	unsigned long number = syscall_number((struct pt_regs *)bpf_task_pt_regs(task));
	bool compat = is_compat_call(task);

	for (unsigned i = 0; i < n; i++)
		if ((!calls[i].cap || calls[i].cap == cap) && number == (compat ? calls[i].compat : calls[i].native))
			return true;
	return false;
}

static __always_inline bool in_refused_call(int cap)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (cap != CAP_SYS_ADMIN && cap != CAP_DAC_READ_SEARCH && cap != CAP_SYS_PTRACE)
		return false;
	if (cap == CAP_SYS_ADMIN && (task->flags & PF_IO_WORKER))
		return true;
	if (cap == CAP_SYS_ADMIN && is_listed(CALLS(mount_calls), cap))
		return in_mounts_of_init();
	return is_listed(CALLS(refused_calls), cap);
}

static __always_inline bool forges_in_message(int cap, struct user_namespace *ns)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (cap != CAP_SYS_ADMIN && cap != CAP_SETUID && cap != CAP_SETGID &&
	    (cap != CAP_NET_RAW || ns->level != 0))
		return false;
	return (task->flags & PF_IO_WORKER) || is_listed(CALLS(sending_calls), cap);
}

static __always_inline bool outside_of_granted_calls(int cap)
{
	if (cap != CAP_SYS_NICE && cap != CAP_SYS_RESOURCE)
		return false;
	return !is_listed(CALLS(granted_calls), cap);
}

SEC("lsm/capable")
int BPF_PROG(moat_capable, const struct cred *cred, struct user_namespace *ns, int cap,
	     unsigned int opts, int ret)
{
	if (ret)
		return ret;
	if (!user_subject())
		return 0;
	if (!dangerous_capability(cap) && !rules_network(cap, ns) && !in_refused_call(cap) &&
	    !forges_in_message(cap, ns) && !outside_of_granted_calls(cap))
		return 0;
	return deny(MOAT_HOOK_capable, EPERM, MOAT_OBJECT_CAPABILITY, cap);
}

HOOK(locked_down, refuse(hook, MOAT_OBJECT_KERNEL, what), int what)

/* The kernel log, also by /dev/kmsg; 6.1 gives it to CAP_SYS_ADMIN as well. */
HOOK(syslog, refuse(hook, MOAT_OBJECT_KERNEL, type), int type)

/* Loading a module by asking for what it offers: modprobe runs outside of moat's sight. */
HOOK(kernel_module_request, refuse(hook, MOAT_OBJECT_KERNEL, 0), char *name)
HOOK(key_alloc, refuse(hook, MOAT_OBJECT_KEY, 0), struct key *key, const struct cred *cred,
     unsigned long flags)
HOOK(key_permission, refuse(hook, MOAT_OBJECT_KEY, 0),
     struct __key_reference_with_attributes *key_ref, const struct cred *cred,
     unsigned int need_perm)
