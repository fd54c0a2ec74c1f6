/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which files user code may not change: the agent marks the roots (protect.bpf.c), and whatever lies
 * beneath one in the directory tree is protected with it, so that a large tree costs one entry and
 * new files need none. Files with several names are marked one by one.
 *
 * A file is found protected by climbing from its directory entries to the root of its file system.
 * That is the file's own place, whatever mount, mount namespace or descriptor led to it.
 */
#ifndef MOAT_BPF_PROTECT_H
#define MOAT_BPF_PROTECT_H

#include "verdict.h"

#define DEPTH_MAX 1024 /* directories; what lies deeper, on a device with marks, counts as protected */
#define NAMES_MAX 64   /* of one file that are in use; with more it counts as protected */

/* d_flags of a mount point in any mount namespace: where BTF does not tell, either of the values that
 * it had; the other of the two bits was never that of an ordinary directory in use. */
#define MOUNTED_OLD (1u << 16 | 1u << 15)

static __always_inline bool is_mount_point(struct dentry *entry)
{
	__u32 mounted = MOUNTED_OLD;

	if (bpf_core_enum_value_exists(enum dentry_flags, DCACHE_MOUNTED))
		mounted = bpf_core_enum_value(enum dentry_flags, DCACHE_MOUNTED);
	return BPF_CORE_READ(entry, d_flags) & mounted;
}

static __always_inline __u32 device_of(struct inode *inode)
{
	return BPF_CORE_READ(inode, i_sb, s_dev);
}

/* The mark on the very inode, or NULL. */
static __always_inline struct moat_inode *mark_on(struct inode *inode, __u32 device)
{
	struct moat_inode_key key = { .inode = BPF_CORE_READ(inode, i_ino), .device = device };
	struct moat_inode *m = bpf_map_lookup_elem(&protected, &key);

	return m && m->generation == BPF_CORE_READ(inode, i_generation) ? m : NULL;
}

/* Its MOAT_PROTECT_*. */
static __always_inline __u32 marks_of(struct inode *inode)
{
	struct moat_inode *m = mark_on(inode, device_of(inode));

	return m ? m->flags : 0;
}

static __always_inline bool device_has_marks(__u32 device)
{
	struct moat_inode_key key = { .device = device };

	return bpf_map_lookup_elem(&protected, &key);
}

/* Whether anything is protected where inode is: the cheap question before the others. */
static __always_inline bool may_be_protected(struct inode *inode)
{
	return device_has_marks(device_of(inode));
}

struct climb {
	struct dentry *at;
	__u32 device;
	__u16 found, at_root;
};

static long climb(__u32 i, struct climb *c)
{
	struct dentry *entry = c->at;
	struct inode *inode = BPF_CORE_READ(entry, d_inode);
	struct moat_inode *m = inode ? mark_on(inode, c->device) : NULL;

	if (m && (m->flags & MOAT_PROTECT_TREE)) {
		c->found = 1;
		return 1;
	}
	c->at = BPF_CORE_READ(entry, d_parent);
	c->at_root = c->at && c->at == entry;
	return c->at_root & 1; /* the verifier wants to see 0 or 1 */
}

/* Whether a directory entry, which may have no inode yet, is protected by a mark above it or its own. */
static __noinline bool entry_is_protected(struct dentry *entry, __u32 device)
{
	struct climb c = { .at = entry, .device = device };

	bpf_loop(DEPTH_MAX, climb, &c, 0);
	return c.found || !c.at_root;
}

struct names {
	struct hlist_node *at;
	__u32 device, found;
};

static __always_inline struct dentry *entry_of_name(struct hlist_node *name)
{
	if (bpf_core_field_exists(struct dentry___named_union, d_u))
		return (void *)name - bpf_core_field_offset(struct dentry___named_union, d_u.d_alias);
	return (void *)name - bpf_core_field_offset(struct dentry___nameless_union, d_alias);
}

static long try_name(__u32 i, struct names *n)
{
	struct hlist_node *name = n->at;

	if (!name)
		return 1;
	if (entry_is_protected(entry_of_name(name), n->device)) {
		n->found = 1;
		return 1;
	}
	n->at = BPF_CORE_READ(name, next);
	return 0;
}

/* The same of an inode, by all of its names that are in use. */
static __noinline __attribute__((unused)) bool inode_is_protected(struct inode *inode)
{
	struct names n = { .device = device_of(inode) };
	struct moat_inode *m = mark_on(inode, n.device);

	if (m && (m->flags & MOAT_PROTECT_TREE))
		return true;
	n.at = BPF_CORE_READ(inode, i_dentry.first);
	bpf_loop(NAMES_MAX, try_name, &n, 0);
	return n.found || n.at;
}

static __always_inline int deny_file(__u32 hook, struct inode *inode)
{
	return deny(hook, EPERM, MOAT_OBJECT_FILE, inode ? BPF_CORE_READ(inode, i_ino) : 0);
}

/* Whether what belongs to an inode has to stay as it is, by whichever of its names. */
static __always_inline bool inode_must_stay(struct inode *inode)
{
	return may_be_protected(inode) && (marks_of(inode) || inode_is_protected(inode));
}

static __always_inline int change_inode(__u32 hook, struct inode *inode)
{
	if (!user_subject())
		return 0;
	if (!inode_must_stay(inode))
		return allow(hook);
	return deny_file(hook, inode);
}

#endif
