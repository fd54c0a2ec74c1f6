/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What the kernel programs and the agent both know: labels, ports, verdict counters, events.
 *
 * Every struct here is a map key, a map value or a ring record. They are laid out by hand with
 * explicit padding, have the same size on every architecture (asserted at the end) and must be
 * zeroed before they are filled, because map keys are compared byte by byte.
 *
 * bpf/ includes this file after vmlinux.h, which already has the integer types.
 */
#ifndef MOAT_ABI_H
#define MOAT_ABI_H

#ifndef __VMLINUX_H__ /* bpf/ with a generated vmlinux.h */
#include <linux/types.h>
#endif

/* What a task is to moat. Anything without a label is "not our business" and is never judged. */
enum moat_role {
	MOAT_ROLE_NONE = 0,    /* the rest of the host */
	MOAT_ROLE_CONTROL = 1, /* moatd and the services, by inheritance */
	MOAT_ROLE_INIT = 2,    /* a moat-init: its children get the label announced for them */
	MOAT_ROLE_USER = 3,    /* untrusted commands */
};

/* moat_label.flags */
#define MOAT_LABEL_PER_EXEC 1u /* touch only tasks of the same exec, not of the whole context */
#define MOAT_LABEL_NEWBORN 2u  /* still runs on moat-init's memory: nobody may touch it */
#define MOAT_LABEL_SERVICE 4u  /* role CONTROL: not moatd itself, but what it started; moat's own files are hidden from it */
#define MOAT_LABEL_FOLLOW 16u  /* of CONTROL: may follow links that anybody may have made (bpf/follow.h) */

/*
 * The label of a task. `context` and `exec` are numbers that the agent hands out, from 1 up,
 * never reused while the instance lives; both are 0 unless the role is USER.
 */
struct moat_label {
	__u32 role;  /* enum moat_role */
	__u32 flags; /* MOAT_LABEL_* */
	__u64 context;
	__u64 exec;
};

/*
 * Value of the `tasks` task-local-storage map (the key, from user space, is a pidfd).
 * `next` is an announcement, used up by what it announces. Role INIT: the label for the next child, USER, or
 * INIT for a child in namespaces of its own; next.role is NONE when nothing is announced, and a child is then
 * refused with EPERM. Role CONTROL: with next.role CONTROL next.flags are for the label of the next child,
 * which is a service; else next.flags are the MOAT_PROTECT_* flags, and next.context the epoch, for the next
 * inode that this task adds an inotify watch for (bpf/protect.bpf.c): with MOAT_PROTECT_SHOWN next.exec is the
 * number of the context, with MOAT_PROTECT_NAME the hash of the name. In return next.exec is 1 where the watch
 * has to stay, for the inode is known by its address. While it
 * makes a socket with a path, next.exec of any role is the address of the directory entry (bpf/socket.bpf.c).
 */
struct moat_task {
	struct moat_label label;
	struct moat_label next;
};

/* Value of `namespaces`: whose tasks are in it besides moat-init. */
enum moat_namespace {
	MOAT_NAMESPACE_SHARED = 1,  /* such as may not touch each other */
	MOAT_NAMESPACE_CONTEXT = 2, /* those of one context; of a PID namespace */
};

/* Who did something that is judged later: value of `file_owners`. */
struct moat_subject {
	struct moat_label label;
	__u32 pid; /* tgid, initial PID namespace */
	__u32 pad;
	char comm[16];
};

/* Key of `file_owners` besides addresses: the entry is there from the start, and its pid is 1 once an owner
 * found no room. */
#define MOAT_OWNER_LOST 0ull

/*
 * `labels` backs task storage up on kernels where its look-up can fail although a label exists (6.1;
 * see bpf/label.h). Key: address of the task_struct; value: struct moat_label.
 */

/* Key of `ports`; a guarded port is refused for every transport. The value is a moat_port. */
struct moat_port_key {
	__u64 netns; /* net->net_cookie, SO_NETNS_COOKIE in user space */
	__u16 port;  /* host byte order */
	__u16 pad[3];
};

struct moat_port {
	__u32 service;   /* index of the service that owns it, in the order of the configuration */
	__u32 reachable; /* 1: user code may connect to it */
};

/* Value of `sockets`, socket-local storage of unix sockets: the agent's own, and those of labelled tasks. */
struct moat_socket {
	__u32 guarded; /* 1: user code may not connect or send to it, whatever else is said */
	__u32 pad;
	struct moat_label label; /* of who made or bound it */
};

/* Key of `names`: sun_path of a unix socket as it was bound, padded with zeros; one without a file begins
 * with a zero. The value is 1. */
struct moat_socket_name {
	char path[108];
};

/*
 * Key of `protected`: an inode that user code may not change, wherever and by whatever name it finds
 * it. With inode 0: the device has such inodes; only then is it searched for them.
 *
 * Where numbers are unique and last (bpf/identity.h) an inode is known by its number, elsewhere by its
 * address in memory: such a mark lasts as long as the inode stays there, which the agent's watches see to.
 */
struct moat_inode_key {
	__u64 inode;  /* its number, or the address of the struct inode */
	__u32 device; /* of the superblock, as the kernel encodes it */
	__u32 pad;
};

#define MOAT_PROTECT_TREE 1u /* this file, or this directory with everything beneath it */
#define MOAT_PROTECT_PATH 2u /* a directory on the way to one: may not be moved or removed */
#define MOAT_PROTECT_HIDDEN 4u /* with TREE: nor may user code read or find it */
#define MOAT_PROTECT_OWN 8u    /* with HIDDEN: nor may services; moat's own files */
#define MOAT_PROTECT_SHOWN 16u /* the contexts in `shown` may read it, though it lies in something hidden */

#define MOAT_PROTECT_PLACE 256u /* a directory that all may write: may not be moved, removed or changed itself */
#define MOAT_PROTECT_SERVICES 512u /* with HIDDEN: services may use it, though it lies in what is moat's own */

#define MOAT_PROTECT_NAME 128u /* announced: not the directory that is watched, but a name in it */

/* moat_inode.flags of a device, besides MOAT_PROTECT_HIDDEN: something on it is. */
#define MOAT_DEVICE_MARKED 32u     /* set once it is known by which of the two its inodes go */
#define MOAT_DEVICE_BY_ADDRESS 64u

struct moat_inode {
	__u32 flags;      /* MOAT_PROTECT_*, MOAT_DEVICE_* */
	__u32 generation; /* tells the inode from a later one of the same number or address */
	__u64 epoch; /* of the agent that last said so; what an older one said is removed */
};

/*
 * Key of `names`: whatever has this name in this directory is marked, also what is not there yet. The value is a
 * moat_inode as of the directory, with the flags of what is in it.
 */
struct moat_name_key {
	struct moat_inode_key directory;
	__u64 hash;
};

/* Of a name; longer ones are cut: they are taken for one another. */
#define MOAT_NAME_BYTES 48
struct moat_name {
	__u64 words[MOAT_NAME_BYTES / 8]; /* its bytes, and zeros */
};

static inline __u64 moat_name_hash(const struct moat_name *name)
{
	__u64 hash = 0xcbf29ce484222325ull;

	for (int i = 0; i < MOAT_NAME_BYTES / 8; i++) {
		hash = (hash ^ name->words[i]) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	return hash;
}

/* Key of `shown`: a context, and an inode as in `protected` that it may read. */
struct moat_shown_key {
	__u64 context;
	struct moat_inode_key inode;
};

/*
 * The one element of `filter`: where a bit is not set there is no mark of its kind, so that most
 * look-ups need not be made. Bits are never taken back: one too many costs time, no more.
 */
#define MOAT_FILTER_BITS 15
#define MOAT_FILTER_WORDS ((1u << MOAT_FILTER_BITS) / 64) /* of a kind */
enum moat_filter_kind {
	MOAT_FILTER_TREE,   /* inodes with MOAT_PROTECT_TREE, devices that have any mark */
	MOAT_FILTER_HIDDEN, /* with MOAT_PROTECT_HIDDEN or SHOWN, devices and directories that have one */
	MOAT_FILTER_NAMES,  /* directories with a name in `names` */
	MOAT_FILTER_KINDS,
};
struct moat_filter {
	__u64 words[1536]; /* those of one kind after those of the other */
};

/* Key of `mounts`: a mount of a moat-init's mount namespace that user code may not take off or change. */
struct moat_mount_key {
	__u32 id;     /* mnt_id, the first field in mountinfo */
	__u32 mnt_ns; /* inode number of the namespace */
};

#define MOAT_EPOCH_ANY (~0ull) /* marked by the kernel programs: whoever is the agent */

/* Key of `devices`: major and minor number as the kernel keeps them (MKDEV, linux/kdev_t.h). */
#define MOAT_MINOR_BITS 20
#define MOAT_MINOR_ANY ((1u << MOAT_MINOR_BITS) - 1) /* as the minor: all of this major */

enum moat_mode {
	MOAT_MODE_OFF = 0,     /* nothing is judged; labels are still kept */
	MOAT_MODE_AUDIT = 1,   /* denials are counted and recorded but not enforced */
	MOAT_MODE_ENFORCE = 2,
};

/*
 * `execs`, for the programs of cgroups, which know no labels: key, the number of a command's cgroup; value, its
 * struct moat_label, which says for records whose command it is.
 */

/* The one element of `settings`. */
struct moat_settings {
	__u32 mode;          /* enum moat_mode */
	__u32 reserved;      /* 0 */
	__u64 netns; /* cookie of the control plane's network namespace */
};

/*
 * The hooks, once: name of the LSM hook, or that of cgroups behind cgroup_ (bpf/cgroup.bpf.c), the surface it
 * guards, the errno it answers with. The enum, the names in /metrics and the audit log, and the counters all
 * come from here.
 */
#define MOAT_LSM_HOOKS(X)                                                                          \
	X(task_alloc, "label", EPERM)                                                              \
	X(task_kill, "signals", EPERM)                                                             \
	X(file_set_fowner, "signals", EPERM)                                                       \
	X(file_send_sigiotask, "signals", EPERM)                                                   \
	X(ptrace_access_check, "proc", EPERM)                                                      \
	X(ptrace_traceme, "control", EPERM)                                                        \
	X(cred_prepare, "control", EPERM)                                                          \
	X(task_prlimit, "control", EPERM)                                                          \
	X(task_setrlimit, "control", EPERM)                                                        \
	X(task_setnice, "control", EPERM)                                                          \
	X(task_setscheduler, "control", EPERM)                                                     \
	X(task_getscheduler, "control", EPERM)                                                     \
	X(task_setioprio, "control", EPERM)                                                        \
	X(task_getioprio, "control", EPERM)                                                        \
	X(task_setpgid, "control", EPERM)                                                          \
	X(task_getpgid, "control", EPERM)                                                          \
	X(task_getsid, "control", EPERM)                                                           \
	X(task_movememory, "control", EPERM)                                                       \
	X(capget, "control", EPERM)                                                                \
	X(perf_event_alloc, "control", EPERM)                                                      \
	X(fs_context_parse_param, "mounts", EPERM)                                                 \
	X(sb_kern_mount, "mounts", EPERM)                                                          \
	X(sb_set_mnt_opts, "mounts", EPERM)                                                        \
	X(sb_remount, "mounts", EPERM)                                                             \
	X(sb_mount, "mounts", EPERM)                                                               \
	X(move_mount, "mounts", EPERM)                                                             \
	X(sb_pivotroot, "mounts", EPERM)                                                           \
	X(sb_umount, "mounts", EPERM)                                                              \
	X(inode_getattr, "files", EPERM)                                                           \
	X(inode_readlink, "files", ENOENT)                                                         \
	X(inode_getxattr, "files", ENOENT)                                                         \
	X(inode_listxattr, "files", ENOENT)                                                        \
	X(inode_get_acl, "files", ENOENT)                                                          \
	X(inode_file_getattr, "files", ENOENT)                                                     \
	X(inode_create, "files", EPERM)                                                            \
	X(inode_mkdir, "files", EPERM)                                                             \
	X(inode_mknod, "files", EPERM)                                                             \
	X(inode_symlink, "files", EPERM)                                                           \
	X(inode_unlink, "files", EPERM)                                                            \
	X(inode_rmdir, "files", EPERM)                                                             \
	X(inode_rename, "files", EPERM)                                                            \
	X(inode_link, "files", EPERM)                                                              \
	X(inode_follow_link, "files", EACCES)                                                      \
	X(inode_setattr, "files", EPERM)                                                           \
	X(inode_setxattr, "files", EPERM)                                                          \
	X(inode_removexattr, "files", EPERM)                                                       \
	X(inode_set_acl, "files", EPERM)                                                           \
	X(inode_remove_acl, "files", EPERM)                                                        \
	X(inode_file_setattr, "files", EPERM)                                                      \
	X(file_ioctl, "files", EPERM)                                                              \
	X(file_lock, "files", EPERM)                                                               \
	X(file_fcntl, "files", EPERM)                                                              \
	X(file_receive, "files", EPERM)                                                            \
	X(file_open, "files", EPERM)                                                               \
	X(path_notify, "files", EPERM)                                                             \
	X(socket_bind, "ports", EADDRINUSE)                                                        \
	X(sctp_bind_connect, "ports", EADDRINUSE)                                                  \
	X(socket_listen, "ports", EADDRINUSE)                                                      \
	X(socket_connect, "reach", ECONNREFUSED)                                                   \
	X(socket_sendmsg, "reach", ECONNREFUSED)                                                   \
	X(socket_create, "reach", EPERM)                                                           \
	X(socket_setsockopt, "reach", EPERM)                                                       \
	X(netlink_send, "reach", EPERM)                                                            \
	X(unix_stream_connect, "reach", EPERM)                                                     \
	X(unix_may_send, "reach", EPERM)                                                           \
	X(bpf, "self", EPERM)                                                                      \
	X(capable, "self", EPERM)                                                                  \
	X(locked_down, "self", EPERM)                                                              \
	X(syslog, "self", EPERM)                                                                   \
	X(kernel_module_request, "self", EPERM)                                                    \
	X(key_alloc, "self", EPERM)                                                                \
	X(key_permission, "self", EPERM)

#define MOAT_CGROUP_HOOKS(X)                                                                       \
	X(cgroup_bind4, "ports", EADDRINUSE)                                                       \
	X(cgroup_bind6, "ports", EADDRINUSE)                                                       \
	X(cgroup_connect4, "reach", ECONNREFUSED)                                                  \
	X(cgroup_connect6, "reach", ECONNREFUSED)                                                  \
	X(cgroup_sendmsg4, "reach", ECONNREFUSED)                                                  \
	X(cgroup_sendmsg6, "reach", ECONNREFUSED)                                                  \
	X(cgroup_sock_create, "reach", EPROTONOSUPPORT)

#define MOAT_HOOKS(X) MOAT_LSM_HOOKS(X) MOAT_CGROUP_HOOKS(X)

enum moat_hook {
#define MOAT_HOOK_ENUM(name, surface, err) MOAT_HOOK_##name,
	MOAT_HOOKS(MOAT_HOOK_ENUM)
#undef MOAT_HOOK_ENUM
	MOAT_HOOK_COUNT,
};

/* Value of `counters`, a per-CPU array indexed by enum moat_hook. Only labelled USER subjects count,
 * and CONTROL and INIT where they are refused something (bpf/follow.h). */
struct moat_counter {
	__u64 allowed;
	__u64 denied;
	__u64 would_deny; /* audit mode */
};

/* Value of `drops`, a per-CPU array with one element. */
struct moat_drops {
	__u64 ring_full; /* denials whose record found no room */
	__u64 folded;    /* denials folded into a later record by the rate limit of an exec and hook */
};

enum moat_object {
	MOAT_OBJECT_NONE = 0,
	MOAT_OBJECT_TASK = 1,  /* object = tgid in the initial PID namespace; 0: not known */
	MOAT_OBJECT_PORT = 2,  /* object = port */
	MOAT_OBJECT_PROC = 3,  /* object = device number of the procfs */
	MOAT_OBJECT_SOCKET = 4,
	MOAT_OBJECT_BPF = 5,   /* object = bpf(2) command */
	MOAT_OBJECT_CAPABILITY = 6, /* object = number of the capability */
	MOAT_OBJECT_FILE = 7,       /* object = inode number */
	MOAT_OBJECT_MOUNT = 8,      /* object = device number of the file system */
	MOAT_OBJECT_KERNEL = 9,     /* object = enum lockdown_reason (linux/security.h), or ioctl(2) request */
	MOAT_OBJECT_DEVICE = 10,    /* object = number of the device, major << 20 | minor */
	MOAT_OBJECT_KEY = 11,
};

/* A record in the `events` ring: one denial, and how many were folded into it. */
struct moat_event {
	__u64 time_ns; /* CLOCK_BOOTTIME */
	__u64 context; /* of the subject */
	__u64 exec;    /* of the subject */
	__u64 object;  /* see enum moat_object */
	__u32 hook;    /* enum moat_hook */
	__s32 err;     /* the errno, positive */
	__u32 enforced; /* 0: audit mode, the call went on */
	__u32 folded;  /* earlier denials of this exec at this hook without a record of their own */
	__u32 pid;     /* tgid of the subject, initial PID namespace */
	__u32 object_kind;
	char comm[16]; /* of the subject */
	__u32 follow; /* enum moat_follow */
	__u32 pad;
};

enum moat_follow {
	MOAT_FOLLOW_NONE = 0,
	MOAT_FOLLOW_FOLDED = 1, /* the last record of its window: what else there is, `windows` has in a second */
	MOAT_FOLLOW_ONLY = 2,   /* the same, and this is no record itself: it is folded, too */
};

/* Context of the process that the agent tries itself on: no context's number. */
#define MOAT_CONTEXT_SELF_TEST (~0ull)

/* Key of `windows`. */
struct moat_window_key {
	__u64 exec;
	__u32 hook; /* enum moat_hook */
	__u32 look; /* 1: what was not shown in /proc; all of it is folded */
};

/* How many denials are recorded of an exec at a hook. */
struct moat_window {
	__u64 start_ns; /* of the running second */
	__u64 records;  /* written in it */
	__u64 folded;   /* denials since the last record */
	struct moat_event last; /* of those */
};

#ifndef __cplusplus
#define MOAT_ABI_SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)
MOAT_ABI_SIZE(moat_label, 24);
MOAT_ABI_SIZE(moat_task, 48);
MOAT_ABI_SIZE(moat_subject, 48);
MOAT_ABI_SIZE(moat_window_key, 16);
MOAT_ABI_SIZE(moat_window, 104);
MOAT_ABI_SIZE(moat_port_key, 16);
MOAT_ABI_SIZE(moat_port, 8);
MOAT_ABI_SIZE(moat_socket, 32);
MOAT_ABI_SIZE(moat_socket_name, 108);
MOAT_ABI_SIZE(moat_settings, 16);
MOAT_ABI_SIZE(moat_inode_key, 16);
MOAT_ABI_SIZE(moat_inode, 16);
MOAT_ABI_SIZE(moat_shown_key, 24);
MOAT_ABI_SIZE(moat_name_key, 24);
_Static_assert(sizeof(struct moat_filter) == MOAT_FILTER_KINDS * MOAT_FILTER_WORDS * 8, "moat_filter");
MOAT_ABI_SIZE(moat_mount_key, 8);
MOAT_ABI_SIZE(moat_counter, 24);
MOAT_ABI_SIZE(moat_drops, 16);
MOAT_ABI_SIZE(moat_event, 80);
#undef MOAT_ABI_SIZE
#endif

#endif
