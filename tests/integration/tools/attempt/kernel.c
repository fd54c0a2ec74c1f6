/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to the kernel beneath everything, and to the files it is controlled by. */
#include "attempt.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

/* The answer of something that not every kernel was built with; beyond: the errno that tells that
 * the call got past the check, 0: none. */
static int optional(long r, int beyond)
{
	if (r >= 0 || (beyond && errno == beyond))
		return 0;
	return errno == ENOSYS || errno == ENXIO || errno == ENOENT ? -NOT_HERE : -errno;
}

/* Read-only mounts are no obstacle to who may remount. */
static int open_writable(struct target *t, const char *mountpoint, const char *path)
{
	int r = own_mounts(t);

	if (r < 0)
		return r;
	mount(NULL, mountpoint, NULL, MS_REMOUNT | MS_BIND, NULL);
	return open_once(path, O_WRONLY);
}

int attempt_sysctl_write(struct target *t)
{
	return open_writable(t, "/proc/sys", "/proc/sys/kernel/panic");
}

int attempt_sysrq_write(struct target *t)
{
	int r = open_writable(t, "/proc/sysrq-trigger", "/proc/sysrq-trigger");

	return r == -ENOENT ? -NOT_HERE : r;
}

static const char *cgroup_root(void)
{
	return access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0 ? "/sys/fs/cgroup" :
								  "/sys/fs/cgroup/unified";
}

static int cgroup_open(struct target *t, const char *group, const char *file, int flags)
{
	char path[512];
	int r = own_mounts(t);

	if (r < 0)
		return r;
	mount(NULL, cgroup_root(), NULL, MS_REMOUNT | MS_BIND, NULL);
	snprintf(path, sizeof(path), "%s/control", cgroup_root());
	umount2(path, MNT_DETACH); /* which is covered */
	snprintf(path, sizeof(path), "%s%s/%s", cgroup_root(), group, file);
	return open_once(path, flags);
}

int attempt_cgroup_list(struct target *t)
{
	return cgroup_open(t, "", "cgroup.procs", O_RDONLY);
}

int attempt_cgroup_migrate(struct target *t)
{
	return cgroup_open(t, "", "cgroup.procs", O_WRONLY);
}

int attempt_cgroup_threads_list(struct target *t)
{
	return cgroup_open(t, "", "cgroup.threads", O_RDONLY);
}

int attempt_cgroup_threads_migrate(struct target *t)
{
	return cgroup_open(t, "", "cgroup.threads", O_WRONLY);
}

int attempt_cgroup_kill(struct target *t)
{
	return cgroup_open(t, t->cgroup, "cgroup.kill", O_WRONLY);
}

int attempt_cgroup_freeze(struct target *t)
{
	return cgroup_open(t, t->cgroup, "cgroup.freeze", O_WRONLY);
}

/* Of its cgroup, or of the one around it where that alone has the controller. */
int attempt_cgroup_memory(struct target *t)
{
	char parent[256];
	int r = cgroup_open(t, t->cgroup, "memory.max", O_WRONLY);

	if (r != -ENOENT || t->fresh)
		return r == -ENOENT && !t->enforced ? -NOT_HERE : r;
	snprintf(parent, sizeof(parent), "%s", t->cgroup);
	*strrchr(parent, '/') = '\0';
	return cgroup_open(t, parent, "memory.max", O_WRONLY);
}

int attempt_cgroup_make(struct target *t)
{
	char path[512];
	int r = own_mounts(t);

	if (r < 0)
		return r;
	mount(NULL, cgroup_root(), NULL, MS_REMOUNT | MS_BIND, NULL);
	snprintf(path, sizeof(path), "%s/attempt-%d", cgroup_root(), getpid());
	if (mkdir(path, 0700) < 0)
		return -errno;
	return answer(rmdir(path));
}

static int version1_here(int r)
{
	return r == -ENODEV || r == -EINVAL ? -NOT_HERE : r;
}

/* Freezing by it, or naming a program that the kernel runs when a group is empty. */
int attempt_cgroup_version1(struct target *t)
{
	int r = own_mounts(t);

	return r < 0 ? r : version1_here(answer(mount("attempt", PLACE, "cgroup", 0, "none,name=attempt")));
}

int attempt_cgroup_version1_fsopen(struct target *t)
{
	int fs = fsopen("cgroup", FSOPEN_CLOEXEC);

	if (fs < 0)
		return errno == ENODEV ? -NOT_HERE : setup(t, "fsopen");
	return answered(fs, version1_here(answer(fsconfig(fs, FSCONFIG_SET_STRING, "name", "attempt", 0))));
}

/* No file of the other cgroup is opened for this. */
int attempt_cgroup_spawn(struct target *t)
{
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
	int dir = open(cgroup_root(), O_PATH | O_DIRECTORY | O_CLOEXEC);
	long pid;
	int r;

	if (dir < 0)
		return setup(t, "open(cgroup)");
	args.cgroup = (uint64_t)dir;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		_exit(0);
	r = answer(pid);
	if (pid > 0)
		waitpid((pid_t)pid, NULL, 0);
	return answered(dir, r);
}

int attempt_bpffs_mount(struct target *t)
{
	return mount_here(t, "bpf");
}

int attempt_bpffs_fsmount(struct target *t)
{
	int mnt, fd, fs = fsopen("bpf", FSOPEN_CLOEXEC);

	if (fs < 0)
		return setup(t, "fsopen(bpf)");
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return answered(fs, -errno);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mnt < 0)
		return answered(fs, setup(t, "fsmount(bpf)"));
	fd = openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(fs);
	return answered(mnt, fd < 0 ? -errno : answered(fd, 0));
}

int attempt_binfmt_misc(struct target *t)
{
	return mount_here(t, "binfmt_misc");
}

int attempt_tracefs(struct target *t)
{
	int r = mount_here(t, "tracefs");

	return r < 0 ? r : open_once(PLACE "/available_tracers", O_RDONLY);
}

int attempt_dev_mem(struct target *t)
{
	int fd;

	if (mount_here(t, "tmpfs") < 0)
		return setup(t, "mount(tmpfs)");
	if (mknod(PLACE "/mem", S_IFCHR | 0600, makedev(1, 1)) < 0)
		return setup(t, "mknod");
	fd = open(PLACE "/mem", O_RDONLY | O_CLOEXEC);
	return answered(fd, optional(fd, 0));
}

int attempt_ioperm(struct target *t)
{
	(void)t;
#if defined(__x86_64__)
	return optional(ioperm(0x80, 1, 1), 0);
#else
	return -NOT_HERE;
#endif
}

/* Getting as far as "there is no such module" is getting past the check. */
int attempt_module_unload(struct target *t)
{
	long r = syscall(SYS_delete_module, "no_such_module_here", O_NONBLOCK);

	(void)t;
	return optional(r, ENOENT);
}

/* And so is "this is no module". */
int attempt_module_load(struct target *t)
{
	long r = syscall(SYS_init_module, "not a module", 12ul, "");

	(void)t;
	return optional(r, ENOEXEC);
}

/* A file that is neither a module nor a kernel; nobody has it open for writing. */
static int not_a_module(void)
{
	return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

int attempt_module_load_file(struct target *t)
{
	int fd = not_a_module();

	if (fd < 0)
		return setup(t, "open(/proc/self/exe)");
	return answered(fd, optional(syscall(SYS_finit_module, fd, "", 0), ENOEXEC));
}

int attempt_kexec_file(struct target *t)
{
	int fd = not_a_module();

	if (fd < 0)
		return setup(t, "open(/proc/self/exe)");
#ifdef SYS_kexec_file_load
	return answered(fd, optional(syscall(SYS_kexec_file_load, fd, -1, 0ul, NULL,
					     4ul /* KEXEC_FILE_NO_INITRAMFS */), ENOEXEC));
#else
	return answered(fd, -NOT_HERE);
#endif
}

/* No segments: unloads an image that is not loaded. */
int attempt_kexec(struct target *t)
{
	long r = syscall(SYS_kexec_load, 0ul, 0ul, NULL, 0ul);

	(void)t;
	return optional(r, 0);
}

/* The one command of reboot(2) that changes nothing where it is the default. */
int attempt_reboot(struct target *t)
{
	(void)t;
	return answer(reboot(LINUX_REBOOT_CMD_CAD_OFF));
}

/* A group whose events come with a descriptor of what somebody opened. */
static int watch(unsigned group)
{
	int fd = fanotify_init(group | FAN_CLOEXEC, O_RDONLY);

	return fd < 0 ? optional(fd, 0) : answered(fd, 0);
}

int attempt_fanotify_permission(struct target *t)
{
	int r = watch(FAN_CLASS_CONTENT);

	(void)t;
	return r == -EINVAL ? -NOT_HERE : r;
}

int attempt_fanotify_descriptors(struct target *t)
{
	(void)t;
	return watch(FAN_CLASS_NOTIF);
}

/* Events that name files by handle; not every file system has handles. */
int attempt_fanotify_notify(struct target *t)
{
	static const char *const places[] = { "/tmp", "/dev/shm", "/etc/hostname" };
	int r = -NOT_HERE, fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_REPORT_FID, O_RDONLY);

	if (fd < 0)
		return errno == ENOSYS ? -NOT_HERE : setup(t, "fanotify_init");
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && r == -NOT_HERE; i++) {
		r = answer(fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, places[i]));
		if (r == -EOPNOTSUPP || r == -ENODEV || r == -EXDEV || r == -ENOENT)
			r = -NOT_HERE;
	}
	return answered(fd, r);
}

/* To be killed for want of memory after others; of oneself. */
int attempt_oom_later(struct target *t)
{
	char text[16] = "";
	int r, fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return answered(fd, setup(t, "read(oom_score_adj)"));
	snprintf(text, sizeof(text), "%d", atoi(text) - 1);
	r = answer(pwrite(fd, text, strlen(text), 0));
	return answered(fd, r);
}

int attempt_proc_write_own(struct target *t)
{
	(void)t;
	return open_once("/proc/self/oom_score_adj", O_WRONLY);
}

int attempt_cgroup_read(struct target *t)
{
	return cgroup_open(t, "", "cgroup.controllers", O_RDONLY);
}
