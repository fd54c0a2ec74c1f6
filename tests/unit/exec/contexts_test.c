/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts that come and go while the agent runs. */
#include "fixture.h"

#include <malloc.h>

#define MANY 10000u
#define BYTES_EACH 4096u

struct gone {
	struct context_waiter waiter;
	int n;
};

static void on_gone(struct context_waiter *w)
{
	container_of(w, struct gone, waiter)->n++;
}

static struct context *find(const char *name)
{
	return context_find(execs_contexts(fx.execs), name);
}

static struct context *add(const char *name, const struct config_context *values)
{
	struct refusal e = { 0 };
	struct context *c = NULL;

	if (execs_context_add(fx.execs, name, values, &c, &e) < 0)
		print_error("%s\n", e.message);
	assert_non_null(c);
	return c;
}

static const struct config_context *of_default(void)
{
	return &find("default")->settings->values;
}

static void add_default(const char *name)
{
	add(name, of_default());
}

/* 0: gone, 1: not yet. */
static int remove_context(const char *name, bool keep, struct gone *gone)
{
	struct refusal e = { 0 };
	int r;

	gone->waiter.on_gone = on_gone;
	r = execs_context_remove(fx.execs, find(name), keep, &gone->waiter, &e);
	assert_true(r >= 0);
	return r;
}

static bool has_dir(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/user/%s", cgroups_path(fx.cgroups), name);
	return access(path, F_OK) == 0;
}

static void match_name(struct namespace *ns, void *data)
{
	const char **wanted = data;

	if (*wanted && strcmp(namespace_name(ns), *wanted) == 0)
		*wanted = NULL;
}

static bool has_namespace(const char *name)
{
	execs_for_each_namespace(fx.execs, match_name, &name);
	return name == NULL;
}

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

static void the_first_command_of_a_session_makes_its_context(void **state)
{
	struct exec_request request = { .session = "abc", .argv = ARGV("/bin/sh", "-c", "echo $LAYER") };
	OUTCOME first = { 0 }, second = { 0 };
	struct gone gone = { 0 };

	(void)state;
	run_request(&first, &request);
	assert_string_equal(first.out, "context\n");
	assert_string_equal(first.info.context, "session-abc");
	assert_true(first.info.created);
	assert_ptr_equal(find("session-abc")->settings, find("default")->settings);
	run_request(&second, &request);
	assert_string_equal(second.info.context, "session-abc");
	assert_false(second.info.created);
	assert_int_equal(remove_context("session-abc", false, &gone), 0);
}

static void a_refused_command_makes_no_session(void **state)
{
	char *const env[] = { (char *)"novalue", NULL };
	static char large[INIT_STRINGS_MAX + 1];
	OUTCOME r = { 0 };

	(void)state;
	memset(large, 'x', sizeof(large) - 1);
	assert_int_equal(start(&r, &(struct exec_request){ .session = "no", .argv = ARGV("/bin/true"), .env = env }),
			 -EINVAL);
	assert_null(find("session-no"));
	assert_int_equal(start(&r, &(struct exec_request){ .session = "no", .argv = ARGV("/bin/true", large) }),
			 -EINVAL);
	assert_int_equal(r.error.code, MOAT_E_ARGUMENTS_TOO_LARGE);
	assert_null(find("session-no"));
}

static void ids_of_sessions_are_text_without_control_characters(void **state)
{
	char longest[EXEC_SESSION_MAX + 2];

	(void)state;
	memset(longest, 'x', sizeof(longest));
	longest[EXEC_SESSION_MAX + 1] = '\0';
	assert_false(exec_session_id_valid(longest));
	longest[EXEC_SESSION_MAX] = '\0';
	assert_true(exec_session_id_valid(longest));
	assert_true(exec_session_id_valid("a/../b \xc3\xa4 \xf0\x9f\x98\x80"));
	assert_true(exec_session_id_valid("\xc2\xa0"));
	assert_false(exec_session_id_valid(""));
	assert_false(exec_session_id_valid("a\nb"));
	assert_false(exec_session_id_valid("\x7f"));
	assert_false(exec_session_id_valid("\xc2\x9b"));
	assert_false(exec_session_id_valid("\xff"));
}

struct expired {
	char name[64];
	int n;
};

static void on_expired(const char *context, void *data)
{
	struct expired *expired = data;

	expired->n++;
	snprintf(expired->name, sizeof(expired->name), "%s", context);
}

static void a_session_in_which_nothing_runs_expires(void **state)
{
	OUTCOME idle = { 0 }, busy = { .keep_running = true }, other = { 0 };
	struct expired expired = { 0 };
	struct gone gone = { 0 };

	(void)state;
	execs_watch_sessions(fx.execs, on_expired, &expired);
	run_request(&idle, &(struct exec_request){ .session = "idle", .argv = ARGV("/bin/true") });
	assert_int_equal(start(&busy, &(struct exec_request){ .session = "busy",
							      .argv = ARGV("/bin/sleep", "86435") }), 0);
	add_default("no-session");
	RUN_UNTIL(expired.n == 1);
	assert_string_equal(expired.name, "session-idle");
	assert_null(find("session-idle"));
	run_for(2500);
	assert_non_null(find("session-busy"));
	assert_non_null(find("no-session"));
	assert_int_equal(exec_kill(busy.exec), 0);
	RUN_UNTIL(expired.n == 2);
	assert_string_equal(expired.name, "session-busy");
	run_request(&other, &(struct exec_request){ .session = "idle", .argv = ARGV("/bin/true") });
	assert_true(other.info.created);
	execs_watch_sessions(fx.execs, NULL, NULL);
	assert_int_equal(remove_context("session-idle", false, &gone), 0);
	assert_int_equal(remove_context("no-session", false, &gone), 0);
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
	uint64_t start_ns = now_ns(), made;
	struct gone gone = { 0 };
	char name[32];

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "many-%u", i);
		add(name, &settings->values);
	}
	made = now_ns() - start_ns;
	bytes = (mallinfo2().uordblks - before) / MANY;
	print_message("# %zu bytes, made in %llu ns each\n", bytes, (unsigned long long)made / MANY);
#ifndef MOAT_ASAN
	assert_true(bytes < BYTES_EACH);
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
		cmocka_unit_test(a_secure_command_ends_with_its_context_too),
		cmocka_unit_test(default_cannot_be_removed),
		cmocka_unit_test(capabilities_come_from_the_configuration),
		cmocka_unit_test(a_name_that_is_no_file_name_has_a_cgroup_all_the_same),
		cmocka_unit_test(the_first_command_of_a_session_makes_its_context),
		cmocka_unit_test(a_refused_command_makes_no_session),
		cmocka_unit_test(ids_of_sessions_are_text_without_control_characters),
		cmocka_unit_test(a_session_in_which_nothing_runs_expires),
		cmocka_unit_test(variables_that_are_no_secrets_are_given_in_the_context_s_own_namespace),
		cmocka_unit_test(ten_thousand_that_idle_cost_no_process),
	};

	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
