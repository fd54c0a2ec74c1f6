/* SPDX-License-Identifier: Apache-2.0 */
/* What a start comes to: where it happens, when the service is ready, how long that may take. */
#include "service/fixture.h"

#include <sys/sendfile.h>

#include "agent/service/listener.h"

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

static int listen_on(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static bool first_has_error(void)
{
	return info_of(0).last_error[0];
}

static void somebody_else_on_the_port_does_not_make_it_ready(void **state)
{
	char command[512], expected[128];
	uint16_t port = free_port();
	struct config_service *s;
	int other = listen_on(port);

	(void)state;
	snprintf(command, sizeof(command),
		 "import socket, time\n"
		 "while True:\n"
		 "    try:\n        s = socket.create_server(('127.0.0.1', %u)); break\n"
		 "    except OSError:\n        time.sleep(0.05)\n"
		 "time.sleep(1000)\n", port);
	s = ADD("a", PYTHON, "-I", "-c", command);
	s->ready_port = port;
	open_all();
	services_start(t.services);
	assert_true(run_until(first_has_error, 5000));
	run_until(NULL, 300);
	assert_int_equal(info_of(0).state, SERVICE_STARTING);
	snprintf(expected, sizeof(expected),
		 "port %u is held by process %d (start_test) outside of moat", port, (int)getpid());
	assert_string_equal(info_of(0).last_error, expected);
	snprintf(expected, sizeof(expected), "a %u process %d (start_test) outside of moat", port,
		 (int)getpid());
	assert_string_equal(t.held_by, expected);
	assert_int_equal(t.held, 1); /* not with each look */
	assert_int_equal(t.all_ready, 0);
	close(other);
	assert_true(run_until(first_ready, 10000));
	assert_string_equal(info_of(0).last_error, "");
	assert_int_equal(t.all_ready, 1);
	stop_all();
}

static void another_service_on_the_port_is_named(void **state)
{
	char command[512], expected[128];
	uint16_t port = free_port();

	(void)state;
	snprintf(command, sizeof(command),
		 "import socket, time\ns = socket.create_server(('127.0.0.1', %u))\ntime.sleep(1000)\n", port);
	ADD("a", "sleep", "1000")->ready_port = port;
	ADD("b", PYTHON, "-I", "-c", command);
	open_all();
	services_start(t.services);
	assert_true(run_until(first_has_error, 5000));
	snprintf(expected, sizeof(expected), "port %u is held by process %d (python3) of service b",
		 port, (int)info_of(1).pid);
	assert_string_equal(info_of(0).last_error, expected);
	stop_all();
}

static void whose_a_port_is_can_be_told_from_proc_as_well(void **state)
{
	struct failure f = { 0 };
	uint16_t port = free_port();
	struct cgroup *cgroup = NULL;
	char holder[64], pid[16];
	int fd, status = -1;

	(void)state;
	assert_int_equal(cgroup_get(t.cgroups, "service-x", &cgroup, &f), 0);
	assert_int_equal(listener_find(port, cgroup_fd(cgroup), holder, sizeof(holder)), LISTENER_NONE);
	assert_int_equal(listener_find_in_proc(port, cgroup_fd(cgroup)), LISTENER_NONE);
	fd = listen_on(port);
	assert_int_equal(listener_find(port, cgroup_fd(cgroup), holder, sizeof(holder)), LISTENER_OTHER);
	assert_int_equal(listener_find_in_proc(port, cgroup_fd(cgroup)), LISTENER_OTHER);
	if (fork() == 0) {
		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		_exit(write_file_at(cgroup_fd(cgroup), "cgroup.procs", pid) == 0 &&
		      listener_find_in_proc(port, cgroup_fd(cgroup)) == LISTENER_OWN ? 0 : 1);
	}
	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
	close(fd);
	cgroup_put(cgroup);
}

static void a_start_that_takes_too_long_is_killed(void **state)
{
	struct config_service *s = ADD("a", "sleep", "1000");
	uint64_t start = now_ns();

	(void)state;
	s->ready_port = free_port();
	s->start_timeout_s = 1;
	s->restart = RESTART_NO;
	open_all();
	services_start(t.services);
	assert_true(run_until(first_exited, 5000));
	assert_true(now_ns() - start >= NSEC_PER_SEC);
	assert_string_equal(info_of(0).last_error, "not ready within 1 s");
	assert_int_equal(info_of(0).last_status, SIGKILL);
	assert_int_equal(t.all_ready, 0);
}

/* A write lease, which execve(2) waits for as it would for a file system that does not answer. */
static void a_program_that_cannot_be_opened_holds_nobody_up(void **state)
{
	FD_OWNED int from = open("/bin/true", O_RDONLY | O_CLOEXEC);
	FD_OWNED int to = open(t.out, O_RDWR | O_CREAT | O_CLOEXEC, 0755);
	struct config_service *s;
	uint64_t start;

	(void)state;
	assert_true(sendfile(to, from, NULL, 1 << 24) > 0);
	signal(SIGIO, SIG_IGN);
	if (fcntl(to, F_SETLEASE, F_WRLCK) < 0)
		skip(); /* not on every file system */
	s = ADD("a", t.out);
	s->start_timeout_s = 1;
	s->restart = RESTART_NO;
	open_all();
	start = now_ns();
	services_start(t.services);
	assert_true(now_ns() - start < NSEC_PER_SEC);
	assert_true(run_until(first_exited, 5000));
	assert_string_equal(info_of(0).last_error, "its program did not run within 1 s: its directory, "
						   "program or interpreter cannot be opened");
	signal(SIGIO, SIG_DFL);
}

static void a_service_has_a_place_of_its_own(void **state)
{
	PTR_OWNED char *text = NULL;
	char out[128], expected[1024];
	struct config_service *s;
	struct stat st;

	(void)state;
	setenv("XDG_CACHE_HOME", "/inherited", 1);
	s = ADD("a", "sh", "-c", "echo $PWD $HOME $XDG_CACHE_HOME $XDG_RUNTIME_DIR $TMPDIR > $OUT");
	s->restart = RESTART_NO;
	snprintf(out, sizeof(out), "OUT=%s", t.out);
	assert_int_equal(env_set(&s->env, out), 0);
	snprintf(out, sizeof(out), "TMPDIR=%s", t.dir);
	assert_int_equal(env_set(&s->env, out), 0);
	open_all();
	services_start(t.services);
	assert_true(run_until(first_exited, 5000));
	snprintf(out, sizeof(out), "%s/services/a", t.dir);
	snprintf(expected, sizeof(expected), "%s/work %s/home %s/home/.cache %s/run %s\n", out, out, out, out,
		 t.dir);
	assert_int_equal(read_file_at(AT_FDCWD, t.out, 4096, &text, NULL), 0);
	assert_string_equal(text, expected);
	assert_int_equal(stat(out, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	unsetenv("XDG_CACHE_HOME");
}

static void a_place_that_others_may_write_is_refused(void **state)
{
	const struct services_callbacks callbacks = { on_all_exited, on_port_held, on_all_ready,
						      &t };
	char all[96], place[128];
	struct failure f = { 0 };

	(void)state;
	snprintf(all, sizeof(all), "%s/services", t.dir);
	snprintf(place, sizeof(place), "%s/a", all);
	mkdir(all, 0700);
	ADD("a", "true");
	assert_int_equal(symlink("/tmp", place), 0);
	assert_true(services_open(&t.config, t.cgroups, NULL, t.loop, &callbacks, &t.services, &f) < 0);
	unlink(place);
	mkdir(place, 0700);
	chmod(place, 0777);
	memset(&f, 0, sizeof(f));
	assert_int_equal(services_open(&t.config, t.cgroups, NULL, t.loop, &callbacks, &t.services, &f),
			 -EINVAL);
	assert_non_null(strstr(f.msg, "writable by nobody else"));
	rmdir(place);
	rmdir(all);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
#define SERVICE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		SERVICE_TEST(ready_means_that_the_port_accepts),
		SERVICE_TEST(ready_is_seen_on_ipv6_alone),
		SERVICE_TEST(somebody_else_on_the_port_does_not_make_it_ready),
		SERVICE_TEST(another_service_on_the_port_is_named),
		SERVICE_TEST(whose_a_port_is_can_be_told_from_proc_as_well),
		SERVICE_TEST(a_start_that_takes_too_long_is_killed),
		SERVICE_TEST(a_program_that_cannot_be_opened_holds_nobody_up),
		SERVICE_TEST(a_service_has_a_place_of_its_own),
		SERVICE_TEST(a_place_that_others_may_write_is_refused),
		SERVICE_TEST(an_exit_before_readiness_says_so),
	};

	return cmocka_run_group_tests_name("service start", tests, NULL, NULL);
}
