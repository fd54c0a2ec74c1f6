/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The search for a mark (protect.h): up from a directory entry, or from each name of an inode. No hooks.
 *
 * What a search is at lies in memory whose contents the verifier does not follow. Up to 6.6 or so it looks at one round of
 * a bpf_loop() only, and takes for unreachable what only later ones reach; and bpf_loop() wants the stack: the
 * rounds are given a pointer to the pointer.
 */
#include "protect.h"

static __always_inline bool is_shown(struct inode *inode, const struct climb *c)
{
	struct moat_shown_key key = {
		.context = c->context,
		.inode = { .inode = identity_of(inode, c->place), .device = c->place.device },
	};

	return bpf_map_lookup_elem(&shown, &key);
}

/* Those of the name that it came from. */
static __noinline __u32 marks_of_name(struct inode *directory, const struct climb *c)
{
	struct dentry *entry = c->below;
	struct moat_name_key key = {};
	struct moat_name name = {};
	struct moat_inode *m;

	bpf_probe_read_kernel_str(&name, sizeof(name), BPF_CORE_READ(entry, d_name.name));
	key.directory.inode = identity_of(directory, c->place);
	key.directory.device = c->place.device;
	key.hash = moat_name_hash(&name);
	m = bpf_map_lookup_elem(&names, &key);
	return m && m->generation == generation_of(directory, c->place) ? m->flags : 0;
}

static __always_inline void look_for_mark(struct inode *inode, struct climb *c)
{
	struct moat_filter *f = the_filter();
	__u64 identity = identity_of(inode, c->place);
	struct moat_inode *m;

	if (c->below && (!f || filter_has(f, MOAT_FILTER_NAMES, identity)))
		c->found = marks_of_name(inode, c) & c->flags;
	if (c->found || (f && !filter_has(f, c->flags & MOAT_PROTECT_TREE ? MOAT_FILTER_TREE
									 : MOAT_FILTER_HIDDEN,
					  identity)))
		return;
	m = mark_on(inode, c->place);
	if (!m)
		return;
	/* a part of moat's own that services have to themselves */
	if (m->flags & MOAT_PROTECT_SERVICES)
		c->flags &= ~MOAT_PROTECT_OWN;
	/* what is hidden above it is shown as well, but for moat's own files */
	if ((m->flags & MOAT_PROTECT_SHOWN) && (c->flags & MOAT_PROTECT_HIDDEN) && is_shown(inode, c))
		c->flags = MOAT_PROTECT_OWN;
	c->found = m->flags & c->flags;
}

static long climb(__u32 i, struct climb **search)
{
	struct climb *c = *search;
	struct dentry *entry = c->at;
	struct inode *inode = BPF_CORE_READ(entry, d_inode);

	if (inode)
		look_for_mark(inode, c);
	if (c->found)
		return 1;
	c->below = entry;
	c->at = BPF_CORE_READ(entry, d_parent);
	c->at_root = c->at && c->at == entry;
	return c->at_root & 1; /* the verifier wants to see 0 or 1 */
}

static __always_inline void begin(struct climb *c)
{
	c->below = NULL;
	c->flags = c->wanted;
	c->found = 0;
	c->at_root = 0;
}

bool entry_has_mark(struct climb *c)
{
	if (!c)
		return true;
	begin(c);
	bpf_loop(DEPTH_MAX, climb, &c, 0);
	return c->found || !c->at_root;
}

static __always_inline struct dentry *entry_of_name(struct hlist_node *name)
{
	if (bpf_core_field_exists(struct dentry___named_union, d_u))
		return (void *)name - bpf_core_field_offset(struct dentry___named_union, d_u.d_alias);
	return (void *)name - bpf_core_field_offset(struct dentry___nameless_union, d_alias);
}

static long try_name(__u32 i, struct climb **search)
{
	struct climb *c = *search;
	struct hlist_node *name = c->name;

	if (!name)
		return 1;
	c->at = entry_of_name(name);
	if (entry_has_mark(c))
		return 1;
	c->name = BPF_CORE_READ(name, next);
	return 0;
}

bool inode_at_has_mark(__u64 address, struct climb *c)
{
	struct inode *inode = (struct inode *)address;

	if (!inode || !c)
		return true;
	begin(c);
	look_for_mark(inode, c);
	if (c->found)
		return true;
	c->name = BPF_CORE_READ(inode, i_dentry.first);
	bpf_loop(NAMES_MAX, try_name, &c, 0);
	return c->name; /* where it stopped */
}
