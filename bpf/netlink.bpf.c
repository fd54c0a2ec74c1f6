/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: an interface of user code's in the control plane's network.
 *
 * Policy: user code makes what interfaces it likes in network namespaces of its own user namespace, but
 * no pair (veth, vxcan, netkit) whose other end is to lie elsewhere. Kernels up to 6.18 ask nobody for that
 * other namespace, which a descriptor or a pid names (rtnl_link_get_net() in net/core/rtnetlink.c; 7.2
 * asks), so the other end could be put, up and with an address, beside the control plane's interfaces. It moves
 * the end afterwards instead, for which the kernel asks. The answer is EPERM.
 *
 * Hooks: netlink_send.
 */
#include "verdict.h"

#define STEPS_MAX 1024 /* messages and attributes; a message with more is refused */

/* include/uapi/linux/{netlink,rtnetlink,if_link,veth}.h */
enum {
	NETLINK_ROUTE = 0,
	MESSAGE_HEADER = 16,
	RTM_NEWLINK = 16,
	LINK_HEADER = 16, /* struct ifinfomsg */
	ATTRIBUTE_HEADER = 4,
	ATTRIBUTE_TYPE = 0x3fff,
	IFLA_LINKINFO = 18,
	IFLA_INFO_DATA = 2,
	INFO_PEER = 1, /* of each kind of pair; what others have there is shorter than a LINK_HEADER */
	IFLA_NET_NS_PID = 19,
	IFLA_NET_NS_FD = 28,
};

/* Messages; attributes of a link; of its kind; of a pair; of the other end. */
enum level { MESSAGES, LINK, KIND, PAIR, PEER, LEVELS = 8 };

struct walk {
	struct {
		const unsigned char *at;
		__u64 left;
	} levels[LEVELS];
	__u32 depth;
	__u16 found, done;
};

static __always_inline void descend(struct walk *w, const unsigned char *at, __u32 len, __u32 skip)
{
	__u32 depth = (w->depth + 1) & (LEVELS - 1);

	if (len <= skip)
		return;
	w->levels[depth].at = at + skip;
	w->levels[depth].left = len - skip;
	w->depth = depth;
}

/* Leaves the header behind and what it is of; the length of the latter, or 0. */
static __always_inline __u32 take(struct walk *w, __u32 header, __u32 len)
{
	__u32 depth = w->depth & (LEVELS - 1), whole = (len + 3) & ~3u;

	if (len < header || len > w->levels[depth].left)
		return 0;
	if (whole > w->levels[depth].left)
		whole = w->levels[depth].left;
	w->levels[depth].at += whole;
	w->levels[depth].left -= whole;
	return len;
}

static __always_inline void take_message(struct walk *w)
{
	const unsigned char *at = w->levels[MESSAGES].at;
	struct {
		__u32 len;
		__u16 type, flags;
	} header = {};

	w->done = w->levels[MESSAGES].left < MESSAGE_HEADER ||
		  bpf_probe_read_kernel(&header, sizeof(header), at) ||
		  !take(w, MESSAGE_HEADER, header.len);
	if (!w->done && header.type == RTM_NEWLINK)
		descend(w, at, header.len, MESSAGE_HEADER + LINK_HEADER);
}

static __always_inline void take_attribute(struct walk *w, __u32 depth)
{
	const unsigned char *at = w->levels[depth].at;
	struct {
		__u16 len, type;
	} header = {};

	if (w->levels[depth].left < ATTRIBUTE_HEADER ||
	    bpf_probe_read_kernel(&header, sizeof(header), at) ||
	    !take(w, ATTRIBUTE_HEADER, header.len)) {
		w->depth = depth - 1;
		return;
	}
	header.type &= ATTRIBUTE_TYPE;
	if ((depth == LINK && header.type == IFLA_LINKINFO) ||
	    (depth == KIND && header.type == IFLA_INFO_DATA))
		descend(w, at, header.len, ATTRIBUTE_HEADER);
	else if (depth == PAIR && header.type == INFO_PEER)
		descend(w, at, header.len, ATTRIBUTE_HEADER + LINK_HEADER);
	else if (depth == PEER && (header.type == IFLA_NET_NS_PID || header.type == IFLA_NET_NS_FD))
		w->found = w->done = 1;
}

static long step(__u32 i, struct walk *w)
{
	__u32 depth = w->depth & (LEVELS - 1);

	if (depth == MESSAGES)
		take_message(w);
	else
		take_attribute(w, depth);
	return w->done & 1; /* the verifier wants to see 0 or 1 */
}

static __noinline bool places_peer(struct sk_buff *skb)
{
	__u32 len = BPF_CORE_READ(skb, len);
	/* 0; but the verifier of 6.1, which goes through step() only once, must not know that: it would
	 * take all of the other levels for dead code, and out */
	struct walk w = { .depth = len >> 29 };

	w.levels[MESSAGES].at = BPF_CORE_READ(skb, data);
	w.levels[MESSAGES].left = len;
	bpf_loop(STEPS_MAX, step, &w, 0);
	return w.found || !w.done;
}

SEC("lsm/netlink_send")
int BPF_PROG(moat_netlink_send, struct sock *sk, struct sk_buff *skb, int ret)
{
	if (ret)
		return ret;
	if (!user_subject() || sk->sk_protocol != NETLINK_ROUTE)
		return 0;
	if (!places_peer(skb))
		return allow(MOAT_HOOK_netlink_send);
	return deny(MOAT_HOOK_netlink_send, EPERM, MOAT_OBJECT_SOCKET, AF_NETLINK);
}
