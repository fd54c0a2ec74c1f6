/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to talk to, or to listen in on, a port of the control plane. */
#include "attempt.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <netinet/in.h>

#include "inet.h"
#include "uring.h"

#define OPTION_SCTP_CONNECTX 110

static int reach(struct target *t, int domain, int type, int protocol, const char *host)
{
	union address a;
	socklen_t len = address_of(domain, host, t->listener, &a);
	int fd = inet_socket(t, domain, type, protocol);

	if (fd < 0)
		return fd;
	return answered(fd, answer(connect(fd, &a.any, len)));
}

/* An address of this machine that is no loopback address. */
static int own_address(struct target *t, char host[INET_ADDRSTRLEN])
{
	struct ifaddrs *list;
	int r = -NOT_HERE;

	if (getifaddrs(&list) < 0)
		return setup(t, "getifaddrs");
	for (struct ifaddrs *i = list; i && r < 0; i = i->ifa_next) {
		struct sockaddr_in *a = (struct sockaddr_in *)i->ifa_addr;

		if (!a || a->sin_family != AF_INET || ntohl(a->sin_addr.s_addr) >> 24 == 127)
			continue;
		inet_ntop(AF_INET, &a->sin_addr, host, INET_ADDRSTRLEN);
		r = 0;
	}
	freeifaddrs(list);
	return r;
}

int attempt_reach_tcp4(struct target *t)
{
	return reach(t, AF_INET, SOCK_STREAM, 0, "127.0.0.1");
}

int attempt_reach_tcp4_other_loopback(struct target *t)
{
	return reach(t, AF_INET, SOCK_STREAM, 0, "127.3.2.1");
}

int attempt_reach_tcp4_any(struct target *t)
{
	return reach(t, AF_INET, SOCK_STREAM, 0, "0.0.0.0");
}

int attempt_reach_tcp4_own_address(struct target *t)
{
	char host[INET_ADDRSTRLEN];
	int r = own_address(t, host);

	return r < 0 ? r : reach(t, AF_INET, SOCK_STREAM, 0, host);
}

int attempt_reach_tcp6_mapped(struct target *t)
{
	return reach(t, AF_INET6, SOCK_STREAM, 0, "::ffff:127.0.0.1");
}

int attempt_reach_tcp6_loopback(struct target *t)
{
	return reach(t, AF_INET6, SOCK_STREAM, 0, "::1");
}

int attempt_reach_tcp6_any(struct target *t)
{
	return reach(t, AF_INET6, SOCK_STREAM, 0, "::");
}

int attempt_reach_mptcp(struct target *t)
{
	return reach(t, AF_INET, SOCK_STREAM, PROTO_MPTCP, "127.0.0.1");
}

int attempt_reach_mptcp6(struct target *t)
{
	return reach(t, AF_INET6, SOCK_STREAM, PROTO_MPTCP, "::1");
}

int attempt_reach_udp_connect(struct target *t)
{
	return reach(t, AF_INET, SOCK_DGRAM, 0, "127.0.0.1");
}

int attempt_reach_udp6_connect(struct target *t)
{
	return reach(t, AF_INET6, SOCK_DGRAM, 0, "::1");
}

/* Nobody need listen: the kernel says at once that it is trying. */
int attempt_reach_sctp(struct target *t)
{
	int r = reach(t, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, PROTO_SCTP, "127.0.0.1");

	return r == -EINPROGRESS ? 0 : r;
}

int attempt_reach_sctp_connectx(struct target *t)
{
	union address a;
	socklen_t len = address_of(AF_INET, "127.0.0.1", t->listener, &a);
	int r, fd = inet_socket(t, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, PROTO_SCTP);

	if (fd < 0)
		return fd;
	r = answer(setsockopt(fd, PROTO_SCTP, OPTION_SCTP_CONNECTX, &a, len));
	return answered(fd, r == -EINPROGRESS ? 0 : r);
}

/* as: the family that the address claims to be of */
static int send_to(struct target *t, int domain, int type, int flags, const char *host, int as)
{
	union address a;
	socklen_t len = address_of(strchr(host, ':') ? AF_INET6 : AF_INET, host, t->listener, &a);
	int fd = inet_socket(t, domain, type, 0);

	if (fd < 0)
		return fd;
	a.any.sa_family = (sa_family_t)as;
	return answered(fd, answer(sendto(fd, "x", 1, flags, &a.any, len)));
}

int attempt_reach_udp_sendto(struct target *t)
{
	return send_to(t, AF_INET, SOCK_DGRAM, 0, "127.0.0.1", AF_INET);
}

int attempt_reach_udp_sendto_unspec(struct target *t)
{
	return send_to(t, AF_INET, SOCK_DGRAM, 0, "127.0.0.1", AF_UNSPEC);
}

int attempt_reach_udp6_sendto(struct target *t)
{
	return send_to(t, AF_INET6, SOCK_DGRAM, 0, "::1", AF_INET6);
}

int attempt_reach_udp6_sendto_mapped(struct target *t)
{
	return send_to(t, AF_INET6, SOCK_DGRAM, 0, "::ffff:127.0.0.1", AF_INET6);
}

int attempt_reach_udp6_sendto_v4(struct target *t)
{
	return send_to(t, AF_INET6, SOCK_DGRAM, 0, "127.0.0.1", AF_INET);
}

int attempt_reach_fastopen(struct target *t)
{
	return send_to(t, AF_INET, SOCK_STREAM, MSG_FASTOPEN, "127.0.0.1", AF_INET);
}

int attempt_reach_fastopen6(struct target *t)
{
	return send_to(t, AF_INET6, SOCK_STREAM, MSG_FASTOPEN, "::1", AF_INET6);
}

static int connect_by_uring(struct target *t, bool in_worker)
{
	union address a;
	socklen_t len = address_of(AF_INET, "127.0.0.1", t->listener, &a);
	int r, fd = inet_socket(t, AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return fd;
	r = uring_connect(fd, &a.any, len, in_worker);
	return answered(fd, r == -ENOSYS ? -NOT_HERE : r);
}

int attempt_reach_io_uring_connect(struct target *t)
{
	return connect_by_uring(t, false);
}

int attempt_reach_io_uring_worker(struct target *t)
{
	return connect_by_uring(t, true);
}

int attempt_reach_io_uring_sendmsg(struct target *t)
{
	union address a;
	char byte = 0;
	struct iovec data = { &byte, sizeof(byte) };
	struct msghdr msg = { .msg_name = &a, .msg_iov = &data, .msg_iovlen = 1 };
	int r, fd = inet_socket(t, AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		return fd;
	msg.msg_namelen = address_of(AF_INET, "127.0.0.1", t->listener, &a);
	r = uring_sendmsg(fd, &msg);
	return answered(fd, r == -ENOSYS ? -NOT_HERE : r);
}

int attempt_reach_packet(struct target *t)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));

	(void)t;
	return fd < 0 ? -errno : answered(fd, 0);
}

static int make_socket(int domain, int type, int protocol)
{
	int fd = socket(domain, type | SOCK_CLOEXEC, protocol);

	if (fd < 0 && (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT))
		return -NOT_HERE;
	return fd < 0 ? -errno : answered(fd, 0);
}

int attempt_reach_raw(struct target *t)
{
	(void)t;
	return make_socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
}

/* Binds and connects a TCP socket of its own inside the kernel. */
int attempt_reach_smc(struct target *t)
{
	(void)t;
	return make_socket(AF_SMC, SOCK_STREAM, 0);
}

int attempt_ping_socket(struct target *t)
{
	(void)t;
	return make_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

/* Whole packets of any protocol, by a socket that is for ping. */
static int set_option(int domain, int protocol, int level, int option)
{
	int one = 1, fd = socket(domain, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return errno == EAFNOSUPPORT ? -NOT_HERE : -errno;
	return answered(fd, answer(setsockopt(fd, level, option, &one, sizeof(one))));
}

int attempt_header_included(struct target *t)
{
	(void)t;
	return set_option(AF_INET, IPPROTO_ICMP, IPPROTO_IP, IP_HDRINCL);
}

int attempt_header_included6(struct target *t)
{
	int r = set_option(AF_INET6, IPPROTO_ICMPV6, IPPROTO_IPV6, 36 /* IPV6_HDRINCL */);

	(void)t;
	return r < 0 ? r : set_option(AF_INET6, IPPROTO_ICMPV6, IPPROTO_RAW, 36);
}

/* Whose address it is, it would say itself: router advertisements. */
int attempt_transparent6(struct target *t)
{
	(void)t;
	return set_option(AF_INET6, IPPROTO_ICMPV6, IPPROTO_IPV6, 75 /* IPV6_TRANSPARENT */);
}

int attempt_process_events(struct target *t)
{
	(void)t;
	return make_socket(AF_NETLINK, SOCK_DGRAM, NETLINK_CONNECTOR);
}

int attempt_device_events(struct target *t)
{
	(void)t;
	return make_socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT);
}

int attempt_route_socket(struct target *t)
{
	(void)t;
	return make_socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
}
