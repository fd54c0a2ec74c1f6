/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: the control plane's ports. (Reaching them: reach.bpf.c.)
 *
 * Policy: user code cannot bind a guarded port, over any transport, address family or address, in
 * the control plane's network namespace, whether its service runs or not; nor, beside it (SO_REUSEPORT, another
 * address), one that a socket of the control plane's or of another secure exec has, listed or not (socket.h).
 * The answer is EADDRINUSE, what a program expects of a port that is taken. In a network namespace of its own
 * it may. Ports that the kernel picks (autobind) never are guarded ones: the agent reserves those that fall in
 * the ephemeral range, and listen(2) is checked all the same.
 *
 * The address is judged by the family of the socket, not of the address: inet_bind takes AF_UNSPEC
 * for AF_INET, and the port lies at the same place in sockaddr_in and sockaddr_in6.
 *
 * Hooks: socket_bind, sctp_bind_connect, socket_listen.
 */
#include "socket.h"

static __always_inline struct moat_port *guarded_port(const struct sock *sk, __u16 port)
{
	struct moat_port_key key = {};

	key.netns = sk->__sk_common.skc_net.net->net_cookie;
	key.port = port;
	return bpf_map_lookup_elem(&ports, &key);
}

/* port 0: the kernel picks one. */
static __always_inline int use_port(__u32 hook, struct sock *sk, const struct moat_label *label, __u16 port)
{
	bool closed = false;

	if (label->role != MOAT_ROLE_USER)
		;
	else if (port)
		closed = guarded_port(sk, port) ||
			 (is_in_control_netns(sk) && port_is_closed(label, transport_of(sk), port));
	else
		closed = is_in_control_netns(sk) && may_join_by_chance(sk);
	if (closed) {
		int ret = deny(hook, EADDRINUSE, MOAT_OBJECT_PORT, port);

		if (ret)
			return ret;
	}
	if (label->role == MOAT_ROLE_USER)
		allow(hook);
	return is_in_control_netns(sk) ? note_bound(sk, label, port) : 0;
}

/* The running task's, if it is user code or the control plane. */
static __always_inline const struct moat_label *binder(void)
{
	const struct moat_label *l = label_of(bpf_get_current_task_btf());

	return l && (l->role == MOAT_ROLE_USER || l->role == MOAT_ROLE_CONTROL) ? l : NULL;
}

static __always_inline int bind_address(__u32 hook, struct sock *sk, const void *address)
{
	const struct moat_label *label;
	struct sockaddr a = {};

	label = is_inet(sk) ? binder() : NULL;
	if (!label)
		return 0;
	/* a kernel copy, at least 128 bytes long whatever addrlen says (struct sockaddr_storage) */
	if (bpf_probe_read_kernel(&a, sizeof(a), address))
		return label->role == MOAT_ROLE_USER ? deny(hook, EADDRINUSE, MOAT_OBJECT_PORT, 0) : 0;
	return use_port(hook, sk, label, __builtin_bswap16(a.sa_port));
}

/* A socket is then the control plane's although somebody else made it. */
static __always_inline int bind_name(struct sock *sk)
{
	const struct moat_label *l = label_of(bpf_get_current_task_btf());

	return l && l->role == MOAT_ROLE_CONTROL ? own_socket(sk, l) : 0;
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
		return bind_name(sk);
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
	const struct moat_label *subject;
	struct sockaddr a = {};
	struct moat_port *port;
	__u16 number;

	subject = user_subject();
	if (!subject)
		return 0;
	if (bpf_probe_read_kernel(&a, sizeof(a), address))
		return deny(MOAT_HOOK_sctp_bind_connect, ECONNREFUSED, MOAT_OBJECT_PORT, 0);
	number = __builtin_bswap16(a.sa_port);
	port = guarded_port(sk, number);
	if (port ? port->reachable :
		   !is_in_control_netns(sk) || !port_is_closed(subject, transport_of(sk), number))
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

/* What bind(2) was not asked for has its port now, or gets one here. */
SEC("lsm/socket_listen")
int BPF_PROG(moat_socket_listen, struct socket *sock, int backlog, int ret)
{
	const struct moat_label *label;
	struct sock *sk;

	if (ret)
		return ret;
	sk = sock->sk;
	label = sk && is_inet(sk) ? binder() : NULL;
	if (!label)
		return 0;
	return use_port(MOAT_HOOK_socket_listen, sk, label, sk->__sk_common.skc_num);
}
