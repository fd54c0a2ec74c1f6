/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: moat itself and the kernel under it.
 *
 * Policy: user code, whatever capabilities it holds,
 *  - has no use of bpf(2), nor of any bpffs: neither moat's programs, maps, links and pins nor
 *    anybody else's, nor programs of its own that could look at or interfere with them (moat-init
 *    leaves no bpffs in its mount namespace, and none can be mounted: fs.bpf.c);
 *  - changes nothing in cgroupfs (freeze, kill, limits, migration) and reads no list of processes
 *    there, which would name hidden ones;
 *  - writes nothing in a procfs but what belongs to a process (sysctl, sysrq, irq, …);
 *  - does not change or look into what the kernel runs: modules, kexec, raw memory and ports,
 *    tracing, all that lockdown knows of;
 *  - lacks the capabilities that would get past the other hooks, see dangerous_capability();
 *  - cannot hold other processes up with fanotify permission events;
 *  - is not handed other mount namespaces.
 * The answer is EPERM.
 *
 * Hooks: bpf, capable, sb_umount, file_ioctl, file_ioctl_compat, locked_down, path_notify, file_open; inode_permission, sb_kern_mount,
 * sb_remount and move_mount are in fs.bpf.c.
 */
#include "verdict.h"

/* include/uapi/linux/capability.h */
enum {
	CAP_SYS_MODULE = 16,
	CAP_SYS_RAWIO = 17,
	CAP_SYS_ADMIN = 21,
	CAP_SYS_BOOT = 22,
	CAP_MAC_OVERRIDE = 32,
	CAP_MAC_ADMIN = 33,
	CAP_SYSLOG = 34,
	CAP_PERFMON = 38,
	CAP_BPF = 39,
};

#define FAN_PERMISSION_EVENTS (0x10000 | 0x20000 | 0x40000 | 0x100000) /* linux/fanotify.h */

/* Only the first argument is read, from the context: after 6.12 the hook got a fourth one. */
SEC("lsm/bpf")
int moat_bpf(unsigned long long *ctx)
{
	if (!user_subject())
		return 0;
	return deny(MOAT_HOOK_bpf, EPERM, MOAT_OBJECT_BPF, (int)ctx[0]);
}

/*
 * SYS_MODULE, SYS_BOOT, SYS_RAWIO: the kernel itself; SYS_BOOT in a child PID namespace would also
 * end its moat-init. BPF, PERFMON: looking into others (mm_access() lets PERFMON through without
 * ptrace_access_check since 6.13). MAC_*: the LSMs. SYSLOG: kernel addresses.
 */
static __always_inline bool dangerous_capability(int cap)
{
	const __u64 mask = 1ull << CAP_SYS_MODULE | 1ull << CAP_SYS_RAWIO | 1ull << CAP_SYS_BOOT |
			   1ull << CAP_MAC_OVERRIDE | 1ull << CAP_MAC_ADMIN | 1ull << CAP_SYSLOG |
			   1ull << CAP_PERFMON | 1ull << CAP_BPF;

	return cap >= 0 && cap < 64 && (mask & (1ull << cap));
}

/*
 * CAP_SYS_ADMIN is also taken for PERFMON, which since 6.13 opens other tasks' memory to
 * process_madvise(2) unasked (mm_access() in kernel/fork.c). Without it ptrace_access_check decides.
 */
#define SYS_PROCESS_MADVISE 440 /* the same on every architecture, and for 32-bit callers */
#define X32_SYSCALL_BIT 0x40000000

static __always_inline bool opens_memory(int cap)
{
	struct pt_regs *regs;

	if (cap != CAP_SYS_ADMIN)
		return false;
	regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	return (syscall_number(regs) & ~X32_SYSCALL_BIT) == SYS_PROCESS_MADVISE;
}

SEC("lsm/capable")
int BPF_PROG(moat_capable, const struct cred *cred, struct user_namespace *ns, int cap,
	     unsigned int opts, int ret)
{
	if (ret)
		return ret;
	if ((!dangerous_capability(cap) && !opens_memory(cap)) || !user_subject())
		return 0;
	return deny(MOAT_HOOK_capable, EPERM, MOAT_OBJECT_CAPABILITY, cap);
}

/* Nobody in a mount namespace of moat-init's finds a bpffs there; this is for who found another. */
SEC("lsm/sb_umount")
int BPF_PROG(moat_sb_umount, struct vfsmount *mnt, int flags, int ret)
{
	if (ret)
		return ret;
	if (!user_subject())
		return 0;
	if (mnt->mnt_sb->s_magic != BPF_FS_MAGIC)
		return allow(MOAT_HOOK_sb_umount);
	return deny(MOAT_HOOK_sb_umount, EPERM, MOAT_OBJECT_MOUNT, mnt->mnt_sb->s_dev);
}

/*
 * NS_MNT_GET_NEXT and NS_MNT_GET_PREV (6.12) hand out mount namespaces, also the control plane's, to
 * whoever has CAP_SYS_ADMIN; type and number of the request, whatever the size of its argument.
 */
#define NS_MNT_GET_NEXT 0xb70b
#define NS_MNT_GET_PREV 0xb70c

static __always_inline int use_ioctl(unsigned int cmd)
{
	unsigned int request = cmd & 0xffff;

	if (request != NS_MNT_GET_NEXT && request != NS_MNT_GET_PREV)
		return 0;
	if (!user_subject())
		return 0;
	return deny(MOAT_HOOK_file_ioctl, EPERM, MOAT_OBJECT_KERNEL, cmd);
}

SEC("lsm/file_ioctl")
int BPF_PROG(moat_file_ioctl, struct file *file, unsigned int cmd, unsigned long arg, int ret)
{
	return ret ? ret : use_ioctl(cmd);
}

/* Loaded where the kernel has the hook; others ask file_ioctl for 32-bit callers as well. */
SEC("?lsm/file_ioctl_compat")
int BPF_PROG(moat_file_ioctl_compat, struct file *file, unsigned int cmd, unsigned long arg, int ret)
{
	return ret ? ret : use_ioctl(cmd);
}

SEC("lsm/locked_down")
int BPF_PROG(moat_locked_down, int what, int ret)
{
	if (ret)
		return ret;
	if (!user_subject())
		return 0;
	return deny(MOAT_HOOK_locked_down, EPERM, MOAT_OBJECT_KERNEL, what);
}

SEC("lsm/path_notify")
int BPF_PROG(moat_path_notify, const struct path *path, __u64 mask, unsigned int obj_type, int ret)
{
	if (ret)
		return ret;
	if (!(mask & FAN_PERMISSION_EVENTS) || !user_subject())
		return 0;
	return deny(MOAT_HOOK_path_notify, EPERM, MOAT_OBJECT_FILE, mask);
}

/* A file name, zero-padded, as two words: compared without a loop. */
union name {
	char text[16];
	__u64 words[2];
};

static __always_inline bool is(const union name *a, union name b)
{
	return a->words[0] == b.words[0] && a->words[1] == b.words[1];
}

/* In version 2, and "tasks" in version 1. */
static __always_inline bool lists_processes(const union name *name)
{
	return is(name, (union name){ "cgroup.procs" }) ||
	       is(name, (union name){ "cgroup.threads" }) || is(name, (union name){ "tasks" });
}

SEC("lsm/file_open")
int BPF_PROG(moat_file_open, struct file *file, int ret)
{
	struct inode *inode = file->f_inode;
	unsigned long magic = inode->i_sb->s_magic;
	union name name = {};

	if (ret)
		return ret;
	if (magic != CGROUP2_SUPER_MAGIC && magic != CGROUP_SUPER_MAGIC)
		return 0;
	if (!user_subject())
		return 0;
	bpf_probe_read_kernel_str(name.text, sizeof(name.text),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (!lists_processes(&name))
		return allow(MOAT_HOOK_file_open);
	return deny(MOAT_HOOK_file_open, EPERM, MOAT_OBJECT_FILE, inode->i_ino);
}
