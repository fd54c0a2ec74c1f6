/* SPDX-License-Identifier: Apache-2.0 */
/*
 * On what services listen. Whose a socket is, /proc/PID/fd says by its inode; which of them listen,
 * and where, sock_diag(7).
 */
#include "agent/service/internal.h"
#include "agent/process/sock_diag.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/unix_diag.h>

#define OWNED_MAX 16384u /* sockets of all services; of more the rest is not looked at */

struct owned {
	uint32_t inode;
	const struct service *service;
};

struct look {
	struct owned *owned;
	size_t n;
	const struct service *looked_at;
	int family, protocol;
	service_socket_fn fn;
	void *data;
};

static bool add_socket(uint32_t inode, void *data)
{
	struct look *l = data;

	if (l->n < OWNED_MAX)
		l->owned[l->n++] = (struct owned){ inode, l->looked_at };
	return l->n < OWNED_MAX;
}

static void add_service(struct look *l, const struct service *s)
{
	PTR_OWNED pid_t *pids = NULL;
	size_t n;

	if (!s->cgroup || cgroup_pids(s->cgroup, &pids, &n) < 0)
		return;
	l->looked_at = s;
	for (size_t i = 0; i < n; i++)
		sockets_of(pids[i], add_socket, l);
}

static const struct service *owner_of(struct look *l, uint32_t inode)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->owned[i].inode == inode) {
			const struct service *s = l->owned[i].service;

			l->owned[i] = l->owned[--l->n]; /* told once, however many have it open */
			return s;
		}
	return NULL;
}

/* What the configuration says of a port, which any service may have listed. */
static void find_port(const struct services *services, const struct config_service *own,
		      struct service_socket *socket)
{
	for (size_t s = 0; s < services->n; s++) {
		const struct config_service *c = services->list[s].info.config;

		for (size_t i = 0; i < c->n_open; i++)
			if (c->open[i].port == socket->port) {
				socket->configured = true;
				socket->reachable = socket->reachable || c == own;
			}
		for (size_t i = 0; i < c->n_ports; i++)
			if (c->ports[i].port == socket->port) {
				socket->configured = true;
				socket->reachable = socket->reachable || (c == own && c->reachable);
			}
	}
}

static void take_inet(const struct nlmsghdr *m, void *data)
{
	struct look *l = data;
	const struct inet_diag_msg *d = NLMSG_DATA(m);
	struct service_socket socket = { .protocol = l->protocol == IPPROTO_UDP ? "udp" : "tcp",
					 .port = ntohs(d->id.idiag_sport) };
	const struct service *s;

	if (m->nlmsg_len < NLMSG_LENGTH(sizeof(*d)) || !(s = owner_of(l, d->idiag_inode)))
		return;
	socket.service = s->info.config->name;
	find_port(s->owner, s->info.config, &socket);
	inet_ntop(l->family, d->id.idiag_src, socket.address, sizeof(socket.address));
	l->fn(&socket, l->data);
}

static bool is_open_name(const struct config_service *c, const char *name)
{
	for (char *const *p = c->open_sockets; p && *p; p++)
		if (strcmp(*p, name) == 0)
			return true;
	return false;
}

static void take_unix(const struct nlmsghdr *m, void *data)
{
	struct look *l = data;
	const struct unix_diag_msg *d = NLMSG_DATA(m);
	struct service_socket socket = { .protocol = "unix" };
	int left = (int)(m->nlmsg_len - NLMSG_LENGTH(sizeof(*d)));
	const struct service *s;

	if (m->nlmsg_len < NLMSG_LENGTH(sizeof(*d)) || !(s = owner_of(l, d->udiag_ino)))
		return;
	for (const struct rtattr *a = (const void *)(d + 1); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		size_t n = RTA_PAYLOAD(a);

		if (a->rta_type != UNIX_DIAG_NAME || n == 0 || n >= sizeof(socket.address))
			continue;
		memcpy(socket.address, RTA_DATA(a), n);
		if (socket.address[0] == '\0')
			socket.address[0] = '@';
	}
	socket.service = s->info.config->name;
	socket.reachable = is_open_name(s->info.config, socket.address);
	l->fn(&socket, l->data);
}

int services_for_each_socket(struct services *services, service_socket_fn fn, void *data)
{
	static const struct {
		int family, protocol;
	} kinds[] = { { AF_INET, IPPROTO_TCP }, { AF_INET6, IPPROTO_TCP }, { AF_INET, IPPROTO_UDP },
		      { AF_INET6, IPPROTO_UDP }, { AF_UNIX, 0 } };
	PTR_OWNED struct owned *owned = calloc(OWNED_MAX, sizeof(*owned));
	struct look l = { .owned = owned, .fn = fn, .data = data };
	int r = 0;

	if (!owned)
		return -ENOMEM;
	for (size_t i = 0; i < services->n; i++)
		add_service(&l, &services->list[i]);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		int one;

		l.family = kinds[i].family;
		l.protocol = kinds[i].protocol;
		one = l.family == AF_UNIX ? sock_diag_unix(take_unix, &l) :
					    sock_diag_inet(l.family, l.protocol, take_inet, &l);
		r = r < 0 ? r : one;
	}
	return r;
}
