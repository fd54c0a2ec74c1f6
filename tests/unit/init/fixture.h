/* SPDX-License-Identifier: Apache-2.0 */
/* moat-init by itself, over its socket. */
#ifndef MOAT_INIT_FIXTURE_H
#define MOAT_INIT_FIXTURE_H

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/cgroup/cgroup.h"
#include "agent/namespace/launch.h"
#include "exec/fixture.h"
#include "init/init.h"

struct peer {
	struct process init;
	int socket;
	struct cgroup *cgroup;
	struct cgroups *cgroups;
	struct loop *loop;
};

static struct peer peer;
static char sent[INIT_PACKET_MAX + 4096];

static void send_raw(const void *data, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(8 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	assert_true(sendmsg(peer.socket, &msg, MSG_NOSIGNAL) >= 0);
}

/* False at the end of the connection. */
static bool receive(struct init_reply *reply)
{
	struct pollfd p = { .fd = peer.socket, .events = POLLIN };
	ssize_t n;

	assert_int_equal(poll(&p, 1, 60000), 1);
	n = recv(peer.socket, reply, sizeof(*reply), 0);
	assert_true(n == (ssize_t)sizeof(*reply) || n == 0);
	return n > 0;
}

static void set_up_with(uint32_t shared_pid, uint64_t capabilities, uint32_t own)
{
	struct init_setup setup = { .type = INIT_SETUP, .shared_pid = shared_pid,
				    .capabilities = capabilities, .own = own, .shm_size = 64 << 20 };
	struct init_reply reply;
	int view = cgroups_view(peer.cgroups);

	send_raw(&setup, sizeof(setup), &view, 1);
	assert_true(receive(&reply));
	if (reply.type != INIT_READY)
		print_error("step %u: %s\n", reply.step, strerror(reply.err));
	assert_int_equal(reply.type, INIT_READY);
}

static void set_up(uint32_t shared_pid)
{
	set_up_with(shared_pid, ~0ull, 0);
}

static void open_peer(bool shared)
{
	struct failure f = { 0 };
	int r = namespace_launch(INIT_WORLD_OWN, shared, cgroup_fd(peer.cgroup), &peer.init,
				 &peer.socket, &f);

	if (r < 0)
		print_error("%s\n", f.msg);
	assert_int_equal(r, 0);
}

/* Waits for moat-init to end, by itself if it was made to. Returns its wait status. */
static int close_peer(void)
{
	struct pollfd p = { .fd = peer.init.pidfd, .events = POLLIN };
	int status;

	close_fd(&peer.socket);
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_int_equal(waitpid(peer.init.pid, &status, 0), peer.init.pid);
	close_fd(&peer.init.pidfd);
	return status;
}

static int open_private(void **state)
{
	(void)state;
	open_peer(false);
	set_up(0);
	return 0;
}

static int close_any(void **state)
{
	(void)state;
	if (peer.init.pidfd >= 0) {
		kill(peer.init.pid, SIGKILL);
		close_peer();
	}
	return 0;
}

static size_t build(uint64_t exec, const char *cwd, char *const *argv, char *const *env)
{
	struct init_spawn *m = (void *)sent;
	char *out = sent + sizeof(*m);

	*m = (struct init_spawn){ .type = INIT_SPAWN, .exec = exec, .capabilities = 0xa80425fb,
				  .no_new_privs = 1, .null_stdin = 1 };
	out = (char *)mempcpy(out, cwd, strlen(cwd) + 1);
	for (; *argv; argv++, m->argc++)
		out = (char *)mempcpy(out, *argv, strlen(*argv) + 1);
	for (; *env; env++, m->envc++)
		out = (char *)mempcpy(out, *env, strlen(*env) + 1);
	m->strings_len = (uint32_t)(out - sent - (ptrdiff_t)sizeof(*m));
	return (size_t)(out - sent);
}

/* Sends a spawn whose output goes to out (or nowhere: -1). */
static void spawn(uint64_t exec, const char *cwd, char *const *argv, char *const *env, int out)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int o = out >= 0 ? out : null;

	send_raw(sent, build(exec, cwd, argv, env), (int[]){ null, o, o, null }, 4);
}

static struct init_reply expect(uint32_t type, uint64_t exec)
{
	struct init_reply reply = { 0 };

	assert_true(receive(&reply));
	if (reply.type != type)
		print_error("type %u, step %u: %s\n", reply.type, reply.step, strerror(reply.err));
	assert_int_equal(reply.type, type);
	assert_int_equal(reply.exec, exec);
	return reply;
}

static int open_group(void **state)
{
	struct failure f = { 0 };
	char name[32];
	const struct config config = { .instance = name };

	(void)state;
	log_open("unit", LOG_WARNING);
	place_moat_init();
	peer.socket = peer.init.pidfd = -EBADF;
	snprintf(name, sizeof(name), "unit-init-%d", (int)getpid());
	if (loop_new(&peer.loop) < 0 || cgroups_open(&config, peer.loop, &peer.cgroups, &f) < 0 ||
	    cgroup_get(peer.cgroups, "init-test", &peer.cgroup, &f) < 0) {
		print_error("%s\n", f.msg);
		return -1;
	}
	return 0;
}

static int close_group(void **state)
{
	(void)state;
	cgroup_put(peer.cgroup);
	cgroups_close(peer.cgroups);
	loop_free(peer.loop);
	return 0;
}

#define WITH_PEER(name) cmocka_unit_test_setup_teardown(name, open_private, close_any)
#define ALONE(name) cmocka_unit_test_teardown(name, close_any)

#endif
