/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: reaching the control plane over a socket.
 *
 * Policy: user code in the control plane's network namespace cannot connect or send to a guarded
 * port of this machine, unless the service says reachable, nor to one that a socket of the control plane's
 * has, listed or not, or one of another secure exec (socket.h): ECONNREFUSED, as if nobody
 * listened. Ports of the same number elsewhere are not ours. It cannot listen in on the wire either,
 * nor write whole packets, speak from addresses that are not its own, nor use families that get around the
 * hooks: see bypasses_hooks() and forges(). Of unix sockets it reaches user code's (socket.h) and those that the
 * configuration names: EPERM.
 *
 * "This machine" is what the kernel's own routes say at that moment: local.h.
 *
 * Hooks: socket_connect, socket_sendmsg (UDP, and MSG_FASTOPEN, which never calls connect),
 * socket_create, socket_setsockopt, unix_stream_connect, unix_may_send.
 */
#include "local.h"
#include "protect.h"
#include "socket.h"

/* What user space passes: an IPv4 or an IPv6 address behind the same port field. */
struct destination {
	__u16 family;
	__u16 port; /* network byte order */
	__be32 v4;  /* sin_addr; of IPv6, the flow label */
	__be32 v6[4];
	__u32 scope;
};

/* The kernel picks a port for what connects or sends without one. */
static __always_inline int take_any_port(__u32 hook, struct sock *sk)
{
	if (!BPF_CORE_READ(sk, __sk_common.skc_num) && may_join_by_chance(sk) &&
	    is_in_control_netns(sk))
		return deny(hook, EADDRINUSE, MOAT_OBJECT_PORT, 0);
	return allow(hook);
}

/* The one question of this file; only a port that is closed costs more than a few look-ups. */
static __noinline int reach_port(__u32 hook, struct sock *sk, const void *address)
{
	const struct moat_label *subject = user_subject();
	struct moat_port_key key = {};
	struct destination d = {};
	struct moat_port *port;
	struct net *net;
	bool local;

	if (!subject)
		return 0;
	if (bpf_probe_read_kernel(&d, sizeof(d), address))
		return deny(hook, ECONNREFUSED, MOAT_OBJECT_PORT, 0);
	net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	key.netns = BPF_CORE_READ(net, net_cookie);
	key.port = __builtin_bswap16(d.port);
	port = bpf_map_lookup_elem(&ports, &key);
	if (port ? port->reachable :
		   !is_in_control_netns(sk) || !port_is_closed(subject, transport_of(sk), key.port))
		return take_any_port(hook, sk);
	/* an IPv6 socket takes IPv4 addresses only as mapped ones, whatever the family says */
	local = d.family == AF_INET6 ? v6_is_local(net, d.v6) : v4_is_local(net, d.v4);
	return local ? deny(hook, ECONNREFUSED, MOAT_OBJECT_PORT, key.port) : take_any_port(hook, sk);
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
	struct place place;

	if (!inode)
		return false;
	place = place_of(inode);
	return place.flags && inode_is_protected(inode, place);
}

/* The name that it was bound to is one that the configuration opens. */
static __noinline bool is_open_name(struct unix_address *address)
{
	struct moat_socket_name name = {};
	int len = BPF_CORE_READ(address, len) - (int)sizeof(__u16);
	const void *path = (void *)address + bpf_core_field_offset(struct unix_address, name) +
			   bpf_core_field_offset(struct sockaddr_un, sun_path);

	if (len < 1 || len > (int)sizeof(name.path) + 1)
		return false;
	bpf_probe_read_kernel(name.path, 1, path);
	if (name.path[0]) {
		bpf_probe_read_kernel_str(name.path, sizeof(name.path), path);
	} else {
		barrier_var(len);
		if (len < 1 || len > (int)sizeof(name.path))
			return false;
		bpf_probe_read_kernel(name.path, len, path);
	}
	return bpf_map_lookup_elem(&socket_names, &name);
}

/*
 * Sockets that are neither user code's nor opened by the configuration are closed, the control plane's and
 * those of the rest of the machine alike. Not those without a name: who can send to them was handed an end of
 * a pair; nor those that have connected to the subject's own and so ask for an answer.
 */
static __always_inline bool socket_is_closed(const struct moat_label *subject, struct sock *own,
					     struct sock *other)
{
	struct moat_socket *s = bpf_sk_storage_get(&sockets, other, 0, 0);
	struct unix_address *address;

	if (s && s->guarded)
		return true;
	if (s && s->label.role == MOAT_ROLE_USER)
		return !may_reach(subject, &s->label) || is_protected_socket(other);
	address = BPF_CORE_READ((struct unix_sock *)other, addr);
	if (!address || BPF_CORE_READ((struct unix_sock *)other, peer) == own)
		return false;
	return !is_open_name(address);
}

static __always_inline int reach_socket(__u32 hook, struct sock *own, struct sock *other)
{
	const struct moat_label *subject = user_subject();

	if (!subject)
		return 0;
	if (socket_is_closed(subject, own, other))
		return deny(hook, EPERM, MOAT_OBJECT_SOCKET, 0);
	return allow(hook);
}

HOOK(unix_stream_connect, reach_socket(hook, sock, other), struct sock *sock, struct sock *other,
     struct sock *newsk)

SEC("lsm/unix_may_send")
int BPF_PROG(moat_unix_may_send, struct socket *sock, struct socket *other, int ret)
{
	struct sock *sk;

	if (ret)
		return ret;
	sk = other->sk;
	return sk ? reach_socket(MOAT_HOOK_unix_may_send, sock->sk, sk) : 0;
}
