/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/namespace/launch.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
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

#include "agent/process/harden.h"
#include "init/protocol.h"

#define PROGRAM "moat-init"
#define RUNNER "moat-run"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u
#endif

/*
 * Beside the agent's own program in a build, below the same prefix where it is installed, wherever that is; the
 * prefix of the build comes last.
 */
static const char *const places[] = { "", "../libexec/moat/" };

static int find_program(const char *name, int flags, struct failure *f)
{
	int program = -1;
	char path[PATH_MAX], self[PATH_MAX];
	ssize_t n;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return fail(f, errno, "cannot tell where the agent's program is");
	self[n] = '\0';
	dirname(self);
	for (size_t i = 0; i < ARRAY_LEN(places) && program < 0; i++) {
		if (snprintf(path, sizeof(path), "%s/%s%s", self, places[i], name) >= (int)sizeof(path))
			return fail(f, ENAMETOOLONG, "cannot find %s", name);
		program = open(path, flags | O_CLOEXEC);
		if (program < 0 && errno != ENOENT)
			return fail(f, errno, "cannot open %s", path);
	}
	if (program < 0) {
		snprintf(path, sizeof(path), MOAT_LIBEXEC "/%s", name);
		program = open(path, flags | O_CLOEXEC);
	}
	if (program < 0)
		return fail(f, errno, "cannot find %s: not in %s, beside it in "
			    "../libexec/moat, nor in " MOAT_LIBEXEC, name, self);
	return program;
}

/* Opened once: the program that runs is the one that was there when the agent started. */
static int open_program(struct failure *f)
{
	static int program = -1;

	if (program < 0)
		program = find_program(PROGRAM, O_PATH, f);
	return program;
}

static int copy_sealed(int file, const char *name, int *ret_fd)
{
	FD_OWNED int copy = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	ssize_t n = 1;

	if (copy < 0 && errno == EINVAL) /* before 6.3 all could be executed */
		copy = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (copy < 0)
		return -errno;
	while (n > 0)
		n = sendfile(copy, file, NULL, 1 << 20);
	if (n < 0 || fchmod(copy, 0555) < 0 ||
	    fcntl(copy, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	*ret_fd = take_fd(&copy);
	return 0;
}

int namespace_open_runner(int *ret_fd, struct failure *f)
{
	FD_OWNED int file = find_program(RUNNER, O_RDONLY, f);
	int r;

	if (file < 0)
		return file;
	r = copy_sealed(file, RUNNER, ret_fd);
	if (r == -EACCES) {
		*ret_fd = find_program(RUNNER, O_PATH, f);
		return *ret_fd < 0 ? *ret_fd : 0;
	}
	return r < 0 ? fail(f, -r, "cannot copy " RUNNER " into memory") : 0;
}

int namespace_program(char ret_path[PATH_MAX], struct failure *f)
{
	int fd = open_program(f);
	char link[64];
	ssize_t n;

	if (fd < 0)
		return fd;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, ret_path, PATH_MAX - 1);
	if (n < 0)
		return fail(f, errno, "cannot tell where " PROGRAM " is");
	ret_path[n] = '\0';
	return 0;
}

/* In the child. The descriptors are moved out of the way first: any of them may be below 4. */
static int child_exec(int program, int socket, int null)
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
	if (r < 0)
		return -r;
	execveat(program, "", argv, env, AT_EMPTY_PATH);
	return errno;
}

/* Only async-signal-safe calls from here to execve: the child is a copy of the whole agent. */
static _Noreturn void child_main(int program, int socket, int null)
{
	struct init_reply reply = { .type = INIT_FAILED, .step = INIT_STEP_EXEC };

	reply.err = child_exec(program, socket, null);
	/* Descriptor 3 may not be the socket yet; then the parent only sees the end of it. */
	(void)!send(INIT_SOCKET_FD, &reply, sizeof(reply), MSG_NOSIGNAL);
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

int namespace_launch(bool shared_pid, int cgroup_fd, struct process *ret_init, int *ret_socket,
		     struct failure *f)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int ends[2] = { -EBADF, -EBADF }, pidfd = -EBADF, program = open_program(f);
	FD_OWNED int ours = -EBADF;
	FD_OWNED int theirs = -EBADF;
	struct clone_args args = {
		/* System V shared memory, message queues and the host name are not user code's either. */
		.flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
			 (shared_pid ? 0 : CLONE_NEWPID) | CLONE_PIDFD | CLONE_INTO_CGROUP |
			 CLONE_CLEAR_SIGHAND,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup_fd,
	};
	long pid;
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
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return fail(f, errno, "cannot make namespaces");
	if (pid == 0)
		child_main(program, theirs, null);
	*ret_init = (struct process){ .pid = (pid_t)pid, .pidfd = pidfd };
	*ret_socket = take_fd(&ours);
	return 0;
}
