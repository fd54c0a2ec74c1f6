/* SPDX-License-Identifier: Apache-2.0 */
/* Real processes in real cgroups of this machine; leaves none of either. */
#ifndef MOAT_SERVICE_FIXTURE_H
#define MOAT_SERVICE_FIXTURE_H

#include "agent/service/service.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define INSTANCE "unit-service-test"
#define PYTHON "/usr/bin/python3"

static struct {
	struct loop *loop;
	struct cgroups *cgroups;
	struct services *services;
	struct config config;
	struct config_service list[3];
	struct loop_timer deadline, tick;
	bool (*until)(void);
	bool timed_out, stopped;
	unsigned all_exited, all_ready, held;
	char held_by[200];
	int exit_status;
	char dir[64], out[80];
} t;

static int setup(void **state)
{
	struct failure f = { 0 };

	(void)state;
	memset(&t, 0, sizeof(t));
	t.config.instance = (char *)INSTANCE;
	t.config.state_dir = t.dir;
	t.config.services = t.list;
	snprintf(t.dir, sizeof(t.dir), "/tmp/moat-service-test-XXXXXX");
	if (!mkdtemp(t.dir) || loop_new(&t.loop) < 0)
		return -1;
	snprintf(t.out, sizeof(t.out), "%s/out", t.dir);
	if (cgroups_open(&t.config, t.loop, &t.cgroups, &f) < 0) {
		print_error("%s\n", f.msg);
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	char path[4096];

	(void)state;
	snprintf(path, sizeof(path), "%s", cgroups_path(t.cgroups));
	services_free(t.services);
	cgroups_close(t.cgroups);
	loop_free(t.loop);
	for (size_t i = 0; i < ARRAY_LEN(t.list); i++) {
		strv_free(t.list[i].argv);
		strv_free(t.list[i].env);
		free(t.list[i].ports);
	}
	unlink(t.out);
	/* No process, no cgroup, no file. */
	if (waitpid(-1, NULL, WNOHANG) != -1 || access(path, F_OK) == 0 || rmdir(t.dir) < 0)
		return -1;
	return 0;
}

/* Adds a service; words ends with NULL. */
static struct config_service *add(const char *name, const char *const *words)
{
	struct config_service *s = &t.list[t.config.n_services++];

	s->name = (char *)name;
	for (; *words; words++)
		assert_int_equal(strv_append(&s->argv, *words), 0);
	return s;
}

#define ADD(name, ...) add(name, (const char *const[]){ __VA_ARGS__, NULL })

static void on_all_exited(int wait_status, void *data)
{
	assert_ptr_equal(data, &t);
	t.all_exited++;
	t.exit_status = wait_status;
}

static void on_all_ready(void *data)
{
	assert_ptr_equal(data, &t);
	t.all_ready++;
}

static void on_port_held(const char *service, uint16_t port, const char *who, void *data)
{
	assert_ptr_equal(data, &t);
	t.held++;
	snprintf(t.held_by, sizeof(t.held_by), "%s %u %s", service, port, who);
}

static void open_all(void)
{
	const struct services_callbacks callbacks = { on_all_exited, on_port_held, on_all_ready,
						      &t };
	struct failure f = { 0 };

	if (services_open(&t.config, t.cgroups, NULL, t.loop, &callbacks, &t.services, &f) < 0)
		fail_msg("%s", f.msg);
}

static void copy_info(const struct service_info *info, void *data)
{
	struct service_info *all = data;

	for (size_t i = 0; i < t.config.n_services; i++)
		if (info->config == &t.list[i])
			all[i] = *info;
}

static struct service_info info_of(size_t i)
{
	struct service_info all[ARRAY_LEN(t.list)] = { 0 };

	services_for_each(t.services, copy_info, all);
	return all[i];
}

static void on_deadline(struct loop_timer *timer)
{
	(void)timer;
	t.timed_out = true;
	loop_stop(t.loop);
}

/* The test looks at the state from outside; the agent has no such timer. */
static void on_tick(struct loop_timer *timer)
{
	if (t.until && t.until())
		loop_stop(t.loop);
	else
		loop_timer_set(t.loop, timer, NSEC_PER_MSEC, on_tick);
}

/*
 * Runs the loop until the condition holds; false after ten times so many ms, which a quiet machine
 * needs at most. Without a condition for so many ms.
 */
static bool run_until(bool (*condition)(void), unsigned ms)
{
	if (condition)
		ms *= 10;
	t.until = condition;
	t.timed_out = false;
	loop_timer_set(t.loop, &t.deadline, ms * NSEC_PER_MSEC, on_deadline);
	loop_timer_set(t.loop, &t.tick, 0, on_tick);
	assert_int_equal(loop_run(t.loop), 0);
	loop_timer_cancel(t.loop, &t.deadline);
	loop_timer_cancel(t.loop, &t.tick);
	return !t.timed_out;
}

static void on_stopped(void *data)
{
	assert_ptr_equal(data, &t);
	t.stopped = true;
}

static bool is_stopped(void)
{
	return t.stopped;
}

static void stop_all(void)
{
	services_stop(t.services, on_stopped, &t);
	assert_false(t.stopped); /* from the loop, not from the call */
	assert_true(run_until(is_stopped, 15000));
	for (size_t i = 0; i < t.config.n_services; i++)
		assert_int_equal(info_of(i).state, SERVICE_STOPPED);
}

static __attribute__((unused)) bool first_ready(void)
{
	return info_of(0).state == SERVICE_READY;
}

static __attribute__((unused)) bool first_exited(void)
{
	return info_of(0).state == SERVICE_EXITED;
}

static __attribute__((unused)) bool first_restarted_thrice(void)
{
	return info_of(0).restarts >= 3 && info_of(0).state == SERVICE_BACKOFF;
}

static __attribute__((unused)) bool out_is_written(void)
{
	return access(t.out, F_OK) == 0;
}

/* An orphan that has ended stays a zombie where nobody reaps it. */
static __attribute__((unused)) bool alive(pid_t pid)
{
	PTR_OWNED char *text = NULL;
	char path[64], *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (read_file_at(AT_FDCWD, path, 4096, &text, NULL) < 0)
		return false;
	state = strrchr(text, ')');
	assert_true(state && state[1] == ' ');
	return state[2] != 'Z' && state[2] != 'X';
}

static __attribute__((unused)) bool all_exited(void)
{
	return t.all_exited > 0;
}

/* A TCP port that nobody has; bound and let go. */
static __attribute__((unused)) uint16_t free_port(void)
{
	FD_OWNED int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	return ntohs(address.sin_port);
}
#endif
