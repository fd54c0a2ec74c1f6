/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Surface: the control plane's ports, where the kernel takes no LSM programs (userspace/agent/enforce/guard.c).
 *
 * Policy: what port.bpf.c and reach.bpf.c say of guarded ports. These programs are attached to the cgroup of all user
 * code, and the kernel asks those of the cgroup that a socket was made in: so whoever asks for one of these sockets
 * is user code, and nobody needs a label. Who made a socket elsewhere is not judged by it.
 *
 * Not here: ports that only a socket of the control plane's has and the configuration does not list, those of
 * other secure execs, unix sockets, packet sockets, and what setsockopt(2) and control messages let forge.
 *
 * The kernel has these hooks for TCP, MPTCP, UDP and ping alone: UDP-Lite asks none where it connects, SCTP, DCCP,
 * L2TP and SMC none at all, and raw sockets write what they like. So of the Internet's sockets there are no others in
 * the control plane's network namespace, and what programs know of kernels without them is EPROTONOSUPPORT.
 *
 * Where the hierarchy has no controllers user code can start a process in the directory above, the instance's own
 * (clone3(2), CLONE_INTO_CGROUP): nobody else lives there, and who does makes no sockets of the Internet's at all. Nor
 * does whoever is where moat-inits and keepers are: who has CAP_SYS_PTRACE may take one of these over.
 *
 * A port that the kernel picks never is a guarded one, see port.bpf.c: but nothing looks at listen(2) here.
 *
 * Hooks: bind4, bind6, connect4, connect6 (MSG_FASTOPEN as well), sendmsg4, sendmsg6 (UDP without connect(2)),
 * sock_create.
 */
#include "local.h"
#include "record.h"
#include "verdict.h"

__u64 instance_cgroup; /* number of that directory; by the agent, before the programs are attached */

enum { REFUSED = 0, ALLOWED = 1 }; /* the answers of these hooks */

/* Commands and moat-inits by their cgroups (moat/abi.h). Only the agent writes it, and makes it where these programs are. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct moat_label);
} execs SEC(".maps");

/* By the cgroup of the running task. */
static __always_inline void describe_exec(struct moat_event *e)
{
	__u64 id = bpf_get_current_cgroup_id();
	const struct moat_label *l = bpf_map_lookup_elem(&execs, &id);

	if (l) {
		e->context = l->context;
		e->exec = l->exec;
	}
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->time_ns = bpf_ktime_get_boot_ns();
}

/* As deny() of verdict.h. Where the errno cannot be set it is EPERM. */
static __always_inline int refuse(__u32 hook, int err, __u32 kind, __u64 object)
{
	const struct moat_settings *s = moat_settings();
	bool enforced = !s || s->mode == MOAT_MODE_ENFORCE;
	struct moat_event e = {
		.hook = hook,
		.err = err,
		.object_kind = kind,
		.object = object,
		.enforced = enforced,
	};

	if (s && s->mode == MOAT_MODE_OFF)
		return ALLOWED;
	count_denial(hook, enforced);
	describe_exec(&e);
	write_record(&e, false);
	if (!enforced)
		return ALLOWED;
	bpf_set_retval(-err);
	return REFUSED;
}

static __always_inline int accept(__u32 hook)
{
	allow(hook);
	return ALLOWED;
}

/* The guarded port that the address has, or NULL; its number is in *ret_number. */
static __always_inline struct moat_port *port_of(struct bpf_sock_addr *ctx, __u16 *ret_number)
{
	struct moat_port_key key = {};

	key.netns = bpf_get_netns_cookie(ctx);
	key.port = __builtin_bswap16((__u16)ctx->user_port);
	*ret_number = key.port;
	return bpf_map_lookup_elem(&ports, &key);
}

static __always_inline int bind_port(struct bpf_sock_addr *ctx, __u32 hook)
{
	__u16 number;

	return port_of(ctx, &number) ? refuse(hook, EADDRINUSE, MOAT_OBJECT_PORT, number) :
				       accept(hook);
}

/* The verifier lets nobody follow a pointer to a socket that it knows: a copy made in memory is a number to it. */
static __always_inline struct net *net_of(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *known = ctx->sk;
	struct sock *sk = NULL;

	bpf_probe_read_kernel(&sk, sizeof(sk), &known);
	return BPF_CORE_READ(sk, __sk_common.skc_net.net);
}

static __always_inline bool is_closed(const struct moat_port *port)
{
	return port && !port->reachable;
}

static __always_inline int reach4(struct bpf_sock_addr *ctx, __u32 hook)
{
	struct net *net;
	__u16 number;

	if (!is_closed(port_of(ctx, &number)))
		return accept(hook);
	net = net_of(ctx);
	if (net && !v4_is_local(net, ctx->user_ip4))
		return accept(hook);
	return refuse(hook, ECONNREFUSED, MOAT_OBJECT_PORT, number);
}

static __always_inline int reach6(struct bpf_sock_addr *ctx, __u32 hook)
{
	__be32 address[4];
	struct net *net;
	__u16 number;

	if (!is_closed(port_of(ctx, &number)))
		return accept(hook);
	address[0] = ctx->user_ip6[0];
	address[1] = ctx->user_ip6[1];
	address[2] = ctx->user_ip6[2];
	address[3] = ctx->user_ip6[3];
	net = net_of(ctx);
	if (net && !v6_is_local(net, address))
		return accept(hook);
	return refuse(hook, ECONNREFUSED, MOAT_OBJECT_PORT, number);
}

/* Not loaded unless the agent chooses them. */
#define CGROUP_HOOK(name, verdict)                                                                 \
	SEC("?cgroup/" #name)                                                                      \
	int moat_cgroup_##name(struct bpf_sock_addr *ctx)                                          \
	{                                                                                          \
		return verdict(ctx, MOAT_HOOK_cgroup_##name);                                      \
	}

CGROUP_HOOK(bind4, bind_port)
CGROUP_HOOK(bind6, bind_port)
CGROUP_HOOK(connect4, reach4)
CGROUP_HOOK(connect6, reach6)
CGROUP_HOOK(sendmsg4, reach4)
CGROUP_HOOK(sendmsg6, reach6)

/* Whether the hooks above are asked about all that such a socket does. */
static __always_inline bool is_asked_about(__u32 type, __u32 protocol)
{
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return true;
	return type != SOCK_RAW &&
	       (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP || protocol == IPPROTO_UDP);
}

SEC("?cgroup/sock_create")
int moat_cgroup_sock_create(struct bpf_sock *ctx)
{
	const struct moat_settings *s = moat_settings();
	__u32 type = ctx->type;

	if (is_asked_about(type, ctx->protocol))
		return ALLOWED;
	if (s && bpf_get_netns_cookie(ctx) != s->netns)
		return accept(MOAT_HOOK_cgroup_sock_create);
	return refuse(MOAT_HOOK_cgroup_sock_create, type == SOCK_RAW ? EPERM : EPROTONOSUPPORT,
		      MOAT_OBJECT_SOCKET, ctx->family);
}

/* Attached to the instance's directory, and so asked about the control plane's sockets as well. */
SEC("?cgroup/sock_create")
int moat_cgroup_astray(struct bpf_sock *ctx)
{
	__u64 id = bpf_get_current_cgroup_id();
	const struct moat_label *l = bpf_map_lookup_elem(&execs, &id);

	if (id != instance_cgroup && (!l || l->role != MOAT_ROLE_INIT))
		return ALLOWED;
	return refuse(MOAT_HOOK_cgroup_sock_create, EPERM, MOAT_OBJECT_SOCKET, ctx->family);
}
