/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The moat-init and the moat-run that are started, each read once: a copy in memory, sealed. Whoever may write the file changes nothing of
 * what runs, or will, while this agent lives; nor by /proc/PID/exe of what has run.
 */
#include "agent/namespace/program.h"

#include <fcntl.h>
#include <libgen.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef MFD_EXEC /* 6.3 */
#define MFD_EXEC 0x0010U
#endif
#ifndef F_SEAL_EXEC /* 6.3 */
#define F_SEAL_EXEC 0x0020
#endif
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct program {
	const char *name;
	/* Run as user code, whose /proc/PID/exe leads to the one copy that all have: no seal keeps the mode, the
	 * access list and the attributes of a memfd. */
	bool is_user_code;
	int copy; /* -1: not yet */
	char place[PATH_MAX];
};

static struct program init = { .name = "moat-init", .copy = -1 };
static struct program runner = { .name = "moat-run", .is_user_code = true, .copy = -1 };

/*
 * Beside the agent's own program in a build, below the same prefix where it is installed, wherever that is; the
 * prefix of the build comes last.
 */
static const char *const places[] = { "", "../libexec/moat/" };

static int find(struct program *p, int *ret_file, struct failure *f)
{
	char path[PATH_MAX], self[PATH_MAX];
	FD_OWNED int file = -EBADF;
	ssize_t n;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return fail(f, errno, "cannot tell where the agent's program is");
	self[n] = '\0';
	dirname(self);
	for (size_t i = 0; i < ARRAY_LEN(places) && file < 0; i++) {
		if (snprintf(path, sizeof(path), "%s/%s%s", self, places[i], p->name) >=
		    (int)sizeof(path))
			return fail(f, ENAMETOOLONG, "cannot find %s", p->name);
		file = open(path, O_RDONLY | O_CLOEXEC);
		if (file < 0 && errno != ENOENT)
			return fail(f, errno, "cannot open %s", path);
	}
	snprintf(path, sizeof(path), MOAT_LIBEXEC "/%s", p->name);
	if (file < 0)
		file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return fail(f, errno, "cannot find %s: not in %s, beside it in ../libexec/moat, nor in "
			    MOAT_LIBEXEC, p->name, self);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	n = readlink(path, p->place, sizeof(p->place) - 1);
	if (n < 0)
		return fail(f, errno, "cannot tell where %s is", p->name);
	p->place[n] = '\0';
	*ret_file = take_fd(&file);
	return 0;
}

static int copy(int from, int to)
{
	struct stat st;
	ssize_t n = 1;

	while (n > 0)
		n = sendfile(to, from, NULL, 1u << 20);
	if (n < 0 || fstat(to, &st) < 0)
		return -errno;
	return st.st_size > 0 ? 0 : -ENOEXEC;
}

static int copy_to_memfd(const struct program *p, int file, int *ret_copy)
{
	FD_OWNED int fd = memfd_create(p->name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	int r;

	if (fd < 0 && errno == EINVAL) /* where every memfd can be executed, and the flag is not known */
		fd = memfd_create(p->name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	r = copy(file, fd);
	if (r == 0 && fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_EXEC) < 0 &&
	    fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		r = -errno;
	if (r == 0)
		*ret_copy = take_fd(&fd);
	return r;
}

/* In a file system that is mounted nowhere, and read-only; also where no memfd may be executed (vm.memfd_noexec = 2). */
static int copy_to_tmpfs(const struct program *p, int file, int *ret_copy)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	FD_OWNED int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	FD_OWNED int root = -EBADF;
	FD_OWNED int fd = -EBADF;
	int r;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (root >= 0)
		fd = openat(root, p->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	if (fd < 0)
		return -errno;
	r = copy(file, fd);
	close_fd(&fd);
	if (r == 0 && mount_setattr(root, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		r = -errno;
	if (r < 0)
		return r;
	fd = openat(root, p->name, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_copy = take_fd(&fd);
	return 0;
}

static int open_program(struct program *p, struct failure *f)
{
	FD_OWNED int file = -EBADF;
	int r;

	if (p->copy >= 0)
		return p->copy;
	r = find(p, &file, f);
	if (r < 0)
		return r;
	r = p->is_user_code ? -EACCES : copy_to_memfd(p, file, &p->copy);
	if (r == -EACCES)
		r = lseek(file, 0, SEEK_SET) < 0 ? -errno : copy_to_tmpfs(p, file, &p->copy);
	/* An ordinary user mounts nothing; what user code can do to that copy it does to itself alone. */
	if (r == -EPERM && p->is_user_code)
		r = lseek(file, 0, SEEK_SET) < 0 ? -errno : copy_to_memfd(p, file, &p->copy);
	return r < 0 ? fail(f, -r, "cannot copy %s", p->place) : p->copy;
}

int namespace_open_init(struct failure *f)
{
	return open_program(&init, f);
}

int namespace_open_runner(struct failure *f)
{
	return open_program(&runner, f);
}

int namespace_program(char ret_path[PATH_MAX], struct failure *f)
{
	int r = open_program(&init, f);

	if (r < 0)
		return r;
	memcpy(ret_path, init.place, sizeof(init.place));
	return 0;
}
