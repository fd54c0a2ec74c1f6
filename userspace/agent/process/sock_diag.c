/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process/sock_diag.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define STATE_LISTEN 10 /* enum in net/tcp_states.h */
#define STATE_CLOSE 7   /* a bound UDP socket that is not connected */

struct request {
	struct nlmsghdr head;
	union {
		struct inet_diag_req_v2 inet;
		struct unix_diag_req local;
	};
};

/* One datagram of the answer. 1: more to come, 0: the end, -errno. */
static int take_answer(const void *data, size_t n, sock_diag_fn fn, void *arg)
{
	const struct nlmsghdr *m = data;

	for (unsigned left = (unsigned)n; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
		if (m->nlmsg_type == NLMSG_DONE)
			return 0;
		if (m->nlmsg_type == NLMSG_ERROR)
			return -EOPNOTSUPP; /* no such diagnosis in this kernel */
		if (m->nlmsg_type == SOCK_DIAG_BY_FAMILY)
			fn(m, arg);
	}
	return 1;
}

static int ask(struct request *request, size_t body, sock_diag_fn fn, void *data)
{
	FD_OWNED int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	_Alignas(struct nlmsghdr) char answer[32768];
	int r = 1;

	request->head = (struct nlmsghdr){ .nlmsg_len = (uint32_t)NLMSG_LENGTH(body),
					   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
					   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP };
	if (fd < 0 || send(fd, request, request->head.nlmsg_len, 0) < 0)
		return -errno;
	/* The kernel answers inside send(2) and recv(2): there is always something to be read. */
	while (r > 0) {
		ssize_t n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);

		r = n < 0 ? -errno : take_answer(answer, (size_t)n, fn, data);
	}
	return r;
}

int sock_diag_inet(int family, int protocol, sock_diag_fn fn, void *data)
{
	struct request request = { .inet = {
		.sdiag_family = (uint8_t)family,
		.sdiag_protocol = (uint8_t)protocol,
		.idiag_states = 1u << (protocol == IPPROTO_UDP ? STATE_CLOSE : STATE_LISTEN),
	} };

	return ask(&request, sizeof(request.inet), fn, data);
}

int sock_diag_unix(sock_diag_fn fn, void *data)
{
	struct request request = { .local = { .sdiag_family = AF_UNIX,
					      .udiag_states = 1u << STATE_LISTEN,
					      .udiag_show = UDIAG_SHOW_NAME } };

	return ask(&request, sizeof(request.local), fn, data);
}

void sockets_of(pid_t pid, bool (*fn)(uint32_t inode, void *data), void *data)
{
	char path[32], link[64];
	struct dirent *entry;
	bool more = true;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && more && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);
		uint32_t inode;

		if (n <= 0)
			continue;
		link[n] = '\0';
		more = sscanf(link, "socket:[%u]", &inode) != 1 || fn(inode, data);
	}
	if (dir)
		closedir(dir);
}
