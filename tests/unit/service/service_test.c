/* SPDX-License-Identifier: Apache-2.0 */
/* Real processes in real cgroups of this machine; leaves none of either. */
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
	unsigned all_exited;
	int exit_status;
	char dir[64], out[80];
} t;

static int setup(void **state)
{
	struct failure f = { 0 };

	(void)state;
	memset(&t, 0, sizeof(t));
	t.config.instance = (char *)INSTANCE;
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

static void open_all(void)
{
	struct failure f = { 0 };

	if (services_open(&t.config, t.cgroups, t.loop, on_all_exited, &t, &t.services, &f) < 0)
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

static bool first_ready(void)
{
	return info_of(0).state == SERVICE_READY;
}

static bool first_exited(void)
{
	return info_of(0).state == SERVICE_EXITED;
}

static bool first_restarted_thrice(void)
{
	return info_of(0).restarts >= 3;
}

static bool out_is_written(void)
{
	return access(t.out, F_OK) == 0;
}

/* An orphan that has ended stays a zombie where nobody reaps it. */
static bool alive(pid_t pid)
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

static bool all_exited(void)
{
	return t.all_exited > 0;
}

/* A TCP port that nobody has; bound and let go. */
static uint16_t free_port(void)
{
	FD_OWNED int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	return ntohs(address.sin_port);
}

static void a_service_starts_and_stops_on_sigterm(void **state)
{
	struct service_info info;

	(void)state;
	ADD("a", "sleep", "1000");
	open_all();
	assert_int_equal(info_of(0).state, SERVICE_STOPPED);
	services_start(t.services);
	assert_true(run_until(first_ready, 5000));
	info = info_of(0);
	assert_true(info.pid > 0 && alive(info.pid));
	assert_int_equal(info.last_status, -1);
	assert_int_equal(info.restarts, 0);
	assert_string_equal(info.last_error, "");
	assert_true(info.since_unix_ms > 1600000000000ull);
	stop_all();
	assert_false(alive(info.pid));
	assert_int_equal(info_of(0).last_status, SIGTERM);
	assert_int_equal(info_of(0).pid, 0);
	assert_int_equal(t.all_exited, 0);
}

/* Writes what it finds itself to be into the file, then its standard output is that of the test. */
static const char inspect[] =
	"import os, sys, signal, resource, json\n"
	"s = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().splitlines()"
	" if ':\\t' in l)\n"
	"r = {'fds': sorted(int(f) for f in os.listdir('/proc/self/fd')),\n"
	"     'in': os.readlink('/proc/self/fd/0'), 'cwd': os.getcwd(),\n"
	"     'session': os.getsid(0) == os.getpid(), 'blocked': s['SigBlk'],\n"
	"     'pipe': signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL and s['SigIgn'],\n"
	"     'A': os.environ.get('A'), 'B': os.environ.get('MOAT_TEST_B')}\n"
	"f = open(os.environ['OUT'] + '.new', 'w'); f.write(json.dumps(r)); f.close()\n"
	"os.rename(os.environ['OUT'] + '.new', os.environ['OUT'])\n";

static void a_service_gets_a_clean_process(void **state)
{
	PTR_OWNED char *text = NULL;
	struct config_service *s;
	char out[128];
	sigset_t blocked, before;
	int leak;

	(void)state;
	/* As in the agent: a blocked signal, an ignored one, an open descriptor, an environment. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	signal(SIGUSR1, SIG_IGN);
	setenv("MOAT_TEST_B", "inherited", 1);
	setenv("A", "inherited", 1);
	leak = open("/etc/passwd", O_RDONLY); /* not even close-on-exec */
	assert_true(leak > 2);

	s = ADD("a", PYTHON, "-I", "-c", inspect);
	s->directory = (char *)"/usr";
	s->restart = RESTART_NO;
	snprintf(out, sizeof(out), "OUT=%s", t.out);
	assert_int_equal(env_set(&s->env, out), 0);
	assert_int_equal(env_set(&s->env, "A=own"), 0);
	open_all();
	services_start(t.services);
	assert_true(run_until(first_exited, 10000));
	sigprocmask(SIG_SETMASK, &before, NULL);
	signal(SIGUSR1, SIG_DFL);
	close(leak);

	assert_int_equal(info_of(0).last_status, 0);
	assert_int_equal(read_file_at(AT_FDCWD, t.out, 4096, &text, NULL), 0);
	/* Descriptor 3 is the one that lists the directory. Python itself ignores 13 and 25. */
	assert_string_equal(text, "{\"fds\": [0, 1, 2, 3], \"in\": \"/dev/null\", "
				  "\"cwd\": \"/usr\", \"session\": true, \"blocked\": \"0000000000000000\", "
				  "\"pipe\": \"0000000001001000\", \"A\": \"own\", "
				  "\"B\": \"inherited\"}");
}

static void a_command_that_is_not_there_is_reported_and_retried(void **state)
{
	struct service_info info;

	(void)state;
	ADD("a", "moat-no-such-command");
	open_all();
	services_start(t.services);
	assert_true(run_until(first_restarted_thrice, 5000));
	info = info_of(0);
	assert_string_equal(info.last_error,
			    "moat-no-such-command is not in PATH: No such file or directory");
	assert_int_equal(info.last_status, 127 << 8);
	assert_int_equal(info.pid, 0);
	stop_all();
}

static void a_failed_start_names_its_step(void **state)
{
	struct config_service *s;

	(void)state;
	s = ADD("a", "true");
	s->directory = (char *)"/nonexistent";
	s->restart = RESTART_NO;
	s = ADD("b", "/etc/passwd");
	s->restart = RESTART_NO;
	s = ADD("c", "/nonexistent");
	s->restart = RESTART_NO;
	open_all();
	services_start(t.services);
	assert_true(run_until(all_exited, 5000));
	assert_int_equal(t.all_exited, 1);
	assert_string_equal(info_of(0).last_error, "directory: No such file or directory");
	assert_string_equal(info_of(1).last_error, "exec: Permission denied");
	assert_string_equal(info_of(2).last_error, "exec: No such file or directory");
	assert_int_equal(t.exit_status, 127 << 8);
}

static void a_file_that_is_no_program_is_not_given_to_a_shell(void **state)
{
	struct config_service *s;
	FILE *f = fopen(t.out, "we");

	(void)state;
	fputs("echo a shell ran this; exit 9\n", f);
	fchmod(fileno(f), 0755);
	fclose(f);
	s = ADD("a", t.out);
	s->restart = RESTART_NO;
	open_all();
	services_start(t.services);
	assert_true(run_until(first_exited, 5000));
	assert_string_equal(info_of(0).last_error, "exec: Exec format error");
	assert_int_equal(info_of(0).last_status, 127 << 8);
}

static void a_service_that_dies_is_started_again_ever_later(void **state)
{
	uint64_t start = now_ns();

	(void)state;
	ADD("a", "false");
	open_all();
	services_start(t.services);
	assert_true(run_until(first_restarted_thrice, 5000));
	/* 100 + 200 + 400 ms. */
	assert_true(now_ns() - start >= 700 * NSEC_PER_MSEC);
	assert_int_equal(info_of(0).last_status, 1 << 8);
	assert_int_equal(t.all_exited, 0);
	stop_all();
}

static void the_restart_policy_decides(void **state)
{
	(void)state;
	ADD("a", "false")->restart = RESTART_NO;
	ADD("b", "true")->restart = RESTART_ON_FAILURE;
	open_all();
	services_start(t.services);
	assert_true(run_until(all_exited, 5000));
	assert_int_equal(t.all_exited, 1);
	assert_int_equal(t.exit_status, 1 << 8);
	assert_int_equal(info_of(0).state, SERVICE_EXITED);
	assert_int_equal(info_of(1).state, SERVICE_EXITED);
	assert_int_equal(info_of(0).restarts + info_of(1).restarts, 0);
	stop_all();
}

static void ended_by_a_signal_is_reported_as_such(void **state)
{
	struct config_service *s = ADD("a", "sleep", "1000");

	(void)state;
	s->restart = RESTART_NO;
	open_all();
	services_start(t.services);
	assert_true(run_until(first_ready, 5000));
	kill(info_of(0).pid, SIGKILL);
	assert_true(run_until(first_exited, 5000));
	assert_int_equal(info_of(0).last_status, SIGKILL);
	assert_int_equal(t.exit_status, SIGKILL);
}

static void ready_means_that_the_port_accepts(void **state)
{
	char command[512];
	uint16_t port = free_port();
	struct config_service *s;
	uint64_t start = now_ns();

	(void)state;
	snprintf(command, sizeof(command),
		 "import socket, time\ntime.sleep(0.4)\n"
		 "s = socket.create_server(('127.0.0.1', %u))\ntime.sleep(1000)\n", port);
	s = ADD("a", PYTHON, "-I", "-c", command);
	s->ready_port = port;
	open_all();
	services_start(t.services);
	assert_int_equal(info_of(0).state, SERVICE_STARTING);
	assert_true(run_until(first_ready, 10000));
	assert_true(now_ns() - start >= 400 * NSEC_PER_MSEC);
	stop_all();
}

static void ready_is_seen_on_ipv6_alone(void **state)
{
	char command[512];
	uint16_t port = free_port();
	struct config_service *s;

	(void)state;
	snprintf(command, sizeof(command),
		 "import socket, time\ns = socket.socket(socket.AF_INET6)\n"
		 "s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)\n"
		 "s.bind(('::1', %u)); s.listen(); time.sleep(1000)\n", port);
	s = ADD("a", PYTHON, "-I", "-c", command);
	s->ready_port = port;
	open_all();
	services_start(t.services);
	assert_true(run_until(first_ready, 10000));
	stop_all();
}

static void an_exit_before_readiness_says_so(void **state)
{
	struct config_service *s = ADD("a", "false");

	(void)state;
	s->ready_port = free_port();
	s->restart = RESTART_NO;
	open_all();
	services_start(t.services);
	assert_true(run_until(first_exited, 5000));
	assert_string_equal(info_of(0).last_error, "exited with status 1 before it was ready");
}

static void a_child_left_behind_does_not_survive_its_service(void **state)
{
	PTR_OWNED char *text = NULL;
	struct config_service *s;
	char out[128];
	pid_t left;

	(void)state;
	s = ADD("a", PYTHON, "-I", "-c",
		"import os, time\n"
		"p = os.fork()\n"
		"if p == 0:\n"
		"    os.setsid(); time.sleep(1000)\n"
		"open(os.environ['OUT'], 'w').write(str(p))\n");
	s->restart = RESTART_NO;
	snprintf(out, sizeof(out), "OUT=%s", t.out);
	assert_int_equal(env_set(&s->env, out), 0);
	open_all();
	services_start(t.services);
	assert_true(run_until(first_exited, 10000));
	assert_int_equal(read_file_at(AT_FDCWD, t.out, 64, &text, NULL), 0);
	left = atoi(text);
	assert_true(left > 0);
	for (int i = 0; i < 1500 && alive(left); i++)
		run_until(NULL, 20);
	assert_false(alive(left));
}

static void one_that_ignores_sigterm_is_killed_after_the_grace(void **state)
{
	struct config_service *s;
	uint64_t start;
	char out[128];

	(void)state;
	s = ADD("a", PYTHON, "-I", "-c",
		"import os, signal, time\n"
		"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
		"open(os.environ['OUT'], 'w').close()\n"
		"time.sleep(1000)\n");
	snprintf(out, sizeof(out), "OUT=%s", t.out);
	assert_int_equal(env_set(&s->env, out), 0);
	ADD("b", "sleep", "1000");
	open_all();
	services_start(t.services);
	assert_true(run_until(out_is_written, 10000));
	start = now_ns();
	stop_all();
	assert_true(now_ns() - start >= 5 * NSEC_PER_SEC);
	assert_int_equal(info_of(0).last_status, SIGKILL);
	assert_int_equal(info_of(1).last_status, SIGTERM);
}

static void stopping_while_it_waits_to_restart_starts_nothing(void **state)
{
	unsigned restarts;

	(void)state;
	ADD("a", "false");
	ADD("b", "moat-no-such-command");
	open_all();
	services_start(t.services);
	run_until(NULL, 150);
	stop_all();
	restarts = info_of(0).restarts;
	run_until(NULL, 500);
	assert_int_equal(info_of(0).restarts, restarts);
	assert_int_equal(info_of(0).state, SERVICE_STOPPED);
}

static void freeing_without_stopping_leaves_no_process(void **state)
{
	pid_t pid;

	(void)state;
	ADD("a", "sleep", "1000");
	open_all();
	services_start(t.services);
	assert_true(run_until(first_ready, 5000));
	pid = info_of(0).pid;
	services_free(t.services);
	t.services = NULL;
	assert_false(alive(pid));
}

static void no_services_stop_at_once(void **state)
{
	(void)state;
	open_all();
	services_start(t.services);
	assert_int_equal(t.all_exited, 0);
	stop_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define SERVICE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		SERVICE_TEST(a_service_starts_and_stops_on_sigterm),
		SERVICE_TEST(a_service_gets_a_clean_process),
		SERVICE_TEST(a_command_that_is_not_there_is_reported_and_retried),
		SERVICE_TEST(a_failed_start_names_its_step),
		SERVICE_TEST(a_file_that_is_no_program_is_not_given_to_a_shell),
		SERVICE_TEST(a_service_that_dies_is_started_again_ever_later),
		SERVICE_TEST(the_restart_policy_decides),
		SERVICE_TEST(ended_by_a_signal_is_reported_as_such),
		SERVICE_TEST(ready_means_that_the_port_accepts),
		SERVICE_TEST(ready_is_seen_on_ipv6_alone),
		SERVICE_TEST(an_exit_before_readiness_says_so),
		SERVICE_TEST(a_child_left_behind_does_not_survive_its_service),
		SERVICE_TEST(one_that_ignores_sigterm_is_killed_after_the_grace),
		SERVICE_TEST(stopping_while_it_waits_to_restart_starts_nothing),
		SERVICE_TEST(freeing_without_stopping_leaves_no_process),
		SERVICE_TEST(no_services_stop_at_once),
	};

	return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
