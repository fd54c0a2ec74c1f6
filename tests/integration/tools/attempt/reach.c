/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to a unix socket. */
#include "attempt.h"

#include <fcntl.h>
#include <libgen.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

int connect_to(struct target *t, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return setup(t, "socket");
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return answered(fd, answer(connect(fd, (struct sockaddr *)&addr, sizeof(addr))));
}

static int connect_under(struct target *t, pid_t pid)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/%d/root%s", pid, t->socket);
	return connect_to(t, path);
}

int attempt_connect_path(struct target *t)
{
	return connect_to(t, t->socket);
}

int attempt_connect_uncovered(struct target *t)
{
	char copy[128], *directory;
	int r = own_mounts(t);

	if (r < 0)
		return r;
	snprintf(copy, sizeof(copy), "%s", t->socket);
	directory = dirname(copy);
	if (t->fresh && mount("cover", directory, "tmpfs", 0, NULL) < 0)
		return setup(t, "mount(tmpfs)");
	while (umount2(directory, MNT_DETACH) == 0)
		;
	return connect_to(t, t->socket);
}

int attempt_connect_link(struct target *t)
{
	return connect_to(t, t->link);
}

int attempt_connect_proc_root(struct target *t)
{
	return connect_under(t, t->pid);
}

int attempt_connect_init_root(struct target *t)
{
	return connect_under(t, 1);
}

static int reach_own(struct target *t, int type)
{
	struct sockaddr_un addr;
	char name[32];
	socklen_t len;
	int server = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(name, sizeof(name), "attempt-%d", getpid());
	len = abstract_address(&addr, name, "");
	if (bind(server, (struct sockaddr *)&addr, len) < 0 ||
	    (type == SOCK_STREAM && listen(server, 1) < 0))
		return setup(t, "bind");
	if (type == SOCK_STREAM)
		return answer(connect(client, (struct sockaddr *)&addr, len));
	return answer(sendto(client, "x", 1, 0, (struct sockaddr *)&addr, len));
}

/* The name that a stranger, or the control plane, has bound both a stream and a datagram socket to. */
static int reach_abstract(struct target *t, int type)
{
	struct sockaddr_un addr;
	socklen_t len = abstract_address(&addr, t->abstract, type == SOCK_STREAM ? "" : ".datagram");
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return setup(t, "socket");
	return answered(fd, answer(connect(fd, (struct sockaddr *)&addr, len)));
}

int attempt_connect_abstract(struct target *t)
{
	return reach_abstract(t, SOCK_STREAM);
}

int attempt_connect_abstract_datagram(struct target *t)
{
	return reach_abstract(t, SOCK_DGRAM);
}

int attempt_connect_own(struct target *t)
{
	return reach_own(t, SOCK_STREAM);
}

int attempt_send_own(struct target *t)
{
	return reach_own(t, SOCK_DGRAM);
}
