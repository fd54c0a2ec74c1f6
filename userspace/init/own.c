// SPDX-License-Identifier: Apache-2.0
/*
 * Surroundings for one command each: mount, IPC and UTS namespaces with /dev/pts and one tmpfs of
 * their own.
 *
 * moat-init itself stands in those that the next command will have, so that its clone is as cheap
 * as any; right after it moat-init holds what it needs to get out by descriptors, follows no path
 * any more, and at the next idle moment goes back to the template, in which no command ever ran,
 * and makes the next from there. To take down a mount namespace takes the kernel a grace period. It
 * falls to who lets go last, which is moat-init when it has nothing else to do, not the command on
 * its way to its parent.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "init/init.h"

#define HOLD_MAX 256u

static struct {
	pid_t pid; /* 0: it is gone, to be closed */
	int fd;
} holds[HOLD_MAX];
static size_t n_holds, n_gone;
static int proc = -EBADF, template_mnt = -EBADF, template_uts = -EBADF, template_dev = -EBADF;
static uint64_t shm;
static bool ready;

int own_open(uint64_t shm_size)
{
	int r = mounts_new_proc(true, &proc);

	if (r < 0)
		return r;
	shm = shm_size;
	template_mnt = openat(proc, "self/ns/mnt", O_RDONLY | O_CLOEXEC);
	template_uts = openat(proc, "self/ns/uts", O_RDONLY | O_CLOEXEC);
	template_dev = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return template_mnt < 0 || template_uts < 0 || template_dev < 0 ? -errno : 0;
}

/* From the working directory, which is /dev: what that name leads to is user code's to change, by a
 * rename in the root directory. What is written to the tmpfs is charged to the exec that does it. */
static int fill(void)
{
	static const struct {
		const char *path;
		mode_t mode;
	} places[] = { { IN_DEV(INIT_OWN_HOME), 0700 },
		       { IN_DEV(INIT_OWN_TMP), 01777 },
		       { IN_DEV(INIT_OWN_SHM), 01777 } };

	if (mount("devpts", "pts", "devpts", MS_NOSUID | MS_NOEXEC,
		  "ptmxmode=0666,mode=0620,gid=5") < 0 ||
	    mount("tmpfs", IN_DEV(INIT_OWN), "tmpfs", MS_NOSUID | MS_NODEV,
		  "mode=0755,size=64m,nr_inodes=65536") < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (mkdir(places[i].path, 0700) < 0 || chmod(places[i].path, places[i].mode) < 0)
			return -errno;
	return 0;
}

bool own_active(void)
{
	return proc >= 0;
}

int own_prepare(void)
{
	int r;

	if (ready || proc < 0)
		return 0;
	/* unshare(2) takes the working directory along into the copy. */
	if (setns(template_mnt, CLONE_NEWNS) < 0 || setns(template_uts, CLONE_NEWUTS) < 0 ||
	    fchdir(template_dev) < 0 || unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return -errno;
	r = setup_limit_ipc(proc, shm);
	if (r == 0)
		r = fill();
	ready = r == 0;
	return r;
}

void own_used(pid_t pid)
{
	if (proc < 0)
		return;
	ready = false;
	if (n_holds == HOLD_MAX) /* then its end is as slow as it is */
		return;
	holds[n_holds].fd = openat(proc, "self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (holds[n_holds].fd >= 0)
		holds[n_holds++].pid = pid;
}

void own_ended(pid_t pid)
{
	for (size_t i = 0; i < n_holds; i++)
		if (holds[i].pid == pid) {
			holds[i].pid = 0;
			n_gone++;
			return;
		}
}

/* What was used lately is let go when nobody has wanted anything for a while, or when there is much of it. */
int own_patience(void)
{
	/* At once: while the command that had the last one begins, on another processor. */
	if (proc >= 0 && !ready)
		return 0;
	if (n_gone == 0)
		return -1;
	return n_gone < HOLD_MAX / 2 ? 20 : 0;
}

void own_work(void)
{
	if (!ready && own_prepare() == 0)
		return;
	for (size_t i = 0; i < n_holds && n_gone > 0; i++)
		if (holds[i].pid == 0) {
			close(holds[i].fd);
			holds[i] = holds[--n_holds];
			n_gone--;
			return;
		}
}
