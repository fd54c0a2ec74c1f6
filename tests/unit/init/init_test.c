/* SPDX-License-Identifier: Apache-2.0 */
/* What moat-init answers and survives. */
#include "init/fixture.h"

static void spawned_always_comes_before_exited(void **state)
{
	(void)state;
	for (uint64_t exec = 1; exec <= 300; exec++) {
		struct init_reply reply;

		spawn(exec, "/", ARGV("/bin/true"), ARGV(NULL), -1);
		assert_true(expect(INIT_SPAWNED, exec).pid > 1);
		reply = expect(INIT_EXITED, exec);
		assert_int_equal(reply.status, 0);
		assert_true(reply.max_rss_kib > 0);
	}
}

static void failed_steps_are_named_and_leave_no_child(void **state)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct init_reply reply;
	size_t n;

	(void)state;
	spawn(1, "/", ARGV("/nowhere"), ARGV(NULL), -1);
	reply = expect(INIT_SPAWN_FAILED, 1);
	assert_int_equal(reply.step, INIT_STEP_EXEC);
	assert_int_equal(reply.err, ENOENT);
	spawn(2, "/nowhere", ARGV("/bin/true"), ARGV(NULL), -1);
	reply = expect(INIT_SPAWN_FAILED, 2);
	assert_int_equal(reply.step, INIT_STEP_DIRECTORY);
	assert_int_equal(reply.err, ENOENT);
	/* The fourth descriptor is /dev/null, which is no cgroup. */
	n = build(3, "/", ARGV("/bin/true"), ARGV(NULL));
	((struct init_spawn *)sent)->in_cgroup = 1;
	send_raw(sent, n, (int[]){ null, null, null, null }, 4);
	reply = expect(INIT_SPAWN_FAILED, 3);
	assert_int_equal(reply.step, INIT_STEP_CLONE);
	/* No exit is reported for any of them: the next answer is the next spawn's. */
	spawn(4, "/", ARGV("/bin/true"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 4);
	expect(INIT_EXITED, 4);
}

/* What argv[0] names is of no meaning then; and nothing of it stays open. */
static void a_program_is_executed_by_its_descriptor(void **state)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	FD_OWNED int program = open("/bin/sh", O_PATH | O_CLOEXEC);
	size_t n = build(1, "/", ARGV("/bin/false", "-c", "exec 2>/dev/null; echo >&4 || exit 7"), ARGV(NULL));

	(void)state;
	((struct init_spawn *)sent)->by_descriptor = 1;
	send_raw(sent, n, (int[]){ null, null, null, null, program }, 5);
	expect(INIT_SPAWNED, 1);
	assert_int_equal(WEXITSTATUS(expect(INIT_EXITED, 1).status), 7);
	n = build(2, "/", ARGV("/bin/true"), ARGV(NULL));
	((struct init_spawn *)sent)->by_descriptor = 1;
	send_raw(sent, n, (int[]){ null, null, null, null, null }, 5);
	assert_int_equal(expect(INIT_SPAWN_FAILED, 2).step, INIT_STEP_EXEC);
}

static void many_children_are_each_reported_once(void **state)
{
	enum { MANY = 500 };
	bool seen[MANY + 1] = { 0 };

	(void)state;
	for (uint64_t exec = 1; exec <= MANY; exec++) {
		struct init_reply reply;

		spawn(exec, "/", ARGV("/bin/sleep", "0.2"), ARGV(NULL), -1);
		for (;;) { /* exits of others may come in between */
			assert_true(receive(&reply));
			if (reply.type == INIT_SPAWNED)
				break;
			assert_int_equal(reply.type, INIT_EXITED);
			assert_false(seen[reply.exec]);
			seen[reply.exec] = true;
		}
		assert_int_equal(reply.exec, exec);
	}
	for (size_t i = 1; i <= MANY; i++) {
		struct init_reply reply;

		if (seen[i])
			continue;
		assert_true(receive(&reply));
		assert_int_equal(reply.type, INIT_EXITED);
		assert_false(seen[reply.exec]);
		seen[reply.exec] = true;
		i = 0;
	}
}

/* Its children, as /proc lists them; zombies are among them. */
static bool init_has_children(void)
{
	PTR_OWNED char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", peer.init.pid, peer.init.pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, 4096, &text, NULL), 0);
	return text[0];
}

static void orphans_are_reaped_and_not_reported(void **state)
{
	(void)state;
	spawn(1, "/", ARGV("/bin/sh", "-c", "(sh -c 'sleep 0.1; exit 9' &) ; exit 0"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 1);
	assert_int_equal(expect(INIT_EXITED, 1).status, 0);
	for (int i = 0; i < 3000 && init_has_children(); i++)
		usleep(10000);
	assert_false(init_has_children());
	/* The next that it says is of the next command. */
	spawn(2, "/", ARGV("/bin/true"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 2);
	expect(INIT_EXITED, 2);
}

static void without_PATH_a_program_is_searched_where_the_agent_would_and_else_nowhere(void **state)
{
	(void)state;
	spawn(1, "/", ARGV("chroot", "--version"), ARGV(NULL), -1); /* in /usr/sbin */
	expect(INIT_SPAWNED, 1);
	assert_int_equal(expect(INIT_EXITED, 1).status, 0);
	spawn(2, "/", ARGV("chroot", "--version"), ARGV("PATH=/usr/bin"), -1);
	assert_int_equal(expect(INIT_SPAWN_FAILED, 2).err, ENOENT);
}

static void signals_from_inside_do_not_end_it(void **state)
{
	(void)state;
	spawn(1, "/", ARGV("/bin/sh", "-c",
			   "for s in HUP INT TERM QUIT KILL STOP SEGV USR1 CHLD PIPE RTMIN; do"
			   "  kill -$s 1; done; kill -KILL -1"),
	      ARGV("PATH=/bin:/usr/bin"), -1);
	expect(INIT_SPAWNED, 1);
	expect(INIT_EXITED, 1);
	spawn(2, "/", ARGV("/bin/true"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 2);
	assert_int_equal(expect(INIT_EXITED, 2).status, 0);
}

static void signal_message_reaches_command_or_group(void **state)
{
	struct init_signal m = { .type = INIT_SIGNAL, .signal = SIGTERM, .exec = 1 };
	struct init_reply reply;

	(void)state;
	spawn(1, "/", ARGV("/bin/sleep", "100"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 1);
	m.exec = 77; /* not there: no answer, no harm */
	send_raw(&m, sizeof(m), NULL, 0);
	m.exec = 1;
	send_raw(&m, sizeof(m), NULL, 0);
	reply = expect(INIT_EXITED, 1);
	assert_true(WIFSIGNALED(reply.status));
	assert_int_equal(WTERMSIG(reply.status), SIGTERM);
	send_raw(&m, sizeof(m), NULL, 0);
	spawn(2, "/", ARGV("/bin/true"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 2);
}

static void check_malformed(const void *data, size_t len, const int *fds, size_t n_fds)
{
	struct init_reply reply;

	open_private(NULL);
	send_raw(data, len, fds, n_fds);
	assert_false(receive(&reply)); /* it ends, without an answer */
	assert_true(WIFEXITED(close_peer()));
}

static void malformed_packets_end_it(void **state)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int fds[5] = { null, null, null, null, null };
	struct init_spawn *m = (void *)sent;
	size_t n = build(1, "/", ARGV("/bin/true"), ARGV("A=B"));

	(void)state;
	check_malformed("x", 1, NULL, 0);
	check_malformed(&(uint32_t){ 99 }, 4, NULL, 0);
	check_malformed(&(uint32_t){ INIT_SPAWN }, 4, fds, 4);
	check_malformed(&(uint32_t){ INIT_SIGNAL }, 4, NULL, 0);
	check_malformed(sent, n, fds, 3);
	check_malformed(sent, n, fds, 5);
	check_malformed(sent, n, NULL, 0);
	check_malformed(sent, n - 1, fds, 4);
	m->by_descriptor = 1;
	check_malformed(sent, n, fds, 4);
	m->by_descriptor = 2;
	check_malformed(sent, n, fds, 5);
	m->by_descriptor = 0;
	m->argc++;
	check_malformed(sent, n, fds, 4);
	m->argc = 0;
	check_malformed(sent, n, fds, 4);
	m->argc = UINT32_MAX;
	check_malformed(sent, n, fds, 4);
	m->argc = 1;
	m->envc = 0;
	check_malformed(sent, n, fds, 4);
	m->envc = 1;
	sent[n - 1] = 'x'; /* the last string has no end */
	check_malformed(sent, n, fds, 4);
	memset(sent, 0, sizeof(sent));
	check_malformed(sent, INIT_PACKET_MAX + 1, fds, 4);
}

static void bad_set_up_is_refused(void **state)
{
	struct {
		struct init_setup head;
		char text[16];
	} bad = { .head = { .type = INIT_SETUP, .n_hidden = 1, .strings_len = 5, .shm_size = 1 << 20 },
		  .text = "/tmp" };
	const struct {
		unsigned n_hidden, n_fds;
		enum init_step step;
	} tries[] = { { 2, 1, INIT_STEP_REQUEST }, { 1, 0, INIT_STEP_REQUEST },
		      { 1, 2, INIT_STEP_REQUEST }, { 1, 1, INIT_STEP_CGROUPFS } };
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		struct init_reply reply;

		open_peer(false);
		bad.head.n_hidden = tries[i].n_hidden;
		send_raw(&bad, sizeof(bad.head) + 5, (int[]){ null, null }, tries[i].n_fds); /* no cgroup namespace */
		assert_true(receive(&reply));
		assert_int_equal(reply.type, INIT_FAILED);
		assert_int_equal(reply.step, tries[i].step);
		assert_int_equal(WEXITSTATUS(close_peer()), 1);
	}
}

static void what_cannot_be_covered_is_a_failure(void **state)
{
	static const char text[] = "/nowhere/secret";
	struct {
		struct init_setup head;
		char text[sizeof(text)];
	} m = { .head = { .type = INIT_SETUP, .n_hidden = 1, .strings_len = sizeof(text), .shm_size = 1 << 20 } };
	int view = cgroups_view(peer.cgroups);

	(void)state;
	memcpy(m.text, text, sizeof(text));
	for (unsigned may_lack = 0; may_lack < 2; may_lack++) {
		struct init_reply reply;

		open_peer(false);
		m.head.may_lack = may_lack;
		send_raw(&m, sizeof(m.head) + sizeof(text), &view, 1);
		assert_true(receive(&reply));
		assert_int_equal(reply.type, may_lack ? INIT_READY : INIT_FAILED);
		assert_int_equal(reply.step, may_lack ? INIT_STEP_NONE : INIT_STEP_MASK);
		assert_int_equal(reply.err, may_lack ? 0 : ENOENT);
		close_peer();
	}
}

static void end_of_the_agent_ends_everything(void **state)
{
	char mark[32];

	(void)state;
	for (int shared = 0; shared < 2; shared++) {
		unsigned running = 0;

		snprintf(mark, sizeof(mark), "83%d.%06d", shared, (int)getpid() % 1000000);
		open_peer(shared);
		set_up((uint32_t)shared);
		spawn(1, "/", ARGV("/bin/sh", "-c", "sleep $1 & sleep $1; :", "sh", mark), ARGV(NULL), -1);
		expect(INIT_SPAWNED, 1);
		/* The shell and both its children; while one of these is in execve it counts less. */
		for (int i = 0; i < 3000 && running < 3; i++) {
			usleep(10000);
			running = count_processes(mark);
		}
		assert_int_equal(running, 3);
		assert_int_equal(close_peer(), 0);
		for (int i = 0; i < 3000 && count_processes(mark) > 0; i++)
			usleep(10000);
		assert_int_equal(count_processes(mark), 0);
	}
}

/* The name of a test runs that one alone. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_PEER(spawned_always_comes_before_exited),
		WITH_PEER(a_program_is_executed_by_its_descriptor),
		WITH_PEER(failed_steps_are_named_and_leave_no_child),
		WITH_PEER(many_children_are_each_reported_once),
		WITH_PEER(orphans_are_reaped_and_not_reported),
		WITH_PEER(without_PATH_a_program_is_searched_where_the_agent_would_and_else_nowhere),
		WITH_PEER(signals_from_inside_do_not_end_it),
		WITH_PEER(signal_message_reaches_command_or_group),
		ALONE(malformed_packets_end_it),
		ALONE(bad_set_up_is_refused),
		ALONE(what_cannot_be_covered_is_a_failure),
		ALONE(end_of_the_agent_ends_everything),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, open_group, close_group);
}
