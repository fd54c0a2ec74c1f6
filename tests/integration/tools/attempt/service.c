/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to talk to, or to listen in on, a port of the control plane. */
#include "attempt.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define PROTO_MPTCP 262

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t address_of(int domain, const char *host, uint16_t port, union address *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->any.sa_family = (sa_family_t)domain;
	ret->v4.sin_port = htons(port); /* sin6_port lies at the same place */
	if (domain == AF_INET)
		inet_pton(AF_INET, host, &ret->v4.sin_addr);
	else
		inet_pton(AF_INET6, host, &ret->v6.sin6_addr);
	return domain == AF_INET ? sizeof(ret->v4) : sizeof(ret->v6);
}

static int reach(struct target *t, int domain, int type, int protocol, const char *host)
{
	union address a;
	socklen_t len = address_of(domain, host, t->listener, &a);
	int fd = socket(domain, type | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return errno == EPROTONOSUPPORT ? -NOT_HERE : setup(t, "socket");
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

int attempt_reach_mptcp(struct target *t)
{
	return reach(t, AF_INET, SOCK_STREAM, PROTO_MPTCP, "127.0.0.1");
}

int attempt_reach_udp_connect(struct target *t)
{
	return reach(t, AF_INET, SOCK_DGRAM, 0, "127.0.0.1");
}

static int send_to(struct target *t, int type, int flags)
{
	union address a;
	socklen_t len = address_of(AF_INET, "127.0.0.1", t->listener, &a);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return setup(t, "socket");
	return answered(fd, answer(sendto(fd, "x", 1, flags, &a.any, len)));
}

int attempt_reach_udp_sendto(struct target *t)
{
	return send_to(t, SOCK_DGRAM, 0);
}

int attempt_reach_fastopen(struct target *t)
{
	return send_to(t, SOCK_STREAM, MSG_FASTOPEN);
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
static int include_header(int domain, int protocol, int level, int option)
{
	int one = 1, fd = socket(domain, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return errno == EAFNOSUPPORT ? -NOT_HERE : -errno;
	return answered(fd, answer(setsockopt(fd, level, option, &one, sizeof(one))));
}

int attempt_header_included(struct target *t)
{
	(void)t;
	return include_header(AF_INET, IPPROTO_ICMP, IPPROTO_IP, IP_HDRINCL);
}

int attempt_header_included6(struct target *t)
{
	int r = include_header(AF_INET6, IPPROTO_ICMPV6, IPPROTO_IPV6, 36 /* IPV6_HDRINCL */);

	(void)t;
	return r < 0 ? r : include_header(AF_INET6, IPPROTO_ICMPV6, IPPROTO_RAW, 36);
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
