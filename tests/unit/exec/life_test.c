/* SPDX-License-Identifier: Apache-2.0 */
/* How execs end, are killed, are lost and are forgotten, with real namespaces. */
#include "exec/fixture.h"

static void check_timeout_kills_tree(const char *context)
{
	const char *mark = unique();
	PTR_OWNED char *script = script_with("setsid sh -c 'sleep %s & (setsid sleep %s &) ; sleep %s' &"
					     "trap '' TERM INT HUP; sleep %s; sleep %s", mark);
	OUTCOME r = { 0 };

	run_request(&r, &(struct exec_request){ .argv = ARGV("/bin/sh", "-c", script),
						.context = context, .timeout_ms = 400 });
	assert_int_equal(r.ended, 1);
	assert_true(r.info.timed_out);
	assert_int_equal(r.info.signal, SIGKILL);
	assert_int_equal(r.info.exit_code, -1);
	assert_true(r.info.duration_ms >= 400); /* and less than what it asked for, by far */
	assert_false(r.info.background);
	assert_all_gone(mark);
}

static void timeout_kills_the_whole_tree(void **state)
{
	(void)state;
	check_timeout_kills_tree(NULL);
	check_timeout_kills_tree("shared");
	check_timeout_kills_tree("private");
	check_timeout_kills_tree("secure");
}

static void timeout_that_is_not_reached_does_nothing(void **state)
{
	OUTCOME r = { 0 };

	(void)state;
	run_request(&r, &(struct exec_request){ .argv = ARGV("/bin/true"), .timeout_ms = 600000 });
	assert_false(r.info.timed_out);
	assert_int_equal(r.info.exit_code, 0);
}

static void timeout_ends_what_the_command_left_in_the_background(void **state)
{
	const char *mark = unique();
	PTR_OWNED char *script = script_with("sleep %s & setsid sleep %s & exit 0", mark);
	OUTCOME r = { 0 };
	uint64_t began = now_ns();

	(void)state;
	run_request(&r, &(struct exec_request){ .argv = ARGV("/bin/sh", "-c", script),
						.timeout_ms = 2000 });
	assert_int_equal(r.info.exit_code, 0);
	assert_false(r.info.timed_out);
	assert_true(r.info.background);
	RUN_UNTIL((outcome_read(&r), !r.info.background));
	assert_true(now_ns() - began >= 2 * NSEC_PER_SEC);
	assert_int_equal(count_processes(mark), 0);
	assert_false(r.info.timed_out); /* the result was given */
}

static void exec_ends_with_its_command_not_with_its_children(void **state)
{
	const char *mark = unique();
	PTR_OWNED char *script = script_with("echo early; (until [ -e go-%s ]; do sleep 0.02; done; echo late) &"
					     "sleep %s & exit 3", mark);
	PTR_OWNED char *go = NULL;
	OUTCOME r = { 0 };
	int fd;

	(void)state;
	run_request(&r, &(struct exec_request){ .argv = ARGV("/bin/sh", "-c", script), .cwd = fx.dir });
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.info.exit_code, 3);
	assert_string_equal(r.out, "early\n");
	assert_true(r.info.background);
	assert_true(asprintf(&go, "%s/go-%s", fx.dir, mark) > 0);
	fd = open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	RUN_UNTIL((outcome_read(&r), strcmp(r.out, "early\nlate\n") == 0)); /* still captured */
	unlink(go);
	assert_true(r.info.background);
	RUN_UNTIL(count_processes(mark) == 1);
	assert_int_equal(exec_signal(r.exec, SIGTERM, EXEC_GROUP), -ESRCH);
	assert_int_equal(exec_kill(r.exec), 0);
	assert_all_gone(mark);
	RUN_UNTIL((outcome_read(&r), !r.info.background));
	assert_int_equal(exec_kill(r.exec), -ESRCH);
}

static void endless_writer_in_the_background_does_not_delay_the_end(void **state)
{
	OUTCOME r = { 0 };

	(void)state;
	run_sh(&r, NULL, "yes & sleep 0.1; exit 4");
	assert_int_equal(r.info.exit_code, 4);
	assert_true(r.info.output[0].kept <= EXEC_OUTPUT_DEFAULT);
	assert_int_equal(exec_kill(r.exec), 0);
	RUN_UNTIL((outcome_read(&r), !r.info.background));
}

static void secure_exec_leaves_nothing_running(void **state)
{
	const char *mark = unique();
	PTR_OWNED char *script = script_with("setsid sleep %s & sleep %s & echo done", mark);
	OUTCOME r = { 0 };

	(void)state;
	run_request(&r, &(struct exec_request){ .argv = ARGV("/bin/sh", "-c", script),
						.env = ARGV("TOKEN=t") });
	assert_int_equal(count_processes(mark), 0); /* at once, not some time later */
	assert_int_equal(r.info.exit_code, 0);
	assert_string_equal(r.out, "done\n");
	assert_false(r.info.background);
}

static void signal_reaches_the_process_group(void **state)
{
	const char *mark = unique();
	PTR_OWNED char *script = script_with("sleep %s & sleep %s", mark);
	OUTCOME r = { 0 };

	(void)state;
	assert_int_equal(start(&r, &(struct exec_request){ .argv = ARGV("/bin/sh", "-c", script) }),
			 0);
	RUN_UNTIL(r.started && count_processes(mark) == 2);
	assert_int_equal(exec_signal(r.exec, SIGTERM, EXEC_GROUP), 0);
	run_loop();
	assert_int_equal(r.info.signal, SIGTERM);
	assert_all_gone(mark);
}

/* Whether the command of an exec that shares the test's PID namespace is stopped. */
static bool is_stopped(struct outcome *r)
{
	PTR_OWNED char *text = NULL;
	char path[64];

	outcome_read(r);
	snprintf(path, sizeof(path), "/proc/%d/status", (int)r->info.pid);
	return r->info.pid > 0 && read_file_at(AT_FDCWD, path, 65536, &text, NULL) == 0 &&
	       strstr(text, "\nState:\tT");
}

static void stopped_command_is_waited_for_and_goes_on(void **state)
{
	OUTCOME r = { 0 };

	(void)state;
	assert_int_equal(start(&r, &(struct exec_request){
				 .argv = ARGV("/bin/sh", "-c", "kill -STOP $$; exit 6"),
				 .context = "shared" }), 0);
	RUN_UNTIL(is_stopped(&r));
	run_for(100);
	assert_int_equal(r.ended, 0);
	assert_int_equal(exec_signal(r.exec, SIGCONT, EXEC_GROUP), 0);
	run_loop();
	assert_int_equal(r.info.exit_code, 6);
}

static void paused_output_is_not_read(void **state)
{
	OUTCOME r = { .holds = true };
	uint64_t total;

	(void)state;
	assert_int_equal(start(&r, &(struct exec_request){ .argv = ARGV("/usr/bin/yes") }), 0);
	RUN_UNTIL(r.seen[0] > 0);
	r.lazy = true;
	RUN_UNTIL((total = exec_written(r.exec), run_for(100), exec_written(r.exec) == total));
	assert_in_range(total - r.seen[0], 1, CAPTURE_MAX);
	r.lazy = false;
	outcome_take(&r);
	RUN_UNTIL(exec_written(r.exec) > total + CAPTURE_MAX);
	assert_int_equal(r.lost, 0);
	assert_int_equal(exec_kill(r.exec), 0);
	run_loop();
	assert_int_equal(r.info.signal, SIGKILL);
	assert_false(r.info.timed_out);
}

/* Grows its pipe to what anybody may, and leaves it full. */
#define FILLS_A_MIB                                                                                \
	"import fcntl, os; fcntl.fcntl(1, 1031, 1 << 20); os.write(1, bytes(1 << 20)); os.write(1, bytes(1 << 20))"

static void what_a_large_pipe_holds_is_taken_in_pieces(void **state)
{
	OUTCOME r = { .keep_running = true, .holds = true, .lazy = true };

	(void)state;
	assert_int_equal(start(&r, &(struct exec_request){ .argv = ARGV("/usr/bin/python3", "-c",
									FILLS_A_MIB) }),
			 0);
	/* It has ended; the rest waits for who reads its stream. */
	RUN_UNTIL(exec_written(r.exec) == 1 << 20);
	RUN_UNTIL(exec_signal(r.exec, 0, EXEC_GROUP) == -ESRCH);
	run_for(100);
	assert_int_equal(exec_written(r.exec), 1 << 20);
	assert_int_equal(r.ended, 0);
	r.lazy = false;
	outcome_take(&r);
	RUN_UNTIL(r.ended == 1);
	assert_int_equal(r.info.exit_code, 0);
	assert_int_equal(r.info.output[0].total, 2 << 20);
	assert_int_equal(r.seen[0], 2 << 20);
	assert_int_equal(r.lost, 0);
}

static void what_is_killed_waits_for_no_reader(void **state)
{
	OUTCOME r = { .keep_running = true, .holds = true, .lazy = true };

	(void)state;
	assert_int_equal(start(&r, &(struct exec_request){ .argv = ARGV("/usr/bin/python3", "-c",
									FILLS_A_MIB) }),
			 0);
	RUN_UNTIL(exec_written(r.exec) == 1 << 20);
	run_for(100);
	assert_int_equal(r.ended, 0);
	assert_int_equal(exec_kill(r.exec), 0);
	RUN_UNTIL(r.ended == 1);
	assert_true(r.info.output[0].total > 1 << 20);
}

static void unobserved_exec_goes_on(void **state)
{
	OUTCOME r = { 0 };

	(void)state;
	assert_int_equal(start(&r, &(struct exec_request){
				 .argv = ARGV("/bin/sh", "-c", "sleep 0.2; echo still") }), 0);
	exec_unobserve(r.exec, &r.observer);
	RUN_UNTIL((outcome_read(&r), r.info.state == EXEC_ENDED));
	assert_int_equal(r.started + r.ended, 0);
	assert_string_equal(r.out, "still\n");
}

static void count_exec(struct exec *exec, void *data)
{
	(void)exec;
	++*(size_t *)data;
}

static size_t many_left;

static void one_of_many_ended(struct exec_observer *o, struct exec *exec)
{
	struct outcome *r = container_of(o, struct outcome, observer);

	outcome_ended(o, exec);
	assert_int_equal(r->info.exit_code, 0);
	if (--many_left == 0)
		loop_stop(fx.loop);
}

static uint64_t spawned(const struct execs_stats *stats)
{
	uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(stats->spawn.buckets); i++)
		n += stats->spawn.buckets[i];
	return n;
}

static void each_end_is_counted_once_by_its_result(void **state)
{
	static const struct {
		const char *context, *script; /* script NULL: a program that does not exist */
		uint64_t timeout_ms;
		enum context_namespace ns;
		enum execs_counter counter;
	} cases[] = {
		{ NULL, "exit 3", 0, CONTEXT_USER, EXECS_EXITED },
		{ NULL, "kill -KILL $$", 0, CONTEXT_USER, EXECS_SIGNALLED },
		{ NULL, "exec sleep 100", 1000, CONTEXT_USER, EXECS_TIMED_OUT },
		{ "secure", "exit 0", 0, CONTEXT_SECURE, EXECS_EXITED },
		{ "private", "exit 0", 0, CONTEXT_PRIVATE, EXECS_EXITED },
		{ "private", NULL, 0, CONTEXT_PRIVATE, EXECS_FAILED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct exec_request request = {
			.context = cases[i].context,
			.argv = cases[i].script ? ARGV("/bin/sh", "-c", cases[i].script) :
						  ARGV("/nonexistent"),
			.timeout_ms = cases[i].timeout_ms,
		};
		struct execs_stats before, after;
		OUTCOME r = { 0 };

		print_message("# %s\n", cases[i].script ? cases[i].script : "(cannot be executed)");
		execs_get_stats(fx.execs, &before);
		run_request(&r, &request);
		execs_get_stats(fx.execs, &after);
		before.counts[cases[i].ns][EXECS_STARTED]++;
		before.counts[cases[i].ns][cases[i].counter]++;
		assert_memory_equal(before.counts, after.counts, sizeof(before.counts));
		assert_int_equal(spawned(&after) - spawned(&before), cases[i].script != NULL);
		assert_int_equal(after.contexts, fx.config->n_contexts);
	}
}

static void a_thousand_at_once_are_all_told_their_own_result(void **state)
{
	enum { MANY = 1000 };
	struct outcome *all = calloc(MANY, sizeof(*all));
	struct execs_stats before, after;
	size_t listed = 0;
	char word[32];

	(void)state;
	execs_get_stats(fx.execs, &before);
	many_left = MANY;
	for (size_t i = 0; i < MANY; i++) {
		const struct exec_request request = { .argv = ARGV("/bin/echo", word),
						      .isolation = i % 2 };

		snprintf(word, sizeof(word), "number-%zu", i);
		all[i].keep_running = true;
		assert_int_equal(start(&all[i], &request), 0);
		all[i].observer.on_ended = one_of_many_ended;
	}
	run_loop();
	for (size_t i = 0; i < MANY; i++) {
		snprintf(word, sizeof(word), "number-%zu\n", i);
		assert_int_equal(all[i].ended, 1);
		assert_string_equal(all[i].out, word);
		outcome_free(&all[i]);
	}
	free(all);
	RUN_UNTIL((execs_get_stats(fx.execs, &after),
		   execs_total(&after, EXECS_RUNNING, EXECS_RUNNING) == 0));
	for (int ns = CONTEXT_USER; ns <= CONTEXT_SECURE; ns++) {
		const uint64_t *was = before.counts[ns], *is = after.counts[ns];

		assert_int_equal(is[EXECS_STARTED] - was[EXECS_STARTED], MANY / 2);
		assert_int_equal(is[EXECS_EXITED] - was[EXECS_EXITED], MANY / 2);
	}
	assert_int_equal(execs_total(&after, EXECS_RUNNING, EXECS_RUNNING), 0);
	assert_int_equal(spawned(&after) - spawned(&before), MANY);
	execs_for_each(fx.execs, count_exec, &listed);
	assert_int_equal(listed, EXEC_ENDED_MAX);
}

static void too_many_are_refused_and_nothing_else_happens(void **state)
{
	const char *mark = unique();
	struct outcome *all = calloc(EXEC_RUNNING_MAX + 1, sizeof(*all));
	const struct exec_request request = { .argv = ARGV("/bin/sleep", mark) };
	struct rlimit limit, raised;
	struct execs_stats stats;
	size_t n = 0, answered = 0, refused = 0;

	(void)state;
	/* As the agent does at its start; a running command takes four descriptors. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	raised = (struct rlimit){ .rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max };
	if (limit.rlim_max < 4 * EXEC_RUNNING_MAX + 1024) {
		free(all);
		skip();
	}
	setrlimit(RLIMIT_NOFILE, &raised);
	while (n <= EXEC_RUNNING_MAX && start(&all[n], &request) == 0)
		all[n++].keep_running = true;
	assert_int_equal(n, EXEC_RUNNING_MAX);
	assert_int_equal(all[n].error.code, MOAT_E_TOO_MANY_PROCESSES);
	assert_int_equal(all[n].error.limit, EXEC_RUNNING_MAX);
	while (answered < n) {
		run_for(100);
		while (answered < n && (all[answered].started || all[answered].failed))
			answered++;
	}
	for (size_t i = 0; i < n; i++) {
		if (all[i].failed) { /* this machine cannot have so many processes */
			assert_int_equal(all[i].error.err, EAGAIN);
			refused++;
			continue;
		}
		all[i].observer.on_ended = NULL;
		assert_int_equal(exec_kill(all[i].exec), 0);
	}
	RUN_UNTIL((execs_get_stats(fx.execs, &stats),
		   execs_total(&stats, EXECS_RUNNING, EXECS_RUNNING) == 0));
	assert_all_gone(mark);
	setrlimit(RLIMIT_NOFILE, &limit);
	free(all);
	if (refused)
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timeout_kills_the_whole_tree),
		cmocka_unit_test(timeout_that_is_not_reached_does_nothing),
		cmocka_unit_test(timeout_ends_what_the_command_left_in_the_background),
		cmocka_unit_test(exec_ends_with_its_command_not_with_its_children),
		cmocka_unit_test(endless_writer_in_the_background_does_not_delay_the_end),
		cmocka_unit_test(secure_exec_leaves_nothing_running),
		cmocka_unit_test(signal_reaches_the_process_group),
		cmocka_unit_test(stopped_command_is_waited_for_and_goes_on),
		cmocka_unit_test(paused_output_is_not_read),
		cmocka_unit_test(what_a_large_pipe_holds_is_taken_in_pieces),
		cmocka_unit_test(what_is_killed_waits_for_no_reader),
		cmocka_unit_test(unobserved_exec_goes_on),
		cmocka_unit_test(each_end_is_counted_once_by_its_result),
		cmocka_unit_test(a_thousand_at_once_are_all_told_their_own_result),
		cmocka_unit_test(too_many_are_refused_and_nothing_else_happens),
	};

	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
