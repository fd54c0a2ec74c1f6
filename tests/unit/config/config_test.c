/* SPDX-License-Identifier: Apache-2.0 */
#include "config/fixture.h"

#define ADVICE "so that it can write what this service executes; shares = PATH accepts that"
#define SHARED_ROOT "the directory of context default (/), " ADVICE
#define EXPANDS "command has what a shell would expand ($, `, *, ?, [, ~), and no shell runs it: quote it " \
		"to pass it on"

static const struct {
	const char *text;
	unsigned line;
	const char *reason;
} faults[] = {
	{ "[moat]\nenforce = audit\nenforced = yes\n", 3, "unknown key enforced" },
	{ "[moat]\ncommand = x\n", 2, "unknown key command" },
	{ SERVICE "namespace = user\n", 3, "unknown key namespace" },
	{ "port = 80\n", 1, "key port stands in no section" },
	{ "\n\n[servce a]\n", 3,
	  "unknown section: there are [moat], [service NAME] and [context NAME]" },
	{ "[moat x]\n", 1, "unknown section: there are [moat], [service NAME] and [context NAME]" },
	{ "[]\n", 1, "unknown section: there are [moat], [service NAME] and [context NAME]" },
	{ "[service a b]\n", 1,
	  "unknown section: there are [moat], [service NAME] and [context NAME]" },
	{ "[service]\n", 1,
	  "the name of a service must be 1 to 32 of a-z, 0-9 and -, and not begin with -" },
	{ "[service A]\n", 1,
	  "the name of a service must be 1 to 32 of a-z, 0-9 and -, and not begin with -" },
	{ "[context -a]\n", 1,
	  "the name of a context must be 1 to 32 of a-z, 0-9 and -, and not begin with -" },
	{ "[context session-a]\n", 1,
	  "the name of a context must not begin with session-: such contexts are sessions" },
	{ "[context a/../b]\n", 1,
	  "the name of a context must be 1 to 32 of a-z, 0-9 and -, and not begin with -" },
	{ "[service aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n", 1,
	  "the name of a service must be 1 to 32 of a-z, 0-9 and -, and not begin with -" },
	{ "[moat]\ninstance = ../x\n", 2,
	  "instance must be 1 to 32 of a-z, 0-9 and -, and not begin with -" },
	{ "[moat\n", 1, "a section line must end with ]" },
	{ "[moat] enforce = audit\n", 1, "a section line must end with ]" },
	{ "[moat]\nenforce\n", 2, "neither [section] nor key = value" },
	{ "[moat]\nenforce = maybe\n", 2, "enforce must be require, best-effort or audit" },
	{ "[moat]\nenforce = audit ; really\n", 2,
	  "enforce must be require, best-effort or audit" },
	{ "[moat]\nkeep_pins = true\n", 2, "keep_pins must be yes or no" },
	{ "[moat]\nnamespace_idle = 0\n", 2,
	  "namespace_idle must be a number of seconds from 1 to 86400" },
	{ "[moat]\nsession_idle = 86401\n", 2,
	  "session_idle must be a number of seconds up to 86400, or 0 for none" },
	{ "[moat]\nnamespace_idle = 1m\n", 2,
	  "namespace_idle must be a number of seconds from 1 to 86400" },
	{ "[moat]\nenforce = audit\nenforce = require\n", 3,
	  "enforce is given twice in this section" },
	{ "[moat]\n[moat]\n", 2, "section [moat] is there already, in line 1" },
	{ SERVICE "\n[service a]\ncommand = y\n", 4, "service a is there already, in line 1" },
	{ "[context default]\n[context default]\n", 2,
	  "context default is there already, in line 1" },
	{ "[context b]\n[context b]\n", 2, "context b is there already, in line 1" },
	{ "[moat]\npin_dir = moat\n", 2, "pin_dir must be an absolute path" },
	{ "[moat]\npin_dir = /a/../b\n", 2, "pin_dir must not have . or .. in the path" },
	{ "[moat]\npin_dir = /a/.\n", 2, "pin_dir must not have . or .. in the path" },
	{ "[moat]\naudit_log =\n", 2, "audit_log must be an absolute path" },
	{ "\n[service a]\nport = 80\n[moat]\n", 2, "service a has no command" },
	{ "[service a]\n[service b]\ncommand = x\n", 1, "service a has no command" },
	{ "[service a]\ncommand =\n", 2, "command is empty" },
	{ "[service a]\ncommand = ''\n", 2, "command is empty" },
	{ "[service a]\ncommand = x 'y\n", 2, "command has an unterminated '" },
	{ "[service a]\ncommand = x \"y\\\"\n", 2, "command has an unterminated \"" },
	{ "[service a]\ncommand = x \\\n", 2, "command ends with a \\" },
	{ "[service a]\ncommand = x | y\n", 2,
	  "command has a shell operator, and no shell runs it: quote it to pass it on" },
	{ "[service a]\ncommand = x 2>&1\n", 2,
	  "command has a shell operator, and no shell runs it: quote it to pass it on" },
	{ SERVICE "port = 0\n", 3, "port must be 1 to 65535, with /udp behind it for UDP" },
	{ SERVICE "port = 65536\n", 3, "port must be 1 to 65535, with /udp behind it for UDP" },
	{ SERVICE "port = 99999999999999999999\n", 3,
	  "port must be 1 to 65535, with /udp behind it for UDP" },
	{ SERVICE "port = 80a\n", 3, "port must be 1 to 65535, with /udp behind it for UDP" },
	{ SERVICE "port = -80\n", 3, "port must be 1 to 65535, with /udp behind it for UDP" },
	{ SERVICE "port = 80/sctp\n", 3, "port must be 1 to 65535, with /udp behind it for UDP" },
	{ SERVICE "port = 80, 81\n", 3, "port must be 1 to 65535, with /udp behind it for UDP" },
	{ SERVICE "port =\n", 3, "port must be 1 to 65535, with /udp behind it for UDP" },
	{ SERVICE "port = 80\nport = 80/tcp\n", 4, "port 80 is given twice" },
	{ SERVICE "port = 80\n[service b]\ncommand = y\nport = 81\nport = 80\n", 7,
	  "port 80 belongs to service a already (line 3)" },
	{ SERVICE "port = 80\n[service b]\ncommand = y\nport = 80/udp\n", 6,
	  "port 80 belongs to service a already (line 3)" },
	{ SERVICE "ready = 80\n", 3, "ready must be tcp:PORT" },
	{ SERVICE "ready = tcp:80/udp\n", 3, "ready must be tcp:PORT" },
	{ SERVICE "ready = tcp:80\n", 3,
	  "ready = tcp:80: the service has no such port, so nobody keeps it "
	  "free for it: port = 80" },
	{ SERVICE "port = 80/udp\nready = tcp:80\n", 4,
	  "ready = tcp:80: the service has no such port, so "
	  "nobody keeps it free for it: port = 80" },
	{ SERVICE "listen = yes\n", 3, "listen: the service has no port" },
	{ SERVICE "port = 80\nlisten = localhost\n", 4,
	  "listen must be yes, no, or an address such as 127.0.0.1 or ::1" },
	{ SERVICE "start_timeout = 1m\n", 3,
	  "start_timeout must be a number of seconds up to 86400, or 0 for none" },
	{ SERVICE "start_timeout = 86401\n", 3,
	  "start_timeout must be a number of seconds up to 86400, or 0 for none" },
	{ SERVICE "directory = /\n", 3, "/ contains " SHARED_ROOT },
	{ SERVICE "env = A=b\nenv = HOME=/var\n", 4,
	  "/var contains /var/tmp, where user code writes, " ADVICE },
	{ SERVICE "env = HOME=/root\n", 3,
	  "/root contains the HOME of context default (/root), " ADVICE },
	{ SERVICE "directory = /work\n[context c]\ndirectory = /work/c\n", 3,
	  "/work contains the directory of context c (/work/c), " ADVICE },
	{ SERVICE "env = HOME=root\n", 3, "HOME must be an absolute path" },
	{ SERVICE "directory = /srv\nshares = /srv/a\n", 4,
	  "shares /srv/a is about nothing: the service has "
	  "neither directory nor HOME there" },
	{ SERVICE "shares = srv\n", 3, "shares must be an absolute path" },
	{ "[service a]\ncommand = x $HOME\n", 2, EXPANDS },
	{ "[service a]\ncommand = x *.c\n", 2, EXPANDS },
	{ "[service a]\ncommand = x --a=[b]\n", 2, EXPANDS },
	{ "[service a]\ncommand = x `y`\n", 2, EXPANDS },
	{ "[service a]\ncommand = ~/x\n", 2, EXPANDS },
	{ "[service a]\ncommand = sh -c \"a\" # run a\n", 2,
	  "command has a # outside of quotes, and there are "
	  "no comments behind a value: quote it to pass it on" },
	{ "[service a]\ncommand = A=b x\n", 2,
	  "command begins with an assignment, and no shell makes it: there "
	  "is env for that" },
	{ SERVICE "restart = never\n", 3, "restart must be always, on-failure or no" },
	{ SERVICE "directory = srv\n", 3, "directory must be an absolute path" },
	{ SERVICE "protect = srv\n", 3, "protect must be an absolute path" },
	{ SERVICE "protect =\n", 3, "protect must be an absolute path" },
	{ SERVICE "protect = /a\nprotect = /srv/../etc\n", 4,
	  "protect must not have . or .. in the path" },
	{ SERVICE "protect = @etc\n", 3, "protect must be @resolver or @system" },
	{ SERVICE "hide = /\n", 3, "hide cannot be /" },
	{ "[moat]\nhide = srv\n", 2, "hide must be an absolute path" },
	{ "[context a]\nshow = srv\n", 2, "show must be an absolute path" },
	{ "[moat]\nprotect = /etc\n", 2, "unknown key protect" },
	{ "[moat]\ndevice = kvm\n", 2, "device must be MAJOR:MINOR, MAJOR:* or an absolute path" },
	{ "[moat]\ndevice = 10\n", 2, "device must be MAJOR:MINOR, MAJOR:* or an absolute path" },
	{ "[moat]\ndevice = 10:\n", 2, "device must be MAJOR:MINOR, MAJOR:* or an absolute path" },
	{ "[moat]\ndevice = 10:1 \n[moat]\n", 3, "section [moat] is there already, in line 1" },
	{ "[moat]\ndevice = *:1\n", 2, "device must be MAJOR:MINOR, MAJOR:* or an absolute path" },
	{ "[moat]\ndevice = 10:*x\n", 2,
	  "device must be MAJOR:MINOR, MAJOR:* or an absolute path" },
	{ "[moat]\ndevice = 4096:1\n", 2,
	  "device must be MAJOR:MINOR, MAJOR:* or an absolute path" },
	{ "[moat]\ndevice = 1:1048575\n", 2,
	  "device must be MAJOR:MINOR, MAJOR:* or an absolute path" },
	{ "[moat]\ndevice = /dev/../x\n", 2, "device must not have . or .. in the path" },
	{ SERVICE "device = 10:232\n", 3, "unknown key device" },
	{ "[context a]\nprotect = /etc\n", 2, "unknown key protect" },
	{ "[context a]\nnamespace = host\n", 2, "namespace must be user, secure or private" },
	{ "[context a]\npid = host\n", 2, "pid must be private or shared" },
	{ "[context a]\ncapabilities = cap_nonsense\n", 2,
	  "capabilities must be container-default, all, none, or names such as cap_chown" },
	{ "[moat]\nmemory_max = 1G\n", 2, "unknown key memory_max" },
	{ "[context a]\nuser_pids_max = 5\n", 2, "unknown key user_pids_max" },
	{ "[context a]\nmemory_max = 64\n", 2,
	  "memory_max must be a size of at least 1M, such as 512M or 2G, or infinity" },
	{ "[context a]\npids_max = 0\n", 2,
	  "pids_max must be a number from 1 to 4194304, or infinity" },
	{ "[context a]\ncpu_max = 0\n", 2,
	  "cpu_max must be a number of CPUs such as 2 or 0.5, or infinity" },
	{ "[moat]\nmemory_reserve = infinity\n", 2,
	  "memory_reserve must be a size of at least 1M, such as 512M or 2G, or none" },
	{ "[context a]\ncapabilities = 7\n", 2,
	  "capabilities must be container-default, all, none, or names such as cap_chown" },
	{ "[context a]\ncapabilities =\n", 2,
	  "capabilities must name a capability (none: no capabilities)" },
	{ "[moat]\n\n\xff = x\n", 3, "not UTF-8 text" },
};

static void each_error_names_its_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		refused(faults[i].text, faults[i].line, faults[i].reason);
}

static void all_errors_are_told_in_the_order_of_their_lines(void **state)
{
	(void)state;
	refused("[moat]\nbad\nenforce = x\nworse = y\n", 2,
		"neither [section] nor key = value; line 3: enforce must be require, best-effort or audit; "
		"line 4: unknown key worse");
	refused("[moat]\nenforce = x\nbad\n", 2,
		"enforce must be require, best-effort or audit; line 3: neither [section] nor key = value");
	/* The missing command is the fault of line 3, not of line 1. */
	refused("[service a]\nport = 80\ncommand = 'x\n", 3, "command has an unterminated '");
	refused(SERVICE "port = 80\nport = 80\nwhat = x\n", 4, "port 80 is given twice; line 5: unknown key what");
	refused("[what]\na = 1\nb = 2\n[moat]\nc = 3\nd = 4\ne = 5\nf = 6\ng = 7\nh = 8\ni = 9\nj = 10\nk = 11\n", 1,
		"unknown section: there are [moat], [service NAME] and [context NAME]; line 5: unknown key c; "
		"line 6: unknown key d; line 7: unknown key e; line 8: unknown key f; line 9: unknown key g; "
		"line 10: unknown key h; line 11: unknown key i; line 12: unknown key j; and 1 more");
	refused("[moat]\ninstance: x\n", 2, "instance: write =, not :");
}

static void a_variable_has_any_name_without_blanks(void **state)
{
	CLEANUP(config_freep) struct config *c =
		accepted(SERVICE "env = my.var-1=a\n[context a]\nenv = 1x=b\nenv = \xc3\xa9=c\nenv = A%B()=d\n");

	(void)state;
	assert_string_equal(env_get(c->services[0].env, "my.var-1"), "a");
	assert_string_equal(env_get(c->contexts[1].env, "1x"), "b");
	assert_string_equal(env_get(c->contexts[1].env, "\xc3\xa9"), "c");
	assert_string_equal(env_get(c->contexts[1].env, "A%B()"), "d");
}

static void errors_never_repeat_a_secret(void **state)
{
	(void)state;
	refused(SERVICE "env = hunter2\n", 3,
		"env must be KEY=VALUE, without blanks in KEY");
	refused(SERVICE "env = =hunter2\n", 3, "env must be KEY=VALUE, without blanks in KEY");
	refused("[context a]\nenv = export A=hunter2\n", 2,
		"env must be KEY=VALUE, without blanks in KEY");
}

static void nul_bytes_are_refused(void **state)
{
	static const char inside[] = "[moat]\nenforce = au\0dit\n";
	static const char comment[] = "[moat]\n# \0\nenforce = x\n";
	static const char last[] = "[moat]\nenforce = audit\n\0";

	(void)state;
	refused_bytes(inside, sizeof(inside) - 1, 2, "NUL byte");
	refused_bytes(comment, sizeof(comment) - 1, 2, "NUL byte; line 3: enforce must be require, best-effort or audit");
	refused_bytes(last, sizeof(last) - 1, 3, "NUL byte");
}

/* A service whose one line has a word of n bytes. */
static char *with_long_word(size_t n)
{
	static const char head[] = "[service a]\ncommand = ";
	char *text = malloc(sizeof(head) + n + 1);

	assert_non_null(text);
	memcpy(text, head, sizeof(head));
	memset(text + sizeof(head) - 1, 'x', n);
	memcpy(text + sizeof(head) - 1 + n, "\n", 2);
	return text;
}

static void a_long_line_is_whole_or_refused(void **state)
{
	PTR_OWNED char *fits = with_long_word(16000), *too_long = with_long_word(17000);
	struct config *c = accepted(fits);
	char reason[64];

	(void)state;
	assert_int_equal(strlen(c->services[0].argv[0]), 16000);
	config_free(c);
	snprintf(reason, sizeof(reason), "line is longer than %d bytes", 16384);
	refused(too_long, 2, reason);
}

static void an_indented_line_does_not_continue_the_one_before(void **state)
{
	struct config *c = accepted("[service a]\n  command = x\n    port = 80\n");

	(void)state;
	assert_int_equal(strv_len(c->services[0].argv), 1);
	assert_int_equal(c->services[0].n_ports, 1);
	config_free(c);
}

static void nothing_in_a_command_is_expanded(void **state)
{
	struct config *c = accepted("[service a]\n"
				    "command = \"$HOME\" '$(x)' \"`y`\" '~' \\* a\"b\"'c'd {1,2} \\$z a&b "
				    "\"\\n\" '|' \\>\n");
	static const char *const words[] = { "$HOME", "$(x)",  "`y`", "~",   "*",   "abcd",
					     "{1,2}", "$z",    "a&b", "\\n", "|",   ">" };

	(void)state;
	assert_int_equal(strv_len(c->services[0].argv), ARRAY_LEN(words));
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		assert_string_equal(c->services[0].argv[i], words[i]);
	config_free(c);
}

/* head and n lines, with a number each. */
static void too_many(const char *head, const char *line, unsigned n, unsigned where,
		     const char *reason)
{
	PTR_OWNED char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	fputs(head, f);
	for (unsigned i = 1; i <= n; i++) {
		const char *number = strchr(line, '#');

		fprintf(f, "%.*s%u%s\n", (int)(number - line), line, i, number + 1);
	}
	fclose(f);
	refused(text, where, reason);
}

static void too_many_of_anything_is_refused(void **state)
{
	(void)state;
	too_many("", "[service s#]\ncommand = x", CONFIG_SERVICES_MAX + 1,
		 2 * CONFIG_SERVICES_MAX + 1, "more than 64 services");
	/* "default" is one of them. */
	too_many("", "[context c#]", CONFIG_CONTEXTS_MAX, CONFIG_CONTEXTS_MAX,
		 "more than 16384 contexts");
	too_many(SERVICE, "port = #", CONFIG_PORTS_MAX + 1, 2 + CONFIG_PORTS_MAX + 1,
		 "port is one too many for this service");
	too_many("[moat]\n", "device = 10:#", CONFIG_DEVICES_MAX + 1, 1 + CONFIG_DEVICES_MAX + 1,
		 "device is one too many");
	too_many("[moat]\n", "hide = /srv/#", CONFIG_HIDE_MAX + 1, 1 + CONFIG_HIDE_MAX + 1,
		 "hide is one too many");
	too_many("[context a]\n", "show = /srv/#", CONFIG_SHOW_MAX + 1, 1 + CONFIG_SHOW_MAX + 1,
		 "show is one too many");
	too_many(SERVICE, "protect = /srv/#", CONFIG_PROTECT_MAX + 1, 2 + CONFIG_PROTECT_MAX + 1,
		 "protect is one too many for this service");
	too_many(SERVICE, "shares = /srv/#", CONFIG_SHARES_MAX + 1, 2 + CONFIG_SHARES_MAX + 1,
		 "shares is one too many");
	too_many(SERVICE, "reachable = /run/#", CONFIG_SOCKETS_MAX + 1, 2 + CONFIG_SOCKETS_MAX + 1,
		 "reachable is one too many");
	too_many("[moat]\n", "reach = /run/#", CONFIG_SOCKETS_MAX + 1, 1 + CONFIG_SOCKETS_MAX + 1,
		 "reach is one too many");
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
	struct config *config = NULL;
	struct failure f = { 0 };

	(void)state;
	assert_int_equal(config_load("/nonexistent/moat.conf", &config, &f), -ENOENT);
	assert_string_equal(f.msg, "cannot read /nonexistent/moat.conf: No such file or directory");
	memset(&f, 0, sizeof(f));
	assert_int_equal(config_load("/tmp", &config, &f), -EISDIR);
	assert_null(config);
}

static void a_file_that_is_too_big_is_refused(void **state)
{
	PTR_OWNED char *big = malloc(CONFIG_FILE_MAX + 1);
	struct config *config = NULL;
	struct failure f = { 0 };

	(void)state;
	assert_non_null(big);
	memset(big, '\n', CONFIG_FILE_MAX + 1);
	assert_true(load(big, CONFIG_FILE_MAX + 1, &config, &f) < 0);
	assert_non_null(strstr(f.msg, "larger than 1048576 bytes"));
	assert_int_equal(load(big, CONFIG_FILE_MAX, &config, &f), 0);
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_error_names_its_line),
		cmocka_unit_test(all_errors_are_told_in_the_order_of_their_lines),
		cmocka_unit_test(a_variable_has_any_name_without_blanks),
		cmocka_unit_test(errors_never_repeat_a_secret),
		cmocka_unit_test(nul_bytes_are_refused),
		cmocka_unit_test(a_long_line_is_whole_or_refused),
		cmocka_unit_test(an_indented_line_does_not_continue_the_one_before),
		cmocka_unit_test(nothing_in_a_command_is_expanded),
		cmocka_unit_test(too_many_of_anything_is_refused),
		cmocka_unit_test(a_file_that_cannot_be_read_says_why),
		cmocka_unit_test(a_file_that_is_too_big_is_refused),
	};

	return cmocka_run_group_tests_name("config", tests, make_file, remove_file);
}
