/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts that come and go while the agent runs. */
#include "exec/contexts.h"

#include <malloc.h>

#define MANY 10000u
#define BYTES_EACH 4096u

static void a_new_context_runs_commands_with_its_settings(void **state)
{
	struct config_context values = *of_default();
	OUTCOME r = { 0 };
	struct gone gone = { 0 };

	(void)state;
	values.directory = (char *)"/usr";
	values.env = ARGV("OWN=1", "LANG=x");
	add("fresh", &values);
	run_sh(&r, "fresh", "echo $OWN $LANG $LAYER; pwd; cat /proc/self/cgroup");
	assert_ptr_equal(strstr(r.out, "1 x\n/usr\n"), r.out);
	assert_non_null(strstr(r.out, "/user/context-fresh/exec-"));
	assert_string_equal(r.info.ns, "context-fresh");
	assert_int_equal(remove_context("fresh", false, &gone), 0);
}

static void changed_settings_are_for_later_commands(void **state)
{
	struct config_context values = *of_default();
	OUTCOME r = { 0 }, later = { 0 };
	struct refusal e = { 0 };
	struct gone gone = { 0 };

	(void)state;
	add_default("change");
	run_sh(&r, "change", "echo $LAYER; pwd");
	assert_string_equal(r.out, "context\n/\n");
	values.directory = (char *)"/tmp";
	values.env = ARGV("LAYER=changed");
	assert_int_equal(execs_context_change(fx.execs, find("change"), &values, &e), 0);
	run_sh(&later, "change", "echo $LAYER $FROM_CONTEXT; pwd");
	assert_string_equal(later.out, "changed\n/tmp\n");
	assert_string_equal(env_get(of_default()->env, "LAYER"), "context");
	assert_int_equal(remove_context("change", false, &gone), 0);
}

static void a_removed_context_ends_what_runs_in_it(void **state)
{
	OUTCOME shell = { .keep_running = true }, background = { 0 }, again = { 0 };
	struct gone gone = { 0 };
	uint64_t number;

	(void)state;
	add_default("brief-life");
	number = find("brief-life")->number;
	run_sh(&background, "brief-life", "sleep 86430 >/dev/null 2>&1 & echo started");
	assert_int_equal(start(&shell, &(struct exec_request){ .context = "brief-life",
							       .argv = ARGV("/bin/sleep", "86430") }), 0);
	RUN_UNTIL(shell.started == 1 && count_processes("86430") == 2);
	assert_int_equal(remove_context("brief-life", false, &gone), 1);
	assert_int_equal(start(&again, &(struct exec_request){ .context = "brief-life",
							       .argv = ARGV("/bin/true") }), -EINVAL);
	assert_int_equal(again.error.code, MOAT_E_CONTEXT_ENDING);
	RUN_UNTIL(gone.n == 1);
	assert_int_equal(count_processes("86430"), 0);
	assert_int_equal(shell.info.signal, SIGKILL);
	assert_null(find("brief-life"));
	/* What is known of its commands stays, and names it. */
	assert_string_equal(execs_context_name(fx.execs, number), "brief-life");
	exec_get_info(background.exec, &background.info);
	assert_string_equal(background.info.context, "brief-life");
	assert_string_equal(background.info.ns, "context-brief-life");
	RUN_UNTIL(!has_namespace("context-brief-life"));
}

static void a_name_is_free_again_and_its_number_is_not(void **state)
{
	OUTCOME r = { 0 };
	struct gone gone = { 0 };
	uint64_t number = 0;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct context *c;

		add_default("again");
		c = find("again");
		assert_true(c->number > number);
		number = c->number;
		outcome_free(&r);
		r = (struct outcome){ 0 };
		run_sh(&r, "again", "sleep 86431 >/dev/null 2>&1 & cat /proc/self/cgroup");
		assert_non_null(strstr(r.out, "/user/context-again"));
		assert_int_equal(remove_context("again", false, &gone), 1);
		RUN_UNTIL(gone.n == (int)i + 1);
	}
	assert_int_equal(count_processes("86431"), 0);
}

static void with_keep_a_context_ends_with_the_last_that_runs_in_it(void **state)
{
	OUTCOME shell = { .keep_running = true }, r = { 0 };
	struct gone gone = { 0 };

	(void)state;
	add_default("kept");
	assert_int_equal(start(&shell, &(struct exec_request){ .context = "kept",
							       .argv = ARGV("/bin/sleep", "86432") }), 0);
	RUN_UNTIL(shell.started == 1);
	assert_int_equal(remove_context("kept", true, &gone), 1);
	run_for(200);
	assert_int_equal(count_processes("86432"), 1);
	assert_int_equal(start(&r, &(struct exec_request){ .context = "kept", .argv = ARGV("/bin/true") }),
			 -EINVAL);
	assert_int_equal(r.error.code, MOAT_E_CONTEXT_ENDING);
	assert_int_equal(gone.n, 0);
	assert_int_equal(exec_signal(shell.exec, SIGTERM, EXEC_GROUP), 0);
	RUN_UNTIL(gone.n == 1);
	assert_int_equal(shell.info.signal, SIGTERM);
	assert_int_equal(start(&r, &(struct exec_request){ .context = "kept", .argv = ARGV("/bin/true") }),
			 -EINVAL);
	assert_int_equal(r.error.code, MOAT_E_NO_SUCH_CONTEXT);
}

static void what_was_not_started_yet_is_refused(void **state)
{
	struct outcome r[3] = { { .keep_running = true }, { .keep_running = true }, { .keep_running = true } };
	struct gone gone = { 0 };

	(void)state;
	add_default("early");
	for (size_t i = 0; i < ARRAY_LEN(r); i++)
		assert_int_equal(start(&r[i], &(struct exec_request){ .context = "early",
								      .argv = ARGV("/bin/sleep", "86433") }),
				 0);
	assert_int_equal(remove_context("early", false, &gone), 0);
	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		assert_int_equal(r[i].failed, 1);
		assert_int_equal(r[i].error.code, MOAT_E_NO_SUCH_CONTEXT);
	}
	assert_null(find("early"));
	RUN_UNTIL(!has_namespace("context-early"));
	assert_int_equal(count_processes("86433"), 0);
}

/* Its moat-init has the requests and has not answered; it is ended before it does, and nothing is left of them. */
static void what_is_just_being_started_is_refused(void **state)
{
	struct outcome r[3] = { { .keep_running = true }, { .keep_running = true }, { .keep_running = true } };
	struct gone gone = { 0 };
	OUTCOME first = { 0 };
	uint64_t number;

	(void)state;
	add_default("sudden");
	number = find("sudden")->number;
	run_sh(&first, "sudden", "echo ready");
	for (size_t i = 0; i < ARRAY_LEN(r); i++)
		assert_int_equal(start(&r[i], &(struct exec_request){ .context = "sudden",
								      .argv = ARGV("/bin/sleep", "86436") }),
				 0);
	assert_int_equal(remove_context("sudden", false, &gone), 0);
	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		assert_int_equal(r[i].failed, 1);
		assert_int_equal(r[i].error.code, MOAT_E_NO_SUCH_CONTEXT);
	}
	RUN_UNTIL(!has_namespace("context-sudden"));
	assert_int_equal(count_processes("86436"), 0);
	/* Until nothing knows of it: what was lost on the way is then seen by the sanitizer. */
	for (unsigned i = 0; i < EXEC_ENDED_MAX; i++) {
		OUTCOME other = { 0 };

		run(&other, ARGV("/bin/true"));
	}
	assert_null(execs_context_name(fx.execs, number));
}

#ifndef MOAT_ASAN
static bool short_of_memory;

void *__libc_calloc(size_t n, size_t size);

/* In the place of libc's, for all that is linked here. */
void *calloc(size_t n, size_t size)
{
	return short_of_memory ? NULL : __libc_calloc(n, size);
}

/* Without memory for those whose answer nobody waits for, moat-init is given up, and all that it was to start. */
static void what_is_just_being_started_is_refused_when_memory_is_short(void **state)
{
	struct outcome r[3] = { { .keep_running = true }, { .keep_running = true }, { .keep_running = true } };
	FD_OWNED int program = -EBADF;
	struct gone gone = { 0 };
	OUTCOME first = { 0 };
	char path[PATH_MAX];

	(void)state;
	signal(SIGIO, SIG_IGN);
	snprintf(path, sizeof(path), "%s/slow", fx.dir);
	program = open(path, O_CREAT | O_RDONLY | O_CLOEXEC, 0755);
	assert_int_equal(fcntl(program, F_SETLEASE, F_WRLCK), 0); /* who executes it waits */
	add_default("scarce");
	run_sh(&first, "scarce", "true");
	for (size_t i = 0; i < ARRAY_LEN(r); i++)
		assert_int_equal(start(&r[i], &(struct exec_request){ .context = "scarce", .argv = ARGV(path) }), 0);
	run_for(300); /* all are on their way */
	short_of_memory = true;
	assert_int_equal(remove_context("scarce", false, &gone), 0);
	short_of_memory = false;
	for (size_t i = 0; i < ARRAY_LEN(r); i++)
		assert_int_equal(r[i].failed, 1);
	assert_int_equal(r[0].error.code, MOAT_E_NO_SUCH_CONTEXT);
	RUN_UNTIL(!has_namespace("context-scarce"));
	assert_int_equal(unlink(path), 0);
}
#endif

static void a_secure_command_ends_with_its_context_too(void **state)
{
	OUTCOME r = { .keep_running = true };
	struct gone gone = { 0 };

	(void)state;
	add_default("vault");
	assert_int_equal(start(&r, &(struct exec_request){ .context = "vault", .env = ARGV("K=v"),
							   .argv = ARGV("/bin/sleep", "86434") }), 0);
	RUN_UNTIL(r.started == 1);
	assert_int_equal(remove_context("vault", false, &gone), 1);
	RUN_UNTIL(gone.n == 1);
	assert_int_equal(r.info.signal, SIGKILL);
	assert_int_equal(count_processes("86434"), 0);
}

static void default_cannot_be_removed(void **state)
{
	struct refusal e = { 0 };
	OUTCOME r = { 0 };

	(void)state;
	assert_int_equal(execs_context_remove(fx.execs, find("default"), false, NULL, &e), -EINVAL);
	assert_int_equal(e.code, MOAT_E_IMMUTABLE);
	run(&r, ARGV("/bin/true"));
	assert_int_equal(r.info.exit_code, 0);
}

static void capabilities_come_from_the_configuration(void **state)
{
	struct config_context values = *of_default();
	struct refusal e = { 0 };
	struct context *c;
	struct gone gone = { 0 };
	OUTCOME r = { 0 };

	(void)state;
	values.capabilities |= 1ull << 21; /* CAP_SYS_ADMIN: no context has it */
	assert_int_equal(execs_context_add(fx.execs, "strong", &values, &c, &e), -EINVAL);
	assert_int_equal(e.code, MOAT_E_CAPABILITIES_UNAVAILABLE);
	assert_string_equal(e.field, "capabilities");
	assert_null(find("strong"));
	values.capabilities = 1;
	values.shared_pid = true;
	add("weak", &values);
	run_sh(&r, "weak", "grep -e CapEff -e CapBnd /proc/self/status");
	assert_string_equal(r.out, "CapEff:\t0000000000000001\nCapBnd:\t0000000000000001\n");
	assert_int_equal(remove_context("weak", false, &gone), 0);
}

/* CAP_SYSLOG is that of a context that is not in the agent's PID namespace, as this one is. */
static void capabilities_are_available_whatever_pid_is(void **state)
{
	struct config_context values = *of_default();
	struct gone gone = { 0 };
	OUTCOME r = { 0 };

	(void)state;
	values.capabilities = 1ull << 34;
	values.shared_pid = true;
	add("logs", &values);
	run_request(&r, &(struct exec_request){ .context = "logs", .isolation = EXEC_ISOLATED,
						.argv = ARGV("/bin/grep", "CapEff", "/proc/self/status") });
	assert_string_equal(r.out, "CapEff:\t0000000400000000\n");
	assert_string_equal(r.info.ns, "secure-of-logs");
	assert_int_equal(remove_context("logs", false, &gone), 0);
}

static void private_contexts_leave_places_for_the_others(void **state)
{
	struct config_context values = *of_default();
	struct refusal e = { 0 };
	struct gone gone = { 0 };
	struct context *c;

	(void)state;
	values.ns = CONTEXT_PRIVATE;
	execs_limit(fx.execs, UINT_MAX, 4); /* one is in the configuration */
	add("keeper", &values);
	assert_int_equal(execs_context_add(fx.execs, "another", &values, &c, &e), -EINVAL);
	assert_int_equal(e.code, MOAT_E_TOO_MANY_CONTEXTS);
	assert_int_equal(e.limit, 2);
	assert_null(find("another"));
	add_default("another"); /* not private */
	assert_int_equal(remove_context("another", false, &gone), 0);
	assert_int_equal(remove_context("keeper", false, &gone), 0);
	add("another", &values);
	assert_int_equal(remove_context("another", false, &gone), 0);
	execs_limit(fx.execs, UINT_MAX, UINT_MAX);
}

static void the_environments_of_all_contexts_have_a_limit(void **state)
{
	struct config_context values = *of_default();
	size_t *total = contexts_env_total(execs_contexts(fx.execs)), before = *total, each;
	char *env[] = { (char *)"NAME=value", NULL };
	struct refusal e = { 0 };
	struct gone gone = { 0 };
	struct context *c;

	(void)state;
	values.env = env;
	add("measured", &values);
	each = *total - before;
	assert_int_equal(remove_context("measured", false, &gone), 0);
	assert_int_equal(*total, before);
	*total = CONTEXTS_ENV_MAX - each + 1;
	assert_int_equal(execs_context_add(fx.execs, "another", &values, &c, &e), -EINVAL);
	assert_int_equal(e.code, MOAT_E_ENVIRONMENT_TOO_LARGE);
	assert_int_equal(e.limit, CONTEXTS_ENV_MAX);
	*total = CONTEXTS_ENV_MAX - each;
	add("another", &values);
	assert_int_equal(remove_context("another", false, &gone), 0);
	*total = before;
}

static void a_name_that_is_no_file_name_has_a_cgroup_all_the_same(void **state)
{
	static const char name[] = "session-../../\xc3\xa4 x";
	struct gone gone = { 0 };
	OUTCOME r = { 0 };

	(void)state;
	add_default(name);
	run_sh(&r, name, "cat /proc/self/cgroup");
	assert_non_null(strstr(r.out, "/user/context-session_1/"));
	assert_true(has_dir("context-session_1"));
	assert_string_equal(r.info.context, name);
	assert_int_equal(remove_context(name, false, &gone), 0);
	RUN_UNTIL(!has_dir("context-session_1"));
}

static void variables_that_are_no_secrets_are_given_in_the_context_s_own_namespace(void **state)
{
	struct exec_request request = { .env = ARGV("PORT=3000", "LAYER=exec"), .isolation = EXEC_NOT_ISOLATED,
					.argv = ARGV("/bin/sh", "-c", "echo $PORT $LAYER $FROM_CONTEXT") };
	OUTCOME shared = { 0 }, apart = { 0 }, never = { 0 };

	(void)state;
	run_request(&shared, &request);
	assert_string_equal(shared.out, "3000 exec yes\n");
	assert_string_equal(shared.info.ns, "user");
	assert_true(shared.info.own_env);
	request.isolation = EXEC_ISOLATED_BY_ENV;
	run_request(&apart, &request);
	assert_string_equal(apart.out, "3000 exec yes\n");
	assert_string_equal(apart.info.ns, "secure");
	request.isolation = EXEC_NOT_ISOLATED;
	request.context = "secure";
	assert_int_equal(start(&never, &request), -EINVAL);
	assert_string_equal(never.error.field, "isolated");
}

static void ten_thousand_that_idle_cost_no_process(void **state)
{
	const struct context_settings *settings = find("default")->settings;
	size_t before = mallinfo2().uordblks, bytes;
	uint64_t start_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID), made;
	struct gone gone = { 0 };
	char name[32];

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "many-%u", i);
		add(name, &settings->values);
	}
	made = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start_ns;
	bytes = (mallinfo2().uordblks - before) / MANY;
	print_message("# %zu bytes, made in %llu ns each\n", bytes, (unsigned long long)made / MANY);
#ifndef MOAT_ASAN
	assert_true(bytes < BYTES_EACH);
	assert_true(made / MANY < 20000);
#endif
	assert_false(has_namespace("context-many-1"));
	assert_false(has_dir("context-many-1"));
	for (unsigned i = 0; i < MANY; i += 1000) {
		OUTCOME r = { 0 };

		snprintf(name, sizeof(name), "many-%u", i);
		run_sh(&r, name, "echo $LAYER");
		assert_string_equal(r.out, "context\n");
	}
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "many-%u", i);
		assert_int_equal(remove_context(name, false, &gone), 0);
	}
	RUN_UNTIL(!has_namespace("context-many-0"));
	RUN_UNTIL(!has_dir("context-many-0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_context_runs_commands_with_its_settings),
		cmocka_unit_test(changed_settings_are_for_later_commands),
		cmocka_unit_test(a_removed_context_ends_what_runs_in_it),
		cmocka_unit_test(a_name_is_free_again_and_its_number_is_not),
		cmocka_unit_test(with_keep_a_context_ends_with_the_last_that_runs_in_it),
		cmocka_unit_test(what_was_not_started_yet_is_refused),
		cmocka_unit_test(what_is_just_being_started_is_refused),
#ifndef MOAT_ASAN
		cmocka_unit_test(what_is_just_being_started_is_refused_when_memory_is_short),
#endif
		cmocka_unit_test(a_secure_command_ends_with_its_context_too),
		cmocka_unit_test(default_cannot_be_removed),
		cmocka_unit_test(capabilities_come_from_the_configuration),
		cmocka_unit_test(capabilities_are_available_whatever_pid_is),
		cmocka_unit_test(private_contexts_leave_places_for_the_others),
		cmocka_unit_test(the_environments_of_all_contexts_have_a_limit),
		cmocka_unit_test(a_name_that_is_no_file_name_has_a_cgroup_all_the_same),
		cmocka_unit_test(
			variables_that_are_no_secrets_are_given_in_the_context_s_own_namespace),
		cmocka_unit_test(ten_thousand_that_idle_cost_no_process),
	};

	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
