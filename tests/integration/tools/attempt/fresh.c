/* SPDX-License-Identifier: Apache-2.0 */
#include "fresh.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "inet.h"

struct identity {
	pid_t pid, tid;
};

static int report_fd;

static void *second_thread(void *unused)
{
	struct identity id = { getpid(), gettid() };

	(void)unused;
	if (write(report_fd, &id, sizeof(id)) != sizeof(id))
		_exit(1);
	close(report_fd);
	for (;;)
		pause();
}

/* A process with a session and a second thread of its own that nobody waits for. */
static void stranger(int fd)
{
	pthread_t thread;
	int null = open("/dev/null", O_RDWR);

	report_fd = fd;
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	close(null);
	signal(SIGTERM, SIG_DFL);
	prctl(PR_SET_NAME, "stranger");
	if (setsid() < 0 || pthread_create(&thread, NULL, second_thread, NULL) != 0)
		_exit(1);
	for (;;)
		pause();
}

static int spawn_stranger(struct target *t, struct fresh *f)
{
	struct identity id;
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return setup(t, "pipe");
	child = fork();
	if (child == 0) {
		if (fork() == 0)
			stranger(fds[1]);
		_exit(0);
	}
	close(fds[1]);
	if (child > 0)
		waitpid(child, NULL, 0);
	errno = EIO;
	if (read(fds[0], &id, sizeof(id)) != sizeof(id))
		return answered(fds[0], setup(t, "stranger"));
	close(fds[0]);
	t->pid = t->pgid = id.pid;
	t->tid = id.tid;
	f->pidfd = pidfd_open_(id.pid);
	return f->pidfd < 0 ? setup(t, "pidfd_open of the stranger") : 0;
}

static int open_abstract(struct target *t, struct fresh *f)
{
	static const int types[2] = { SOCK_STREAM, SOCK_DGRAM };
	struct sockaddr_un addr;
	static char name[32];

	snprintf(name, sizeof(name), "attempt-fresh-%d", getpid());
	for (int i = 0; i < 2; i++) {
		socklen_t len = abstract_address(&addr, name, i == 0 ? "" : ".datagram");

		f->abstract_fd[i] = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);
		if (bind(f->abstract_fd[i], (struct sockaddr *)&addr, len) < 0 ||
		    (i == 0 && listen(f->abstract_fd[i], 8) < 0))
			return setup(t, "bind(abstract)");
	}
	t->abstract = name;
	return 0;
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 8) < 0)
		return answered(fd, -1);
	return fd;
}

static int open_socket(struct target *t, struct fresh *f)
{
	strcpy(f->dir, "/tmp/attempt-XXXXXX");
	if (!mkdtemp(f->dir))
		return setup(t, "mkdtemp");
	snprintf(f->socket, sizeof(f->socket), "%s/socket", f->dir);
	snprintf(f->link, sizeof(f->link), "%s.link", f->dir);
	f->listen_fd = listen_at(f->socket);
	if (f->listen_fd < 0)
		return setup(t, "listen");
	if (link(f->socket, f->link) < 0)
		return setup(t, "link");
	t->socket = f->socket;
	t->link = f->link;
	return open_abstract(t, f);
}

static int open_listener(struct target *t, struct fresh *f)
{
	union address a;
	socklen_t len;

	f->listen_fd = inet_socket(t, AF_INET6, SOCK_STREAM, 0); /* for IPv4, too */
	len = address_of(AF_INET6, "::", 0, &a);
	if (f->listen_fd == -NOT_HERE) {
		f->listen_fd = inet_socket(t, AF_INET, SOCK_STREAM, 0);
		len = address_of(AF_INET, "0.0.0.0", 0, &a);
	}
	if (f->listen_fd < 0 || bind(f->listen_fd, &a.any, len) < 0 ||
	    listen(f->listen_fd, 8) < 0 || getsockname(f->listen_fd, &a.any, &len) < 0)
		return setup(t, "listen");
	t->listener = ntohs(a.v4.sin_port);
	return 0;
}

/* So that cgroups have limits of memory, where the kernel counts it here. */
static void enable_memory(const char *root)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", root);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!write(fd, "+memory", 7); /* else there is no such limit to be changed */
	close(fd);
}

/* An empty cgroup of nobody's; where moat forbids the making, the root has to do. */
static void open_cgroup(struct target *t, struct fresh *f)
{
	static char name[32];
	const char *root = access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0 ?
				   "/sys/fs/cgroup" : "/sys/fs/cgroup/unified";

	snprintf(name, sizeof(name), "/attempt-%d", getpid());
	snprintf(f->cgroup_path, sizeof(f->cgroup_path), "%s%s", root, name);
	enable_memory(root);
	f->cgroup = mkdir(f->cgroup_path, 0700) == 0;
	t->cgroup = f->cgroup ? name : "";
}

/* As tests/integration/lib/session.py makes the protected one. */
static int open_tree_of_files(struct target *t, struct fresh *f)
{
	static const char *const files[] = { "file", "linked" };
	char path[96];

	strcpy(f->dir, "/tmp/attempt-XXXXXX");
	if (!mkdtemp(f->dir))
		return setup(t, "mkdtemp");
	snprintf(f->tree, sizeof(f->tree), "%s/tree", f->dir);
	snprintf(f->alias, sizeof(f->alias), "%s/alias", f->dir);
	snprintf(path, sizeof(path), "%s/sub", f->tree);
	if (mkdir(f->tree, 0755) < 0 || mkdir(path, 0755) < 0)
		return setup(t, "mkdir");
	for (size_t i = 0; i < 2; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%s", f->tree, files[i]);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
		if (fd < 0)
			return setup(t, "open");
		if (write(fd, "#!/bin/true\n", 12) < 0)
			return setup(t, "write");
		close(fd);
	}
	if (link(path, f->alias) < 0)
		return setup(t, "link");
	snprintf(path, sizeof(path), "%s/link", f->tree);
	if (symlink("file", path) < 0)
		return setup(t, "symlink");
	snprintf(path, sizeof(path), "%s/socket", f->tree);
	f->listen_fd = listen_at(path);
	if (f->listen_fd < 0)
		return setup(t, "bind");
	t->tree = f->tree;
	t->alias = f->alias;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

/* Also where a case has moved it. */
static void remove_tree_of_files(const struct fresh *f)
{
	char moved[64];

	nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	snprintf(moved, sizeof(moved), "%s.moved", f->dir);
	nftw(moved, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int fresh_open(const char *group, struct target *t, struct fresh *ret)
{
	int r = 0;

	*ret = (struct fresh){ .pidfd = -1, .listen_fd = -1, .abstract_fd = { -1, -1 } };
	if (strcmp(group, "service") == 0)
		return open_listener(t, ret);
	if (strcmp(group, "files") == 0 || strcmp(group, "hidden") == 0)
		return open_tree_of_files(t, ret);
	if (strcmp(group, "kernel") == 0)
		open_cgroup(t, ret);
	else if (strcmp(group, "machine") != 0 && strcmp(group, "ports") != 0 && strcmp(group, "bpf") != 0)
		r = spawn_stranger(t, ret);
	if (r == 0 && strcmp(group, "reach") == 0)
		r = open_socket(t, ret);
	return r;
}

void fresh_close(struct fresh *f)
{
	if (f->tree[0])
		remove_tree_of_files(f);
	if (f->cgroup)
		rmdir(f->cgroup_path);
	if (f->pidfd >= 0) {
		pidfd_send_(f->pidfd, SIGKILL, 0);
		process_ended(f->pidfd, 2000);
		close(f->pidfd);
	}
	if (f->listen_fd >= 0)
		close(f->listen_fd);
	for (int i = 0; i < 2; i++)
		if (f->abstract_fd[i] >= 0)
			close(f->abstract_fd[i]);
	if (f->link[0])
		unlink(f->link);
	if (f->socket[0])
		unlink(f->socket);
	if (f->dir[0])
		rmdir(f->dir);
}
