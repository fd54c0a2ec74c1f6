/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose sockets they are, and who may reach them; socket.bpf.c keeps account of it.
 *
 * user code                  reaches of user code's
 * of a context               what is not of a secure exec
 * of a secure exec           its own, and what its own context has (not of other secure execs)
 *
 * and of the control plane's what the configuration opens.
 *
 * Of a port it is asked who has it, over the same kind of transport, in the control plane's network
 * namespace: the number of sockets of each kind that are bound to it (`owners`). A unix socket has the label
 * of who made or bound it in its own storage (`sockets`).
 */
#ifndef MOAT_BPF_SOCKET_H
#define MOAT_BPF_SOCKET_H

#include "verdict.h"

/*
 * Sockets of the control plane whose port the kernel picks after the hook, and has not when it is asked
 * again: they are looked at whenever user code asks for a port, until they have one.
 */
extern bool ports_pending;
/* Spares all others the look-up when a socket goes, until there is one. */
extern bool sockets_known;
/* There is, or was, a datagram socket of the control plane that shares its port with who asks for it, too. */
extern bool datagrams_shared;
/* Sockets of user code in `bound`: however many it makes, there is room for the control plane's. */
extern __u32 bound_by_users;
#define BOUND_BY_USERS_MAX (BOUND_MAX - 32768)

#define MIXED (~0u) /* several contexts or execs */

static __always_inline __u32 transport_of(const struct sock *sk)
{
	__u16 protocol = BPF_CORE_READ(sk, sk_protocol);

	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE;
}

static __always_inline bool shares_port(const struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD_PROBED(&sk->__sk_common, skc_reuse) ||
	       BPF_CORE_READ_BITFIELD_PROBED(&sk->__sk_common, skc_reuseport);
}

/* Of ports that may be shared the kernel picks for a datagram socket also those in use, and asks no hook then. */
static __always_inline bool may_join_by_chance(const struct sock *sk)
{
	return datagrams_shared && transport_of(sk) && shares_port(sk);
}

static __always_inline __u32 owners_index(__u32 transport, __u16 port)
{
	return (transport & 1) << 16 | port;
}

/* Only ports of the control plane's network namespace are accounted for. */
static __always_inline bool is_in_control_netns(const struct sock *sk)
{
	const struct moat_settings *s = moat_settings();

	return s && BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie) == s->netns;
}

static __always_inline void count_owner(struct owners *o, const struct moat_label *l)
{
	bpf_spin_lock(&o->lock);
	if (l->role == MOAT_ROLE_CONTROL) {
		o->control++;
	} else if (l->flags & MOAT_LABEL_PER_EXEC) {
		o->secure_exec = o->secure && o->secure_exec != (__u32)l->exec ? MIXED :
										 (__u32)l->exec;
		o->secure++;
	} else {
		o->plain_context = o->plain && o->plain_context != (__u32)l->context ?
					   MIXED : (__u32)l->context;
		o->plain++;
	}
	bpf_spin_unlock(&o->lock);
}

static __always_inline void uncount_owner(struct owners *o, const struct moat_label *l)
{
	bpf_spin_lock(&o->lock);
	if (l->role == MOAT_ROLE_CONTROL)
		o->control--;
	else if (l->flags & MOAT_LABEL_PER_EXEC)
		o->secure--;
	else
		o->plain--;
	bpf_spin_unlock(&o->lock);
}

/* Takes the port of a socket back, if it has one and nobody else just does. */
static __always_inline void release_port(struct bound *b)
{
	__u32 port = __sync_lock_test_and_set(&b->port, 0);
	__u32 index = owners_index(b->transport, port);
	struct owners *o = port ? bpf_map_lookup_elem(&owners, &index) : NULL;

	if (o)
		uncount_owner(o, &b->label);
}

/* The same in the other direction, once. */
static __always_inline void take_port(struct bound *b, __u16 port)
{
	__u32 index = owners_index(b->transport, port);
	struct owners *o = bpf_map_lookup_elem(&owners, &index);

	if (o && __sync_val_compare_and_swap(&b->port, 0, port) == 0)
		count_owner(o, &b->label);
}

struct pending {
	__u32 index, found;
};

static long settle(void *map, const __u64 *address, __u32 *unused, struct pending *p)
{
	struct bound *b = bpf_map_lookup_elem(&bound, address);
	__u16 port = BPF_CORE_READ((struct sock *)*address, __sk_common.skc_num);

	if (!b || !port)
		return 0;
	if (owners_index(b->transport, port) == p->index)
		p->found = 1;
	take_port(b, port);
	if (!bpf_map_lookup_elem(&bound, address)) /* it has gone meanwhile */
		release_port(b);
	bpf_map_delete_elem(&pending, address);
	return 0;
}

/* Whether user code may use a port, by who has it. */
static __noinline __attribute__((unused)) bool port_is_closed(const struct moat_label *subject, __u32 transport, __u16 port)
{
	struct pending p = { .index = owners_index(transport, port) };
	struct owners *o;

	if (ports_pending)
		bpf_for_each_map_elem(&pending, settle, &p, 0);
	o = bpf_map_lookup_elem(&owners, &p.index);
	if (p.found || !o || o->control)
		return true;
	if (subject->flags & MOAT_LABEL_PER_EXEC)
		return (o->secure && o->secure_exec != (__u32)subject->exec) ||
		       (o->plain && o->plain_context != (__u32)subject->context);
	return o->secure;
}

/* 0, or -ENOBUFS where it cannot be accounted for: then nobody gets the port. port 0: the kernel picks one. */
static __noinline __attribute__((unused)) int note_bound(struct sock *sk,
							const struct moat_label *label,
							__u16 port)
{
	struct bound fresh = { .label = *label, .transport = transport_of(sk) };
	__u64 address = (__u64)sk;
	struct pending p = {};
	struct bound *b;
	__u32 one = 1;

	fresh.label.flags &= ~MOAT_LABEL_NEWBORN;
	sockets_known = true;
	b = bpf_map_lookup_elem(&bound, &address);
	if (!b) {
		if (label->role == MOAT_ROLE_USER &&
		    __sync_fetch_and_add(&bound_by_users, 1) >= BOUND_BY_USERS_MAX)
			return -ENOBUFS;
		if (bpf_map_update_elem(&bound, &address, &fresh, BPF_NOEXIST))
			return -ENOBUFS;
		b = bpf_map_lookup_elem(&bound, &address);
		if (!b)
			return -ENOBUFS;
	}
	if (label->role == MOAT_ROLE_CONTROL && fresh.transport && shares_port(sk))
		datagrams_shared = true;
	release_port(b); /* bind(2) that failed may be tried with another */
	if (port) {
		take_port(b, port);
		return 0;
	}
	if (label->role != MOAT_ROLE_CONTROL) /* those of user code are noted when they listen */
		return 0;
	ports_pending = true;
	if (!bpf_map_update_elem(&pending, &address, &one, BPF_ANY))
		return 0;
	bpf_for_each_map_elem(&pending, settle, &p, 0); /* most have their ports by now */
	return bpf_map_update_elem(&pending, &address, &one, BPF_ANY) ? -ENOBUFS : 0;
}

/* Notes whose a unix socket is. 0 or -ENOMEM. */
static __always_inline int own_socket(struct sock *sk, const struct moat_label *owner)
{
	struct moat_socket *s = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!s)
		return -ENOMEM;
	s->label = *owner;
	return 0;
}

/* Whether user code of one principal may reach a unix socket of another's. */
static __always_inline bool may_reach(const struct moat_label *subject,
				      const struct moat_label *owner)
{
	if (!((subject->flags | owner->flags) & MOAT_LABEL_PER_EXEC))
		return true;
	if (owner->context != subject->context)
		return false;
	return !(owner->flags & MOAT_LABEL_PER_EXEC) ||
	       ((subject->flags & MOAT_LABEL_PER_EXEC) && owner->exec == subject->exec);
}

#endif
