/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: the control plane's ports. (Reaching them: reach.bpf.c.)
 *
 * Policy: user code cannot bind a guarded port, over any transport, address family or address, in
 * the control plane's network namespace, whether its service runs or not. The answer is EADDRINUSE,
 * what a program expects of a port that is taken. In a network namespace of its own it may. Ports
 * that the kernel picks (autobind) never are guarded ones: the agent reserves those that fall in
 * the ephemeral range, and listen(2) is checked all the same.
 *
 * The address is judged by the family of the socket, not of the address: inet_bind takes AF_UNSPEC
 * for AF_INET, and the port lies at the same place in sockaddr_in and sockaddr_in6.
 *
 * A unix socket with an abstract name, which has no file and so no permissions, is guarded as soon as the
 * control plane binds it (reach.bpf.c refuses to connect).
 *
 * Hooks: socket_bind, sctp_bind_connect, socket_listen.
 */
#include "verdict.h"

static __always_inline struct moat_port *guarded_port(const struct sock *sk, __u16 port)
{
	struct moat_port_key key = {};

	key.netns = sk->__sk_common.skc_net.net->net_cookie;
	key.port = port;
	return bpf_map_lookup_elem(&ports, &key);
}

static __always_inline int use_port(__u32 hook, const struct sock *sk, __u16 port)
{
	if (!port || !guarded_port(sk, port))
		return allow(hook);
	return deny(hook, EADDRINUSE, MOAT_OBJECT_PORT, port);
}

static __always_inline int bind_address(__u32 hook, const struct sock *sk, const void *address)
{
	struct sockaddr a = {};

	if (!is_inet(sk) || !user_subject())
		return 0;
	/* a kernel copy, at least 128 bytes long whatever addrlen says (struct sockaddr_storage) */
	if (bpf_probe_read_kernel(&a, sizeof(a), address))
		return deny(hook, EADDRINUSE, MOAT_OBJECT_PORT, 0);
	return use_port(hook, sk, __builtin_bswap16(a.sa_port));
}

/* unix(7): a name that begins with a zero byte, or none, for which the kernel picks an abstract one. */
static __always_inline int guard_abstract(struct sock *sk, const void *address, int addrlen)
{
	const struct moat_label *l = label_of(bpf_get_current_task_btf());
	struct moat_socket *s;
	char first = 0;

	if (!l || l->role != MOAT_ROLE_CONTROL)
		return 0;
	if (addrlen > (int)sizeof(__u16))
		bpf_probe_read_kernel(&first, sizeof(first), address + sizeof(__u16));
	if (first)
		return 0;
	s = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!s)
		return -ENOMEM;
	s->guarded = 1;
	return 0;
}

SEC("lsm/socket_bind")
int BPF_PROG(moat_socket_bind, struct socket *sock, struct sockaddr *address, int addrlen, int ret)
{
	struct sock *sk;

	if (ret)
		return ret;
	sk = sock->sk;
	if (!sk)
		return 0;
	if (sk->__sk_common.skc_family == AF_UNIX)
		return guard_abstract(sk, address, addrlen);
	return bind_address(MOAT_HOOK_socket_bind, sk, address);
}

/*
 * sctp_bindx(3), sctp_connectx(3) and sctp_sendmsg(3) may bring several addresses, but an endpoint has
 * one port, and so has its peer: the kernel refuses an address whose port differs from that of the
 * first (sctp_do_bind(), __sctp_connect() in net/sctp/socket.c), so the first one's port decides. A
 * guarded port is refused as a peer's at any address, since those after the first are not looked at.
 */
enum { /* include/uapi/linux/sctp.h */
	SCTP_SOCKOPT_BINDX_ADD = 100,
	SCTP_SOCKOPT_CONNECTX = 110,
	SCTP_SENDMSG_CONNECT = 126,
};

static __always_inline int connect_peer(const struct sock *sk, const void *address)
{
	struct sockaddr a = {};
	struct moat_port *port;
	__u16 number;

	if (!user_subject())
		return 0;
	if (bpf_probe_read_kernel(&a, sizeof(a), address))
		return deny(MOAT_HOOK_sctp_bind_connect, ECONNREFUSED, MOAT_OBJECT_PORT, 0);
	number = __builtin_bswap16(a.sa_port);
	port = guarded_port(sk, number);
	if (!port || port->reachable)
		return allow(MOAT_HOOK_sctp_bind_connect);
	return deny(MOAT_HOOK_sctp_bind_connect, ECONNREFUSED, MOAT_OBJECT_PORT, number);
}

SEC("lsm/sctp_bind_connect")
int BPF_PROG(moat_sctp_bind_connect, struct sock *sk, int optname, struct sockaddr *address,
	     int addrlen, int ret)
{
	if (ret)
		return ret;
	switch (optname) {
	case SCTP_SOCKOPT_BINDX_ADD:
		return bind_address(MOAT_HOOK_sctp_bind_connect, sk, address);
	case SCTP_SOCKOPT_CONNECTX:
	case SCTP_SENDMSG_CONNECT:
		return connect_peer(sk, address);
	default: /* primary addresses of associations that are there */
		return 0;
	}
}

SEC("lsm/socket_listen")
int BPF_PROG(moat_socket_listen, struct socket *sock, int backlog, int ret)
{
	struct sock *sk;

	if (ret)
		return ret;
	sk = sock->sk;
	if (!sk || !is_inet(sk) || !user_subject())
		return 0;
	return use_port(MOAT_HOOK_socket_listen, sk, sk->__sk_common.skc_num);
}
