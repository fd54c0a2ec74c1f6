/* SPDX-License-Identifier: Apache-2.0 */
/* What a command gets and what comes back, through exec.h with real namespaces. */
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "exec/fixture.h"

static char self_path[PATH_MAX];

static void output_and_exit_status_come_back(void **state)
{
	OUTCOME r = { 0 };

	(void)state;
	run_sh(&r, NULL, "echo out; echo err >&2; exit 7");
	assert_string_equal(r.out, "out\n");
	assert_string_equal(r.err, "err\n");
	assert_int_equal(r.info.exit_code, 7);
	assert_int_equal(r.info.signal, 0);
	assert_int_equal(r.info.output[0].total, 4);
	assert_int_equal(r.seen[0], 4);
	assert_int_equal(r.info.state, EXEC_ENDED);
	assert_false(r.info.background);
	assert_string_equal(r.info.context, "default");
	assert_string_equal(r.info.ns, "user");
	assert_true(r.info.max_rss_kib > 0);
	assert_ptr_equal(exec_find(fx.execs, r.info.id), r.exec);
}

static void death_by_signal_is_told_from_an_exit(void **state)
{
	OUTCOME r = { 0 };

	(void)state;
	run_sh(&r, NULL, "kill -SEGV $$");
	assert_int_equal(r.info.exit_code, -1);
	assert_int_equal(r.info.signal, SIGSEGV);
}

static void missing_command_is_not_found(void **state)
{
	OUTCOME by_path = { 0 };
	OUTCOME by_name = { 0 };
	OUTCOME below_a_file = { 0 };

	(void)state;
	run(&by_path, ARGV("/nowhere/command"));
	run(&by_name, ARGV("no-such-command-at-all"));
	run(&below_a_file, ARGV("/etc/passwd/x"));
	assert_int_equal(by_path.error.code, MOAT_E_COMMAND_NOT_FOUND);
	assert_int_equal(by_path.error.err, ENOENT);
	assert_string_equal(by_path.error.step, "exec");
	assert_int_equal(by_path.started, 0);
	assert_int_equal(by_name.error.code, MOAT_E_COMMAND_NOT_FOUND);
	assert_int_equal(by_name.error.err, ENOENT);
	assert_int_equal(below_a_file.error.err, ENOTDIR);
}

static void write_script(char path[PATH_MAX], const char *name, mode_t mode, const char *text)
{
	int fd;

	snprintf(path, PATH_MAX, "%s/%s", fx.dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static void what_cannot_be_executed_is_never_given_to_a_shell(void **state)
{
	OUTCOME no_mode = { 0 };
	OUTCOME no_format = { 0 };
	char path[PATH_MAX];

	(void)state;
	write_script(path, "plain", 0644, "echo ran\n");
	run(&no_mode, ARGV(path));
	unlink(path);
	write_script(path, "headless", 0755, "echo ran\n");
	run(&no_format, ARGV(path));
	unlink(path);
	assert_int_equal(no_mode.error.code, MOAT_E_COMMAND_NOT_EXECUTABLE);
	assert_int_equal(no_mode.error.err, EACCES);
	assert_int_equal(no_format.failed, 1);
	assert_int_equal(no_format.error.code, MOAT_E_COMMAND_NOT_EXECUTABLE);
	assert_int_equal(no_format.error.err, ENOEXEC);
}

static void path_search_goes_on_after_eacces_and_remembers_it(void **state)
{
	OUTCOME only = { 0 };
	OUTCOME later = { 0 };
	char path[PATH_MAX], env_only[PATH_MAX + 8], env_later[PATH_MAX + 64];

	(void)state;
	snprintf(env_only, sizeof(env_only), "PATH=%s:/nowhere", fx.dir);
	snprintf(env_later, sizeof(env_later), "PATH=%s::/usr/bin:/bin", fx.dir);
	write_script(path, "true", 0644, "#!/bin/false\n");
	run_request(&only, &(struct exec_request){ .argv = ARGV("true"), .env = ARGV(env_only) });
	run_request(&later, &(struct exec_request){ .argv = ARGV("true"), .env = ARGV(env_later) });
	unlink(path);
	assert_int_equal(only.error.err, EACCES);
	assert_int_equal(only.error.code, MOAT_E_COMMAND_NOT_EXECUTABLE);
	assert_int_equal(later.ended, 1);
	assert_int_equal(later.info.exit_code, 0);
}

static void bad_directory_is_its_own_error(void **state)
{
	OUTCOME missing = { 0 };
	OUTCOME file = { 0 };
	OUTCOME good = { 0 };
	struct outcome relative = { 0 };

	(void)state;
	run_request(&missing, &(struct exec_request){ .argv = ARGV("true"), .cwd = "/nowhere" });
	run_request(&file, &(struct exec_request){ .argv = ARGV("true"), .cwd = "/etc/passwd" });
	run_request(&good, &(struct exec_request){ .argv = ARGV("/bin/pwd"), .cwd = "/usr" });
	assert_int_equal(missing.error.code, MOAT_E_BAD_DIRECTORY);
	assert_int_equal(missing.error.err, ENOENT);
	assert_string_equal(missing.error.step, "directory");
	assert_int_equal(file.error.err, ENOTDIR);
	assert_string_equal(good.out, "/usr\n");
	assert_int_equal(start(&relative, &(struct exec_request){ .argv = ARGV("true"), .cwd = "x" }),
			 -EINVAL);
	assert_int_equal(relative.error.code, MOAT_E_BAD_VALUE);
	assert_string_equal(relative.error.field, "cwd");
}

static void environment_is_base_below_context_below_exec(void **state)
{
	static const char base[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
	OUTCOME plain = { 0 };
	OUTCOME secure = { 0 };
	OUTCOME home = { 0 };
	char expected[1024];

	(void)state;
	setenv("AGENT_SECRET", "must not be inherited", 1);
	run(&plain, ARGV("/usr/bin/env"));
	run_request(&secure, &(struct exec_request){ .argv = ARGV("/usr/bin/env"),
						     .env = ARGV("LAYER=exec", "MORE=1") });
	run_in(&home, "private", ARGV("/usr/bin/env"));
	unsetenv("AGENT_SECRET");
	snprintf(expected, sizeof(expected),
		 "%sHOME=/root\nUSER=root\nLANG=C.UTF-8\nLAYER=context\nFROM_CONTEXT=yes\n", base);
	assert_string_equal(plain.out, expected);
	snprintf(expected, sizeof(expected),
		 "%sHOME=/dev/own/home\nUSER=root\nLANG=C.UTF-8\nTMPDIR=/dev/own/tmp\n"
		 "PYTHONSAFEPATH=1\nPYTHONNOUSERSITE=1\nPERL_USE_UNSAFE_INC=0\n"
		 "GIT_CONFIG_COUNT=2\nGIT_CONFIG_KEY_0=core.fsmonitor\nGIT_CONFIG_VALUE_0=false\n"
		 "GIT_CONFIG_KEY_1=core.hooksPath\nGIT_CONFIG_VALUE_1=/dev/null\n"
		 "FROM_CONTEXT=yes\nLAYER=exec\nMORE=1\n",
		 base);
	assert_string_equal(secure.out, expected);
	assert_string_equal(secure.info.ns, "secure");
	snprintf(expected, sizeof(expected), "%sHOME=/tmp\nUSER=root\nLANG=C.UTF-8\n", base);
	assert_string_equal(home.out, expected);
	assert_string_equal(home.info.ns, "context-private");
}

static void routing_follows_env_and_context(void **state)
{
	static const struct {
		const char *context, *ns_plain, *ns_env;
	} cases[] = {
		{ "default", "user", "secure" },
		{ "shared", "context-shared", "secure-shared" },
		{ "bare", "context-bare", "secure" },
		{ "private", "context-private", "secure" },
		{ "secure", "secure", "secure" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		OUTCOME plain = { 0 };
		OUTCOME env = { 0 };
		OUTCOME isolated = { 0 };
		struct exec_request request = { .argv = ARGV("true"), .context = cases[i].context };

		run_request(&plain, &request);
		request.isolation = EXEC_ISOLATED;
		run_request(&isolated, &request);
		request.isolation = EXEC_ISOLATED_BY_ENV;
		request.env = ARGV("K=V");
		run_request(&env, &request);
		assert_string_equal(plain.info.ns, cases[i].ns_plain);
		assert_string_equal(env.info.ns, cases[i].ns_env);
		assert_string_equal(isolated.info.ns, cases[i].ns_env);
	}
}

/* An id is of this agent alone, and so is the number in the label: it begins where no other has been. */
static void ids_and_numbers_are_of_this_agent_alone(void **state)
{
	struct exec_info first;
	OUTCOME r = { 0 };
	char id[32];

	(void)state;
	run(&r, ARGV("true"));
	exec_get_info(r.exec, &first);
	assert_ptr_equal(exec_find(fx.execs, first.id), r.exec);
	assert_string_equal(execs_name(fx.execs, first.number), first.id);
	assert_true(first.number > 1000000); /* microseconds since boot */
	assert_null(execs_name(fx.execs, 1));
	snprintf(id, sizeof(id), "%s", first.id);
	assert_non_null(strchr(id, '-'));
	assert_int_equal(strlen(strchr(id, '-')), 7);
	id[strlen(id) - 1] = id[strlen(id) - 1] == 'a' ? 'b' : 'a'; /* of another agent */
	assert_null(exec_find(fx.execs, id));
	*strchr(id, '-') = '\0';
	assert_null(exec_find(fx.execs, id));
}

static void no_descriptor_is_inherited(void **state)
{
	int leak[40];
	OUTCOME r = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(leak); i++) /* without O_CLOEXEC, on purpose */
		leak[i] = open("/dev/null", O_RDONLY);
	run(&r, ARGV("/bin/ls", "/proc/self/fd"));
	for (size_t i = 0; i < ARRAY_LEN(leak); i++)
		close(leak[i]);
	assert_string_equal(r.out, "0\n1\n2\n3\n"); /* 3 is the directory that ls reads */
}

/* The value of a line of /proc/self/status in text. */
static uint64_t status_field(const char *text, const char *name, int base)
{
	const char *at = strstr(text, name);

	assert_non_null(at);
	return strtoull(at + strlen(name), NULL, base);
}

static void assert_capabilities(const char *context, uint64_t mask, unsigned no_new_privs)
{
	OUTCOME r = { 0 };

	run_in(&r, context, ARGV("/bin/cat", "/proc/self/status"));
	assert_int_equal(status_field(r.out, "\nCapInh:", 16), 0);
	assert_int_equal(status_field(r.out, "\nCapPrm:", 16), mask);
	assert_int_equal(status_field(r.out, "\nCapEff:", 16), mask);
	assert_int_equal(status_field(r.out, "\nCapBnd:", 16), mask);
	assert_int_equal(status_field(r.out, "\nCapAmb:", 16), 0);
	assert_int_equal(status_field(r.out, "\nNoNewPrivs:", 10), no_new_privs);
}

static void capabilities_are_exactly_those_of_the_context(void **state)
{
	(void)state;
	/* CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW
	 * SYS_CHROOT AUDIT_WRITE SETFCAP: what container engines give. */
	assert_capabilities(NULL, 0xa00425fb, 1);
	assert_capabilities("bare", 0, 1);
	assert_capabilities("loose", 1ull << 0 | 1ull << 5, 0);
}

static void session_signals_and_umask_are_fresh(void **state)
{
	int pid, ppid, pgrp, session, tty;
	OUTCOME stat = { 0 };
	OUTCOME status = { 0 };
	OUTCOME mask = { 0 };

	(void)state;
	run(&stat, ARGV("/bin/cat", "/proc/self/stat"));
	assert_int_equal(sscanf(stat.out, "%d (cat) %*c %d %d %d %d", &pid, &ppid, &pgrp, &session,
				&tty), 5);
	assert_int_equal(pid, stat.info.pid);
	assert_int_equal(ppid, 1);
	assert_int_equal(pgrp, pid);
	assert_int_equal(session, pid);
	assert_int_equal(tty, 0);
	run(&status, ARGV("/bin/cat", "/proc/self/status"));
	assert_int_equal(status_field(status.out, "\nSigBlk:", 16), 0);
	assert_int_equal(status_field(status.out, "\nSigIgn:", 16), 0);
	run_sh(&mask, NULL, "umask");
	assert_string_equal(mask.out, "0022\n");
}

static void stdin_is_data_or_nothing(void **state)
{
	PTR_OWNED char *big = malloc(300000);
	OUTCOME none = { 0 };
	OUTCOME some = { 0 };
	OUTCOME much = { 0 };

	(void)state;
	run_sh(&none, NULL, "cat; readlink /proc/self/fd/0; chmod 600 /proc/self/fd/0");
	assert_string_equal(none.out, "/dev/null\n");
	assert_int_equal(none.info.exit_code, 1); /* the node is everybody's: its mode stays */
	assert_non_null(strstr(none.err, "Read-only file system"));
	run_request(&some, &(struct exec_request){ .argv = ARGV("/bin/cat"), .stdin_data = "a\0b",
						   .stdin_len = 3 });
	assert_int_equal(some.info.output[0].total, 3);
	memset(big, 'x', 300000);
	run_request(&much, &(struct exec_request){ .argv = ARGV("/usr/bin/wc", "-c"),
						   .stdin_data = big, .stdin_len = 300000 });
	assert_string_equal(much.out, "300000\n");
}

static void of_output_beyond_the_limit_beginning_and_end_are_kept(void **state)
{
	OUTCOME r = { 0 };

	(void)state;
	run(&r, ARGV("/usr/bin/head", "-c", "3000000", "/dev/zero"));
	assert_int_equal(r.info.output[0].kept, EXEC_OUTPUT_DEFAULT);
	assert_int_equal(r.info.output[0].head, EXEC_OUTPUT_DEFAULT / 4 / 3 * 3);
	assert_int_equal(r.info.output[0].total, 3000000);
	assert_int_equal(r.seen[0] + r.lost, 3000000);
	assert_int_equal(r.info.exit_code, 0);
}

static void huge_arguments_are_refused(void **state)
{
	PTR_OWNED char *argument = malloc(400000);
	PTR_OWNED char **many = calloc(2100, sizeof(*many));
	struct outcome over = { 0 };
	OUTCOME one = { 0 };
	OUTCOME fits = { 0 };

	(void)state;
	memset(argument, 'x', 400000);
	argument[INIT_STRINGS_MAX] = '\0';
	assert_int_equal(start(&over, &(struct exec_request){ .argv = ARGV("true", argument) }),
			 -EINVAL);
	assert_int_equal(over.error.code, MOAT_E_ARGUMENTS_TOO_LARGE);
	assert_int_equal(over.error.limit, INIT_STRINGS_MAX);
	/* The kernel takes 128 KiB per string (MAX_ARG_STRLEN). */
	argument[200000] = '\0';
	run(&one, ARGV("/bin/true", argument));
	assert_int_equal(one.error.code, MOAT_E_ARGUMENTS_TOO_LARGE);
	assert_int_equal(one.error.err, E2BIG);
	argument[120] = '\0';
	many[0] = (char *)"/bin/true";
	for (int i = 1; i < 2050; i++)
		many[i] = argument;
	run(&fits, many);
	assert_int_equal(fits.info.exit_code, 0);
}

static void unknown_context_and_empty_command_are_refused(void **state)
{
	struct outcome r = { 0 };

	(void)state;
	assert_int_equal(start(&r, &(struct exec_request){ .argv = ARGV("true"), .context = "no" }),
			 -EINVAL);
	assert_int_equal(r.error.code, MOAT_E_NO_SUCH_CONTEXT);
	assert_int_equal(start(&r, &(struct exec_request){ .argv = ARGV("") }), -EINVAL);
	assert_int_equal(r.error.code, MOAT_E_BAD_VALUE);
	assert_int_equal(start(&r, &(struct exec_request){ .argv = ARGV("true"),
							   .env = ARGV("no-equals-sign") }),
			 -EINVAL);
	assert_string_equal(r.error.field, "env");
	assert_int_equal(r.started + r.failed + r.ended, 0);
}

static void world_inside_is_minimal(void **state)
{
	char script[1024];
	OUTCOME r = { 0 };

	(void)state;
	snprintf(script, sizeof(script),
		 "ls %s/state 2>&1 | wc -l; cat %s/moat.conf; stat -c %%n /dev/*;"
		 "grep -cE ' - (bpf|debugfs|tracefs|securityfs|nsfs) ' /proc/self/mountinfo;"
		 "grep -E ' - cgroup2? ' /proc/self/mountinfo | grep -vc ' ro[, ]';"
		 "grep -c ' /proc .*hidepid' /proc/self/mountinfo;"
		 "echo 1 > /proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger;"
		 "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c;"
		 "ls /sys/firmware 2>/dev/null | wc -l; cat /proc/1/comm",
		 fx.dir, fx.dir);
	run_sh(&r, NULL, script);
	assert_string_equal(r.out, "0\n/dev/fd\n/dev/full\n/dev/null\n/dev/ptmx\n/dev/pts\n"
				   "/dev/random\n/dev/shm\n/dev/stderr\n/dev/stdin\n/dev/stdout\n"
				   "/dev/tty\n/dev/urandom\n/dev/zero\n0\n0\n0\n0\n0\nmoat-init\n");
}

/* Run as a command: makes moat-init its tracer, which must let it go on. */
static int be_traced(void)
{
	signal(SIGUSR1, SIG_IGN);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		return errno == EPERM ? 5 : 1; /* EPERM: the kernel programs forbid it, fine too */
	raise(SIGUSR1);
	return 5;
}

static void traced_child_does_not_confuse_moat_init(void **state)
{
	OUTCOME traced = { 0 };
	OUTCOME after = { 0 };

	(void)state;
	run(&traced, ARGV(self_path, "--traceme"));
	assert_int_equal(traced.info.exit_code, 5);
	run(&after, ARGV("/bin/true"));
	assert_int_equal(after.info.exit_code, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_and_exit_status_come_back),
		cmocka_unit_test(death_by_signal_is_told_from_an_exit),
		cmocka_unit_test(missing_command_is_not_found),
		cmocka_unit_test(what_cannot_be_executed_is_never_given_to_a_shell),
		cmocka_unit_test(path_search_goes_on_after_eacces_and_remembers_it),
		cmocka_unit_test(bad_directory_is_its_own_error),
		cmocka_unit_test(environment_is_base_below_context_below_exec),
		cmocka_unit_test(routing_follows_env_and_context),
		cmocka_unit_test(ids_and_numbers_are_of_this_agent_alone),
		cmocka_unit_test(no_descriptor_is_inherited),
		cmocka_unit_test(capabilities_are_exactly_those_of_the_context),
		cmocka_unit_test(session_signals_and_umask_are_fresh),
		cmocka_unit_test(stdin_is_data_or_nothing),
		cmocka_unit_test(of_output_beyond_the_limit_beginning_and_end_are_kept),
		cmocka_unit_test(huge_arguments_are_refused),
		cmocka_unit_test(unknown_context_and_empty_command_are_refused),
		cmocka_unit_test(world_inside_is_minimal),
		cmocka_unit_test(traced_child_does_not_confuse_moat_init),
	};

	if (argc > 1 && strcmp(argv[1], "--traceme") == 0)
		return be_traced();
	if (readlink("/proc/self/exe", self_path, sizeof(self_path) - 1) < 0)
		return 1;
	/* What the agent ignores or blocks must not reach its commands. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
