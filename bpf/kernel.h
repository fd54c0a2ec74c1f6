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
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10

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
	struct super_block *i_sb;
};

struct vfsmount {
	struct super_block *mnt_sb;
};

struct path {
	struct vfsmount *mnt;
};

struct file {
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

struct net {
	unsigned long long net_cookie;
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
	struct hw_perf_event hw;
};

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

#include "moat/abi.h"

#endif
