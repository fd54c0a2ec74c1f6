/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to other mount namespaces than one's own, by what numbers them. */
#include "attempt.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define NUMBERS_MAX 8192 /* from the first, and around one's own: a test machine has not made more */

/* linux/nsfs.h of 6.12: from one mount namespace to the one before it. */
struct mnt_ns {
	uint32_t size, nr_mounts;
	uint64_t id;
};

#define NS_GET_MNTNS_ID _IOR(0xb7, 5, uint64_t)
#define NS_MNT_GET_PREV _IOR(0xb7, 12, struct mnt_ns)
#define NS_GET_NSTYPE _IO(0xb7, 3)

static int open_own(struct target *t)
{
	int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? setup(t, "open(/proc/self/ns/mnt)") : fd;
}

int attempt_mount_namespaces(struct target *t)
{
	struct mnt_ns info = { .size = sizeof(info) };
	int r, fd = open_own(t);

	if (fd < 0)
		return fd;
	r = ioctl(fd, NS_MNT_GET_PREV, &info);
	if (r >= 0)
		close(r);
	if (r < 0 && errno == ENOTTY)
		return answered(fd, -NOT_HERE);
	/* "there is none before this one" is an answer, too */
	return answered(fd, r < 0 && errno != ENOENT ? -errno : 0);
}

/* The number of one's own mount namespace: those of older ones are below. 0, -NOT_HERE or -errno. */
static int own_number(struct target *t, uint64_t *ret_number)
{
	int fd = open_own(t), r;

	if (fd < 0)
		return fd;
	r = ioctl(fd, NS_GET_MNTNS_ID, ret_number);
	if (r < 0)
		return answered(fd, errno == ENOTTY ? -NOT_HERE : setup(t, "NS_GET_MNTNS_ID"));
	return answered(fd, 0);
}

static int try_range(uint64_t from, uint64_t own, int (*fn)(uint64_t number), int none)
{
	int r = -none;

	for (uint64_t number = from; number < from + NUMBERS_MAX && r == -none; number++)
		if (number != own)
			r = fn(number);
	return r;
}

/* The first answer of a number but one's own that is not "there is none"; -none if all are. */
static int try_numbers(struct target *t, int (*fn)(uint64_t number), int none)
{
	uint64_t own = 0;
	int r = own_number(t, &own);

	if (r < 0)
		return r;
	r = try_range(1, own, fn, none);
	return r == -none && own > NUMBERS_MAX ? try_range(own - NUMBERS_MAX / 2, own, fn, none) : r;
}

/* linux/mount.h of 6.11 */
struct mount_request {
	uint32_t size, spare;
	uint64_t mount, param, namespace;
};

static int list_mounts(uint64_t number)
{
	struct mount_request request = { .size = sizeof(request), .mount = ~0ull, .namespace = number };
	uint64_t mounts[8];
	long r = syscall(458 /* listmount */, &request, mounts, 8, 0);

	return r < 0 && errno == ENOSYS ? -NOT_HERE : answer(r);
}

/* A child in a mount namespace of its own, so that there is one besides, if it may make one. */
static pid_t spawn_apart(void)
{
	int ready[2];
	pid_t pid;
	char byte;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		(void)!unshare(CLONE_NEWNS);
		close(ready[0]);
		close(ready[1]);
		pause();
		_exit(0);
	}
	close(ready[1]);
	(void)!read(ready[0], &byte, 1);
	close(ready[0]);
	return pid;
}

int attempt_mounts_of_others(struct target *t)
{
	pid_t pid = spawn_apart();
	int r = pid < 0 ? setup(t, "fork") : try_numbers(t, list_mounts, ENOENT);

	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return r;
}

/* linux/nsfs.h of 6.18: a file handle that anybody can make up. */
struct namespace_handle {
	struct file_handle head;
	uint64_t number;
	uint32_t type, inode;
};

#define FD_NSFS_ROOT (-10003)
#define FILEID_NSFS 0xf1
#define MNT_NS_INIT_INO 0xEFFFFFF8u

static bool is_others_mounts(int fd)
{
	struct stat own, found;

	return ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNS && fstat(fd, &found) == 0 &&
	       stat("/proc/self/ns/mnt", &own) == 0 && own.st_ino != found.st_ino;
}

/* By number alone, as since 6.19; 6.18 wants the inode number, too, which of the machine's first one is known. */
static int open_number(uint64_t number)
{
	struct namespace_handle handle = {
		.head = { .handle_bytes = 16, .handle_type = FILEID_NSFS }, .number = number,
	};
	int fd = open_by_handle_at(FD_NSFS_ROOT, &handle.head, O_RDONLY | O_CLOEXEC);

	if (fd < 0 && errno == ESTALE) {
		handle.type = CLONE_NEWNS;
		handle.inode = MNT_NS_INIT_INO;
		fd = open_by_handle_at(FD_NSFS_ROOT, &handle.head, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return errno == EBADF ? -NOT_HERE : errno == EPERM ? -ESTALE : -errno;
	return answered(fd, is_others_mounts(fd) ? 0 : -ESTALE);
}

/* The kernel says the same of those that are not there and of those that are not to be had. */
int attempt_namespace_by_handle(struct target *t)
{
	unshare(CLONE_NEWNS); /* without moat we may be in the first one ourselves */
	return try_numbers(t, open_number, ESTALE);
}

/* linux/nsfs.h of 6.19 */
struct list_request {
	uint32_t size, spare;
	uint64_t after;
	uint32_t type, spare2;
	uint64_t user_namespace;
};

int attempt_list_namespaces(struct target *t)
{
	struct list_request request = { .size = sizeof(request), .type = CLONE_NEWNS };
	uint64_t numbers[64], own = 0;
	long n = syscall(470 /* listns */, &request, numbers, 64, 0);
	int r;

	if (n < 0)
		return errno == ENOSYS ? -NOT_HERE : -errno;
	r = own_number(t, &own);
	if (r < 0)
		return r;
	for (long i = 0; i < n; i++)
		if (numbers[i] != own)
			return 0;
	return -ENOENT;
}
