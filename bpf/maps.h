/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps, shared by all files of bpf/ (weak, so that `bpftool gen object` merges them into one)
 * and by the agent, which pins each under PIN_DIR/INSTANCE/maps/NAME. Key and value types are in
 * moat/abi.h, so `bpftool map dump` prints them field by field.
 */
#ifndef MOAT_BPF_MAPS_H
#define MOAT_BPF_MAPS_H

#include "kernel.h"

/* Labels. Written by task_alloc for every child of a labelled task, and by the agent by pidfd. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct moat_task);
} tasks SEC(".maps") __weak;

/* See label.h. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, __u64);
	__type(value, struct moat_label);
} labels SEC(".maps") __weak;

/* Of credentials of user code, by address of the struct cred; see cred.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, __u64);
	__type(value, struct moat_label);
} creds SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moat_settings);
} settings SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct moat_port_key);
	__type(value, struct moat_port);
} ports SEC(".maps") __weak;

/* PID and mount namespaces with protected tasks in them, by inode (they have no number in common), to an enum
 * moat_namespace: at most two for each context that runs something. Only the agent writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u32);
} namespaces SEC(".maps") __weak;

/* Character devices that the configuration gives user code; see open.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32); /* MAJOR << MOAT_MINOR_BITS | MINOR, which may be MOAT_MINOR_ANY */
	__type(value, __u32);
} devices SEC(".maps") __weak;

/* See protect.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct moat_inode_key);
	__type(value, struct moat_inode);
} protected SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct moat_name_key);
	__type(value, struct moat_inode);
} names SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct moat_shown_key);
	__type(value, __u32);
} shown SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moat_filter);
} filter SEC(".maps") __weak;

/* Of the mount namespaces of moat-inits; see mount.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct moat_mount_key);
	__type(value, __u32);
} mounts SEC(".maps") __weak;

/* Superblocks that user code made, by address; see mount.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u32);
} superblocks SEC(".maps") __weak;

/* When user code last moved a link, or what is no file, out of a directory that all may write; see follow.h. */
struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64); /* CLOCK_MONOTONIC, ns */
} moved_inodes SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct moat_socket);
} sockets SEC(".maps") __weak;

#define BOUND_MAX 262144

/* Of bound inet sockets of labelled tasks, by address of the struct sock; see socket.h. */
struct bound {
	struct moat_label label;
	__u32 port; /* 0: none yet */
	__u32 transport;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, BOUND_MAX);
	__type(key, __u64);
	__type(value, struct bound);
} bound SEC(".maps") __weak;

/* Those of the control plane in `bound` whose port is still to be learned. Short: all of it is searched. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} pending SEC(".maps") __weak;

/* How many sockets of whom have a port, by transport and port. */
struct owners {
	struct bpf_spin_lock lock;
	__u32 control;       /* the control plane's */
	__u32 plain;         /* user code's, */
	__u32 plain_context; /* of this context, or MIXED */
	__u32 secure;        /* secure execs', */
	__u32 secure_exec;   /* of this one, or MIXED */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 << 16);
	__type(key, __u32);
	__type(value, struct owners);
} owners SEC(".maps") __weak;

/* Names of unix sockets that the configuration opens to user code, as they were bound. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct moat_socket_name);
	__type(value, __u32);
} socket_names SEC(".maps") __weak;

#define SOCKET_DEPTH_MAX 16 /* directories above it that are marked */

/*
 * On inodes: of sockets that the control plane bound to a path, and of the directories that lead there, which
 * name the one made last. See socket.bpf.c.
 */
struct socket_file {
	__u64 inode; /* address of the struct inode of the socket */
	__u64 number;
};

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_file);
} socket_files SEC(".maps") __weak;

/* Who of user code set the SIGIO owner of a file, by address of the struct file; see task.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct moat_subject);
} file_owners SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MOAT_HOOK_COUNT);
	__type(key, __u32); /* enum moat_hook; the kernel takes only plain integers here */
	__type(value, struct moat_counter);
} counters SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moat_drops);
} drops SEC(".maps") __weak;

/* Those of execs that were refused something lately. Preallocated: a denial allocates nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct moat_window_key);
	__type(value, struct moat_window);
} windows SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps") __weak;

#endif
