/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether packets to an address come back to this machine: the kernel's own routes say so, read here and
 * now (a copy kept by the agent would be behind). An address is this machine's when any table of the network
 * namespace has a route of type local, broadcast or anycast to it, more than the kernel would follow where a
 * rule or a longer prefix leads elsewhere; where there is too much to be searched it is, too. Source-specific
 * IPv6 routes (`from`) are not seen.
 *
 * net/ipv4/fib_trie.c, net/ipv6/ip6_fib.c. Hooks run as RCU readers, as those who look routes up.
 */
#ifndef MOAT_BPF_LOCAL_H
#define MOAT_BPF_LOCAL_H

#include "kernel.h"

#define TABLES_MAX 4096 /* with empty buckets */
#define ROUTES_MAX 256  /* to the same prefix */
#define FIB_BUCKETS 256 /* FIB_TABLE_HASHSZ, FIB6_TABLE_HASHSZ; fewer where there are no tables but these */

enum { RTN_LOCAL = 2, RTN_BROADCAST = 3, RTN_ANYCAST = 4 }; /* linux/rtnetlink.h */

/*
 * A walk over all tables, and what is sought. Nothing in it that decides where the walk goes is a number that
 * the verifier knows: up to 6.6 or so it looks at one round of a bpf_loop() only, and takes for unreachable
 * what only later ones reach.
 */
struct tables {
	struct hlist_head *bucket, *end;
	struct hlist_node *at; /* a table */
	__u32 v4;    /* host byte order */
	__be32 v6[4];
	__u32 is_v6, found;
};

static __always_inline bool is_here(__u8 type)
{
	return type == RTN_LOCAL || type == RTN_BROADCAST || type == RTN_ANYCAST;
}

/* BPF_CORE_READ() would relocate our own structs as well where its argument is no plain variable. */
static __always_inline struct hlist_node *next_in_list(struct hlist_node *node)
{
	return BPF_CORE_READ(node, next);
}

/* IPv4: a trie of leaves, each with the routes to prefixes of one address. */

struct leaf {
	struct key_vector *at;
	struct hlist_node *alias;
	__u32 key, address, found, pad;
};

static long descend4(__u32 i, struct leaf *l)
{
	struct key_vector *node = l->at;
	__u64 index;
	__u8 bits;

	if (!node)
		return 1;
	bits = BPF_CORE_READ(node, bits);
	if (!bits)
		return 1;
	index = (l->key ^ BPF_CORE_READ(node, key)) >> (BPF_CORE_READ(node, pos) & 31);
	l->at = NULL;
	if (index >> (bits & 31))
		return 1;
	if (bpf_probe_read_kernel(&l->at, sizeof(l->at),
				  (void *)node + bpf_core_field_offset(struct key_vector, tnode) +
					  index * sizeof(void *)))
		l->at = NULL;
	return 0;
}

static long match_alias(__u32 i, struct leaf *l)
{
	struct fib_alias *alias;

	if (!l->alias)
		return 1;
	alias = (void *)l->alias - bpf_core_field_offset(struct fib_alias, fa_list);
	if (!((__u64)(l->address ^ l->key) >> (BPF_CORE_READ(alias, fa_slen) & 63)) &&
	    is_here(BPF_CORE_READ(alias, fa_type))) {
		l->found = 1;
		return 1;
	}
	l->alias = next_in_list(l->alias);
	return 0;
}

struct prefixes {
	struct key_vector *top;
	__u32 address, found;
};

/* The address with the last i bits cleared, if that is another one than before. */
static long match_prefix(__u32 i, struct prefixes *p)
{
	__u32 mask = i < 32 ? ~0u << (i & 31) : 0;
	struct leaf l = { .at = p->top, .key = p->address & mask, .address = p->address };
	struct key_vector *node;

	if (i && !(p->address >> ((i - 1) & 31) & 1)) /* that bit was 0 already */
		return 0;
	bpf_loop(33, descend4, &l, 0);
	node = l.at;
	if (!node || BPF_CORE_READ(node, bits) || BPF_CORE_READ(node, key) != l.key)
		return 0;
	l.alias = BPF_CORE_READ(node, leaf.first);
	bpf_loop(ROUTES_MAX, match_alias, &l, 0);
	p->found = l.found || l.alias; /* too many to tell */
	return p->found & 1; /* the verifier wants to see 0 or 1 */
}

static __always_inline bool is_in_table4(struct hlist_node *at, __u32 address)
{
	struct fib_table *table = (void *)at - bpf_core_field_offset(struct fib_table, tb_hlist);
	struct prefixes p = { .address = address };
	struct trie *trie = (void *)BPF_CORE_READ(table, tb_data);

	bpf_probe_read_kernel(&p.top, sizeof(p.top),
			      (void *)trie + bpf_core_field_offset(struct trie, kv) +
				      bpf_core_field_offset(struct key_vector, tnode));
	bpf_loop(33, match_prefix, &p, 0);
	return p.found;
}

/* IPv6: a tree whose way down to an address leads past every prefix of it. */

struct way {
	struct fib6_node *at;
	struct fib6_info *route;
	__be32 address[4];
	__u32 found, pad;
};

static __always_inline bool begins_alike(const __be32 a[4], const __be32 b[4], int bits)
{
	for (int i = 0; i < 4; i++, bits -= 32) {
		__u32 differ = __builtin_bswap32(a[i] ^ b[i]);

		if (bits <= 0)
			return true;
		if (bits >= 32 ? differ != 0 : differ >> ((32 - bits) & 31) != 0)
			return false;
	}
	return true;
}

static long match_route(__u32 i, struct way *w)
{
	struct fib6_info *route = w->route;
	__be32 prefix[4];

	if (!route)
		return 1;
	BPF_CORE_READ_INTO(&prefix, route, fib6_dst.addr.in6_u.u6_addr32);
	if (is_here(BPF_CORE_READ(route, fib6_type)) &&
	    begins_alike(prefix, w->address, BPF_CORE_READ(route, fib6_dst.plen))) {
		w->found = 1;
		return 1;
	}
	w->route = BPF_CORE_READ(route, fib6_next);
	return 0;
}

static __always_inline bool bit_of(const __be32 a[4], __u32 bit)
{
	__u32 word = bit < 32 ? a[0] : bit < 64 ? a[1] : bit < 96 ? a[2] : a[3];

	return __builtin_bswap32(word) >> (31 - (bit & 31)) & 1;
}

static long descend6(__u32 i, struct way *w)
{
	struct fib6_node *node = w->at;
	__u16 bit;

	if (!node)
		return 1;
	w->route = BPF_CORE_READ(node, leaf);
	bpf_loop(ROUTES_MAX, match_route, w, 0);
	if (w->found || w->route) { /* too many to tell */
		w->found = 1;
		return 1;
	}
	bit = BPF_CORE_READ(node, fn_bit);
	if (bit >= 128)
		w->at = NULL;
	else if (bit_of(w->address, bit))
		w->at = BPF_CORE_READ(node, right);
	else
		w->at = BPF_CORE_READ(node, left);
	return 0;
}

static __always_inline bool is_in_table6(struct hlist_node *at, const __be32 address[4])
{
	struct fib6_table *table = (void *)at - bpf_core_field_offset(struct fib6_table, tb6_hlist);
	struct way w = { .at = (void *)table + bpf_core_field_offset(struct fib6_table, tb6_root) };

	__builtin_memcpy(w.address, address, sizeof(w.address));
	bpf_loop(130, descend6, &w, 0);
	return w.found || w.at;
}

/* The tables */

static long match_table(__u32 i, struct tables *t)
{
	if (t->at) {
		t->found = t->is_v6 ? is_in_table6(t->at, t->v6) : is_in_table4(t->at, t->v4);
		t->at = next_in_list(t->at);
		return t->found & 1;
	}
	if (t->bucket >= t->end)
		return 1;
	bpf_probe_read_kernel(&t->at, sizeof(t->at), t->bucket);
	t->bucket++;
	return 0;
}

static __always_inline bool is_routed_here(struct tables *t, struct hlist_head *buckets, __u32 n)
{
	t->bucket = buckets;
	t->end = buckets + n;
	bpf_probe_read_kernel(&t->at, sizeof(t->at), t->bucket);
	t->bucket++;
	bpf_loop(TABLES_MAX, match_table, t, 0);
	return t->found || t->at || t->bucket < t->end;
}

/* Any, loopback, multicast, limited broadcast: without asking the routes. */
static __noinline bool v4_is_local(struct net *net, __be32 address)
{
	struct tables t = { .v4 = __builtin_bswap32(address) };
	__u32 n = 2;

	if (t.v4 == 0 || (t.v4 >> 24) == 127 || (t.v4 >> 28) == 14 || t.v4 == 0xffffffff)
		return true;
	if (bpf_core_field_exists(net->ipv4.rules_ops))
		n = FIB_BUCKETS;
	return is_routed_here(&t, BPF_CORE_READ(net, ipv4.fib_table_hash), n);
}

static __always_inline bool v6_is_local(struct net *net, const __be32 a[4])
{
	struct tables t = { .is_v6 = 1 };
	__u32 n = 1;

	if (!a[0] && !a[1] && a[2] == __builtin_bswap32(0xffff))
		return v4_is_local(net, a[3]);
	if (!a[0] && !a[1] && !a[2] && (!a[3] || a[3] == __builtin_bswap32(1)))
		return true;
	if ((__builtin_bswap32(a[0]) >> 24) == 0xff)
		return true;
	__builtin_memcpy(t.v6, a, sizeof(t.v6));
	if (bpf_core_field_exists(net->ipv6.fib6_rules_ops))
		n = FIB_BUCKETS;
	return is_routed_here(&t, BPF_CORE_READ(net, ipv6.fib_table_hash), n);
}

#endif
