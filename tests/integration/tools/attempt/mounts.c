/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to a view of the processes other than the /proc that is already there. */
#include "attempt.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

/* 0 when the process is found beneath the directory (dirfd: -1, or what it is relative to). */
static int look(struct target *t, int dirfd)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), dirfd < 0 ? PLACE "/%d" : "%d", t->pid);
	return answer(fstatat(dirfd, path, &st, 0));
}

static int mount_proc(struct target *t, const char *options)
{
	int r = own_mounts(t);

	if (r < 0)
		return r;
	if (mount("proc", PLACE, "proc", 0, options) < 0)
		return -errno;
	return look(t, -1);
}

int attempt_mount_proc(struct target *t)
{
	return mount_proc(t, NULL);
}

/* Allowed, and of no use. */
int attempt_mount_proc_hiding(struct target *t)
{
	return mount_proc(t, "hidepid=ptraceable");
}

/* An unattached mount of a new superblock. The descriptor, or -errno. */
static int new_mount(const char *type)
{
	int mnt, fs = fsopen(type, FSOPEN_CLOEXEC);

	if (fs < 0)
		return -errno;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return answered(fs, -errno);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return answered(fs, mnt < 0 ? -errno : mnt);
}

int attempt_fsmount_proc(struct target *t)
{
	int mnt = new_mount("proc");

	return mnt < 0 ? mnt : answered(mnt, look(t, mnt));
}

static int attach(int mnt)
{
	return answer(move_mount(mnt, "", AT_FDCWD, PLACE, MOVE_MOUNT_F_EMPTY_PATH));
}

int attempt_move_mount_proc(struct target *t)
{
	int mnt, r = own_mounts(t);

	if (r < 0)
		return r;
	mnt = new_mount("proc");
	if (mnt < 0)
		return mnt;
	r = answered(mnt, attach(mnt));
	return r < 0 ? r : look(t, -1);
}

int attempt_remount_proc(struct target *t)
{
	int r = own_mounts(t);

	if (r < 0)
		return r;
	return answer(mount(NULL, "/proc", NULL, MS_REMOUNT, "hidepid=0"));
}

int attempt_fspick_proc(struct target *t)
{
	int fs = fspick(AT_FDCWD, "/proc", FSPICK_CLOEXEC);

	if (fs < 0)
		return -errno;
	if (fsconfig(fs, FSCONFIG_SET_STRING, "hidepid", "0", 0) < 0)
		return answered(fs, setup(t, "fsconfig"));
	return answered(fs, answer(fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0)));
}

/* Without own_mounts(): only mounts of the attacker's own namespace and of init's can be bound. */
int attempt_bind_init_proc(struct target *t)
{
	char place[] = "/tmp/attempt-XXXXXX";
	int dir, r;

	if (!mkdtemp(place))
		return setup(t, "mkdtemp");
	r = answer(mount("/proc/1/root/proc", place, NULL, MS_BIND, NULL));
	if (r == 0) {
		dir = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
		r = answered(dir, look(t, dir));
		umount2(place, MNT_DETACH);
	}
	rmdir(place);
	return r;
}

int attempt_clone_init_proc(struct target *t)
{
	int tree = open_tree(AT_FDCWD, "/proc/1/root/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return tree < 0 ? -errno : answered(tree, look(t, tree));
}

/*
 * Whether the process is in what is mounted on /proc now, if that is a procfs of this kernel: there
 * we find ourselves. (A virtual machine's root may have been copied from, or be, another machine's.)
 */
static int look_at_proc(struct target *t)
{
	char path[64], own[16], comm[16] = "";
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", t->pid);
	if (stat(path, &st) < 0)
		return -errno;
	snprintf(own, sizeof(own), "me-%d", getpid());
	prctl(PR_SET_NAME, own);
	fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (read(fd, comm, sizeof(comm) - 1) < 0)
		return answered(fd, -errno);
	return answered(fd, strncmp(own, comm, strlen(own)) == 0 ? 0 : -ENOENT);
}

/* Takes mounts off /proc until the process appears or none is left. */
int attempt_uncover_proc(struct target *t)
{
	int r = own_mounts(t);

	if (r < 0)
		return r;
	if (t->fresh && mount("cover", "/proc", "tmpfs", 0, NULL) < 0)
		return setup(t, "mount(tmpfs)");
	while ((r = look_at_proc(t)) < 0)
		if (umount2("/proc", MNT_DETACH) < 0)
			break;
	return r;
}

static int mount_proc_as_init(struct target *t)
{
	t->pid = getpid();
	return attempt_mount_proc(t);
}

int attempt_mount_proc_own(struct target *t)
{
	if (unshare(CLONE_NEWPID) < 0)
		return setup(t, "unshare(CLONE_NEWPID)");
	return in_child(mount_proc_as_init, t);
}

int attempt_mount_tmpfs(struct target *t)
{
	int r = own_mounts(t);

	return r < 0 ? r : answer(mount("tmpfs", PLACE, "tmpfs", 0, NULL));
}

int attempt_remount_tmpfs(struct target *t)
{
	int r = attempt_mount_tmpfs(t);

	return r < 0 ? r : answer(mount(NULL, PLACE, NULL, MS_REMOUNT, "size=1m"));
}

int attempt_fsmount_tmpfs(struct target *t)
{
	int mnt, r = own_mounts(t);

	if (r < 0)
		return r;
	mnt = new_mount("tmpfs");
	return mnt < 0 ? mnt : answered(mnt, attach(mnt));
}

int attempt_move_proc_own(struct target *t)
{
	int tree, r = own_mounts(t);

	if (r < 0)
		return r;
	tree = open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	return tree < 0 ? setup(t, "open_tree") : answered(tree, attach(tree));
}

int attempt_bind_own(struct target *t)
{
	int r = own_mounts(t);

	return r < 0 ? r : answer(mount("/proc/self/root/tmp", PLACE, NULL, MS_BIND, NULL));
}

/* As far as "that is the root already" is past the check. */
static int pivot(void)
{
	int r = answer(syscall(SYS_pivot_root, "/", "/"));

	return r == -EBUSY || r == -EINVAL ? 0 : r;
}

int attempt_pivot_root(struct target *t)
{
	(void)t;
	return pivot();
}

int attempt_pivot_root_own(struct target *t)
{
	int r = own_mounts(t);

	return r < 0 ? r : pivot();
}

/* The kernel itself connects to the port, where nobody listens. */
int attempt_mount_network(struct target *t)
{
	char options[64];
	int r = own_mounts(t);

	if (r < 0)
		return r;
	snprintf(options, sizeof(options), "trans=tcp,port=%u", t->port);
	r = answer(mount("127.0.0.1", PLACE, "9p", 0, options));
	return r == -ENODEV ? -NOT_HERE : r == -ECONNREFUSED ? 0 : r;
}

int attempt_fsopen_network(struct target *t)
{
	int fs = fsopen("9p", FSOPEN_CLOEXEC);

	if (fs < 0)
		return errno == ENODEV ? -NOT_HERE : setup(t, "fsopen");
	return answered(fs, answer(fsconfig(fs, FSCONFIG_SET_STRING, "source", "127.0.0.1", 0)));
}
