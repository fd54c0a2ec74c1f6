// SPDX-License-Identifier: Apache-2.0
/*
 * The world user code sees: a procfs of its own, a minimal /dev, the kernel's control files
 * read-only or gone, moat's own directories covered. Runs once per namespace, before any command (in
 * a clone of the template only what must not be common to two of them); a step that fails refuses the namespace. Only what does not exist needs no covering.
 */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "init/init.h"

/* As container runtimes mask and protect them (the OCI runtime specification's maskedPaths and
 * readonlyPaths in the default profiles), and what tells of the whole machine's memory. */
static const char *const masked[] = {
	"/proc/acpi",	     "/proc/asound",	   "/proc/kcore",      "/proc/keys",
	"/proc/key-users",   "/proc/kmsg",	   "/proc/kpagecount", "/proc/kpageflags",
	"/proc/kpagecgroup", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
	"/proc/timer_list",  "/proc/timer_stats",  "/proc/vmcore",     "/sys/firmware",
	"/sys/devices/virtual/powercap",
};
static const char *const readonly[] = {
	"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs",
};

static const struct {
	const char *name;
	unsigned major, minor; /* Documentation/admin-guide/devices.txt */
} devices[] = {
	{ "null", 1, 3 },   { "zero", 1, 5 },	 { "full", 1, 7 },
	{ "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};

static const struct {
	const char *name, *target;
} links[] = {
	{ "ptmx", "pts/ptmx" },		    { "fd", "/proc/self/fd" },
	{ "stdin", "/proc/self/fd/0" },	    { "stdout", "/proc/self/fd/1" },
	{ "stderr", "/proc/self/fd/2" },
};

#define MSGMNI 32000u /* the kernel's default, and nearly all that it takes */

struct device_fds {
	int fds[ARRAY_LEN(devices)];
};

static void device_fds_close(struct device_fds *d)
{
	for (size_t i = 0; i < ARRAY_LEN(d->fds); i++)
		close_fd(&d->fds[i]);
}

/*
 * Clones of the old device nodes, before the old /dev goes. Their mounts are read-only, which does
 * not keep anyone from writing to the device, but from changing the mode or owner of the node: it
 * is the same inode as the control plane's.
 */
static int take_devices(struct device_fds *d)
{
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		char path[32];
		struct stat st;
		int r;

		snprintf(path, sizeof(path), "/dev/%s", devices[i].name);
		d->fds[i] = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		if (d->fds[i] < 0 || fstat(d->fds[i], &st) < 0)
			return -errno;
		if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(devices[i].major, devices[i].minor))
			return -ENODEV;
		r = mounts_set(d->fds[i], MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
			       MOUNT_ATTR_NODEV);
		if (r < 0)
			return r;
	}
	return devices_take();
}

static int attach_new(int mount_fd, int dirfd, const char *name)
{
	if (mkdirat(dirfd, name, 0755) < 0)
		return -errno;
	return mounts_attach(mount_fd, dirfd, name);
}

static int new_shm(uint64_t size, int *ret_fd)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
	return mounts_new_tmpfs("1777", text, ret_fd);
}

/* What is in /dev and may be written. own: each command mounts its own, and shm is a part of that. */
static int fill_dev_writable(int dev, bool own, uint64_t shm_size)
{
	FD_OWNED int pts = -EBADF;
	FD_OWNED int shm = -EBADF;
	int r;

	if (own)
		return mkdirat(dev, "pts", 0755) < 0 ||
				       mkdirat(dev, IN_DEV(INIT_OWN), 0755) < 0 ||
				       symlinkat(IN_DEV(INIT_OWN_SHM), dev, "shm") < 0 ?
			       -errno :
			       0;
	r = mounts_new_devpts(&pts);
	if (r == 0)
		r = attach_new(pts, dev, "pts");
	if (r == 0)
		r = new_shm(shm_size, &shm);
	if (r == 0)
		r = attach_new(shm, dev, "shm");
	return r;
}

static int fill_dev(int dev, struct device_fds *d, bool own, uint64_t shm_size)
{
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		FD_OWNED int place = openat(dev, devices[i].name,
					    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
		int r;

		if (place < 0)
			return -errno;
		r = mounts_attach(d->fds[i], dev, devices[i].name);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		if (symlinkat(links[i].target, dev, links[i].name) < 0)
			return -errno;
	return fill_dev_writable(dev, own, shm_size);
}

static int make_dev(struct device_fds *d, bool own, uint64_t shm_size)
{
	FD_OWNED int dev = -EBADF;
	int r = mounts_new_tmpfs("0755", "64k", &dev);

	if (r == 0)
		r = mounts_attach(dev, AT_FDCWD, "/dev");
	if (r == 0)
		r = fill_dev(dev, d, own, shm_size);
	if (r == 0)
		r = devices_place(dev);
	/* Contexts share this directory: none of them may replace what another one opens. */
	return r < 0 ? r : mounts_set(dev, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC, 0);
}

/* Mounts nothingness over path: an empty directory nobody can enter, or /dev/null. -ENOENT: there is nothing. */
static int cover(const char *path)
{
	FD_OWNED int target = open(path, O_PATH | O_CLOEXEC);
	FD_OWNED int blank = -EBADF;
	struct stat st;
	int r = 0;

	if (target < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	if (fstat(target, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode)) {
		r = mounts_new_tmpfs("0", "4k", &blank);
		if (r == 0)
			r = mounts_set(blank, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC, 0);
	} else {
		blank = open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		if (blank < 0)
			return -errno;
	}
	return r < 0 ? r : mounts_attach(blank, target, "");
}

static int make_readonly(const char *path)
{
	FD_OWNED int clone = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	int r;

	if (clone < 0)
		return errno == ENOENT ? 0 : -errno;
	r = mounts_set(clone, MOUNT_ATTR_RDONLY, 0);
	return r < 0 ? r : mounts_attach(clone, AT_FDCWD, path);
}

static int cover_if_there(const char *path)
{
	int r = cover(path);

	return r == -ENOENT ? 0 : r;
}

/* What cannot be detached. /proc and /dev are replaced whole. */
static int cover_locked(const char *path)
{
	static const char *const replaced[] = { "/proc", "/dev" };

	for (size_t i = 0; i < ARRAY_LEN(replaced); i++) {
		size_t n = strlen(replaced[i]);

		if (strncmp(path, replaced[i], n) == 0 && (!path[n] || path[n] == '/'))
			return 0;
	}
	return cover_if_there(path);
}

static int mask_all(const char *hidden, size_t n, bool may_lack)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(masked) && r == 0; i++)
		r = cover_if_there(masked[i]);
	for (; n > 0 && r == 0; n--, hidden += strlen(hidden) + 1)
		r = may_lack ? cover_if_there(hidden) : cover(hidden);
	return r;
}

static int protect_all(void)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(readonly) && r == 0; i++)
		r = make_readonly(readonly[i]);
	return r;
}

int setup_limit_ipc(int own_proc, uint64_t size)
{
	uint64_t queues = size / 16384;
	const struct {
		const char *file;
		uint64_t value;
	} limits[] = {
		{ "sys/kernel/shmmax", size },
		{ "sys/kernel/shmall", size / (uint64_t)sysconf(_SC_PAGESIZE) },
		{ "sys/kernel/msgmni", queues < MSGMNI ? queues : MSGMNI },
	};

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		FD_OWNED int fd = openat(own_proc, limits[i].file, O_WRONLY | O_CLOEXEC);

		if (fd < 0 && errno == ENOENT)
			return 0; /* a kernel without System V IPC */
		if (fd < 0 || dprintf(fd, "%llu", (unsigned long long)limits[i].value) < 0)
			return -errno;
	}
	return 0;
}

/* Where they were mounted: of cgroups the part that is this instance's, but not the control plane's: what cannot be opened nothing
 * can be started in (clone3(2) asks the directory, not the mount, whether it may be written). */
static int make_cgroup(const char *place)
{
	PTR_OWNED char *control = NULL;
	int r;

	if (!place)
		return 0;
	r = mounts_cgroup(place);
	if (r == 0 && asprintf(&control, "%s/" INIT_CGROUP_CONTROL, place) < 0) {
		control = NULL;
		r = -ENOMEM;
	}
	return r < 0 ? r : cover_if_there(control);
}

/* What is protected becomes read-only, and what is hidden is covered. */
static int cover_paths(const struct init_setup *m, enum init_step *ret_step)
{
	const char *strings = (const char *)(m + 1);
	int r;

	*ret_step = INIT_STEP_PROTECT;
	r = protect_paths(strings, (size_t)m->n_hidden + m->n_devices, m->n_protected);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_MASK;
	return mask_all(strings, m->n_hidden, m->may_lack);
}

int setup_mounts(const struct init_setup *m, enum init_step *ret_step)
{
	CLEANUP(device_fds_close)
	struct device_fds devs = { .fds = { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF, -EBADF } };
	/* Two, because a look-up of ours would stay in the cache and answer for us in spite of hidepid. */
	FD_OWNED int proc = -EBADF;
	FD_OWNED int own_proc = -EBADF;
	PTR_OWNED char *cgroup = NULL;
	int r;

	*ret_step = INIT_STEP_PROPAGATION;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	*ret_step = INIT_STEP_PROC;
	r = mounts_new_proc(m->own || m->shared_pid, &proc); /* others, who are not to be seen */
	if (r == 0)
		r = mounts_new_proc(true, &own_proc);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_IPC;
	r = setup_limit_ipc(own_proc, m->shm_size);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_DEV;
	r = take_devices(&devs);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_CGROUPFS;
	r = mounts_find_cgroup(own_proc, &cgroup);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_MASK;
	r = mounts_detach_forbidden(own_proc, cover_locked);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_PROC;
	r = mounts_attach(proc, AT_FDCWD, "/proc");
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_DEV;
	r = make_dev(&devs, m->own, m->shm_size);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_READONLY;
	r = mounts_make_readonly(own_proc);
	if (r == 0)
		r = protect_all();
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_CGROUPFS;
	r = make_cgroup(cgroup);
	if (r < 0)
		return r;
	return cover_paths(m, ret_step);
}

int setup_covers(const struct init_setup *m, enum init_step *ret_step)
{
	*ret_step = INIT_STEP_PROPAGATION;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	return cover_paths(m, ret_step);
}

/* As cover(), in fewer calls: nearly all of them are files. */
static int cover_in_proc(const char *path)
{
	FD_OWNED int null = open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	int r = null < 0 ? -errno : mounts_attach(null, AT_FDCWD, path);

	return r == -ENOENT ? 0 : r < 0 ? cover_if_there(path) : 0; /* EINVAL: a directory */
}

/*
 * Who may not mount has the template's /dev, with terminals and memory of his own. Who may could make that
 * writable, and it is the same in all copies: he gets another, and nothing is left beneath it.
 */
static int own_dev(bool may_mount, uint64_t shm_size)
{
	CLEANUP(device_fds_close)
	struct device_fds devs = { .fds = { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF, -EBADF } };
	FD_OWNED int pts = -EBADF;
	FD_OWNED int shm = -EBADF;
	int r;

	if (may_mount) {
		r = take_devices(&devs);
		if (r == 0 && umount2("/dev", MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			r = -errno;
		return r < 0 ? r : make_dev(&devs, false, shm_size);
	}
	r = mounts_new_devpts(&pts);
	if (r == 0)
		r = mounts_attach(pts, AT_FDCWD, "/dev/pts");
	if (r == 0)
		r = new_shm(shm_size, &shm);
	return r < 0 ? r : mounts_attach(shm, AT_FDCWD, "/dev/shm");
}

int setup_uncover(const char *shown, size_t n, enum init_step *ret_step)
{
	*ret_step = INIT_STEP_MASK;
	for (; n > 0; n--, shown += strlen(shown) + 1)
		if (umount2(shown, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return -errno;
	return 0;
}

int setup_own_mounts(bool may_mount, bool hiding, uint64_t shm_size, enum init_step *ret_step)
{
	FD_OWNED int proc = -EBADF;
	int r;

	/* The copies of private mounts are private. */
	*ret_step = INIT_STEP_DEV;
	r = own_dev(may_mount, shm_size);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_PROC;
	r = mounts_new_proc(hiding, &proc);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_IPC;
	r = setup_limit_ipc(proc, shm_size);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_PROC;
	/* With what covers it. It shows the agent's processes: it may not lie beneath ours. */
	if (umount2("/proc", MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return -errno;
	r = mounts_attach(proc, AT_FDCWD, "/proc");
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_READONLY;
	r = protect_all();
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_MASK;
	for (size_t i = 0; i < ARRAY_LEN(masked) && r == 0; i++)
		if (strncmp(masked[i], "/proc/", strlen("/proc/")) == 0)
			r = cover_in_proc(masked[i]);
	return r;
}
