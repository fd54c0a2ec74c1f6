/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same by the table of 32-bit system calls, which int $0x80 enters from 64-bit code, too. It has
 * numbers of its own, and for some calls functions of its own.
 */
#include "attempt.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "inet.h"

/* arch/x86/entry/syscalls/syscall_32.tbl */
enum {
	COMPAT_GETPID = 20,
	COMPAT_PTRACE = 26,
	COMPAT_KILL = 37,
	COMPAT_IOCTL = 54,
	COMPAT_SOCKETCALL = 102,
	COMPAT_SWAPOFF = 115,
	COMPAT_FCNTL64 = 221,
	COMPAT_IOPRIO_SET = 289,
	COMPAT_GET_ROBUST_LIST = 312,
	COMPAT_OPEN_BY_HANDLE_AT = 342,
	COMPAT_PROCESS_MADVISE = 440,
};
enum { CALL_BIND = 2, CALL_CONNECT = 3 }; /* of socketcall(2) */

/* A page that a stranger of one's own has at the same address, having been forked from here. */
static char page[4096] __attribute__((aligned(4096))) = "x";

#if defined(__x86_64__)
/* What the call returns: -errno, too. */
static int compat(int number, long a, long b, long c, long d, long e)
{
	int r;

	__asm__ volatile("int $0x80"
			 : "=a"(r)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory", "cc", "r8", "r9", "r10", "r11");
	return r;
}

#define LOW MAP_32BIT
#else
static int compat(int number, long a, long b, long c, long d, long e)
{
	(void)number, (void)a, (void)b, (void)c, (void)d, (void)e;
	return -ENOSYS;
}

#define LOW 0
#endif

/* Where the kernel was built or started without it, the instruction is a fault. */
static bool compat_is_here(void)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(compat(COMPAT_GETPID, 0, 0, 0, 0, 0) == getpid() ? 0 : 1);
	return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

/* A copy that a 32-bit pointer reaches. 0: no, which the call answers with EFAULT. */
static long low(const void *data, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | LOW, -1, 0);

	return p == MAP_FAILED ? 0 : (long)memcpy(p, data, size);
}

static int send_signal(struct target *t)
{
	return compat(COMPAT_KILL, t->pid, SIGTERM, 0, 0, 0);
}

static int send_sigio(struct target *t)
{
	int fds[2], r, pidfd = pidfd_open_(t->pid);

	if (pidfd < 0)
		return -errno;
	if (pipe(fds) < 0)
		return setup(t, "pipe");
	r = compat(COMPAT_FCNTL64, fds[0], F_SETOWN, t->pid, 0, 0);
	return answered(pidfd, r < 0 ? r : arm_and_wait(t, fds, pidfd));
}

static int trace(struct target *t)
{
	return compat(COMPAT_PTRACE, PTRACE_ATTACH, t->pid, 0, 0, 0);
}

static int find_robust_list(struct target *t)
{
	uint32_t head = 0, len = 0;

	return compat(COMPAT_GET_ROBUST_LIST, t->pid, low(&head, sizeof(head)), low(&len, sizeof(len)), 0, 0);
}

static int advise(struct target *t)
{
	uint32_t remote[2] = { (uint32_t)(uintptr_t)page, sizeof(page) }; /* struct compat_iovec */
	int pidfd;

	errno = EFAULT;
	if ((uintptr_t)page > UINT32_MAX)
		return setup(t, "a page below 4 GiB");
	pidfd = pidfd_open_(t->pid);
	if (pidfd < 0)
		return -errno;
	return answered(pidfd, compat(COMPAT_PROCESS_MADVISE, pidfd, low(remote, sizeof(remote)), 1, MADV_COLD, 0));
}

static int socketcall(struct target *t, int call, const char *host, uint16_t port)
{
	union address a;
	uint32_t arguments[3];
	socklen_t len = address_of(AF_INET, host, port, &a);
	int fd = inet_socket(t, AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return fd;
	arguments[0] = (uint32_t)fd;
	arguments[1] = (uint32_t)low(&a, sizeof(a));
	arguments[2] = len;
	return answered(fd, compat(COMPAT_SOCKETCALL, call, low(arguments, sizeof(arguments)), 0, 0, 0));
}

static int take_port(struct target *t)
{
	return socketcall(t, CALL_BIND, "0.0.0.0", t->port);
}

static int reach_port(struct target *t)
{
	return socketcall(t, CALL_CONNECT, "127.0.0.1", t->listener);
}

static int open_by_handle(struct target *t)
{
	struct tree_handle handle;
	int fd, dir = handle_of_file(t, &handle);

	if (dir < 0)
		return dir;
	fd = compat(COMPAT_OPEN_BY_HANDLE_AT, dir, low(&handle, sizeof(handle)), O_WRONLY | O_CLOEXEC, 0, 0);
	return answered(dir, fd < 0 ? fd : answered(fd, 0));
}

/* "This file system cannot" comes after the check. */
static int thaw(struct target *t)
{
	int r, fd = open(t->tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return setup(t, "open(tree)");
	r = compat(COMPAT_IOCTL, fd, FITHAW, 0, 0, 0);
	return answered(fd, r == -EOPNOTSUPP || r == -EINVAL || r == -ENOTTY ? 0 : r);
}

/* "There is no such file" comes after the check. */
static int swap_off(struct target *t)
{
	static const char none[] = "/no/such/swap";
	int r = compat(COMPAT_SWAPOFF, low(none, sizeof(none)), 0, 0, 0, 0);

	(void)t;
	return r == -ENOENT ? 0 : r == -ENOSYS ? -NOT_HERE : r;
}

static int raise_ioprio(struct target *t)
{
	(void)t;
	return compat(COMPAT_IOPRIO_SET, 1, 0, 1 << 13 | 4, 0, 0); /* of ourselves; IOPRIO_CLASS_RT */
}

#define COMPAT_CASE(name, fn)                                        \
	int attempt_compat_##name(struct target *t)                  \
	{                                                            \
		int r = compat_is_here() ? fn(t) : -NOT_HERE;        \
                                                                     \
		return r > 0 ? 0 : r;                                \
	}

COMPAT_CASE(kill, send_signal)
COMPAT_CASE(sigio, send_sigio)
COMPAT_CASE(ptrace, trace)
COMPAT_CASE(robust_list, find_robust_list)
COMPAT_CASE(madvise, advise)
COMPAT_CASE(bind, take_port)
COMPAT_CASE(connect, reach_port)
COMPAT_CASE(file_by_handle, open_by_handle)
COMPAT_CASE(fs_freeze, thaw)
COMPAT_CASE(swapoff, swap_off)
COMPAT_CASE(ioprio, raise_ioprio)
