/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which files user code may not change, and which of these it may not even see: the agent marks the roots
 * (protect.bpf.c), and whatever lies beneath one in the directory tree goes with it, so that a large tree
 * costs one entry and new files need none. Files with several names are marked one by one.
 *
 * A file is found marked by climbing from its directory entries to the root of its file system.
 * That is the file's own place, whatever mount, mount namespace or descriptor led to it.
 */
#ifndef MOAT_BPF_PROTECT_H
#define MOAT_BPF_PROTECT_H

#include "identity.h"

#define DEPTH_MAX 1024 /* directories; what lies deeper, on a device with marks, counts as marked */
#define STEPS_MAX 12   /* directories, before the longer way is taken */
#define NAMES_MAX 64   /* of one file that are in use; with more it counts as marked */

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

/* The mark on the very inode, or NULL. */
static __always_inline struct moat_inode *mark_on(struct inode *inode, struct place place)
{
	struct moat_inode_key key = { .inode = identity_of(inode, place), .device = place.device };
	struct moat_inode *m = bpf_map_lookup_elem(&protected, &key);

	return m && m->generation == generation_of(inode, place) ? m : NULL;
}

/* Its MOAT_PROTECT_*. */
static __always_inline __u32 marks_of(struct inode *inode, struct place place)
{
	struct moat_inode *m = mark_on(inode, place);

	return m ? m->flags : 0;
}

/* Searching for a mark with one of the flags wanted. One for all of it: the stack of a program is small. */
struct climb {
	struct dentry *at, *below; /* below: the entry that it came from */
	struct hlist_node *name;   /* the next one of the inode */
	struct place place;
	__u64 context; /* of the subject */
	__u32 wanted;
	__u32 flags; /* those of wanted that are still looked for */
	__u32 found;
	__u32 at_root;
};

/*
 * climb.bpf.c. Functions of their own for the verifier, which looks at such a one by itself and not again for each way to
 * each call: they take numbers and plain memory, no pointer whose type it knows. Anything but what was found and at,
 * context, place and wanted of a search is theirs.
 */

/* Whether the directory entry at c->at, which may have no inode yet, has such a mark above it or of its own. */
bool entry_has_mark(struct climb *c);

/* The same of the inode at that address, by all of its names that are in use. */
bool inode_at_has_mark(__u64 address, struct climb *c);

static __always_inline bool inode_has_mark(const struct inode *inode, struct climb *c)
{
	return inode_at_has_mark(address_of(inode), c);
}

static __always_inline bool entry_is_protected(struct dentry *entry, struct place place)
{
	struct climb c = { .at = entry, .place = place, .wanted = MOAT_PROTECT_TREE };

	return entry_has_mark(&c);
}

static __always_inline bool inode_is_protected(struct inode *inode, struct place place)
{
	struct climb c = { .place = place, .wanted = MOAT_PROTECT_TREE };

	return inode_has_mark(inode, &c);
}

/* What is hidden has marks of both kinds. */

/* Whether nothing on the way up has a mark of something hidden: the common case, told without a call.
 * entry: typed. */
static __always_inline bool nothing_above_is_hidden(struct dentry *entry, struct place place,
						    struct moat_filter *f)
{
	for (int i = 0; i < STEPS_MAX; i++) {
		struct inode *inode = entry->d_inode;
		struct dentry *above = entry->d_parent;
		__u64 identity;

		if (!inode)
			return false;
		identity = is_by_address(place) ? address_of(inode) : inode->i_ino;
		if (filter_has(f, MOAT_FILTER_HIDDEN, identity))
			return false;
		if (above == entry)
			return true;
		entry = above;
	}
	return false;
}

/*
 * Whether an inode is hidden from a task with this label. entry: by which it was found. The cheapest
 * question first: most file systems have nothing hidden, most tasks no label, most inodes one name.
 */
static __always_inline bool is_hidden(struct dentry *entry, struct inode *inode, bool also_from_services)
{
	struct moat_filter *f = the_filter();
	__u32 device = inode->i_sb->s_dev;
	const struct moat_label *subject;
	struct hlist_node *name;
	struct climb c = {};

	if (f && !filter_has(f, MOAT_FILTER_HIDDEN, ~(__u64)device))
		return false;
	subject = label_of(bpf_get_current_task_btf());
	c.wanted = hidden_from(subject);
	if (!c.wanted || (c.wanted == MOAT_PROTECT_OWN && !also_from_services))
		return false;
	c.place = place_of_device(device);
	if (!(c.place.flags & MOAT_PROTECT_HIDDEN))
		return false;
	name = inode->i_dentry.first;
	if (f && name && !name->next && entry->d_inode == inode &&
	    nothing_above_is_hidden(entry, c.place, f))
		return false;
	c.context = subject->context;
	return inode_has_mark(inode, &c);
}

static __always_inline int deny_hidden(__u32 hook, struct inode *inode)
{
	return deny(hook, ENOENT, MOAT_OBJECT_FILE, BPF_CORE_READ(inode, i_ino));
}

/* To look at an inode. entry: typed. */
static __always_inline int look_at_entry(__u32 hook, struct dentry *entry)
{
	struct inode *inode = entry->d_inode;

	if (!inode || !is_hidden(entry, inode, false))
		return 0;
	return deny_hidden(hook, inode);
}

/* The answer to a change that is refused: of what is hidden, that it is not there. */
static __always_inline int deny_change(__u32 hook, struct dentry *entry, struct inode *inode,
				       struct place place)
{
	const struct moat_label *subject = user_subject();
	struct climb c = { .at = entry, .place = place, .wanted = MOAT_PROTECT_HIDDEN };
	__u64 number = inode ? BPF_CORE_READ(inode, i_ino) : 0;

	c.context = subject ? subject->context : 0;
	if ((place.flags & MOAT_PROTECT_HIDDEN) && (entry ? entry_has_mark(&c) : inode_has_mark(inode, &c)))
		return deny(hook, ENOENT, MOAT_OBJECT_FILE, number);
	return deny(hook, EPERM, MOAT_OBJECT_FILE, number);
}

/* Whether what belongs to an inode has to stay as it is, by whichever of its names. */
static __always_inline bool inode_must_stay(struct inode *inode, struct place place)
{
	return place.flags && (marks_of(inode, place) || inode_is_protected(inode, place));
}

static __always_inline int change_inode(__u32 hook, struct inode *inode)
{
	struct place place;

	if (!user_subject())
		return 0;
	place = place_of(inode);
	if (!inode_must_stay(inode, place))
		return allow(hook);
	return deny_change(hook, NULL, inode, place);
}

#endif
