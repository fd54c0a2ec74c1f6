/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a service: started, restarted, stopped. */
#include "service/fixture.h"

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
		SERVICE_TEST(a_child_left_behind_does_not_survive_its_service),
		SERVICE_TEST(one_that_ignores_sigterm_is_killed_after_the_grace),
		SERVICE_TEST(stopping_while_it_waits_to_restart_starts_nothing),
		SERVICE_TEST(freeing_without_stopping_leaves_no_process),
		SERVICE_TEST(no_services_stop_at_once),
	};

	return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
