/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's types, as far as moat reads them. Every access is relocated against the running
 * kernel's BTF (CO-RE), so only names and types matter here, not layout; a field that is missing
 * at load time makes the load fail, never a wrong read. Written by hand instead of generated from
 * one kernel, so that the build needs no kernel and the list of what moat depends on stays short.
 */
#ifndef MOAT_BPF_KERNEL_H
#define MOAT_BPF_KERNEL_H

#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "magic.h"

#define PIDTYPES 4 /* enum pid_type, include/linux/pid_types.h */
#define FMODE_WRITE 2
#define FS_REQUIRES_DEV 1 /* include/linux/fs.h */
#define PF_IO_WORKER 0x10 /* include/linux/sched.h: works for io_uring(7) */
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define S_ISVTX 01000
#define S_IWOTH 02
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define AF_PACKET 17
#define AF_RDS 21
#define AF_TIPC 30
#define AF_RXRPC 33
#define AF_SMC 43
#define AF_XDP 44
#define SOCK_RAW 3
#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262
#define SOL_IP 0
#define SOL_IPV6 41
#define SOL_RAW 255
#define SOL_SOCKET 1
#define SO_BINDTODEVICE 25
#define SO_MARK 36
#define SO_BINDTOIFINDEX 62
#define IP_OPTIONS 4
#define IP_RETOPTS 7
#define IP_RECVORIGDSTADDR 20
#define IPV6_2292RTHDR 5
#define IPV6_2292PKTOPTIONS 6
#define IPV6_RTHDR 57
#define IPV6_RECVORIGDSTADDR 74
#define IP_HDRINCL 3
#define IP_FREEBIND 15
#define IP_TRANSPARENT 19
#define IPV6_HDRINCL 36
#define IPV6_TRANSPARENT 75
#define IPV6_FREEBIND 78
#define RLIMIT_CORE 4
#define RLIMIT_NICE 13
#define RLIMIT_RTPRIO 14
#define NETLINK_ISCSI 8
#define NETLINK_CONNECTOR 11
#define NETLINK_KOBJECT_UEVENT 15
#define NETLINK_SCSITRANSPORT 18

struct cred;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct ns_common {
	unsigned int inum;
};

struct pid;

struct pid_namespace {
	struct ns_common ns;
	struct pid_namespace *parent;
	struct task_struct *child_reaper; /* its first process */
	unsigned int level;
};

struct user_namespace {
	int level;
};

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	char comm[16];
	struct nsproxy *nsproxy;
	struct fs_struct *fs;
	struct bpf_local_storage *bpf_storage;
	const struct cred *real_cred;
	struct pid *thread_pid;
	struct hlist_node pid_links[PIDTYPES];
};

/* include/linux/proc_fs.h; one proc_fs_info per superblock */
enum proc_hidepid {
	HIDEPID_NOT_PTRACEABLE = 4,
};

struct proc_fs_info {
	struct pid_namespace *pid_ns;
	enum proc_hidepid hide_pid;
};

struct block_device;

struct file_system_type {
	const char *name;
	int fs_flags;
};

struct super_block {
	unsigned long s_magic;
	unsigned int s_dev;
	struct file_system_type *s_type;
	struct block_device *s_bdev;
	void *s_fs_info;
};

struct inode {
	unsigned short i_mode;
	unsigned int i_nlink;
	unsigned int i_rdev;
	unsigned int i_generation;
	unsigned long i_ino;
	void *i_private;
	struct super_block *i_sb;
	struct hlist_head i_dentry;
};

/* fs/overlayfs/ovl_entry.h, known where the module is there; 0: one file system, > 0: bits for the layer */
struct ovl_fs {
	int xino_mode;
};

struct kernfs_node {
	const char *name;
};

struct fs_context {
	struct file_system_type *fs_type;
};

struct rlimit {
	unsigned long rlim_cur, rlim_max;
};

struct upid {
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[PIDTYPES]; /* of the first kind: the one task with this number */
	struct upid numbers[1]; /* level + 1: one for each PID namespace that it is in */
};

struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	unsigned int d_flags;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	void *d_fsdata; /* of devpts: the slave's struct tty_struct */
};

/* the entry in its inode's list of names: inside a union of a name … */
struct dentry___named_union {
	union {
		struct hlist_node d_alias;
	} d_u;
};

/* … or, in 7.2, without one */
struct dentry___nameless_union {
	struct hlist_node d_alias;
};

/* up to 6.14 or so a macro, which no BTF knows */
enum dentry_flags {
	DCACHE_MOUNTED = 1,
};

struct vfsmount {
	struct super_block *mnt_sb;
};

struct mount {
	struct vfsmount mnt;
	int mnt_id;
	int mnt_group_id;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct fs_struct {
	struct path root;
};

struct file {
	unsigned int f_mode;
	struct path f_path;
	struct inode *f_inode;
	const struct cred *f_cred;
	void *private_data;
};

/* up to 6.11 the owner is inside the file … */
struct fown_struct {
	unsigned int uid;
};

struct file___inside {
	struct fown_struct f_owner;
};

/* … from 6.12 on it is allocated apart and points back */
struct fown_struct___apart {
	struct file *file;
};

struct list_head {
	struct list_head *next;
};

struct tty_struct {
	struct {
		struct pid *session;
	} ctrl;
	struct tty_struct *link; /* the other side of a pseudo-terminal */
	struct list_head tty_files;
};

/* of an open terminal, behind file.private_data */
struct tty_file_private {
	struct tty_struct *tty;
	struct file *file;
	struct list_head list;
};

/* routes: net/ipv4/fib_trie.c, net/ip_fib.h, net/ip6_fib.h */
struct key_vector {
	unsigned int key;
	unsigned char pos, bits;
	union {
		struct hlist_head leaf;
		struct key_vector *tnode[0];
	};
};

struct trie {
	struct key_vector kv[1];
};

struct fib_table {
	struct hlist_node tb_hlist;
	unsigned long *tb_data;
};

struct fib_alias {
	struct hlist_node fa_list;
	unsigned char fa_type, fa_slen;
};

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct rt6key {
	struct in6_addr addr;
	int plen;
};

struct fib6_info {
	struct fib6_info *fib6_next;
	struct rt6key fib6_dst;
	unsigned char fib6_type;
};

struct fib6_node {
	struct fib6_node *left, *right;
	struct fib6_info *leaf;
	unsigned short fn_bit;
};

struct fib6_table {
	struct hlist_node tb6_hlist;
	struct fib6_node tb6_root;
};

struct netns_ipv4 {
	void *rules_ops;
	struct hlist_head *fib_table_hash;
};

struct netns_ipv6 {
	void *fib6_rules_ops;
	struct hlist_head *fib_table_hash;
};

struct net {
	unsigned long long net_cookie;
	struct netns_ipv4 ipv4;
	struct netns_ipv6 ipv6;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
	void *msg_control;
	unsigned long msg_controllen;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	unsigned short skc_family;
	unsigned short skc_num;
	unsigned char skc_reuse : 4, skc_reuseport : 1;
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	unsigned short sk_protocol;
};

struct sockaddr_un {
	char sun_path[108];
};

struct unix_address {
	int len; /* of name, with the two bytes of its family */
	struct sockaddr_un name[0];
};

struct unix_sock {
	struct unix_address *addr; /* of a bound socket */
	struct path path; /* of one with a file */
	struct sock *peer;
};

struct sk_buff {
	unsigned int len;
	unsigned char *data;
};

struct socket {
	short type;
	struct sock *sk;
};

struct hw_perf_event {
	struct task_struct *target;
};

struct perf_event {
	struct perf_event *parent;
	struct trace_event_call *tp_event; /* of tracepoints and probes */
	struct hw_perf_event hw;
};

/* Which system call runs, and by which of the machine's two tables it is numbered. */
#if defined(__TARGET_ARCH_x86)
#define X32_SYSCALL_BIT 0x40000000ul
#define TS_COMPAT 2 /* arch/x86/include/asm/thread_info.h */
struct pt_regs___x86 {
	unsigned long orig_ax;
};
struct thread_info___x86 {
	unsigned int status;
};
struct task_struct___x86 {
	struct thread_info___x86 thread_info;
};
#define syscall_number(regs) \
	(BPF_CORE_READ((struct pt_regs___x86 *)(regs), orig_ax) & ~X32_SYSCALL_BIT)
#define is_compat_call(task) \
	(BPF_CORE_READ((struct task_struct___x86 *)(task), thread_info.status) & TS_COMPAT)
#elif defined(__TARGET_ARCH_arm64)
#define TIF_32BIT (1ul << 22) /* arch/arm64/include/asm/thread_info.h */
struct pt_regs___arm64 {
	int syscallno;
};
struct thread_info___arm64 {
	unsigned long flags;
};
struct task_struct___arm64 {
	struct thread_info___arm64 thread_info;
};
#define syscall_number(regs) BPF_CORE_READ((struct pt_regs___arm64 *)(regs), syscallno)
#define is_compat_call(task) \
	(BPF_CORE_READ((struct task_struct___arm64 *)(task), thread_info.flags) & TIF_32BIT)
#else
#error "syscall_number: which field of struct pt_regs?"
#endif

#pragma clang attribute pop

/* user-space layout, read from a kernel copy of it: family (2 bytes), then the port for both inets */
struct sockaddr {
	unsigned short sa_family;
	unsigned short sa_port;
};

/* only ever passed through */
struct kernel_siginfo;
struct key;
struct __key_reference_with_attributes;
struct fs_parameter;
struct linux_binprm;
struct iattr;
struct mnt_idmap;
struct posix_acl;
struct file_kattr;
struct bpf_map;

#include "moat/abi.h"

static __always_inline bool is_inet(const struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	/* of SMC: what was made AF_INET and has become one (setsockopt(TCP_ULP), 6.1) */
	return family == AF_INET || family == AF_INET6 || family == AF_SMC;
}

#endif
