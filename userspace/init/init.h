/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of moat-init, the one process of moat that lives beside untrusted code. It is static,
 * has one thread, no configuration and no memory of the agent's; it does what protocol.h says and
 * nothing else. Every signal is blocked and no handler is ever installed.
 */
#ifndef MOAT_INIT_INIT_H
#define MOAT_INIT_INIT_H

#include <sys/capability.h>
#include <sys/types.h>

#include "base/base.h"
#include "init/protocol.h"

/* --- setup.c ------------------------------------------------------------------------------- */

/*
 * Turns the fresh mount namespace (a copy of the agent's) into the one user code sees, and limits
 * its IPC namespace. hidden: n NUL-terminated absolute paths, one after the other. On failure
 * returns -errno with the step; the namespace is then half made and must not be used.
 */
int setup_mounts(const char *hidden, size_t n, uint64_t shm_size, enum init_step *ret_step);

/*
 * In a fork of a process that has done the above, in a copy of its mount namespace: /proc, /dev/pts and /dev/shm
 * of its own in the place of the copies, which are the template's; with may_mount all of /dev.
 */
int setup_own_mounts(bool may_mount, uint64_t shm_size, enum init_step *ret_step);
/* Takes the covers of n paths off, NUL-terminated, one after the other. */
int setup_uncover(const char *shown, size_t n, enum init_step *ret_step);
/* The same of setup_process(). */
int setup_own_process(bool shared_pid, uint64_t capabilities, enum init_step *ret_step);

/* Makes this process what its children may inherit: no dispositions, no ambient capabilities, no
 * securebits, capabilities at most those given in the bounding set, umask 022, own session. */
int setup_process(bool shared_pid, uint64_t capabilities, enum init_step *ret_step);

/* --- mounts.c ------------------------------------------------------------------------------ */

/* A procfs of the present PID namespace, mounted nowhere yet. 0 or -errno. */
int mounts_new_proc(int *ret_fd);
/* An empty tmpfs, mounted nowhere yet; mode and size are octal and decimal text. 0 or -errno. */
int mounts_new_tmpfs(const char *mode, const char *size, int *ret_fd);
int mounts_new_devpts(int *ret_fd);
/* Attaches a detached mount on path, relative to dirfd; an empty path means dirfd itself. */
int mounts_attach(int mount_fd, int dirfd, const char *path);
/* Sets MOUNT_ATTR_* on the mount fd refers to. */
int mounts_set(int mount_fd, uint64_t attr_set, uint64_t attr_clr);

/*
 * Detaches every mount of a filesystem user code must not reach, and proves that none is left.
 * proc_fd: root of a procfs of this PID namespace, mounted nowhere. 0 or -errno.
 */
int mounts_detach_forbidden(int proc_fd);
/* Makes mounts of the kernel's control filesystems read-only, and proves it; cgroups selects
 * cgroup and cgroup2, otherwise sysfs and the like. 0 or -errno. */
int mounts_make_readonly(int proc_fd, bool cgroups);

/* --- clone.c ------------------------------------------------------------------------------- */

/*
 * Forks this process into mount, IPC and UTS (and, unless shared_pid, PID) namespaces of its own, as a child of
 * our parent. Returns its pid, 0 in the child, or -errno. The caller closes *ret_pidfd, which is above the
 * standard descriptors and INIT_SOCKET_FD.
 */
pid_t clone_init(bool shared_pid, int *ret_pidfd);

/* --- spawn.c ------------------------------------------------------------------------------- */

/* What a child does before execve; everything is borrowed and was checked by the caller. */
struct spawn_request {
	const char *cwd;
	char **argv, **env;
	int stdio[3]; /* each above INIT_SOCKET_FD; [0] may be -EBADF: /dev/null */
	int cgroup_fd; /* -EBADF: stay */
	uint64_t capabilities;
	bool no_new_privs;
};

/* Once, before the first spawn: maps the child's stack. 0 or -errno. */
int spawn_init(void);
/*
 * Starts a command; returns when it has been executed (or has died on the way, which is a command
 * like any other). On failure returns -errno with the step, and the child, if there was one, will
 * be reaped by the caller's wait loop as a process it does not know.
 */
int spawn_command(const struct spawn_request *request, pid_t *ret_pid, enum init_step *ret_step);

/* --- children.c ---------------------------------------------------------------------------- */

#define CHILDREN_MAX 8192u

/* The commands that run: pid to exec. */
bool children_full(void);
void children_add(pid_t pid, uint64_t exec);
/* Removes pid and returns its exec, or 0 when it is not a command. */
uint64_t children_remove(pid_t pid);
/* The pid of a running command, or 0. */
pid_t children_find(uint64_t exec);
/* SIGKILL to the process group of every command. */
void children_kill_all(void);

#endif
