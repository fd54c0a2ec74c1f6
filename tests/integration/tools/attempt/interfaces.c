/* SPDX-License-Identifier: Apache-2.0 */
/* A pair of network interfaces, with the other end in one's own network or in that of others. */
#include "attempt.h"

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sched.h>
#include <sys/socket.h>

union message {
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	};
	char bytes[512];
};

/* Adds an attribute, whose length may still grow. */
static struct rtattr *add(union message *m, unsigned short type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)(m->bytes + NLMSG_ALIGN(m->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), data, len);
	m->head.nlmsg_len = NLMSG_ALIGN(m->head.nlmsg_len) + RTA_ALIGN(a->rta_len);
	return a;
}

static void close_nest(const union message *m, struct rtattr *a)
{
	a->rta_len = (unsigned short)(m->bytes + m->head.nlmsg_len - (const char *)a);
}

/* other: whose network gets the other end; 0: one's own. */
static void fill(union message *m, pid_t other)
{
	struct rtattr *info, *data, *peer;
	struct ifinfomsg link = { 0 };

	*m = (union message){ .head = { .nlmsg_len = NLMSG_LENGTH(sizeof(m->link)),
					.nlmsg_type = RTM_NEWLINK,
					.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL |
						       NLM_F_ACK } };
	info = add(m, IFLA_LINKINFO, NULL, 0);
	add(m, IFLA_INFO_KIND, "veth", 4);
	data = add(m, IFLA_INFO_DATA, NULL, 0);
	peer = add(m, VETH_INFO_PEER, &link, sizeof(link));
	if (other)
		add(m, IFLA_NET_NS_PID, &other, sizeof(other));
	close_nest(m, peer);
	close_nest(m, data);
	close_nest(m, info);
}

/* The errno of the kernel's answer to a request, 0 when it did it. */
static int acknowledged(int fd)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[512];
	} reply;

	if (recv(fd, &reply, sizeof(reply), 0) < (ssize_t)(sizeof(reply.head) + sizeof(int)))
		return EIO;
	return -reply.error.error;
}

/* In a user and a network namespace of one's own. */
static int make_pair(struct target *t, pid_t other)
{
	union message m;
	int fd, err;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return setup(t, "unshare(CLONE_NEWUSER | CLONE_NEWNET)");
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return setup(t, "socket");
	fill(&m, other);
	if (send(fd, &m, m.head.nlmsg_len, 0) < 0)
		return answered(fd, -errno);
	err = acknowledged(fd);
	/* EPERM: this kernel asks whether one may; EOPNOTSUPP: it has no such interfaces */
	return answered(fd, err == EPERM || err == EOPNOTSUPP ? -NOT_HERE : -err);
}

/* Our parent is where we were before. */
int attempt_interface_placed(struct target *t)
{
	return make_pair(t, getppid());
}

int attempt_interfaces_own(struct target *t)
{
	return make_pair(t, 0);
}
