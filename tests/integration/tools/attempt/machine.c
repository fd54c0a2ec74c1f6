/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to what the machine has only one of: disks, clock, network, processor time, log. */
#include "attempt.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <sys/time.h>

#include "uring.h"

/* A device node of one's own; PLACE is then a tmpfs of one's own. */
static int make_node(struct target *t, mode_t type, dev_t device)
{
	if (mount_here(t, "tmpfs") < 0 || mkdir(PLACE "/mnt", 0700) < 0)
		return setup(t, "mount(tmpfs)");
	return mknod(PLACE "/node", type | 0600, device) < 0 ? setup(t, "mknod") : 0;
}

static int open_node(struct target *t, mode_t type, dev_t device)
{
	int fd, r = make_node(t, type, device);

	if (r < 0)
		return r;
	fd = open(PLACE "/node", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return answered(fd, fd >= 0 || errno == ENXIO || errno == ENODEV ? 0 : -errno); /* it has no driver */
}

int attempt_disk_open(struct target *t)
{
	return open_node(t, S_IFBLK, t->disk ? (dev_t)t->disk : makedev(7, 0));
}

int attempt_disk_mount(struct target *t)
{
	int r;

	if (!t->disk)
		return -NOT_HERE;
	r = make_node(t, S_IFBLK, (dev_t)t->disk);
	return r < 0 ? r : answer(mount(PLACE "/node", PLACE "/mnt", "ext4", MS_RDONLY, NULL));
}

int attempt_device_node(struct target *t)
{
	return open_node(t, S_IFCHR, makedev(10, 223));
}

/* Memory or files that are read by asking user code, which need not answer. */
int attempt_fuse_device(struct target *t)
{
	return open_node(t, S_IFCHR, makedev(10, 229));
}

static int userfaults(int flags)
{
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | flags);

	return fd < 0 && errno == ENOSYS ? -NOT_HERE : answer(fd);
}

int attempt_userfaultfd(struct target *t)
{
	(void)t;
	return userfaults(0);
}

int attempt_userfaultfd_own(struct target *t)
{
	(void)t;
	return userfaults(1 /* UFFD_USER_MODE_ONLY */);
}

int attempt_device_common(struct target *t)
{
	static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random",
					       "/dev/urandom", "/dev/ptmx" };

	(void)t;
	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		int r = open_once(devices[i], O_RDWR | O_NOCTTY);

		if (r < 0)
			return r;
	}
	return 0;
}

int attempt_devtmpfs(struct target *t)
{
	return mount_here(t, "devtmpfs");
}

/* Of the running IPC namespace, whose file system was there before. */
int attempt_mqueue_own(struct target *t)
{
	return mount_here(t, "mqueue");
}

int attempt_console(struct target *t)
{
	return open_node(t, S_IFCHR, makedev(5, 1));
}

int attempt_kernel_log(struct target *t)
{
	char line[256];

	(void)t;
	return answer(syscall(SYS_syslog, 3 /* SYSLOG_ACTION_READ_ALL */, line, sizeof(line)));
}

/* The kernel asks modprobe for net-pf-9 and says the same whether that is refused or finds nothing. */
int attempt_module_autoload(struct target *t)
{
	int fd = socket(9 /* AF_X25 */, SOCK_SEQPACKET, 0);

	(void)t;
	return fd < 0 ? -errno : answered(fd, -NOT_HERE);
}

/* As they are: nothing changes where it succeeds. */
static int set_flags(struct target *t, int fd)
{
	struct ifreq request = { .ifr_name = "lo" };

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return answered(fd, setup(t, "ioctl(SIOCGIFFLAGS)"));
	return answered(fd, answer(ioctl(fd, SIOCSIFFLAGS, &request)));
}

static int interface_socket(void)
{
	return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

int attempt_net_admin(struct target *t)
{
	return set_flags(t, interface_socket());
}

/* By a socket that was made where the interface is. */
int attempt_net_admin_other(struct target *t)
{
	int fd = interface_socket();

	if (unshare(CLONE_NEWNET) < 0)
		return answered(fd, setup(t, "unshare(CLONE_NEWNET)"));
	return set_flags(t, fd);
}

int attempt_net_admin_own(struct target *t)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return setup(t, "unshare(CLONE_NEWUSER | CLONE_NEWNET)");
	return set_flags(t, interface_socket());
}

int attempt_realtime(struct target *t)
{
	struct sched_param param = { .sched_priority = 1 };

	(void)t;
	return answer(sched_setscheduler(0, SCHED_FIFO, &param));
}

/* With it no capability is asked for any more. */
int attempt_rlimit_realtime(struct target *t)
{
	const struct rlimit limit = { 50, 50 };

	(void)t;
	return answer(setrlimit(RLIMIT_RTPRIO, &limit));
}

int attempt_rlimit_core(struct target *t)
{
	const struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	(void)t;
	return answer(setrlimit(RLIMIT_CORE, &limit));
}

int attempt_rlimit_nice(struct target *t)
{
	const struct rlimit limit = { 40, 40 };

	(void)t;
	return answer(prlimit(getppid(), RLIMIT_NICE, &limit, NULL));
}

int attempt_rlimit_files_own(struct target *t)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return setup(t, "getrlimit");
	limit.rlim_cur = limit.rlim_max;
	return answer(setrlimit(RLIMIT_NOFILE, &limit));
}

int attempt_nice_up(struct target *t)
{
	(void)t;
	return answer(setpriority(PRIO_PROCESS, 0, -5));
}

int attempt_ioprio_realtime(struct target *t)
{
	(void)t;
	return answer(syscall(SYS_ioprio_set, 1, 0, 1 << 13 | 4)); /* of ourselves; IOPRIO_CLASS_RT */
}

/* Past the check the kernel sees that nothing is mapped there. */
static int poisoned(int r)
{
	return r == -EFAULT || r == -ENOMEM ? 0 : r == -EINVAL ? -NOT_HERE : r;
}

#define SOFT_OFFLINE 101 /* MADV_SOFT_OFFLINE */
#define NOWHERE ((void *)0x100000000000)

int attempt_memory_poison(struct target *t)
{
	(void)t;
	return poisoned(answer(madvise(NOWHERE, 4096, SOFT_OFFLINE)));
}

int attempt_memory_poison_io_uring(struct target *t)
{
	(void)t;
	return poisoned(uring_madvise(NOWHERE, 4096, SOFT_OFFLINE));
}

int attempt_ioprio_aio(struct target *t)
{
	int r, fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char byte;
	struct iocb request = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)fd,
				.aio_buf = (uintptr_t)&byte, .aio_nbytes = 1,
				.aio_flags = IOCB_FLAG_IOPRIO, .aio_reqprio = 1 << 13 | 4 };
	struct iocb *requests[] = { &request };
	aio_context_t context = 0;

	if (fd < 0 || syscall(SYS_io_setup, 1, &context) < 0)
		return answered(fd, errno == ENOSYS ? -NOT_HERE : setup(t, "io_setup"));
	r = answer(syscall(SYS_io_submit, context, 1ul, requests));
	return answered(fd, r);
}

int attempt_ioprio_io_uring(struct target *t)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return setup(t, "open(/dev/null)");
	return answered(fd, uring_read(fd, 1 << 13 | 4)); /* IOPRIO_CLASS_RT */
}

/* What the kernel audits of everybody. */
int attempt_audit_read(struct target *t)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 /* AUDIT_NLGRP_READLOG */ };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);

	if (fd < 0)
		return errno == EPROTONOSUPPORT ? -NOT_HERE : setup(t, "socket");
	return answered(fd, answer(bind(fd, (struct sockaddr *)&address, sizeof(address))));
}

/* By whoever takes off what covers it as well. */
static int open_uncovered(struct target *t, const char *path)
{
	int fd, r = own_mounts(t);
	struct stat st;

	if (r < 0)
		return r;
	while (umount2(path, MNT_DETACH) == 0)
		;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -NOT_HERE : -errno;
	return answered(fd, fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) ? -EACCES : 0); /* still covered */
}

int attempt_lock_holders(struct target *t)
{
	return open_uncovered(t, "/proc/locks");
}

int attempt_timers(struct target *t)
{
	return open_uncovered(t, "/proc/timer_list");
}

int attempt_settime(struct target *t)
{
	struct timezone zone = { 0 };

	(void)t;
	return answer(settimeofday(NULL, &zone));
}

int attempt_accounting(struct target *t)
{
	int r = answer(acct(NULL));

	(void)t;
	return r == -ENOSYS ? -NOT_HERE : r;
}

/* Getting as far as "there is no such file" is getting past the check. */
int attempt_swapoff(struct target *t)
{
	int r = answer(swapoff("/no/such/swap"));

	(void)t;
	return r == -ENOENT ? 0 : r == -ENOSYS ? -NOT_HERE : r;
}

int attempt_sysfs_write(struct target *t)
{
	int r;

	if (mount_here(t, "sysfs") < 0)
		return setup(t, "mount(sysfs)");
	r = open_once(PLACE "/kernel/profiling", O_WRONLY);
	return r == -ENOENT ? -NOT_HERE : r;
}

int attempt_securityfs(struct target *t)
{
	int r = mount_here(t, "securityfs");

	return r < 0 ? r : open_once(PLACE "/lsm", O_RDONLY);
}

int attempt_hostname_own(struct target *t)
{
	char name[65];

	if (gethostname(name, sizeof(name)) < 0)
		return setup(t, "gethostname");
	return answer(sethostname(name, strlen(name)));
}

/* Keyrings belong to users: what root's control plane keeps in its own, root's user code could read. */
int attempt_key_add(struct target *t)
{
	(void)t;
	return answer(syscall(SYS_add_key, "user", "attempt", "x", 1, KEY_SPEC_PROCESS_KEYRING));
}

int attempt_key_find(struct target *t)
{
	(void)t;
	return answer(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1));
}
