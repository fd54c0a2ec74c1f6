/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What moat needs of the kernel in any case, enforced or not: capabilities, system calls that a
 * stricter seccomp profile refuses, namespaces. Each probe names all that is missing, with the
 * flags that a container engine takes for it.
 */
#include "agent/enforce/probes.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/close_range.h>
#include <linux/sched.h>

static bool has(cap_t caps, cap_value_t cap)
{
	cap_flag_value_t set = CAP_CLEAR;

	return caps && cap_get_flag(caps, cap, CAP_EFFECTIVE, &set) == 0 && set == CAP_SET;
}

static bool have_admin(void)
{
	cap_t caps = cap_get_proc();
	bool ok = has(caps, CAP_SYS_ADMIN);

	if (caps)
		cap_free(caps);
	return ok;
}

static void append(char *text, size_t size, const char *before, const char *word)
{
	size_t n = strlen(text);

	snprintf(text + n, size - n, "%s%s", before, word);
}

bool probe_privileges(struct probe_result *p)
{
	static const struct {
		cap_value_t cap;
		const char *name; /* as engines have it */
	} needed[] = {
		{ CAP_SYS_ADMIN, "SYS_ADMIN" },	  { CAP_SYS_PTRACE, "SYS_PTRACE" },
		{ CAP_KILL, "KILL" },		  { CAP_SETPCAP, "SETPCAP" },
		{ CAP_SYS_CHROOT, "SYS_CHROOT" },
	};
	char missing[96] = "", flags[128] = "";
	cap_t caps = cap_get_proc();

	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		if (has(caps, needed[i].cap))
			continue;
		append(missing, sizeof(missing), *missing ? ", CAP_" : "CAP_", needed[i].name);
		append(flags, sizeof(flags), " --cap-add=", needed[i].name);
	}
	if (caps)
		cap_free(caps);
	if (*missing)
		FOUND(p, "missing: %s; run as root in a container with%s", missing, flags);
	else
		FOUND(p, "the needed capabilities are effective");
	return !*missing;
}

/* Whether oom_score_adj can be lowered, for the order in which the kernel kills. */
bool probe_oom_order(struct probe_result *p)
{
	cap_t caps = cap_get_proc();
	bool ok = has(caps, CAP_SYS_RESOURCE);

	if (caps)
		cap_free(caps);
	if (ok)
		FOUND(p, "where memory ends user code is killed first");
	else
		FOUND(p, "CAP_SYS_RESOURCE is missing (--cap-add=SYS_RESOURCE): where memory ends user code "
			 "and the control plane are killed alike");
	return ok;
}

bool probe_user_namespace(struct probe_result *p)
{
	PTR_OWNED char *map = NULL;
	unsigned long long inside, outside, n;
	int r = read_file_at(AT_FDCWD, "/proc/self/uid_map", 65536, &map, NULL);
	bool initial = r == -ENOENT || /* a kernel without them */
		       (r == 0 && sscanf(map, "%llu %llu %llu", &inside, &outside, &n) == 3 &&
			inside == 0 && outside == 0 && n == UINT32_MAX);

	if (initial)
		FOUND(p, "in the machine's own user namespace");
	else if (r < 0)
		FOUND(p, "cannot read /proc/self/uid_map: %s", strerror(-r));
	else
		FOUND(p, "this is a user namespace (rootless, --userns, hostUsers: false): no kernel program "
			 "can be loaded from here, whatever the capabilities");
	return initial;
}

/* --- System calls ------------------------------------------------------------------------------ */

/* With arguments for which the kernel itself has another answer than a filter has. admin: without
 * CAP_SYS_ADMIN the kernel's is the same. */
static const struct {
	const char *name;
	long number, arguments[5];
	bool admin;
} calls[] = {
	{ "open_tree", SYS_open_tree, { -1, (long)"", AT_EMPTY_PATH } },
	{ "move_mount", SYS_move_mount, { -1, (long)"", -1, (long)"", 0 }, true },
	{ "fsopen", SYS_fsopen, { (long)"", FSOPEN_CLOEXEC }, true },
	{ "fsconfig", SYS_fsconfig, { -1, FSCONFIG_CMD_CREATE, 0, 0, 0 } },
	{ "fsmount", SYS_fsmount, { -1, 0, 0 }, true },
	{ "mount_setattr", SYS_mount_setattr, { -1, (long)"", 1 << 30, 0, 0 }, true },
	{ "close_range", SYS_close_range, { 1, 0, 0 } },
	{ "execveat", SYS_execveat, { -1, (long)"", 1, 0, AT_EMPTY_PATH } },
	{ "pidfd_open", SYS_pidfd_open, { -1, 0 } },
	{ "pidfd_send_signal", SYS_pidfd_send_signal, { -1, 0, 0, 0 } },
	{ "unshare", SYS_unshare, { 0 } },
	{ "setns", SYS_setns, { -1, CLONE_NEWNS } },
	{ "name_to_handle_at", SYS_name_to_handle_at, { -1, (long)"", 0, 0, 0 } },
	{ "statx", SYS_statx, { -1, (long)"", AT_EMPTY_PATH, STATX_INO, 0 } },
	{ "memfd_create", SYS_memfd_create, { 0, 0 } },
	{ "clone3", SYS_clone3, { 0, 1 } },
};

bool probe_calls(struct probe_result *p)
{
	bool admin = have_admin();
	char refused[160] = "";

	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		const long *a = calls[i].arguments;

		if (calls[i].admin && !admin)
			continue;
		errno = 0;
		if (syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4]) >= 0 ||
		    (errno != ENOSYS && errno != EPERM && errno != EACCES))
			continue;
		append(refused, sizeof(refused), *refused ? ", " : "", calls[i].name);
	}
	if (*refused)
		FOUND(p, "refused, by a seccomp profile or for want of them: %s", refused);
	else
		FOUND(p, "no system call that moat makes is refused");
	return !*refused;
}

/* --- Namespaces -------------------------------------------------------------------------------- */

/* ENOTBLK: they can be made, but "/" is no mount, as in a bare chroot(2): it cannot be made private. */
static int in_namespaces(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return errno == EINVAL ? ENOTBLK : errno;
	if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return errno;
	return 0;
}

/* As moat-init is started. 0, or an errno. */
static int try_namespaces(void)
{
	int pidfd = -EBADF, status;
	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID | CLONE_PIDFD |
			 CLONE_CLEAR_SIGHAND,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		return errno;
	if (pid == 0)
		_exit(in_namespaces() & 0xff);
	close_fd(&pidfd);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

bool probe_namespaces(struct probe_result *p)
{
	int err = try_namespaces();

	if (err == ENOTBLK)
		FOUND(p, "the root directory is no mount point: bind-mount a chroot onto itself first");
	else if (err)
		FOUND(p, "PID, mount, IPC and UTS namespaces cannot be made: %s", strerror(err));
	else
		FOUND(p, "PID, mount, IPC and UTS namespaces can be made");
	return err == 0;
}
