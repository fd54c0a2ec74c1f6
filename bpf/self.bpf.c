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
 *  - makes and uses no key (keyrings(7)): they belong to users, not to processes, so a control plane that
 *    runs as the same user would share its own, and a look-up may run a program of the machine's
 *    (request_key(2)).
 * The answer is EPERM.
 *
 * Hooks: bpf, capable, locked_down, syslog, kernel_module_request, key_alloc, key_permission.
 */
#include "verdict.h"

/* What is never for user code. */
static __always_inline int refuse(__u32 hook, __u32 kind, __u64 object)
{
	return user_subject() ? deny(hook, EPERM, kind, object) : 0;
}

/* include/uapi/linux/capability.h */
enum {
	CAP_DAC_READ_SEARCH = 2,
	CAP_NET_ADMIN = 12,
	CAP_SYS_MODULE = 16,
	CAP_SYS_RAWIO = 17,
	CAP_SYS_PACCT = 20,
	CAP_SYS_ADMIN = 21,
	CAP_SYS_BOOT = 22,
	CAP_SYS_NICE = 23,
	CAP_SYS_TIME = 25,
	CAP_AUDIT_CONTROL = 30,
	CAP_MAC_OVERRIDE = 32,
	CAP_MAC_ADMIN = 33,
	CAP_SYSLOG = 34,
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
 * AUDIT_CONTROL: the whole machine's clock, accounting and audit.
 */
static __always_inline bool dangerous_capability(int cap)
{
	const __u64 mask = 1ull << CAP_SYS_MODULE | 1ull << CAP_SYS_RAWIO | 1ull << CAP_SYS_BOOT |
			   1ull << CAP_MAC_OVERRIDE | 1ull << CAP_MAC_ADMIN | 1ull << CAP_SYSLOG |
			   1ull << CAP_PERFMON | 1ull << CAP_BPF | 1ull << CAP_SYS_TIME |
			   1ull << CAP_SYS_PACCT | 1ull << CAP_AUDIT_CONTROL;

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

#define SYS_PROCESS_MADVISE 440 /* the same on every architecture, and for 32-bit callers */

static __always_inline unsigned long current_call(struct task_struct *task)
{
	return syscall_number((struct pt_regs *)bpf_task_pt_regs(task));
}

/* Running before the control plane, always. process_madvise(2) asks for it, too, for one's own tasks. */
static __always_inline bool raises_priority(int cap)
{
	return cap == CAP_SYS_NICE &&
	       current_call(bpf_get_current_task_btf()) != SYS_PROCESS_MADVISE;
}

/*
 * Capabilities that are refused in single system calls only. CAP_SYS_ADMIN: it is also taken for
 * PERFMON, which since 6.13 opens other tasks' memory to process_madvise(2) unasked (mm_access() in
 * kernel/fork.c), without it ptrace_access_check decides; swap, disk quotas, real-time disk
 * priority. CAP_DAC_READ_SEARCH: opening any file by handle, past every mount namespace and directory.
 */
struct refused_call {
	int cap;
	unsigned long native, compat;
};

static const struct refused_call refused_calls[] = {
#if defined(__TARGET_ARCH_x86)
	{ CAP_SYS_ADMIN, SYS_PROCESS_MADVISE, SYS_PROCESS_MADVISE },
	{ CAP_SYS_ADMIN, 167, 87 },        /* swapon */
	{ CAP_SYS_ADMIN, 168, 115 },       /* swapoff */
	{ CAP_SYS_ADMIN, 179, 131 },       /* quotactl */
	{ CAP_SYS_ADMIN, 443, 443 },       /* quotactl_fd */
	{ CAP_SYS_ADMIN, 251, 289 },       /* ioprio_set */
	{ CAP_SYS_ADMIN, 28, 219 },        /* madvise: taking memory from the machine (MADV_HWPOISON) */
	{ CAP_SYS_ADMIN, 304, 342 },       /* open_by_handle_at: of namespaces (nsfs) */
	{ CAP_DAC_READ_SEARCH, 304, 342 }, /* open_by_handle_at */
#elif defined(__TARGET_ARCH_arm64)
	{ CAP_SYS_ADMIN, SYS_PROCESS_MADVISE, SYS_PROCESS_MADVISE },
	{ CAP_SYS_ADMIN, 224, 87 },        /* swapon */
	{ CAP_SYS_ADMIN, 225, 115 },       /* swapoff */
	{ CAP_SYS_ADMIN, 60, 131 },        /* quotactl */
	{ CAP_SYS_ADMIN, 443, 443 },       /* quotactl_fd */
	{ CAP_SYS_ADMIN, 30, 314 },        /* ioprio_set */
	{ CAP_SYS_ADMIN, 233, 220 },       /* madvise */
	{ CAP_SYS_ADMIN, 265, 371 },       /* open_by_handle_at */
	{ CAP_DAC_READ_SEARCH, 265, 371 }, /* open_by_handle_at */
#endif
};

static __always_inline bool is_refused_call(int cap)
{
	struct task_struct *task = bpf_get_current_task_btf();
	unsigned long number;
	bool compat;

	if (cap != CAP_SYS_ADMIN && cap != CAP_DAC_READ_SEARCH)
		return false;
	number = current_call(task);
	compat = is_compat_call(task);
#pragma unroll
	for (unsigned i = 0; i < sizeof(refused_calls) / sizeof(refused_calls[0]); i++)
		if (refused_calls[i].cap == cap &&
		    number == (compat ? refused_calls[i].compat : refused_calls[i].native))
			return true;
	return false;
}

SEC("lsm/capable")
int BPF_PROG(moat_capable, const struct cred *cred, struct user_namespace *ns, int cap,
	     unsigned int opts, int ret)
{
	if (ret)
		return ret;
	if (!user_subject())
		return 0;
	if (!dangerous_capability(cap) && !rules_network(cap, ns) && !raises_priority(cap) &&
	    !is_refused_call(cap))
		return 0;
	return deny(MOAT_HOOK_capable, EPERM, MOAT_OBJECT_CAPABILITY, cap);
}

SEC("lsm/locked_down")
int BPF_PROG(moat_locked_down, int what, int ret)
{
	return ret ? ret : refuse(MOAT_HOOK_locked_down, MOAT_OBJECT_KERNEL, what);
}

/* The kernel log, also by /dev/kmsg; 6.1 gives it to CAP_SYS_ADMIN as well. */
SEC("lsm/syslog")
int BPF_PROG(moat_syslog, int type, int ret)
{
	return ret ? ret : refuse(MOAT_HOOK_syslog, MOAT_OBJECT_KERNEL, type);
}

/* Loading a module by asking for what it offers: modprobe runs outside of moat's sight. */
SEC("lsm/kernel_module_request")
int BPF_PROG(moat_kernel_module_request, char *name, int ret)
{
	return ret ? ret : refuse(MOAT_HOOK_kernel_module_request, MOAT_OBJECT_KERNEL, 0);
}

SEC("lsm/key_alloc")
int BPF_PROG(moat_key_alloc, struct key *key, const struct cred *cred, unsigned long flags, int ret)
{
	return ret ? ret : refuse(MOAT_HOOK_key_alloc, MOAT_OBJECT_KEY, 0);
}

SEC("lsm/key_permission")
int BPF_PROG(moat_key_permission, struct __key_reference_with_attributes *key_ref,
	     const struct cred *cred, unsigned int need_perm, int ret)
{
	return ret ? ret : refuse(MOAT_HOOK_key_permission, MOAT_OBJECT_KEY, 0);
}
