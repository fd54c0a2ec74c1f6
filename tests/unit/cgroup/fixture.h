/* SPDX-License-Identifier: Apache-2.0 */
/* Cgroups and processes in them for the tests of cgroups. One user per program. */
#ifndef MOAT_CGROUP_FIXTURE_H
#define MOAT_CGROUP_FIXTURE_H

#include "agent/cgroup/cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <linux/sched.h>

#include <cmocka.h>

#include "agent/cgroup/find.h"

static struct {
	char *base; /* a cgroup of the test's own, with controllers; NULL: not made */
	struct loop *loop;
	struct cgroups *cgroups;
	struct cgroup_group *group; /* of a context that has no limits of its own */
} t;

static inline int setup_loop(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	return loop_new(&t.loop) < 0 ? -1 : 0;
}

static inline int add_group(void)
{
	static const uint64_t none[LIMIT_COUNT];

	return cgroup_group_add(t.cgroups, "unit", none, false, &t.group, NULL);
}

/*
 * Since Linux 6.19 a process leaves its cgroup when it is scheduled for the last time, which may be a
 * moment after wait(2) has returned. For ten seconds that is EBUSY.
 */
static inline int remove_cgroup(const char *path)
{
	int r = rmdir(path);

	for (int i = 0; i < 1000 && r < 0 && errno == EBUSY; i++) {
		poll(NULL, 0, 10);
		r = rmdir(path);
	}
	return r;
}

/* Each test leaves the instance's directory gone, whatever it did. */
static inline int teardown(void **state)
{
	char path[4096];
	int r = 0;

	(void)state;
	if (t.cgroups) {
		snprintf(path, sizeof(path), "%s", cgroups_path(t.cgroups));
		cgroups_close(t.cgroups);
		r = access(path, F_OK) < 0 && errno == ENOENT ? 0 : -1;
	}
	loop_free(t.loop);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (t.base && remove_cgroup(t.base) < 0)
		r = -1;
	free_ptr(&t.base);
	return r;
}

/* A child in the cgroup that waits for a signal, after making `more` of its kind. */
static inline pid_t spawn_in(struct cgroup *g, unsigned more)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup_fd(g),
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0) {
		while (more-- > 0)
			if (syscall(SYS_fork) == 0)
				break;
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	return pid;
}

static inline int wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static inline bool exists(const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", cgroups_path(t.cgroups), name);
	return access(path, F_OK) == 0;
}

/* An agent that starts a service in base and dies without a word. Returns the pidfd of the service. */
static inline int die_as_an_agent(const struct config *c)
{
	int pipe_fds[2], pidfd;
	pid_t agent, service = 0;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	agent = fork();
	if (agent == 0) {
		struct cgroups *cgroups = NULL;
		struct cgroup *g;

		if (cgroups_open(c, t.loop, &cgroups, NULL) == 0 &&
		    cgroup_get(cgroups, "service-x", &g, NULL) == 0)
			service = spawn_in(g, 2);
		(void)!write(pipe_fds[1], &service, sizeof(service));
		_exit(0);
	}
	assert_int_equal(read(pipe_fds[0], &service, sizeof(service)), sizeof(service));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	assert_true(service > 0);
	pidfd = (int)syscall(SYS_pidfd_open, service, 0);
	assert_true(pidfd >= 0);
	assert_int_equal(wait_for(agent), 0);
	return pidfd;
}

#endif
