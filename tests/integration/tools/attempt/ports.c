/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to take a port. */
#include "attempt.h"

#include <sched.h>

#include "inet.h"
#include "uring.h"

#define OPTION_SCTP_BINDX_ADD 100
#define OPTION_LOCAL_PORT_RANGE 51 /* IP_LOCAL_PORT_RANGE, since 6.3 */

enum how { REUSEADDR = 1, REUSEPORT = 2, FREEBIND = 4, V6ONLY = 8, UNSPEC = 16 };

static int bind_as(struct target *t, int domain, int type, int protocol, const char *host, int how)
{
	union address a;
	socklen_t len = address_of(domain, host, t->port, &a);
	int on = 1, off = 0, fd = inet_socket(t, domain, type, protocol);

	if (fd < 0)
		return fd;
	if (how & UNSPEC)
		a.any.sa_family = AF_UNSPEC;
	if (domain == AF_INET6 && protocol != PROTO_SCTP &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, how & V6ONLY ? &on : &off, sizeof(on)) < 0)
		return answered(fd, setup(t, "IPV6_V6ONLY"));
	if ((how & REUSEADDR && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0) ||
	    (how & REUSEPORT && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0))
		return answered(fd, setup(t, "setsockopt"));
	if (how & FREEBIND && setsockopt(fd, SOL_IP, IP_FREEBIND, &on, sizeof(on)) < 0)
		return answered(fd, -errno);
	return answered(fd, answer(bind(fd, &a.any, len)));
}

#define BIND_CASE(name, domain, type, protocol, host, how)                    \
	int attempt_##name(struct target *t)                                  \
	{                                                                     \
		return bind_as(t, domain, type, protocol, host, how);         \
	}

BIND_CASE(bind_tcp4, AF_INET, SOCK_STREAM, 0, "0.0.0.0", 0)
BIND_CASE(bind_tcp4_loopback, AF_INET, SOCK_STREAM, 0, "127.0.0.1", 0)
BIND_CASE(bind_tcp4_specific, AF_INET, SOCK_STREAM, 0, "127.0.0.2", 0)
BIND_CASE(bind_tcp4_foreign, AF_INET, SOCK_STREAM, 0, "192.0.2.1", FREEBIND)
BIND_CASE(bind_tcp4_unspec, AF_INET, SOCK_STREAM, 0, "0.0.0.0", UNSPEC)
BIND_CASE(bind_tcp6, AF_INET6, SOCK_STREAM, 0, "::", 0)
BIND_CASE(bind_tcp6_loopback, AF_INET6, SOCK_STREAM, 0, "::1", 0)
BIND_CASE(bind_tcp6_only, AF_INET6, SOCK_STREAM, 0, "::", V6ONLY)
BIND_CASE(bind_tcp6_mapped, AF_INET6, SOCK_STREAM, 0, "::ffff:127.0.0.1", 0)
BIND_CASE(bind_tcp6_mapped_any, AF_INET6, SOCK_STREAM, 0, "::ffff:0.0.0.0", 0)
BIND_CASE(bind_udp4, AF_INET, SOCK_DGRAM, 0, "0.0.0.0", 0)
BIND_CASE(bind_udp6, AF_INET6, SOCK_DGRAM, 0, "::", 0)
BIND_CASE(bind_udp6_mapped, AF_INET6, SOCK_DGRAM, 0, "::ffff:127.0.0.1", 0)
BIND_CASE(bind_udplite, AF_INET, SOCK_DGRAM, PROTO_UDPLITE, "0.0.0.0", 0)
BIND_CASE(bind_reuseaddr, AF_INET, SOCK_STREAM, 0, "0.0.0.0", REUSEADDR)
BIND_CASE(bind_reuseport, AF_INET, SOCK_STREAM, 0, "0.0.0.0", REUSEADDR | REUSEPORT)
BIND_CASE(bind_reuseport_udp, AF_INET, SOCK_DGRAM, 0, "0.0.0.0", REUSEADDR | REUSEPORT)
BIND_CASE(bind_mptcp, AF_INET, SOCK_STREAM, PROTO_MPTCP, "0.0.0.0", 0)
BIND_CASE(bind_mptcp6, AF_INET6, SOCK_STREAM, PROTO_MPTCP, "::", 0)
BIND_CASE(bind_sctp, AF_INET, SOCK_STREAM, PROTO_SCTP, "0.0.0.0", 0)

int attempt_bind_sctp_bindx(struct target *t)
{
	union address a;
	socklen_t len = address_of(AF_INET, "127.0.0.1", t->port, &a);
	int fd = inet_socket(t, AF_INET, SOCK_STREAM, PROTO_SCTP);

	if (fd < 0)
		return fd;
	return answered(fd, answer(setsockopt(fd, PROTO_SCTP, OPTION_SCTP_BINDX_ADD, &a, len)));
}

int attempt_bind_io_uring(struct target *t)
{
	union address a;
	socklen_t len = address_of(AF_INET, "0.0.0.0", t->port, &a);
	int r, fd = inet_socket(t, AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return fd;
	r = uring_bind(fd, &a.any, len);
	return answered(fd, r == -EINVAL || r == -ENOSYS ? -NOT_HERE : r);
}

/* A socket whose ephemeral range is the one port. */
static int open_narrowed(struct target *t, int type)
{
	uint32_t range = (uint32_t)t->port << 16 | t->port;
	int fd = inet_socket(t, AF_INET, type, 0);

	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_IP, OPTION_LOCAL_PORT_RANGE, &range, sizeof(range)) < 0)
		return answered(fd, errno == ENOPROTOOPT ? -NOT_HERE : setup(t, "IP_LOCAL_PORT_RANGE"));
	return fd;
}

/*
 * The kernel leaves a narrowed range out of account that does not lie in the namespace's own
 * (ip_local_port_range): then some other port was taken, and the attempt was none.
 */
static int took_port(struct target *t, int fd)
{
	union address a;
	socklen_t len = sizeof(a);

	if (getsockname(fd, &a.any, &len) < 0)
		return setup(t, "getsockname");
	errno = ERANGE;
	return ntohs(a.v4.sin_port) == t->port ? 0 : setup(t, "the port is not an ephemeral one");
}

int attempt_listen_autobind(struct target *t)
{
	int r, fd = open_narrowed(t, SOCK_STREAM);

	if (fd < 0)
		return fd;
	r = answer(listen(fd, 1));
	return answered(fd, r < 0 ? r : took_port(t, fd));
}

int attempt_connect_autobind_udp(struct target *t)
{
	union address a;
	socklen_t len = address_of(AF_INET, "127.0.0.1", 9, &a);
	int r, fd = open_narrowed(t, SOCK_DGRAM);

	if (fd < 0)
		return fd;
	r = answer(connect(fd, &a.any, len));
	return answered(fd, r < 0 ? r : took_port(t, fd));
}

int attempt_bind_any_port(struct target *t)
{
	union address a;
	socklen_t len = address_of(AF_INET, "127.0.0.1", 0, &a);
	int r, fd = inet_socket(t, AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return fd;
	r = answer(bind(fd, &a.any, len));
	return answered(fd, r < 0 ? r : answer(listen(fd, 1)));
}

int attempt_bind_own_netns(struct target *t)
{
	if (unshare(CLONE_NEWNET) < 0)
		return setup(t, "unshare(CLONE_NEWNET)");
	return attempt_bind_tcp4(t);
}
