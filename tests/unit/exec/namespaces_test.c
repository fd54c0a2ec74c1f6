/* SPDX-License-Identifier: Apache-2.0 */
/* The namespaces that execs run in: how they are lost, end when nobody uses them, and are waited for. */
#include "exec/fixture.h"

struct name_search {
	const char *name;
	struct namespace *found;
};

static void match_name(struct namespace *ns, void *data)
{
	struct name_search *search = data;

	if (strcmp(namespace_name(ns), search->name) == 0)
		search->found = ns;
}

static struct namespace *find_namespace(const char *name)
{
	struct name_search search = { .name = name };

	execs_for_each_namespace(fx.execs, match_name, &search);
	assert_non_null(search.found);
	return search.found;
}

static void check_namespace_loss(const char *context, const char *ns_name)
{
	const char *mark = unique();
	OUTCOME first = { 0 };
	OUTCOME next = { 0 };
	OUTCOME r = { 0 };
	OUTCOME again = { 0 };
	struct namespace *ns;
	pid_t before;

	run_sh(&first, context, "true"); /* some are made only now */
	ns = find_namespace(ns_name);
	before = namespace_pid(ns);
	assert_int_equal(start(&r, &(struct exec_request){ .argv = ARGV("/bin/sleep", mark),
							   .context = context }), 0);
	RUN_UNTIL(r.started && count_processes(mark) == 1);
	kill(before, SIGKILL);
	run_loop();
	assert_int_equal(r.info.signal, SIGKILL);
	assert_all_gone(mark);
	run_request(&next, &(struct exec_request){ .argv = ARGV("/bin/true"), .context = context });
	assert_int_equal(next.ended, 1); /* it waited for the next one */
	assert_true(namespace_pid(ns) > 0 && namespace_pid(ns) != before);
	run_sh(&again, context, "echo back");
	assert_string_equal(again.out, "back\n");
}

static void lost_namespace_is_reported_and_made_again(void **state)
{
	(void)state;
	log_open("unit", LOG_ERROR - 1); /* it is said, and here it is meant */
	check_namespace_loss(NULL, "user");
	check_namespace_loss("shared", "context-shared");
	check_namespace_loss("bare", "context-bare");
	check_namespace_loss("secure", "secure");
	log_open("unit", LOG_WARNING);
}

static pid_t living(const char *ns_name)
{
	struct name_search search = { .name = ns_name };

	execs_for_each_namespace(fx.execs, match_name, &search);
	return search.found ? namespace_pid(search.found) : 0;
}

static void namespace_of_a_context_lives_as_long_as_it_is_used(void **state)
{
	const char *mark = unique();
	PTR_OWNED char *script = script_with("sleep %s & echo >/dev/shm/kept", mark);
	OUTCOME background = { 0 };
	OUTCOME later = { 0 };
	OUTCOME again = { 0 };
	pid_t first;

	(void)state;
	assert_int_equal(living("context-brief"), 0);
	run_sh(&background, "brief", script);
	assert_true(background.info.background);
	first = living("context-brief");
	assert_true(first > 0);
	run_for(2500); /* more than namespace_idle, but something runs */
	run_sh(&later, "brief", "cat /dev/shm/kept");
	assert_int_equal(later.info.exit_code, 0);
	assert_int_equal(living("context-brief"), first);
	assert_int_equal(exec_kill(background.exec), 0);
	RUN_UNTIL(living("context-brief") == 0);
	assert_int_equal(kill(first, 0), -1);
	run_sh(&again, "brief", "ls /dev/shm");
	assert_string_equal(again.out, "");
	assert_true(living("context-brief") > 0 && living("context-brief") != first);
}

static void private_namespace_is_not_ended_when_idle(void **state)
{
	OUTCOME r = { 0 };
	pid_t first;

	(void)state;
	run_sh(&r, "private", "true");
	first = living("context-private");
	assert_true(first > 0);
	run_for(2500);
	assert_int_equal(living("context-private"), first);
}

/* Where the kernel does not enforce, what may trace has one of its own for its secure commands. */
static void namespace_of_one_context_s_secure_commands_ends_when_idle(void **state)
{
	OUTCOME r = { 0 };
	OUTCOME again = { 0 };
	pid_t first;

	(void)state;
	assert_int_equal(living("secure-of-tracer"), 0);
	run_request(&r, &(struct exec_request){ .argv = ARGV("/bin/true"), .context = "tracer",
						.isolation = EXEC_ISOLATED });
	first = living("secure-of-tracer");
	assert_true(first > 0);
	RUN_UNTIL(living("secure-of-tracer") == 0);
	assert_int_equal(kill(first, 0), -1);
	run_request(&again, &(struct exec_request){ .argv = ARGV("/bin/true"), .context = "tracer",
						    .isolation = EXEC_ISOLATED });
	assert_int_equal(again.info.exit_code, 0);
	assert_true(living("secure-of-tracer") > 0 && living("secure-of-tracer") != first);
}

/* So many places, none taken, and what is idle then stays so. */
static void begin_with_places(unsigned places)
{
	static const char *const all[] = { "context-brief", "context-loose", "context-bare", "context-tracer",
					   "context-shared", "context-private", "secure-of-tracer" };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (living(all[i])) {
			kill(living(all[i]), SIGKILL);
			RUN_UNTIL(living(all[i]) == 0);
		}
	fx.config->namespace_idle = 600;
	execs_limit(fx.execs, UINT_MAX, places);
}

static void end_with_places(void)
{
	fx.config->namespace_idle = 1;
	execs_limit(fx.execs, UINT_MAX, UINT_MAX);
}

static void namespaces_of_secure_commands_take_places_as_all_do(void **state)
{
	OUTCOME before = { 0 };
	OUTCOME r = { 0 };

	(void)state;
	begin_with_places(1);
	run_sh(&before, "brief", "true");
	assert_true(living("context-brief") > 0);
	run_request(&r, &(struct exec_request){ .argv = ARGV("/bin/true"), .context = "tracer",
						.isolation = EXEC_ISOLATED });
	assert_int_equal(r.info.exit_code, 0);
	assert_true(living("secure-of-tracer") > 0);
	assert_int_equal(living("context-brief"), 0);
	end_with_places();
}

static void no_more_end_than_is_room_wanted_for(void **state)
{
	OUTCOME oldest = { 0 };
	OUTCOME other = { 0 };
	OUTCOME first = { .keep_running = true };
	OUTCOME second = { .keep_running = true };

	(void)state;
	begin_with_places(3);
	run_sh(&oldest, "brief", "head -c 60000000 /dev/zero >/dev/shm/slow-to-end");
	run_sh(&other, "loose", "true");
	/* One has a place, for the other the longest idle one ends; while both are made the rest stay. */
	assert_int_equal(start(&first, &(struct exec_request){ .argv = ARGV("/bin/true"), .context = "bare" }), 0);
	assert_int_equal(start(&second, &(struct exec_request){ .argv = ARGV("/bin/true"), .context = "tracer" }), 0);
	RUN_UNTIL(first.ended && second.ended);
	assert_int_equal(living("context-brief"), 0);
	assert_true(living("context-loose") > 0);
	end_with_places();
}

/* While it ends, or is not there at all, requests wait for the next. */
static void request_waits_for_a_namespace_in_every_state(void **state)
{
	(void)state;
	for (unsigned ms = 900; ms < 1100; ms += 10) {
		OUTCOME before = { 0 };
		OUTCOME r = { 0 };

		run_sh(&before, "brief", "true");
		run_for(ms);
		run_sh(&r, "brief", "echo $$");
		assert_true(strtol(r.out, NULL, 10) > 1);
	}
}

static void time_limit_counts_before_anything_has_started(void **state)
{
	struct namespace *ns;
	OUTCOME stuck = { 0 };
	OUTCOME queued = { 0 };
	OUTCOME before = { 0 };
	OUTCOME after = { 0 };
	uint64_t began;

	(void)state;
	run_sh(&before, "bare", "true");
	ns = find_namespace("context-bare");
	assert_int_equal(kill(namespace_pid(ns), SIGSTOP), 0);
	began = now_ns();
	assert_int_equal(start(&stuck, &(struct exec_request){ .argv = ARGV("/bin/true"), .context = "bare",
							       .timeout_ms = 300 }), 0);
	assert_int_equal(start(&queued, &(struct exec_request){ .argv = ARGV("/bin/true"), .context = "bare",
								.timeout_ms = 600 }), 0);
	RUN_UNTIL(stuck.failed == 1 && queued.failed == 1);
	assert_true(now_ns() - began < 5 * NSEC_PER_SEC);
	assert_int_equal(stuck.error.code, MOAT_E_NOT_STARTED);
	assert_int_equal(queued.error.code, MOAT_E_NOT_STARTED);
	assert_int_equal(kill(namespace_pid(ns), SIGCONT), 0);
	/* What was sent before is answered now, to nobody; and then all is well. */
	run_sh(&after, "bare", "echo well");
	assert_string_equal(after.out, "well\n");
}

static void what_is_killed_before_it_is_started_is_told_so(void **state)
{
	struct exec_request request = { .argv = ARGV("/bin/true"), .context = "bare" };
	struct namespace *ns;
	OUTCOME sent = { .keep_running = true };
	OUTCOME queued = { .keep_running = true };
	OUTCOME other = { .keep_running = true };
	OUTCOME before = { 0 };

	(void)state;
	run_sh(&before, "bare", "true");
	ns = find_namespace("context-bare");
	assert_int_equal(kill(namespace_pid(ns), SIGSTOP), 0);
	assert_int_equal(start(&sent, &request), 0);
	assert_int_equal(start(&queued, &request), 0);
	assert_int_equal(start(&other, &request), 0);
	assert_int_equal(exec_kill(sent.exec), 0);
	assert_int_equal(exec_kill(queued.exec), 0);
	RUN_UNTIL(sent.failed == 1 && queued.failed == 1);
	assert_int_equal(sent.error.code, MOAT_E_NOT_STARTED);
	assert_int_equal(queued.error.code, MOAT_E_NOT_STARTED);
	assert_non_null(strstr(queued.error.message, "was killed"));
	assert_int_equal(kill(namespace_pid(ns), SIGCONT), 0);
	RUN_UNTIL(other.ended == 1);
	assert_int_equal(other.info.exit_code, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lost_namespace_is_reported_and_made_again),
		cmocka_unit_test(namespace_of_a_context_lives_as_long_as_it_is_used),
		cmocka_unit_test(private_namespace_is_not_ended_when_idle),
		cmocka_unit_test(namespace_of_one_context_s_secure_commands_ends_when_idle),
		cmocka_unit_test(request_waits_for_a_namespace_in_every_state),
		cmocka_unit_test(time_limit_counts_before_anything_has_started),
		cmocka_unit_test(what_is_killed_before_it_is_started_is_told_so),
		/* after these what is idle stays for long */
		cmocka_unit_test(namespaces_of_secure_commands_take_places_as_all_do),
		cmocka_unit_test(no_more_end_than_is_room_wanted_for),
	};

	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
