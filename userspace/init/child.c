// SPDX-License-Identifier: Apache-2.0
/*
 * The child, from clone to execve. It is moat-init until it has dropped the capabilities: until
 * then it follows no path but those of the view as set-up made it. The working directory, the
 * program and /dev/null are opened with the rights of the command.
 *
 * Nothing of the C library is called here, see raw.h.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "init/init.h"
#include "init/raw.h"

#define REPORT_FD INIT_SOCKET_FD /* in the child, which has no use for the socket */
#define PROGRAM_FD (REPORT_FD + 1) /* until it is executed */
_Static_assert(PROGRAM_FD < INIT_GIVEN_FD, "they do not overlap");

/* Tries one program; returns true when the search must end. *err is what the search would answer. */
static bool try_exec(const char *path, const struct spawn_request *r, int *err)
{
	int e = (int)-raw(SYS_execve, path, r->argv, r->env);

	switch (e) {
	case EACCES: /* remembered: "found, but not allowed" says more than "not found" */
		*err = EACCES;
		return false;
	case ENOENT:
	case ENOTDIR:
		return false;
	default:
		*err = e;
		return true;
	}
}

/* Copies up to end (a character or the end of the text); NULL when there is no room. */
static char *copy(char *to, const char *limit, const char *from, char end)
{
	while (*from && *from != end) {
		if (to == limit)
			return NULL;
		*to++ = *from++;
	}
	return to;
}

static const char *path_of(char *const *env)
{
	static const char name[] = "PATH=";

	for (; *env; env++)
		for (size_t i = 0; (*env)[i] == name[i]; i++)
			if (name[i + 1] == '\0')
				return *env + i + 1;
	return DEFAULT_PATH;
}

/*
 * Whether a program is there that execve(2) says is not: then it is its interpreter that is missing, which the
 * first line of a script names.
 */
static bool lacks_interpreter(const char *path, struct spawn_report *told)
{
	long fd = raw(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0), n;
	char line[2 + INIT_TEXT_MAX];
	size_t from = 2, to = 0;

	if (fd < 0)
		return false;
	n = raw(SYS_read, fd, line, sizeof(line));
	raw(SYS_close, fd);
	told->step = INIT_STEP_INTERPRETER;
	if (n < 2 || line[0] != '#' || line[1] != '!')
		return true; /* that of a dynamic program */
	while (from < (size_t)n && (line[from] == ' ' || line[from] == '\t'))
		from++;
	while (from < (size_t)n && line[from] != ' ' && line[from] != '\t' && line[from] != '\n')
		told->text[to++] = line[from++];
	return true;
}

/*
 * The PATH of the command's own environment, as execvpe(3) has it, but without a shell at the end. look: what
 * was not found is only looked for once more, to see what is missing.
 */
static int exec_search(const struct spawn_request *r, bool look, struct spawn_report *told)
{
	const char *path = path_of(r->env), *name = r->argv[0];
	char candidate[PATH_MAX];
	const char *limit = candidate + sizeof(candidate) - 1;
	int err = ENOENT;

	for (const char *p = name; *p; p++)
		if (*p == '/')
			return look ? lacks_interpreter(name, told), ENOENT :
				      (int)-raw(SYS_execve, name, r->argv, r->env);
	for (;;) {
		char *p = copy(candidate, limit, path, ':');

		if (p && p != candidate && p != limit) /* an empty element is the working directory */
			*p++ = '/';
		if (p)
			p = copy(p, limit, name, '\0');
		if (p) {
			*p = '\0';
			if (look ? lacks_interpreter(candidate, told) : try_exec(candidate, r, &err))
				return err;
		}
		while (*path && *path != ':')
			path++;
		if (!*path++)
			return err;
	}
}

/*
 * The sources are all above REPORT_FD, so no dup3 can overwrite one of them. Nothing of ours stays
 * behind; *report is where the pipe is from then on.
 */
static long child_descriptors(const struct spawn_request *r, int *report)
{
	long e = r->stdio[0] >= 0 ? raw(SYS_dup3, r->stdio[0], 0, 0) : raw(SYS_close, 0);
	unsigned n = 0;

	for (int i = 1; i < 3 && e >= 0; i++)
		e = raw(SYS_dup3, r->stdio[i], i, 0);
	if (e >= 0)
		e = raw(SYS_dup3, *report, REPORT_FD, O_CLOEXEC);
	if (e < 0)
		return e;
	*report = REPORT_FD;
	if (r->program < 0)
		return raw(SYS_close_range, REPORT_FD + 1, ~0u, 0);
	e = raw(SYS_dup3, r->program, PROGRAM_FD, O_CLOEXEC);
	/* Descriptors are received in order: what these overwrite has been used above. */
	for (; n < INIT_GIVEN_MAX && r->given[n] >= 0 && e >= 0; n++)
		e = raw(SYS_dup3, r->given[n], INIT_GIVEN_FD + n, 0);
	return e < 0 ? e : raw(SYS_close_range, INIT_GIVEN_FD + n, ~0u, 0);
}

/* No handler was ever installed and none is ignored, so only the mask needs a reset. */
static long child_signals(void)
{
	uint64_t none = 0;

	return raw(SYS_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
}

/* See own.c for the working directory. /tmp is a place that user code may have replaced: whatever is no directory there is refused. */
static long child_tmp(void)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_NO_SYMLINKS };
	long from = raw(SYS_open_tree, AT_FDCWD, IN_DEV(INIT_OWN_TMP), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	long to = raw(SYS_openat2, AT_FDCWD, "/tmp", &how, sizeof(how)), e;

	if (from < 0 || to < 0)
		return from < 0 ? from : to;
	e = raw(SYS_move_mount, from, "", to, "",
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	raw(SYS_close, from);
	raw(SYS_close, to);
	return e;
}

/* Inheritable stays empty, so the ambient set does too (the kernel keeps it within both others). */
static long child_capabilities(const struct spawn_request *r)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	uint32_t low = (uint32_t)r->capabilities, high = (uint32_t)(r->capabilities >> 32);
	struct __user_cap_data_struct sets[2] = { { .permitted = low, .effective = low },
						  { .permitted = high, .effective = high } };

	for (int cap = 0; cap < 64; cap++) {
		long e = r->bounding_drop & (1ull << cap) ? raw(SYS_prctl, PR_CAPBSET_DROP, cap) : 0;

		if (e < 0)
			return e;
	}
	return raw(SYS_capset, &head, sets);
}

/*
 * The /dev/null of the namespace, on a read-only mount, opened anew: what a command does to the
 * mode of the node fails, what it does to the open file (flags, locks) concerns nobody else. It is
 * descriptor 0, the lowest that is free. Whoever may mount may have mounted something else there.
 */
static long child_stdin(const struct spawn_request *r)
{
	struct stat st;
	long e;

	if (r->stdio[0] >= 0)
		return 0;
	e = raw(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY | O_NOCTTY, 0);
	if (e == 0)
		e = raw(SYS_fstat, 0, &st);
	if (e == 0 && !(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
		e = -ENODEV;
	return e;
}

/*
 * By the links of the file system, which lead nowhere but beneath the root, and not by those of
 * /proc, which lead to wherever a descriptor of another process is open. What cannot be named from
 * the root is refused.
 */
static long child_directory(const char *path)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_NO_MAGICLINKS };
	long fd = raw(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)), e;
	char name[PATH_MAX];

	if (fd < 0)
		return fd;
	e = raw(SYS_fchdir, fd);
	raw(SYS_close, fd);
	if (e < 0)
		return e;
	e = raw(SYS_getcwd, name, sizeof(name));
	if (e < 0)
		return e == -ENAMETOOLONG ? 0 : e; /* deep, but not elsewhere */
	return name[0] == '/' ? 0 : -ENOENT;
}

static long child_prepare(const struct spawn_request *r, int *report, enum init_step *step)
{
	long e;

	*step = INIT_STEP_SURROUNDINGS;
	e = r->own_tmp ? child_tmp() : 0;
	if (e < 0)
		return e;
	/* In a domain that is older than its scopes nothing can be mounted, so this is after what is. */
	*step = INIT_STEP_DOMAIN;
	e = r->own_domain ? raw(SYS_landlock_restrict_self, INIT_RULESET_FD, 0) : 0;
	if (e < 0)
		return e;
	*step = INIT_STEP_DESCRIPTORS;
	e = child_descriptors(r, report);
	if (e < 0)
		return e;
	*step = INIT_STEP_SESSION;
	e = raw(SYS_setsid);
	if (e < 0)
		return e;
	e = r->on_terminal ? raw(SYS_ioctl, 0, TIOCSCTTY, 0) : 0;
	if (e < 0)
		return e;
	*step = INIT_STEP_SIGNALS;
	e = child_signals();
	if (e < 0)
		return e;
	*step = INIT_STEP_NO_NEW_PRIVS;
	e = r->no_new_privs ? raw(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1) : 0;
	if (e < 0)
		return e;
	*step = INIT_STEP_CAPABILITIES;
	e = child_capabilities(r);
	if (e < 0)
		return e;
	/* From here on the rights are those of the command. */
	*step = INIT_STEP_STDIO;
	e = child_stdin(r);
	if (e < 0)
		return e;
	*step = INIT_STEP_DIRECTORY;
	return child_directory(r->cwd);
}

_Noreturn void child_main(const struct spawn_request *r, int report)
{
	struct spawn_report told = { 0 };
	enum init_step step;

	told.err = (int)-child_prepare(r, &report, &step);
	told.step = step;
	if (!told.err) {
		told.step = INIT_STEP_EXEC;
		told.err = r->program < 0 ? exec_search(r, false, NULL) :
					    (int)-raw(SYS_execveat, PROGRAM_FD, "", r->argv, r->env,
						      AT_EMPTY_PATH);
		if (told.err == ENOENT && r->program < 0)
			exec_search(r, true, &told);
	}
	raw(SYS_write, report, &told, sizeof(told));
	for (;;)
		raw(SYS_exit_group, 127);
}
