/* SPDX-License-Identifier: Apache-2.0 */
#include "attempt.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static void proc_path(char *path, size_t size, pid_t pid, const char *leaf)
{
	snprintf(path, size, "/proc/%d%s", pid, leaf);
}

static int stat_path(const char *path)
{
	struct stat st;

	return answer(stat(path, &st));
}

static int open_leaf(struct target *t, const char *leaf, int flags)
{
	char path[64];
	int fd;

	proc_path(path, sizeof(path), t->pid, leaf);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : answered(fd, 0);
}

/* Opens and reads: some leaves judge on reading only. */
static int read_leaf(struct target *t, const char *leaf)
{
	char path[64], buffer[256];
	int fd;

	proc_path(path, sizeof(path), t->pid, leaf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return answered(fd, answer(read(fd, buffer, sizeof(buffer))));
}

static int readlink_leaf(struct target *t, const char *leaf)
{
	char path[64], buffer[256];

	proc_path(path, sizeof(path), t->pid, leaf);
	return answer(readlink(path, buffer, sizeof(buffer)));
}

/* 0 when the directory has an entry of this name, ENOENT when not. */
static int has_entry(const char *directory, const char *name)
{
	struct dirent *entry;
	DIR *dir = opendir(directory);
	int r = -ENOENT;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, name) == 0)
			r = 0;
	closedir(dir);
	return r;
}

int attempt_proc_readdir(struct target *t)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", t->pid);
	return has_entry("/proc", name);
}

int attempt_proc_stat(struct target *t)
{
	char path[64];

	proc_path(path, sizeof(path), t->pid, "");
	return stat_path(path);
}

int attempt_proc_open(struct target *t)
{
	return open_leaf(t, "", O_PATH);
}

int attempt_proc_chdir(struct target *t)
{
	char path[64];

	proc_path(path, sizeof(path), t->pid, "");
	return answer(chdir(path));
}

int attempt_proc_dotdot(struct target *t)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/../%d", t->pid);
	return stat_path(path);
}

int attempt_proc_thread(struct target *t)
{
	char path[64];

	proc_path(path, sizeof(path), t->tid, "");
	return stat_path(path);
}

int attempt_proc_environ(struct target *t)
{
	return read_leaf(t, "/environ");
}

int attempt_proc_cmdline(struct target *t)
{
	return read_leaf(t, "/cmdline");
}

int attempt_proc_status(struct target *t)
{
	return read_leaf(t, "/status");
}

int attempt_proc_maps(struct target *t)
{
	return read_leaf(t, "/maps");
}

int attempt_proc_mem(struct target *t)
{
	return open_leaf(t, "/mem", O_RDWR);
}

int attempt_proc_oom(struct target *t)
{
	char path[64];
	int fd;

	proc_path(path, sizeof(path), t->pid, "/oom_score_adj");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return answered(fd, answer(write(fd, "1000", 4)));
}

int attempt_proc_root(struct target *t)
{
	return open_leaf(t, "/root", O_RDONLY | O_DIRECTORY);
}

int attempt_proc_cwd(struct target *t)
{
	return open_leaf(t, "/cwd", O_RDONLY | O_DIRECTORY);
}

int attempt_proc_exe(struct target *t)
{
	return readlink_leaf(t, "/exe");
}

int attempt_proc_fd(struct target *t)
{
	char path[64];

	proc_path(path, sizeof(path), t->pid, "/fd");
	return has_entry(path, "0");
}

int attempt_proc_fd_open(struct target *t)
{
	return open_leaf(t, "/fd/0", O_RDONLY | O_NONBLOCK);
}

int attempt_proc_task(struct target *t)
{
	char path[64], name[16];

	proc_path(path, sizeof(path), t->pid, "/task");
	snprintf(name, sizeof(name), "%d", t->tid);
	return has_entry(path, name);
}

int attempt_proc_ns(struct target *t)
{
	return readlink_leaf(t, "/ns/pid");
}

int attempt_proc_self(struct target *t)
{
	char name[16];
	int r;

	t->pid = getpid();
	snprintf(name, sizeof(name), "%d", t->pid);
	r = has_entry("/proc", name);
	if (r == 0)
		r = has_entry("/proc/self/task", name);
	return r ? r : read_leaf(t, "/environ");
}
