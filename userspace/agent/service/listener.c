/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel keeps with every socket the cgroup of who made it, and tells it by sock_diag(7)
 * (INET_DIAG_CGROUP_ID, Linux 5.9). A dump of the listening sockets of one port costs the same however
 * many connections there are.
 */
#include "agent/service/listener.h"
#include "agent/process/sock_diag.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>

#define STATE_LISTEN 10   /* enum in net/tcp_states.h */
#define FILEID_KERNFS 0xfe /* include/linux/exportfs.h */
#define PROC_FILE_MAX (64u * 1024 * 1024)
#define PROCESSES_MAX 4096u /* more are not looked at for a holder */

struct search {
	int cgroup;
	uint64_t id;          /* of the cgroup */
	char path[PATH_MAX];  /* of its directory */
	char root[PATH_MAX];  /* of the directory of the instance, see cgroup/cgroup.h */
	enum listener found;
	bool unsure;          /* a cgroup that cannot be looked at */
	char *holder;
	size_t size;
};

static int path_of(int fd, char path[PATH_MAX])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	return 0;
}

/* What is left of path beneath directory: "" or "/…"; NULL when it is elsewhere. */
static const char *beneath(const char *path, const char *directory)
{
	size_t n = strlen(directory);

	return strncmp(path, directory, n) == 0 && (path[n] == '/' || !path[n]) ? path + n : NULL;
}

/* The directory of a cgroup by its number, which is all that its file handle consists of. A descriptor or -errno. */
static int open_cgroup(int any, uint64_t id, char path[PATH_MAX])
{
	union {
		struct file_handle head;
		char room[sizeof(struct file_handle) + sizeof(id)];
	} handle = { .head = { .handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS } };
	FD_OWNED int fd = -EBADF;
	int r;

	memcpy(handle.head.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(any, &handle.head, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : path_of(fd, path);
	return r < 0 ? r : take_fd(&fd);
}

#define SOCKETS_MAX 64 /* listeners of one port; more are not looked at */

struct sockets {
	unsigned long inodes[SOCKETS_MAX];
	size_t n;
	bool found; /* of the process that is looked at */
};

static bool is_none(uint32_t inode, void *data)
{
	struct sockets *sockets = data;

	for (size_t i = 0; i < sockets->n && !sockets->found; i++)
		sockets->found = sockets->inodes[i] == inode;
	return !sockets->found;
}

static bool has_one(pid_t pid, struct sockets *sockets)
{
	sockets->found = false;
	sockets_of(pid, is_none, sockets);
	return sockets->found;
}

/* A process of a cgroup, not of those beneath it, that has one of the sockets open; 0: none is found. */
static pid_t find_process(int cgroup, struct sockets *sockets)
{
	PTR_OWNED char *pids = NULL;
	unsigned n = 0;

	if (read_file_at(cgroup, "cgroup.procs", PROC_FILE_MAX, &pids, NULL) < 0)
		return 0;
	for (char *rest = pids, *line; (line = strsep(&rest, "\n")) && *line && n < PROCESSES_MAX;
	     n++)
		if (atoi(line) > 0 && has_one(atoi(line), sockets))
			return atoi(line);
	return 0;
}

/* "process 7 (nc)", or "a process". Its name is what it likes. */
static void name_process(pid_t pid, char *text, size_t size)
{
	PTR_OWNED char *comm = NULL;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (pid == 0 || read_file_at(AT_FDCWD, path, 64, &comm, NULL) < 0) {
		snprintf(text, size, "a process");
		return;
	}
	comm[strcspn(comm, "\n")] = '\0';
	for (char *c = comm; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	snprintf(text, size, "process %d (%s)", (int)pid, comm);
}

/* cgroup: the directory at path; -1: it is gone. */
static void name_holder(struct search *s, int cgroup, const char *path, uint32_t inode)
{
	struct sockets sockets = { .inodes = { inode }, .n = 1 };
	const char *rest = cgroup >= 0 ? beneath(path, s->root) : NULL;
	char who[64];

	name_process(cgroup >= 0 ? find_process(cgroup, &sockets) : 0, who, sizeof(who));
	if (!rest)
		snprintf(s->holder, s->size, "%s outside of moat", who);
	else if (strncmp(rest, "/control/service-", 17) == 0)
		snprintf(s->holder, s->size, "%s of service %s", who, rest + 17);
	else if (strncmp(rest, "/user/context-", 14) == 0)
		snprintf(s->holder, s->size, "%s of user code, context %.*s", who,
			 (int)strcspn(rest + 14, "/"), rest + 14);
	else
		snprintf(s->holder, s->size, "moat itself");
}

static void take_owner(struct search *s, uint64_t id, uint32_t inode)
{
	FD_OWNED int cgroup = -EBADF;
	char path[PATH_MAX];
	int r = 0;

	if (s->found == LISTENER_OWN || id == s->id) {
		s->found = LISTENER_OWN;
		return;
	}
	r = open_cgroup(s->cgroup, id, path);
	cgroup = r;
	if (r >= 0 && beneath(path, s->path)) {
		s->found = LISTENER_OWN;
		return;
	}
	/* gone with its last process, which has handed the socket on: nobody's that we know */
	s->unsure = s->unsure || (r < 0 && r != -ESTALE);
	s->found = LISTENER_OTHER;
	name_holder(s, cgroup, path, inode);
}

static void take_socket(struct search *s, const struct nlmsghdr *message)
{
	const struct inet_diag_msg *socket = NLMSG_DATA(message);
	int left = (int)(message->nlmsg_len - NLMSG_LENGTH(sizeof(*socket)));
	uint64_t id = 0;

	for (const struct rtattr *a = (const void *)(socket + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == INET_DIAG_CGROUP_ID && RTA_PAYLOAD(a) == sizeof(id))
			memcpy(&id, RTA_DATA(a), sizeof(id));
	if (id)
		take_owner(s, id, socket->idiag_inode);
	else
		s->unsure = true;
}

/* One datagram of the answer. 1: more to come, 0: the end, -errno. */
static int take_answer(struct search *s, const void *data, size_t n, uint16_t port)
{
	const struct nlmsghdr *m = data;

	for (unsigned left = (unsigned)n; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
		if (m->nlmsg_type == NLMSG_DONE)
			return 0;
		if (m->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *e = NLMSG_DATA(m);

			return m->nlmsg_len >= NLMSG_LENGTH(sizeof(*e)) && e->error ? e->error : -EPROTO;
		}
		if (m->nlmsg_type == SOCK_DIAG_BY_FAMILY &&
		    m->nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg)) &&
		    ((const struct inet_diag_msg *)NLMSG_DATA(m))->id.idiag_sport == htons(port))
			take_socket(s, m);
	}
	return 1;
}

static int ask(struct search *s, int fd, int family, uint16_t port)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 body;
	} request = {
		.head = { .nlmsg_len = sizeof(request), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body = { .sdiag_family = (uint8_t)family, .sdiag_protocol = IPPROTO_TCP,
			  .idiag_states = 1u << STATE_LISTEN, .id.idiag_sport = htons(port) },
	};
	_Alignas(struct nlmsghdr) char answer[16384];
	int r = 1;

	if (send(fd, &request, sizeof(request), 0) < 0)
		return -errno;
	/* The kernel answers inside send(2) and recv(2): there is always something to be read. */
	while (r > 0) {
		ssize_t n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);

		r = n < 0 ? -errno : take_answer(s, answer, (size_t)n, port);
	}
	return r;
}

static int search_open(struct search *s, int cgroup)
{
	struct stat st;
	char *slash;
	int r;

	s->cgroup = cgroup;
	if (fstat(cgroup, &st) < 0)
		return -errno;
	s->id = st.st_ino;
	r = path_of(cgroup, s->path);
	if (r < 0)
		return r;
	snprintf(s->root, sizeof(s->root), "%s", s->path);
	for (int i = 0; i < 2 && (slash = strrchr(s->root, '/')); i++)
		*slash = '\0';
	return 0;
}

int listener_find(uint16_t port, int cgroup, char *ret_holder, size_t size)
{
	struct search s = { .holder = ret_holder, .size = size };
	FD_OWNED int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	int r = search_open(&s, cgroup);

	if (r < 0)
		return r;
	r = fd < 0 ? -errno : ask(&s, fd, AF_INET, port);
	if (r == 0)
		r = ask(&s, fd, AF_INET6, port);
	if (r == 0 && (s.found == LISTENER_OWN || !s.unsure))
		return s.found;
	snprintf(ret_holder, size, "somebody else");
	return listener_find_in_proc(port, cgroup);
}

/* /proc */

/* Lines as of proc_net_tcp: "  sl: ADDRESS:PORT REMOTE STATE … inode", numbers in hexadecimal. */
static int add_listeners(struct sockets *sockets, const char *file, uint16_t port)
{
	PTR_OWNED char *text = NULL;
	int r = read_file_at(AT_FDCWD, file, PROC_FILE_MAX, &text, NULL);

	if (r == -ENOENT) /* no IPv6 here */
		return 0;
	for (char *rest = text, *line; r == 0 && (line = strsep(&rest, "\n"));) {
		unsigned local, state;
		unsigned long inode;

		if (sscanf(line, " %*[0-9]: %*[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*s %*s %lu", &local,
			   &state, &inode) == 3 &&
		    local == port && state == STATE_LISTEN && sockets->n < SOCKETS_MAX)
			sockets->inodes[sockets->n++] = inode;
	}
	return r;
}

static int all_listeners(struct sockets *sockets, uint16_t port)
{
	int r = add_listeners(sockets, "/proc/self/net/tcp", port);

	return r == 0 ? add_listeners(sockets, "/proc/self/net/tcp6", port) : r;
}

int listener_find_among(uint16_t port, const pid_t *pids, size_t n)
{
	struct sockets sockets = { 0 };
	int r = all_listeners(&sockets, port);

	if (r < 0 || sockets.n == 0)
		return r < 0 ? r : LISTENER_NONE;
	for (size_t i = 0; i < n; i++)
		if (has_one(pids[i], &sockets))
			return LISTENER_OWN;
	return LISTENER_OTHER;
}

int listener_find_in_proc(uint16_t port, int cgroup)
{
	struct sockets sockets = { 0 };
	PTR_OWNED char *pids = NULL;
	int r = all_listeners(&sockets, port);

	if (r == 0)
		r = read_file_at(cgroup, "cgroup.procs", PROC_FILE_MAX, &pids, NULL);
	if (r < 0 || sockets.n == 0)
		return r < 0 ? r : LISTENER_NONE;
	for (char *rest = pids, *line; (line = strsep(&rest, "\n")) && *line;)
		if (has_one(atoi(line), &sockets))
			return LISTENER_OWN;
	return LISTENER_OTHER;
}
