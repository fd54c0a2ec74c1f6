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
 * its IPC namespace. m: checked, and what follows it. On failure
 * returns -errno with the step; the namespace is then half made and must not be used.
 */
int setup_mounts(const struct init_setup *m, enum init_step *ret_step);
/* Of that only what is to be covered or read-only, in a user namespace: INIT_WORLD_MOUNTS. */
int setup_covers(const struct init_setup *m, enum init_step *ret_step);

/*
 * System V IPC has no owner that it would go away with: as much of it as of /dev/shm. The segments
 * are charged to who made them, as are messages, of which a queue holds 16 KiB (kernel.msgmnb). The
 * sysctls are those of our IPC namespace (sysctl(2) of the kernel's ipc/ipc_sysctl.c). proc: root of a
 * procfs. 0 or -errno.
 */
int setup_limit_ipc(int proc, uint64_t size);

/*
 * In a fork of a process that has done the above, in a copy of its mount namespace: /proc, /dev/pts and /dev/shm
 * of its own in the place of the copies, which are the template's; with may_mount all of /dev.
 */
int setup_own_mounts(bool may_mount, bool hiding, uint64_t shm_size, enum init_step *ret_step);
/* Takes the covers of n paths off, NUL-terminated, one after the other. */
int setup_uncover(const char *shown, size_t n, enum init_step *ret_step);

/* --- inherited.c --------------------------------------------------------------------------- */

/* Of setup_process() what a fork of its process does not have yet. */
int setup_own_process(enum init_world world, bool shared_pid, uint64_t capabilities,
		      enum init_step *ret_step);

/* Makes this process what its children may inherit: no dispositions, no ambient capabilities, no
 * securebits, capabilities at most those given in the bounding set, umask 022, own session. */
int setup_process(enum init_world world, bool shared_pid, uint64_t capabilities,
		  enum init_step *ret_step);

/*
 * The last of set-up: nothing of the agent's view stays open, and of the capabilities only those
 * that the commands may get, and what is needed to end them (CAP_KILL), to take others from them
 * (CAP_SETPCAP), with domain to put them into one (CAP_SYS_ADMIN) and, with own, to make and change namespaces
 * (CAP_SYS_ADMIN, CAP_SYS_CHROOT).
 */
int setup_drop(uint64_t capabilities, bool own, bool domain, enum init_step *ret_step);

/* --- filters.c ----------------------------------------------------------------------------- */

/* Keeps the filters that follow one another at bytes, for this process and those that it becomes. 0 or -EPROTO. */
int filters_keep(const char *bytes, const uint32_t len[INIT_FILTERS]);
/* On this process and all that come of it; number as of init_setup. While there is CAP_SYS_ADMIN. 0 or -errno. */
int filters_apply(uint32_t number);

/* --- mounts.c ------------------------------------------------------------------------------ */

/*
 * A procfs of the present PID namespace, mounted nowhere yet. hiding: it shows only what one may trace, by
 * hidepid=ptraceable (proc(5)); that leaves out what has changed its user or is not dumpable, also where it is
 * one's own. 0 or -errno.
 */
int mounts_new_proc(bool hiding, int *ret_fd);
/* Mounts the cgroup2 hierarchy, from the root of our cgroup namespace on, read-only. 0 or -errno. */
int mounts_cgroup(const char *place);
/* An empty tmpfs, mounted nowhere yet; mode and size are octal and decimal text. 0 or -errno. */
int mounts_new_tmpfs(const char *mode, const char *size, int *ret_fd);
int mounts_new_devpts(int *ret_fd);
/* Attaches a detached mount on path, relative to dirfd; an empty path means dirfd itself. */
int mounts_attach(int mount_fd, int dirfd, const char *path);
/* Sets MOUNT_ATTR_* on the mount fd refers to. */
int mounts_set(int mount_fd, uint64_t attr_set, uint64_t attr_clr);

/*
 * Detaches every mount of a filesystem user code must not reach, and proves that none is left. cover: mounts nothingness
 * over one that cannot be detached, because it came with the user namespace. proc_fd: root of a procfs of this PID namespace, mounted nowhere. 0 or -errno.
 */
int mounts_detach_forbidden(int proc_fd, int (*cover)(const char *path));
/* Makes mounts of the kernel's control filesystems read-only, and proves it. 0 or -errno. */
int mounts_make_readonly(int proc_fd);
/* Where cgroup2 is mounted, /sys/fs/cgroup if it is there as well, NULL if nowhere; the caller frees it. 0 or -errno. */
int mounts_find_cgroup(int proc_fd, char **ret_place);

/* --- protect.c ------------------------------------------------------------------------------ */

/* n paths as of init_setup, NUL-terminated, behind so many other strings; each before what is beneath it. 0 or -errno. */
int protect_paths(const char *strings, size_t others, size_t n);

/* --- clone.c ------------------------------------------------------------------------------- */

/*
 * Forks this process into mount, IPC and UTS (and, unless shared_pid, PID) namespaces of its own, as a child of
 * our parent. Returns its pid, 0 in the child, or -errno. The caller closes *ret_pidfd, which is above the
 * standard descriptors and INIT_SOCKET_FD.
 */
pid_t clone_init(enum init_world world, bool shared_pid, int *ret_pidfd);

/* --- devices.c: what of the machine's /dev, besides the usual, is in that of user code --------- */

/* Remembers n NUL-terminated names beneath /dev, for this process and those that it becomes. */
int devices_keep(const char *names, size_t n);
/* Clones their nodes, before the old /dev goes, and attaches them in the new one. 0 or -errno. */
int devices_take(void);
int devices_place(int dev);
void devices_forget(void);

/* --- own.c --------------------------------------------------------------------------------- */

/* The name of something in /dev, relative to that. */
#define IN_DEV(path) (&(path)[sizeof("/dev/") - 1])

/* Once, where commands have surroundings of their own: before setup_drop(). 0 or -errno. */
int own_open(uint64_t shm_size);
/* Before a clone: makes the surroundings of the next command, if they are not there; the working
 * directory is then their /dev. 0 or -errno. */
int own_prepare(void);
/* Whether commands have them. */
bool own_active(void);
/* After it, and at the end of the child. */
void own_used(pid_t pid);
void own_ended(pid_t pid);
/* For idle moments: some of what can be done ahead or afterwards, when nothing has happened for so
 * many milliseconds; -1: there is nothing to do. */
int own_patience(void);
void own_work(void);

/* --- spawn.c ------------------------------------------------------------------------------- */

/* What a child does before execve; everything is borrowed and was checked by the caller. */
struct spawn_request {
	const char *cwd;
	char **argv, **env;
	int stdio[3]; /* each above INIT_SOCKET_FD; [0] may be -EBADF: /dev/null */
	int cgroup_fd; /* -EBADF: stay */
	int program; /* -EBADF: argv[0] is looked for */
	int given[INIT_GIVEN_MAX]; /* each above the places it goes to; -EBADF: none */
	uint64_t capabilities;
	uint64_t bounding_drop; /* filled by spawn_command() */
	bool no_new_privs;
	bool own_tmp; /* a /tmp of its own, where it has surroundings of its own */
	bool own_domain; /* goes into a domain of Landlock by itself; filled by spawn_command() */
	bool on_terminal; /* stdio is one, which is to be its controlling one */
};

/* What comes out of the pipe of a child that does not get as far as execve. */
struct spawn_report {
	uint32_t step; /* enum init_step */
	int32_t err;   /* positive errno */
	char text[INIT_TEXT_MAX]; /* as of init_reply */
};

/* Once, before the first spawn: what there is to give; bounded: and what each child is to drop for good. 0 or -errno. */
int spawn_init(bool bounded);
/* What the filter of system calls knows our clone3(2) by. */
void spawn_set_secret(const uint64_t secret[INIT_SECRET]);
/*
 * Makes the child and returns; it goes on by itself. The pipe *ret_report, which the caller closes,
 * ends with execve or with the child's death, or has a spawn_report in it. On failure returns
 * -errno with the step, and there is no child.
 */
int spawn_command(struct spawn_request *request, pid_t *ret_pid, int *ret_report,
		  enum init_step *ret_step);

/* In the keeper: a child of its parent's, with report as its end of the pipe. Its pid, which *ret_pid is as well before
 * the child does anything, or -errno. */
int spawn_sibling(struct spawn_request *request, pid_t *ret_pid, int report);

/* --- child.c ------------------------------------------------------------------------------- */

/* The child's side of spawn_command(). */
_Noreturn void child_main(const struct spawn_request *request, int report);

/* --- terminal.c ---------------------------------------------------------------------------- */

/* Once, before any command runs in this mount namespace. 0 or -errno. */
int terminal_setup(void);
/* Makes one where the next command will be; after own_prepare(). The caller closes both ends. 0 or -errno. */
int terminal_open(unsigned short rows, unsigned short cols, int *ret_master, int *ret_slave);

/* --- starts.c ------------------------------------------------------------------------------ */

struct pollfd;

/* The children that have not executed their program yet. on_started hears of each once: err 0, or a
 * positive errno with the step, and then the child is none of the commands. */
typedef void (*start_fn)(pid_t pid, const struct spawn_report *told);

bool starts_full(void);
/* Owns report from now on. */
void starts_add(pid_t pid, int report);
/* Fills room for INIT_STARTS_MAX; returns how many are to be polled. */
size_t starts_poll(struct pollfd *fds);
/* Looks at those that poll(2) marked, among the first n in the order of starts_poll(). */
void starts_look(const struct pollfd *fds, size_t n, start_fn on_started);
/* Of a child that is dead: nothing more comes, so it is settled now if it was not. */
void starts_settle(pid_t pid, start_fn on_started);

/* --- packet.c ------------------------------------------------------------------------------- */

#define SPAWN_FDS 4 /* and a fifth, the program, and what it is given */
#define PACKET_FDS_MAX (SPAWN_FDS + 1 + (int)INIT_GIVEN_MAX)

extern char packet[INIT_PACKET_MAX];

void packet_open(void);
/*
 * Receives one packet with up to PACKET_FDS_MAX descriptors, each above all that were open. Returns its length; 0 at
 * the end, and of what makes no sense.
 */
size_t packet_receive(int fds[PACKET_FDS_MAX], size_t *ret_n_fds);
void packet_drop_fds(const int *fds, size_t n);
/* Of the packet, an INIT_SPAWN; false: it is none. *ret points into it. */
bool packet_spawn(size_t len, const int *fds, size_t n_fds, struct spawn_request *ret);
/* Overwrites a request of len bytes: it held environment values. */
void packet_wipe(size_t len);

/* --- keeper.c ------------------------------------------------------------------------------- */

/* capabilities: of the commands. The ruleset is at INIT_RULESET_FD, unless kind is INIT_DOMAIN_NONE. */
void keeper_open(enum init_domain kind, uint64_t capabilities);
/* Whether commands are to be cloned by the keeper; whether each goes into a domain by itself. */
bool keeper_wanted(void);
bool keeper_domain_each(void);
/* As spawn_command(), of the packet as it was received. */
int keeper_spawn(size_t len, const int *fds, size_t n_fds, pid_t *ret_pid, int *ret_report,
		 enum init_step *ret_step);
/* Of a child that was reaped: whether it was the keeper. */
bool keeper_ended(pid_t pid);

/* --- children.c ---------------------------------------------------------------------------- */

#define CHILDREN_MAX 8192u

/* The commands that run: pid to exec. */
bool children_full(void);
void children_add(pid_t pid, uint64_t exec);
/* The exec of pid, or 0 when it is not a command. */
uint64_t children_exec(pid_t pid);
/* Removes pid and returns its exec, or 0 when it is not a command. */
uint64_t children_remove(pid_t pid);
/* The pid of a running command, or 0. */
pid_t children_find(uint64_t exec);
/* SIGKILL to every command and its process group. */
void children_kill_all(void);

#endif
