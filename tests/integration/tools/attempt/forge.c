/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to speak in the name of another: of another machine, by packets, or of another process, by credentials. */
#include "attempt.h"

#include <netinet/in.h>

#include "inet.h"
#include "uring.h"

#ifndef IPV6_2292PKTOPTIONS
#define IPV6_2292PKTOPTIONS 6
#endif

static int set(struct target *t, int domain, int type, int level, int option, const void *value, socklen_t len)
{
	int fd = inet_socket(t, domain, type, 0);

	return fd < 0 ? fd : answered(fd, answer(setsockopt(fd, level, option, value, len)));
}

static int set_one(struct target *t, int domain, int type, int level, int option)
{
	int one = 1;

	return set(t, domain, type, level, option, &one, sizeof(one));
}

int attempt_transparent_udp(struct target *t)
{
	return set_one(t, AF_INET, SOCK_DGRAM, SOL_IP, IP_TRANSPARENT);
}

int attempt_transparent_tcp(struct target *t)
{
	return set_one(t, AF_INET, SOCK_STREAM, SOL_IP, IP_TRANSPARENT);
}

int attempt_transparent_udp6(struct target *t)
{
	return set_one(t, AF_INET6, SOCK_DGRAM, SOL_IPV6, 75 /* IPV6_TRANSPARENT */);
}

int attempt_freebind(struct target *t)
{
	return set_one(t, AF_INET, SOCK_DGRAM, SOL_IP, IP_FREEBIND);
}

int attempt_freebind6(struct target *t)
{
	return set_one(t, AF_INET6, SOCK_STREAM, SOL_IPV6, 78 /* IPV6_FREEBIND */);
}

int attempt_original_destination(struct target *t)
{
	return set_one(t, AF_INET, SOCK_STREAM, SOL_IP, 20 /* IP_RECVORIGDSTADDR */);
}

int attempt_packet_mark(struct target *t)
{
	return set_one(t, AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_MARK);
}

int attempt_bind_device(struct target *t)
{
	return set(t, AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
}

int attempt_bind_device_index(struct target *t)
{
	return set_one(t, AF_INET, SOCK_STREAM, SOL_SOCKET, 62 /* SO_BINDTOIFINDEX */);
}

static const unsigned char no_operation[] = { 1, 1, 1, 1 }; /* IPOPT_NOP: where a route would stand */

int attempt_source_route(struct target *t)
{
	return set(t, AF_INET, SOCK_STREAM, SOL_IP, IP_OPTIONS, no_operation, sizeof(no_operation));
}

/* linux/seg6.h: one segment, that of the last station */
static const unsigned char segments[24] = { 0, 2, 4, 0, 0, 0, 0, 0, [23] = 1 };

int attempt_routing_header(struct target *t)
{
	return set(t, AF_INET6, SOCK_STREAM, SOL_IPV6, IPV6_RTHDR, segments, sizeof(segments));
}

int attempt_packet_options(struct target *t)
{
	return set(t, AF_INET6, SOCK_DGRAM, SOL_IPV6, IPV6_2292PKTOPTIONS, NULL, 0);
}

/* What sendmsg(2) takes beside the data: one control message. */
struct message {
	struct msghdr head;
	struct iovec data;
	char byte;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(64)];
	} control;
};

static void compose(struct message *m, int level, int type, const void *value, size_t len)
{
	struct cmsghdr *c = &m->control.align;

	*m = (struct message){ .byte = 'x' };
	m->data = (struct iovec){ &m->byte, 1 };
	m->head = (struct msghdr){ .msg_iov = &m->data, .msg_iovlen = 1, .msg_control = &m->control,
				   .msg_controllen = CMSG_SPACE(len) };
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), value, len);
}

/* A datagram to a port of one's own. second: by sendmmsg(2), behind another to the same address, for which
 * the kernel asks nobody again. */
static int send_control(struct target *t, int domain, int level, int type, const void *value, size_t len,
			bool second)
{
	union address a;
	struct message m;
	struct mmsghdr both[2] = { 0 };
	int server = inet_socket(t, domain, SOCK_DGRAM, 0), fd, r;
	socklen_t size = address_of(domain, domain == AF_INET ? "127.0.0.1" : "::1", 0, &a);

	if (server < 0)
		return server;
	if (bind(server, &a.any, size) < 0 || getsockname(server, &a.any, &size) < 0)
		return answered(server, setup(t, "bind"));
	fd = inet_socket(t, domain, SOCK_DGRAM, 0);
	if (fd < 0)
		return answered(server, fd);
	compose(&m, level, type, value, len);
	m.head.msg_name = &a;
	m.head.msg_namelen = size;
	both[0].msg_hdr = both[1].msg_hdr = m.head;
	both[0].msg_hdr.msg_control = NULL;
	both[0].msg_hdr.msg_controllen = 0;
	if (!second)
		r = answer(sendmsg(fd, &m.head, 0));
	else
		r = sendmmsg(fd, both, 2, 0) == 2 ? 0 : answer(sendmsg(fd, &m.head, 0));
	close(server);
	return answered(fd, r);
}

int attempt_mark_message(struct target *t)
{
	return send_control(t, AF_INET, SOL_SOCKET, SO_MARK, &(int){ 1 }, sizeof(int), false);
}

int attempt_mark_second_message(struct target *t)
{
	return send_control(t, AF_INET, SOL_SOCKET, SO_MARK, &(int){ 1 }, sizeof(int), true);
}

int attempt_source_route_message(struct target *t)
{
	return send_control(t, AF_INET, SOL_IP, IP_RETOPTS, no_operation, sizeof(no_operation), false);
}

int attempt_routing_header_message(struct target *t)
{
	static const unsigned char mobile[24] = { 0, 2, 2, 1, [23] = 1 }; /* the only kind taken here: Mobile IPv6 */
	int r = send_control(t, AF_INET6, SOL_IPV6, IPV6_RTHDR, mobile, sizeof(mobile), false);

	return r == -EINVAL ? -NOT_HERE : r;
}

int attempt_type_of_service(struct target *t)
{
	return send_control(t, AF_INET, SOL_IP, IP_TOS, &(int){ 8 }, sizeof(int), true);
}

enum sender { BY_SENDMSG, BY_SENDMMSG, BY_URING };

static int send_credentials(struct target *t, struct ucred credentials, enum sender by)
{
	struct mmsghdr one = { 0 };
	struct message m;
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0)
		return setup(t, "socketpair");
	compose(&m, SOL_SOCKET, SCM_CREDENTIALS, &credentials, sizeof(credentials));
	one.msg_hdr = m.head;
	if (by == BY_URING)
		r = uring_sendmsg(ends[0], &m.head);
	else
		r = answer(by == BY_SENDMSG ? sendmsg(ends[0], &m.head, 0) : sendmmsg(ends[0], &one, 1, 0));
	close(ends[1]);
	return answered(ends[0], r == -ENOSYS ? -NOT_HERE : r);
}

static struct ucred credentials_of(pid_t pid)
{
	return (struct ucred){ pid, getuid(), getgid() };
}

int attempt_credentials_pid(struct target *t)
{
	return send_credentials(t, credentials_of(t->pid), BY_SENDMSG);
}

int attempt_credentials_pid_many(struct target *t)
{
	return send_credentials(t, credentials_of(t->pid), BY_SENDMMSG);
}

int attempt_credentials_pid_uring(struct target *t)
{
	return send_credentials(t, credentials_of(t->pid), BY_URING);
}

int attempt_credentials_uid(struct target *t)
{
	struct ucred other = credentials_of(getpid());

	other.uid = 4711;
	return send_credentials(t, other, BY_SENDMSG);
}

int attempt_credentials_gid(struct target *t)
{
	struct ucred other = credentials_of(getpid());

	other.gid = 4711;
	return send_credentials(t, other, BY_SENDMMSG);
}

int attempt_credentials_own(struct target *t)
{
	int r = send_credentials(t, credentials_of(getpid()), BY_SENDMSG);

	return r < 0 ? r : send_credentials(t, credentials_of(getpid()), BY_SENDMMSG);
}
