/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What commands listen on. The kernel keeps with every socket the cgroup of who made it and tells it by sock_diag(7)
 * (INET_DIAG_CGROUP_ID, Linux 5.9): so nothing of /proc is walked, and a descriptor that was passed on changes nothing. Where there are no cgroups, whose a socket is
 * /proc/PID/fd says, by its inode.
 */
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "agent/exec/internal.h"
#include "agent/process/sock_diag.h"

#define PLACES_MAX                                                                                 \
	65536u /* sockets of all commands, where there are no cgroups; of more the rest is not looked at */

struct place {
	uint64_t id; /* of a cgroup, the number of its directory; or of a socket */
	struct exec *exec;
};

struct look {
	struct place *places; /* sorted */
	size_t n, size;
	bool of_sockets;
	struct exec *looked_at;
	unsigned char family, protocol;
	void (*fn)(const struct exec_port *port, void *data);
	void *data;
};

static int compare(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int add_place(struct look *l, uint64_t id)
{
	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		struct place *places = realloc(l->places, size * sizeof(*places));

		if (!places)
			return -ENOMEM;
		l->places = places;
		l->size = size;
	}
	l->places[l->n++] = (struct place){ .id = id, .exec = l->looked_at };
	return 0;
}

static bool add_socket(uint32_t inode, void *data)
{
	struct look *l = data;

	return l->n < PLACES_MAX && add_place(l, inode) == 0;
}

static int add_sockets(struct look *l, const struct cgroup *cgroup)
{
	PTR_OWNED pid_t *pids = NULL;
	size_t n;
	int r = cgroup_pids(cgroup, &pids, &n);

	for (size_t i = 0; i < n && r == 0; i++)
		sockets_of(pids[i], add_socket, l);
	return r;
}

static int find_places(struct execs *execs, struct look *l)
{
	list_for_each(pos, &execs->all) {
		struct exec *x = list_entry(pos, struct exec, link);
		struct stat st;
		int r = 0;

		if (!exec_is_active(x) || !x->cgroup)
			continue;
		l->looked_at = x;
		if (l->of_sockets)
			r = add_sockets(l, x->cgroup);
		else if (fstat(cgroup_fd(x->cgroup), &st) == 0)
			r = add_place(l, st.st_ino);
		if (r < 0)
			return r;
	}
	if (l->n)
		qsort(l->places, l->n, sizeof(*l->places), compare);
	return 0;
}

static void take(const struct nlmsghdr *m, void *data)
{
	const struct look *l = data;
	const struct inet_diag_msg *d = NLMSG_DATA(m);
	struct exec_port port = { .protocol = l->protocol == IPPROTO_UDP ? "udp" : "tcp" };
	int left = (int)(m->nlmsg_len - NLMSG_LENGTH(sizeof(*d)));
	struct place key = { .id = l->of_sockets ? d->idiag_inode : 0 };
	const struct place *found;

	if (m->nlmsg_len < NLMSG_LENGTH(sizeof(*d)) || d->id.idiag_sport == 0)
		return;
	for (const struct rtattr *a = (const void *)(d + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (!l->of_sockets && a->rta_type == INET_DIAG_CGROUP_ID &&
		    RTA_PAYLOAD(a) >= sizeof(key.id))
			memcpy(&key.id, RTA_DATA(a), sizeof(key.id));
	found = l->n == 0 ? NULL : bsearch(&key, l->places, l->n, sizeof(key), compare);
	if (!found)
		return;
	port.exec = found->exec;
	port.port = ntohs(d->id.idiag_sport);
	inet_ntop(l->family, d->id.idiag_src, port.address, sizeof(port.address));
	l->fn(&port, l->data);
}

int execs_for_each_port(struct execs *execs, void (*fn)(const struct exec_port *port, void *data), void *data)
{
	static const unsigned char families[] = { AF_INET, AF_INET6 };
	static const unsigned char protocols[] = { IPPROTO_TCP, IPPROTO_UDP };
	struct look l = { .fn = fn,
			  .data = data,
			  .of_sockets = !cgroups_are_there(execs->cgroups) };
	int r = find_places(execs, &l);

	for (size_t i = 0; i < ARRAY_LEN(protocols) && r == 0; i++)
		for (size_t k = 0; k < ARRAY_LEN(families) && r == 0; k++) {
			l.protocol = protocols[i];
			l.family = families[k];
			r = sock_diag_inet(l.family, l.protocol, take, &l);
		}
	free(l.places);
	return r;
}
