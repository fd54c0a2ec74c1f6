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

#define PROC_SUPER_MAGIC 0x9fa0
#define BPF_FS_MAGIC 0xcafe4a11
#define BINFMTFS_MAGIC 0x42494e4d
#define CGROUP_SUPER_MAGIC 0x27e0eb
#define CGROUP2_SUPER_MAGIC 0x63677270
#define MAY_WRITE 2
#define S_IFMT 0170000
#define S_IFREG 0100000
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define AF_RDS 21
#define AF_TIPC 30
#define AF_RXRPC 33
#define AF_SMC 43
#define SOCK_RAW 3
#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
	struct pid_namespace *parent;
	unsigned int level;
};

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct nsproxy *nsproxy;
};

/* include/linux/proc_fs.h; one proc_fs_info per superblock */
enum proc_hidepid {
	HIDEPID_NOT_PTRACEABLE = 4,
};

struct proc_fs_info {
	struct pid_namespace *pid_ns;
	enum proc_hidepid hide_pid;
};

struct super_block {
	unsigned long s_magic;
	unsigned int s_dev;
	void *s_fs_info;
};

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct pid;

struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct vfsmount {
	struct super_block *mnt_sb;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
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

struct net {
	unsigned long long net_cookie;
	struct list_head dev_base_head;
};

struct in_ifaddr {
	struct in_ifaddr *ifa_next;
	__be32 ifa_local;
	__be32 ifa_broadcast;
};

struct in_device {
	struct in_ifaddr *ifa_list;
};

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct inet6_ifaddr {
	struct in6_addr addr;
	struct list_head if_list;
};

struct inet6_dev {
	struct list_head addr_list;
};

struct net_device {
	struct list_head dev_list;
	struct in_device *ip_ptr;
	struct inet6_dev *ip6_ptr;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
};

struct nsproxy {
	struct net *net_ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	unsigned short skc_family;
	unsigned short skc_num;
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
};

struct socket {
	struct sock *sk;
};

struct hw_perf_event {
	struct task_struct *target;
};

struct perf_event {
	struct perf_event *parent;
	struct hw_perf_event hw;
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs___x86 {
	unsigned long orig_ax;
};
#define syscall_number(regs) BPF_CORE_READ((struct pt_regs___x86 *)(regs), orig_ax)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs___arm64 {
	int syscallno;
};
#define syscall_number(regs) BPF_CORE_READ((struct pt_regs___arm64 *)(regs), syscallno)
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
struct cred;
struct rlimit;
struct user_namespace;
struct linux_binprm;

#include "moat/abi.h"

static __always_inline bool is_inet(const struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6;
}

#endif
