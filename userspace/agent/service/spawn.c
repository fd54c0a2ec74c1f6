/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/service/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/close_range.h>
#include <linux/sched.h>

#include "agent/process/harden.h"
#include "init/protocol.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const char *service_step_name(uint32_t step)
{
	static const char *const names[] = {
#define STEP_NAME(name, text) [INIT_STEP_##name] = text,
		INIT_STEPS(STEP_NAME)
#undef STEP_NAME
	};

	return step < ARRAY_LEN(names) ? names[step] : "unknown";
}

/* All the child needs, made before it exists: it may not allocate. */
struct plan {
	char *path; /* of the program */
	char *const *argv;
	char **env;
	const char *directory;
	bool core;
	int null, report;
};

/* The child. Shares nothing with the agent but open files; async-signal-safe calls only. */
static enum init_step prepare(const struct plan *plan)
{
	if (setsid() < 0)
		return INIT_STEP_SESSION;
	if (dup2(plan->null, STDIN_FILENO) < 0)
		return INIT_STEP_STDIO;
	if (chdir(plan->directory) < 0)
		return INIT_STEP_DIRECTORY;
	/* Closed by execve(2), the report pipe among them, which is how the agent learns of it. */
	if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return INIT_STEP_DESCRIPTORS;
	/* Late, so that no signal meets the agent's code in a child that looks like the service. */
	errno = -harden_undo_in_child(HARDEN_SERVICE, plan->core);
	if (errno)
		return INIT_STEP_SIGNALS;
	execve(plan->path, plan->argv, plan->env);
	return INIT_STEP_EXEC;
}

static _Noreturn void child(const struct plan *plan)
{
	struct service_report report = { .step = prepare(plan), .err = errno };

	(void)!write(plan->report, &report, sizeof(report));
	_exit(127);
}

/*
 * The path of the program. execvpe(3) will not do: it runs what is no program with /bin/sh.
 * Relative entries of PATH are passed over: they would depend on where the agent was started.
 */
static int find_program(const char *name, const char *search, char **ret_path)
{
	if (strchr(name, '/')) {
		*ret_path = strdup(name);
		return *ret_path ? 0 : -ENOMEM;
	}
	for (const char *dir = search; dir && *dir;) {
		size_t n = strcspn(dir, ":");
		PTR_OWNED char *path = NULL;
		struct stat st;

		if (asprintf(&path, "%.*s/%s", (int)n, dir, name) < 0) {
			path = NULL;
			return -ENOMEM;
		}
		if (path[0] == '/' && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
		    faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0) {
			*ret_path = take_ptr(path);
			return 0;
		}
		dir += n + (dir[n] == ':');
	}
	return -ENOENT;
}

static int make_plan(const struct config_service *config, struct plan *plan, struct failure *f)
{
	const char *search;
	int r = strv_copy(environ, &plan->env);

	for (char **kv = config->env; r == 0 && kv && *kv; kv++)
		r = env_set(&plan->env, *kv);
	if (r < 0)
		return fail(f, -r, "environment");
	search = env_get(plan->env, "PATH");
	r = find_program(config->argv[0], search ? search : DEFAULT_PATH, &plan->path);
	if (r < 0)
		return fail(f, -r, "%s is not in PATH", config->argv[0]);
	plan->argv = config->argv;
	plan->core = config->core;
	plan->directory = config->directory ? config->directory : "/";
	plan->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	return plan->null < 0 ? fail(f, errno, "/dev/null") : 0;
}

/* clone3(2) in the manner of fork(2); the child never returns from here. */
static int clone_child(const struct plan *plan, int cgroup_fd, struct process *ret_process)
{
	int pidfd = -EBADF;
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_INTO_CGROUP,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup_fd,
	};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		return -errno;
	if (pid == 0)
		child(plan);
	*ret_process = (struct process){ .pid = (pid_t)pid, .pidfd = pidfd };
	return 0;
}

int service_spawn(const struct config_service *config, int cgroup_fd, struct process *ret_process,
		  int *ret_report, struct failure *f)
{
	struct plan plan = { .null = -EBADF, .report = -EBADF };
	int pipe_fds[2] = { -EBADF, -EBADF };
	int r = make_plan(config, &plan, f);

	if (r == 0 && pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		r = fail(f, errno, "pipe");
	if (r == 0) {
		plan.report = pipe_fds[1];
		r = clone_child(&plan, cgroup_fd, ret_process);
		if (r < 0)
			fail(f, -r, "clone");
	}
	if (r == 0)
		*ret_report = take_fd(&pipe_fds[0]);
	close_fd(&pipe_fds[0]);
	close_fd(&pipe_fds[1]);
	close_fd(&plan.null);
	free(plan.path);
	strv_free_wiped(plan.env);
	return r;
}
