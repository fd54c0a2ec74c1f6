/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: reaching the control plane over a socket.
 *
 * Policy: user code in the control plane's network namespace cannot connect or send to a guarded
 * port of this machine, unless the service says reachable = yes: ECONNREFUSED, as if nobody
 * listened. Ports of the same number elsewhere are not ours. It cannot listen in on the wire either,
 * nor write whole packets, nor use families that get around the hooks: see bypasses_hooks(). Nor can it
 * reach the agent's socket, or a unix socket that the control plane gave an abstract name or that lies in
 * what is protected (protect.h): EPERM.
 *
 * "This machine" is what the kernel's own routes say at that moment: local.h.
 *
 * Hooks: socket_connect, socket_sendmsg (UDP, and MSG_FASTOPEN, which never calls connect),
 * socket_create, socket_setsockopt, unix_stream_connect, unix_may_send.
 */
#include "local.h"
#include "protect.h"

/* What user space passes: an IPv4 or an IPv6 address behind the same port field. */
struct destination {
	__u16 family;
	__u16 port; /* network byte order */
	__be32 v4;  /* sin_addr; of IPv6, the flow label */
	__be32 v6[4];
	__u32 scope;
};

struct search {
	struct list_head *head, *at; /* devices, then addresses of one of them */
	__be32 v4;
	__be32 v6[4];
	__u32 is_v6, found;
	__u64 on_loopback;
	struct in_ifaddr *ifa;
	struct ifacaddr6 *ac;
};

#define entry_of(node, type, member) \
	((type *)((void *)(node)-bpf_core_field_offset(type, member)))

/* BPF_CORE_READ() would relocate our own struct search as well: its argument is no plain variable. */
static __always_inline struct list_head *next_of(struct list_head *node)
{
	return BPF_CORE_READ(node, next);
}

static __always_inline bool same_v6(const struct search *s, const __be32 a[4])
{
	return a[0] == s->v6[0] && a[1] == s->v6[1] && a[2] == s->v6[2] && a[3] == s->v6[3];
}

static long match_v6(__u32 i, struct search *s)
{
	struct inet6_ifaddr *ifa;
	__be32 a[4];

	if (!s->at || s->at == s->head)
		return 1;
	ifa = entry_of(s->at, struct inet6_ifaddr, if_list);
	BPF_CORE_READ_INTO(&a, ifa, addr.in6_u.u6_addr32);
	if (same_v6(s, a)) {
		s->found = 1;
		return 1;
	}
	s->at = next_of(s->at);
	return 0;
}

static long match_anycast(__u32 i, struct search *s)
{
	struct ifacaddr6 *ac = s->ac;
	__be32 a[4];

	if (!ac)
		return 1;
	BPF_CORE_READ_INTO(&a, ac, aca_addr.in6_u.u6_addr32);
	if (same_v6(s, a)) {
		s->found = 1;
		return 1;
	}
	s->ac = BPF_CORE_READ(ac, aca_next);
	return 0;
}

/* Of the net of an address also broadcasts are this machine's, and on the loopback device all of it
 * (fib_add_ifaddr() in net/ipv4/fib_frontend.c). */
static __always_inline bool is_of_net(struct search *s, struct in_ifaddr *ifa)
{
	__be32 mask = BPF_CORE_READ(ifa, ifa_mask), host = s->v4 & ~mask;

	if ((s->v4 ^ BPF_CORE_READ(ifa, ifa_address)) & mask)
		return false;
	return s->on_loopback || !host || host == ~mask;
}

static long match_v4(__u32 i, struct search *s)
{
	struct in_ifaddr *ifa = s->ifa;

	if (!ifa)
		return 1;
	if (BPF_CORE_READ(ifa, ifa_local) == s->v4 || BPF_CORE_READ(ifa, ifa_broadcast) == s->v4 ||
	    is_of_net(s, ifa)) {
		s->found = 1;
		return 1;
	}
	s->ifa = BPF_CORE_READ(ifa, ifa_next);
	return 0;
}

static long match_device(__u32 i, struct search *s)
{
	struct net_device *dev;
	struct search inner = *s;

	if (!s->at || s->at == s->head)
		return 1;
	dev = entry_of(s->at, struct net_device, dev_list);
	if (s->is_v6) {
		struct inet6_dev *in6 = BPF_CORE_READ(dev, ip6_ptr);

		inner.head = (void *)in6 + bpf_core_field_offset(struct inet6_dev, addr_list);
		inner.at = in6 ? BPF_CORE_READ(in6, addr_list.next) : NULL;
		inner.ac = in6 ? BPF_CORE_READ(in6, ac_list) : NULL;
		bpf_loop(ADDRESSES_MAX, match_v6, &inner, 0);
		inner.found |= inner.at && inner.at != inner.head; /* too many to tell */
		bpf_loop(ADDRESSES_MAX, match_anycast, &inner, 0);
		inner.found |= inner.ac != NULL;
	} else {
		struct in_device *in = BPF_CORE_READ(dev, ip_ptr);

		inner.on_loopback = BPF_CORE_READ(dev, flags) & IFF_LOOPBACK;
		inner.ifa = in ? BPF_CORE_READ(in, ifa_list) : NULL;
		bpf_loop(ADDRESSES_MAX, match_v4, &inner, 0);
		inner.found |= inner.ifa != NULL;
	}
	s->found = inner.found;
	s->at = next_of(s->at);
	return s->found & 1; /* the verifier wants to see 0 or 1 */
}

static __always_inline bool is_assigned(struct net *net, struct search *s)
{
	s->head = (void *)net + bpf_core_field_offset(struct net, dev_base_head);
	s->at = next_of(s->head);
	bpf_loop(DEVICES_MAX, match_device, s, 0);
	return s->found || s->at != s->head;
}

/* Any, loopback, multicast, limited broadcast: without asking the devices. */
static __always_inline bool v4_is_local(struct net *net, __be32 address)
{
	struct search s = { .v4 = address };
	__u32 a = __builtin_bswap32(address);

	if (a == 0 || (a >> 24) == 127 || (a >> 28) == 14 || a == 0xffffffff)
		return true;
	return is_assigned(net, &s);
}

static __always_inline bool v6_is_local(struct net *net, const __be32 a[4])
{
	struct search s = { .is_v6 = 1 };

	if (!a[0] && !a[1] && a[2] == __builtin_bswap32(0xffff))
		return v4_is_local(net, a[3]);
	if (!a[0] && !a[1] && !a[2] && (!a[3] || a[3] == __builtin_bswap32(1)))
		return true;
	if ((__builtin_bswap32(a[0]) >> 24) == 0xff)
		return true;
	__builtin_memcpy(s.v6, a, sizeof(s.v6));
	return is_assigned(net, &s);
}

/* The one question of this file; only a port that is closed costs more than a few look-ups. */
static __noinline int reach_port(__u32 hook, struct sock *sk, const void *address)
{
	struct moat_port_key key = {};
	struct destination d = {};
	struct moat_port *port;
	struct net *net;
	bool local;

	if (bpf_probe_read_kernel(&d, sizeof(d), address))
		return deny(hook, ECONNREFUSED, MOAT_OBJECT_PORT, 0);
	net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	key.netns = BPF_CORE_READ(net, net_cookie);
	key.port = __builtin_bswap16(d.port);
	port = bpf_map_lookup_elem(&ports, &key);
	if (!port || port->reachable)
		return allow(hook);
	/* an IPv6 socket takes IPv4 addresses only as mapped ones, whatever the family says */
	local = d.family == AF_INET6 ? v6_is_local(net, d.v6) : v4_is_local(net, d.v4);
	return local ? deny(hook, ECONNREFUSED, MOAT_OBJECT_PORT, key.port) : allow(hook);
}

SEC("lsm/socket_connect")
int BPF_PROG(moat_socket_connect, struct socket *sock, struct sockaddr *address, int addrlen,
	     int ret)
{
	struct sock *sk;

	if (ret)
		return ret;
	sk = sock->sk;
	if (!sk || !is_inet(sk) || !user_subject())
		return 0;
	return reach_port(MOAT_HOOK_socket_connect, sk, address);
}

static __always_inline int use_packets(__u32 hook, const struct net *net, __u64 object)
{
	const struct moat_settings *s = moat_settings();

	if (s && net->net_cookie != s->netns)
		return allow(hook);
	return deny(hook, EPERM, MOAT_OBJECT_SOCKET, object);
}

/*
 * A route that the packet is to take, beside the address (ip_cmsg_send(), ip6_datagram_send_ctl()). The
 * kernel's own copy of the messages is read. A mark (SO_MARK) takes a capability: machine.bpf.c.
 */
#define MESSAGES_MAX 1024

struct control {
	const void *at;
	__u64 left;
	__u32 astray, pad;
};

static long read_control(__u32 i, struct control *c)
{
	struct {
		__u64 len; /* of header and data */
		__s32 level, type;
	} header;

	if (c->left < sizeof(header))
		return 1;
	c->astray = 1;
	if (bpf_probe_read_kernel(&header, sizeof(header), c->at))
		return 1;
	if ((header.level == SOL_IP && header.type == IP_RETOPTS) ||
	    (header.level == SOL_IPV6 &&
	     (header.type == IPV6_RTHDR || header.type == IPV6_2292RTHDR)))
		return 1;
	c->astray = 0;
	header.len = (header.len + 7) & ~7ull;
	if (header.len < sizeof(header) || header.len > c->left) /* the kernel looks no further either */
		return 1;
	c->at += header.len;
	c->left -= header.len;
	return 0;
}

static __noinline bool is_sent_astray(const void *control, __u64 len)
{
	struct control c = { .at = control, .left = len };

	return bpf_loop(MESSAGES_MAX, read_control, &c, 0) == MESSAGES_MAX || c.astray;
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(moat_socket_sendmsg, struct socket *sock, struct msghdr *msg, int size, int ret)
{
	struct sock *sk;

	if (ret)
		return ret;
	if (!msg->msg_name && !msg->msg_controllen)
		return 0;
	sk = sock->sk;
	if (!sk || !is_inet(sk) || !user_subject())
		return 0;
	if (msg->msg_controllen && is_sent_astray(msg->msg_control, msg->msg_controllen)) {
		ret = use_packets(MOAT_HOOK_socket_sendmsg, sk->__sk_common.skc_net.net,
				  sk->__sk_common.skc_family);
		if (ret)
			return ret;
	}
	if (!msg->msg_name)
		return 0;
	return reach_port(MOAT_HOOK_socket_sendmsg, sk, msg->msg_name);
}

/*
 * Netlink where the kernel itself tells or is told about the whole machine: process events (they tell
 * pids), device events (whoever may forge them has an udevd act), SCSI.
 */
static __always_inline bool is_of_machine(int protocol)
{
	return protocol == NETLINK_CONNECTOR || protocol == NETLINK_KOBJECT_UEVENT ||
	       protocol == NETLINK_ISCSI || protocol == NETLINK_SCSITRANSPORT;
}

/*
 * Sockets that read or write whole packets (packet and XDP sockets; raw ones but for ping), and
 * families that bind and connect TCP or UDP sockets of their own inside the kernel, where no hook is
 * asked.
 */
static __always_inline bool bypasses_hooks(int family, int type, int protocol)
{
	switch (family) {
	case AF_PACKET:
	case AF_RDS:
	case AF_TIPC:
	case AF_RXRPC:
	case AF_SMC:
	case AF_XDP:
		return true;
	case AF_NETLINK:
		return is_of_machine(protocol);
	case AF_INET:
	case AF_INET6:
		return type == SOCK_RAW && protocol != IPPROTO_ICMP && protocol != IPPROTO_ICMPV6;
	default:
		return false;
	}
}

SEC("lsm/socket_create")
int BPF_PROG(moat_socket_create, int family, int type, int protocol, int kern, int ret)
{
	struct task_struct *task;

	if (ret)
		return ret;
	if (kern || !bypasses_hooks(family, type, protocol) || !user_subject())
		return 0;
	task = bpf_get_current_task_btf();
	return use_packets(MOAT_HOOK_socket_create, task->nsproxy->net_ns, family);
}

/*
 * What lets a socket speak from an address that is not its own, receive what is for another, or send its packets
 * elsewhere than connect(2) was asked about (ip(7), ipv6(7), socket(7)); one for ping writes with IP_HDRINCL
 * whole packets, of whatever protocol.
 */
static __always_inline bool forges(int level, int option)
{
	switch (level) {
	case SOL_SOCKET:
		return option == SO_MARK || option == SO_BINDTODEVICE || option == SO_BINDTOIFINDEX;
	case SOL_IP:
		return option == IP_HDRINCL || option == IP_TRANSPARENT || option == IP_FREEBIND ||
		       option == IP_OPTIONS || option == IP_RECVORIGDSTADDR;
	case SOL_IPV6:
		return option == IPV6_HDRINCL || option == IPV6_TRANSPARENT ||
		       option == IPV6_FREEBIND || option == IPV6_RTHDR ||
		       option == IPV6_2292PKTOPTIONS || option == IPV6_RECVORIGDSTADDR;
	case SOL_RAW:
		return option == IPV6_HDRINCL;
	default:
		return false;
	}
}

SEC("lsm/socket_setsockopt")
int BPF_PROG(moat_socket_setsockopt, struct socket *sock, int level, int optname, int ret)
{
	struct sock *sk;

	if (ret)
		return ret;
	if (!forges(level, optname))
		return 0;
	sk = sock->sk;
	if (!sk || !is_inet(sk) || !user_subject())
		return 0;
	return use_packets(MOAT_HOOK_socket_setsockopt, sk->__sk_common.skc_net.net,
			   sk->__sk_common.skc_family);
}

/* Whether it is a file that user code may not write: connecting to it takes the same (unix(7)). */
static __always_inline bool is_protected_socket(struct sock *sk)
{
	struct dentry *entry = BPF_CORE_READ((struct unix_sock *)sk, path.dentry);
	struct inode *inode = entry ? BPF_CORE_READ(entry, d_inode) : NULL;

	return inode && may_be_protected(inode) && inode_is_protected(inode);
}

static __always_inline int reach_socket(__u32 hook, struct sock *other)
{
	struct moat_socket *s;

	if (!user_subject())
		return 0;
	s = bpf_sk_storage_get(&sockets, other, 0, 0);
	if ((s && s->guarded) || is_protected_socket(other))
		return deny(hook, EPERM, MOAT_OBJECT_SOCKET, 0);
	return allow(hook);
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(moat_unix_stream_connect, struct sock *sock, struct sock *other, struct sock *newsk,
	     int ret)
{
	return ret ? ret : reach_socket(MOAT_HOOK_unix_stream_connect, other);
}

SEC("lsm/unix_may_send")
int BPF_PROG(moat_unix_may_send, struct socket *sock, struct socket *other, int ret)
{
	struct sock *sk;

	if (ret)
		return ret;
	sk = other->sk;
	return sk ? reach_socket(MOAT_HOOK_unix_may_send, sk) : 0;
}
