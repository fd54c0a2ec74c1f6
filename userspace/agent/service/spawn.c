/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/service/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/close_range.h>
#include <linux/sched.h>

#include "agent/process/clone.h"
#include "agent/process/harden.h"
#include "agent/service/place.h"
#include "init/protocol.h"

/* All the child needs, made before it exists: it may not allocate. */
struct plan {
	char **paths; /* where the program may be: */
	bool search;  /* in the first of them where there is one */
	char *const *argv;
	char **env;
	char *directory;
	bool core;
	const struct handed *handed;
	char *listen_pid; /* in env, see handed_env(); NULL: none are handed over */
	int null, report;
};

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
	       faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
}

/* execvpe(3) will not do: it runs what is no program with /bin/sh. */
static void execute(const struct plan *plan)
{
	for (char **path = plan->paths; path && *path; path++) {
		if (plan->search && !is_program(*path))
			continue;
		execve(*path, plan->argv, plan->env);
		return;
	}
	errno = 0;
}

/* The child. Shares nothing with the agent but open files; async-signal-safe calls only. */
static enum init_step prepare(struct plan *plan)
{
	int r;

	if (setsid() < 0)
		return INIT_STEP_SESSION;
	if (dup2(plan->null, STDIN_FILENO) < 0)
		return INIT_STEP_STDIO;
	if (chdir(plan->directory) < 0)
		return INIT_STEP_DIRECTORY;
	r = handed_take(plan->handed, plan->listen_pid, &plan->report);
	errno = -r;
	if (r < 0)
		return INIT_STEP_DESCRIPTORS;
	/* Closed by execve(2), the report pipe among them, which is how the agent learns of it. */
	if (syscall(SYS_close_range, HANDED_FIRST + plan->handed->n, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return INIT_STEP_DESCRIPTORS;
	/* Late, so that no signal meets the agent's code in a child that looks like the service. */
	errno = -harden_undo_in_child(HARDEN_SERVICE, plan->core);
	if (errno)
		return INIT_STEP_SIGNALS;
	execute(plan);
	return INIT_STEP_EXEC;
}

static _Noreturn void child(struct plan *plan)
{
	struct service_report report = { .step = prepare(plan), .err = errno };

	(void)!write(plan->report, &report, sizeof(report));
	_exit(127);
}

/*
 * Every place of PATH that the program may be in. Relative entries are passed over: they would depend on
 * where the agent was started.
 */
static int list_paths(const char *name, const char *search, char ***ret_paths)
{
	if (strchr(name, '/'))
		return strv_append(ret_paths, name);
	for (const char *dir = search; dir && *dir;) {
		size_t n = strcspn(dir, ":");
		PTR_OWNED char *path = NULL;

		if (asprintf(&path, "%.*s/%s", (int)n, dir, name) < 0) {
			path = NULL;
			return -ENOMEM;
		}
		if (path[0] == '/' && n > 0 && strv_append(ret_paths, path) < 0)
			return -ENOMEM;
		dir += n + (dir[n] == ':');
	}
	return 0;
}

static int make_plan(const struct config_service *config, const char *place, struct plan *plan,
		     struct failure *f)
{
	const char *search;
	int r = strv_copy(environ, &plan->env);

	if (r == 0)
		r = service_place_env(place, config->env, &plan->env);
	for (char **kv = config->env; r == 0 && kv && *kv; kv++)
		r = env_set(&plan->env, *kv);
	if (r == 0 && plan->handed->n > 0)
		r = handed_env(plan->handed, config, &plan->env, &plan->listen_pid);
	if (r < 0)
		return fail(f, -r, "environment");
	search = env_get(plan->env, "PATH");
	plan->search = !strchr(config->argv[0], '/');
	r = list_paths(config->argv[0], search ? search : DEFAULT_PATH, &plan->paths);
	if (r < 0)
		return fail(f, -r, "cannot list PATH");
	plan->argv = config->argv;
	plan->core = config->core;
	if (config->directory)
		plan->directory = strdup(config->directory);
	else if (asprintf(&plan->directory, "%s/work", place) < 0)
		plan->directory = NULL;
	if (!plan->directory)
		return fail(f, ENOMEM, "directory");
	plan->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	return plan->null < 0 ? fail(f, errno, "/dev/null") : 0;
}

/* Announced before the clone, so that the child is never without its flags. */
static int start_child(struct plan *plan, const struct config_service *config,
		       struct enforce *enforce, int cgroup_fd, struct process *ret_process,
		       struct failure *f)
{
	uint32_t flags = config->follow ? MOAT_LABEL_FOLLOW : 0;
	int r = enforce && flags ? enforce_announce_service(enforce, flags) : 0;

	if (r < 0)
		return fail(f, -r, "cannot label it");
	r = process_clone(0, cgroup_fd, ret_process);
	if (r == 0)
		child(plan);
	if (r < 0 && enforce && flags)
		(void)enforce_announce_service(enforce, 0);
	return r < 0 ? fail(f, -r, "clone") : 0;
}

int service_spawn(const struct config_service *config, const char *place, struct enforce *enforce,
		  const struct handed *handed, int cgroup_fd, struct process *ret_process,
		  int *ret_report, struct failure *f)
{
	struct plan plan = { .handed = handed, .null = -EBADF, .report = -EBADF };
	int pipe_fds[2] = { -EBADF, -EBADF };
	int r = make_plan(config, place, &plan, f);

	if (r == 0 && pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		r = fail(f, errno, "pipe");
	if (r == 0) {
		plan.report = pipe_fds[1];
		r = start_child(&plan, config, enforce, cgroup_fd, ret_process, f);
	}
	if (r == 0)
		*ret_report = take_fd(&pipe_fds[0]);
	close_fd(&pipe_fds[0]);
	close_fd(&pipe_fds[1]);
	close_fd(&plan.null);
	strv_free(plan.paths);
	free(plan.directory);
	strv_free_wiped(plan.env);
	return r;
}
