/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/namespace/launch.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/namespace/program.h"
#include "agent/namespace/user.h"
#include "agent/process/clone.h"
#include "agent/process/harden.h"
#include "init/protocol.h"

#define PROGRAM "moat-init"

/* In the child. The descriptors are moved out of the way first: any of them may be below 4. */
static int child_exec(enum init_world world, int program, int socket, int null)
{
	char *const argv[] = { (char *)PROGRAM, NULL };
	char *const env[] = { NULL };
	int r;

	program = fcntl(program, F_DUPFD_CLOEXEC, 16);
	socket = fcntl(socket, F_DUPFD_CLOEXEC, 16);
	null = fcntl(null, F_DUPFD_CLOEXEC, 16);
	if (program < 0 || socket < 0 || null < 0)
		return errno;
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    (fcntl(STDERR_FILENO, F_GETFD) < 0 && dup2(null, STDERR_FILENO) < 0) ||
	    dup2(socket, INIT_SOCKET_FD) < 0)
		return errno;
	if (syscall(SYS_close_range, INIT_SOCKET_FD + 1u, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return errno;
	/* Limits and the OOM score are inherited by every command. */
	r = harden_undo_in_child(HARDEN_INIT, false);
	if (r == 0 && world == INIT_WORLD_MOUNTS)
		r = user_namespace_enter();
	if (r < 0)
		return -r;
	execveat(program, "", argv, env, AT_EMPTY_PATH);
	return errno;
}

/* Only async-signal-safe calls from here to execve: the child is a copy of the whole agent. */
static _Noreturn void child_main(enum init_world world, int program, int socket, int null)
{
	struct init_reply reply = { .type = INIT_FAILED, .step = INIT_STEP_EXEC };

	reply.err = child_exec(world, program, socket, null);
	/* Descriptor 3 may not be the socket yet. This one still is: it is above 2. */
	(void)!send(socket, &reply, sizeof(reply), MSG_NOSIGNAL);
	_exit(127);
}

/*
 * A packet must fit whole; our side also has to hold a burst of exits (4 * 256 KiB). Without CAP_NET_ADMIN in
 * the initial user namespace (rootless containers) the buffer is bounded by net.core.wmem_max.
 */
static int set_buffer(int socket, struct failure *f)
{
	int size = 2 * INIT_PACKET_MAX, got = 0;
	socklen_t len = sizeof(got);

	if (setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == 0)
		return 0;
	if (setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0 ||
	    getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &got, &len) < 0)
		return fail(f, errno, "cannot set the buffer of the socket for " PROGRAM);
	if (got - 32 < (int)INIT_PACKET_MAX) /* what unix_dgram_sendmsg() in net/unix/af_unix.c leaves */
		return fail(f, EINVAL, "the buffer of the socket for " PROGRAM " is %d bytes: without "
			    "CAP_NET_ADMIN the sysctl net.core.wmem_max must be %u at least", got,
			    INIT_PACKET_MAX);
	return 0;
}

int namespace_make_socket(int ret_ends[2], struct failure *f)
{
	int r = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_ends) < 0)
		return fail(f, errno, "cannot make a socket for " PROGRAM);
	for (int i = 0; i < 2 && r == 0; i++)
		r = set_buffer(ret_ends[i], f);
	return r;
}

/* System V shared memory, message queues and the host name are not user code's either. */
static uint64_t namespaces_for(enum init_world world, bool shared_pid)
{
	uint64_t flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
			 (shared_pid ? 0 : CLONE_NEWPID);

	return world == INIT_WORLD_OWN    ? flags :
	       world == INIT_WORLD_MOUNTS ? flags | CLONE_NEWUSER :
					    0;
}

int namespace_launch(enum init_world world, bool shared_pid, int cgroup_fd,
		     struct process *ret_init, int *ret_socket, struct failure *f)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	uint64_t flags = namespaces_for(world, shared_pid) | CLONE_CLEAR_SIGHAND;
	int ends[2] = { -EBADF, -EBADF }, program = namespace_open_init(f);
	FD_OWNED int ours = -EBADF;
	FD_OWNED int theirs = -EBADF;
	int r;

	if (program < 0)
		return program;
	if (null < 0)
		return fail(f, errno, "cannot open /dev/null");
	r = namespace_make_socket(ends, f);
	ours = ends[0];
	theirs = ends[1];
	if (r < 0)
		return r;
	r = process_clone(flags, cgroup_fd, ret_init);
	if (r < 0)
		return fail(f, -r, "cannot make namespaces");
	if (r == 0)
		child_main(world, program, theirs, null);
	*ret_socket = take_fd(&ours);
	return 0;
}
