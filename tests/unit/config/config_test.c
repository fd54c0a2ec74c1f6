/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/capability.h>

#include <cmocka.h>

#include "agent/config/context_keys.h"
#include "agent/config/value.h"

static char path[] = "/tmp/moat-config-test-XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

/* Loads n bytes as a file. */
static int load(const char *text, size_t n, struct config **ret_config, struct failure *f)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
	return config_load(path, ret_config, f);
}

/* Expects the refusal "FILE:LINE: reason". */
static void refused_bytes(const char *text, size_t n, unsigned line, const char *reason)
{
	struct config *config = (struct config *)&config;
	struct failure f = { 0 };
	char expected[600];

	snprintf(expected, sizeof(expected), "%s:%u: %s", path, line, reason);
	assert_int_equal(load(text, n, &config, &f), -EINVAL);
	assert_ptr_equal(config, &config);
	assert_string_equal(f.msg, expected);
	assert_int_equal(f.err, EINVAL);
}

static void refused(const char *text, unsigned line, const char *reason)
{
	refused_bytes(text, strlen(text), line, reason);
}

static struct config *accepted(const char *text)
{
	struct config *config = NULL;
	struct failure f = { 0 };
	int r = load(text, strlen(text), &config, &f);

	if (r < 0)
		fail_msg("%s", f.msg);
	return config;
}

static const char everything[] = "\xef\xbb\xbf# comment\n"
				 "; another\n"
				 "\n"
				 "[moat]\r\n"
				 "instance = box-1\r\n"
				 "state_dir=/run/box/\n"
				 "\tsocket = /run/box/api.sock   \n"
				 "pin_dir = /sys/fs/bpf/box\n"
				 "cgroup_dir = /sys/fs/cgroup/box\n"
				 "audit_log = /var/log/moat.log\n"
				 "enforce = audit\n"
				 "keep_pins = yes\n"
				 "namespace_idle = 90\n"
				 "user_memory_max = 3G\n"
				 "user_pids_max = 4000\n"
				 "user_cpu_max = infinity\n"
				 "memory_reserve = 100M\n"
				 "device = 195:*\n"
				 "device = 10:232\n"
				 "device = //dev/dri//renderD128\n"
				 "hide = /srv//secrets/\n"
				 "protect_resolver = no\n"
				 "[service web]\n"
				 "  command = bun run 'a ; b' ';' x \\; \"\\\"q\\\\\" '' '#' y\n"
				 "  port = 8080\n"
				 "  port = 5353/udp\n"
				 "  port = 5353/tcp\n"
				 "  reachable = yes\n"
				 "  ready = tcp:8080\n"
				 "  restart = on-failure\n"
				 "  env = A=b\n"
				 "  env = B=\n"
				 "  env = C=b = c ; d\n"
				 "  env = A=e\n"
				 "  directory = /srv\n"
				 "  protect = /srv/code/\n"
				 "  protect = //etc///web.conf//\n"
				 "  protect = /\n"
				 "  env = HOME=/data/home\n"
				 "  shares = /data/\n"
				 "  shares = /data/home\n"
				 "  follow = yes\n"
				 "  start_timeout = 90\n"
				 "  listen = ::1\n"
				 "  protect = @system\n"
				 "  hide = /srv/web/.env\n"
				 "[context aws]\n"
				 "namespace = private\n"
				 "pid = shared\n"
				 "capabilities = cap_chown, CAP_KILL\n"
				 "no_new_privs = no\n"
				 "env = K=v\n"
				 "directory = /home\n"
				 "memory_max = 65536K\n"
				 "pids_max = 1\n"
				 "cpu_max = 1.25\n"
				 "[context default]\n"
				 "capabilities = none";

static void every_key_is_read(void **state)
{
	struct config *c = accepted(everything);
	const struct config_service *s = &c->services[0];
	struct config_places places;

	(void)state;
	assert_string_equal(c->file, path);
	assert_string_equal(c->instance, "box-1");
	assert_string_equal(c->state_dir, "/run/box");
	assert_string_equal(c->socket, "/run/box/api.sock");
	assert_string_equal(c->pin_dir, "/sys/fs/bpf/box");
	assert_string_equal(c->cgroup_dir, "/sys/fs/cgroup/box");
	assert_string_equal(c->audit_log, "/var/log/moat.log");
	assert_int_equal(c->enforce, ENFORCE_AUDIT);
	assert_true(c->keep_pins);
	assert_int_equal(c->namespace_idle, 90);
	assert_int_equal(c->user_limits[LIMIT_MEMORY], UINT64_C(3) << 30);
	assert_int_equal(c->user_limits[LIMIT_PIDS], 4000);
	assert_int_equal(c->user_limits[LIMIT_CPU], CONFIG_NO_LIMIT);
	assert_int_equal(c->memory_reserve, 100 << 20);
	assert_int_equal(c->n_devices, 3);
	assert_int_equal(strv_len(c->hide), 2);
	assert_string_equal(c->hide[0], "/srv/secrets");
	assert_string_equal(c->hide[1], "/srv/web/.env");
	assert_true(c->free_resolver);
	assert_int_equal(c->devices[0].major, 195);
	assert_int_equal(c->devices[0].minor, MOAT_MINOR_ANY);
	assert_int_equal(c->devices[1].major, 10);
	assert_int_equal(c->devices[1].minor, 232);
	assert_null(c->devices[1].path);
	assert_string_equal(c->devices[2].path, "/dev/dri/renderD128");
	assert_int_equal(c->n_services, 1);
	assert_string_equal(s->name, "web");
	assert_int_equal(s->line, 23);
	assert_int_equal(strv_len(s->argv), 10);
	assert_string_equal(s->argv[2], "a ; b");
	assert_string_equal(s->argv[3], ";");
	assert_string_equal(s->argv[5], ";");
	assert_string_equal(s->argv[6], "\"q\\");
	assert_string_equal(s->argv[7], "");
	assert_string_equal(s->argv[8], "#");
	assert_int_equal(s->n_ports, 3);
	assert_int_equal(s->ports[1].port, 5353);
	assert_true(s->ports[1].udp && !s->ports[0].udp && !s->ports[2].udp);
	assert_int_equal(s->ports[1].line, 26);
	assert_true(s->reachable);
	assert_int_equal(s->ready_port, 8080);
	assert_int_equal(s->restart, RESTART_ON_FAILURE);
	assert_int_equal(strv_len(s->env), 4);
	assert_string_equal(env_get(s->env, "A"), "e");
	assert_string_equal(env_get(s->env, "B"), "");
	assert_string_equal(env_get(s->env, "C"), "b = c ; d");
	assert_int_equal(strv_len(s->protect), 4);
	assert_string_equal(s->protect[3], "@system");
	assert_string_equal(s->protect[0], "/srv/code");
	assert_string_equal(s->protect[1], "/etc/web.conf");
	assert_string_equal(s->protect[2], "/");
	assert_string_equal(s->directory, "/srv");
	assert_int_equal(strv_len(s->shares), 2);
	assert_true(s->follow);
	assert_int_equal(s->start_timeout_s, 90);
	assert_int_equal(s->listen, LISTEN_YES);
	assert_string_equal(s->listen_address, "::1");
	config_service_places(s, &places);
	assert_string_equal(places.guarded[0], "/srv");
	assert_null(places.guarded[1]);
	assert_string_equal(places.shared[0], "/data/home");
	assert_null(places.shared[1]);
	config_free(c);
}

static void every_key_of_a_context_is_read(void **state)
{
	struct config *c = accepted(everything);
	const struct config_context *x = config_find_context(c, "aws");

	(void)state;
	assert_int_equal(c->n_contexts, 2);
	assert_string_equal(c->contexts[0].name, "default");
	assert_int_equal(c->contexts[0].capabilities, 0);
	assert_true(c->contexts[0].no_new_privs);
	assert_int_equal(x->ns, CONTEXT_PRIVATE);
	assert_true(x->shared_pid && !x->no_new_privs);
	assert_int_equal(x->capabilities, 1u << CAP_CHOWN | 1u << CAP_KILL);
	assert_string_equal(env_get(x->env, "K"), "v");
	assert_string_equal(x->directory, "/home");
	assert_null(config_find_context(c, "gcp"));
	assert_int_equal(x->limits[LIMIT_MEMORY], 64 << 20);
	assert_int_equal(x->limits[LIMIT_PIDS], 1);
	assert_int_equal(x->limits[LIMIT_CPU], 1250);
	config_free(c);
}

/* One key of a context as JSON, as it would be sent. */
static void check_written(const struct config_context *x, const char *name, const char *expected)
{
	CLEANUP(jbuf_free) struct jbuf b = { 0 };
	const struct config_context_key *key;
	unsigned index;

	key = config_context_key_find(name, &index);
	assert_non_null(key);
	assert_ptr_equal(key, config_context_key_at(index));
	key->write(x, &b);
	jbuf_raw(&b, "", 1);
	assert_string_equal(b.data, expected);
}

static void every_key_of_a_context_is_written_as_it_can_be_given(void **state)
{
	static const struct {
		const char *name, *first, *given;
	} cases[] = {
		{ "namespace", "\"user\"", "\"private\"" },
		{ "pid", "\"private\"", "\"shared\"" },
		{ "capabilities", "\"container-default\"", "\"cap_chown cap_kill\"" },
		{ "no_new_privs", "true", "false" },
		{ "env", "{}", "{\"K\":\"v\",\"B\":{\"base64\":\"/w==\"}}" },
		{ "directory", "null", "\"/home\"" },
		{ "show", "[]", "[\"/a\",\"/b\"]" },
		{ "home", "null", "\"/h\"" },
		{ "workspace", "null", "\"/w\"" },
		{ "preset", "[]", "[\"python\",\"node\"]" },
		{ "link", "[]", "[\"a -> /b\",\"c -> /d rw\"]" },
		{ "tmp", "\"shared\"", "\"private\"" },
		{ "seccomp", "\"on\"", "\"off\"" },
		{ "shell", "\"never\"", "\"fallback\"" },
		{ "careful", "true", "false" },
		{ "memory_max", "null", "67108864" },
		{ "pids_max", "null", "\"infinity\"" },
		{ "cpu_max", "null", "\"1.250\"" },
	};
	CLEANUP(config_freep)
	struct config *c = accepted(
		"[context a]\nnamespace = private\npid = shared\ncapabilities = cap_kill cap_chown\n"
		"no_new_privs = no\nenv = K=v\ndirectory = /home\nshow = /a\nshow = /b\nhome = /h\n"
		"workspace = /w\npreset = node , python\nlink = a -> /b/\nlink = c -> /d rw\n"
		"tmp = private\nseccomp = off\nshell = fallback\ncareful = no\nmemory_max = 64M\npids_max = infinity\ncpu_max = 1.25\n");
	struct config_context *a = &c->contexts[1];

	(void)state;
	assert_int_equal(env_set(&a->env, "B=\xff"), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_string_equal(config_context_key_at((unsigned)i)->name, cases[i].name);
		check_written(&c->contexts[0], cases[i].name, cases[i].first);
		check_written(a, cases[i].name, cases[i].given);
	}
	assert_null(config_context_key_at(ARRAY_LEN(cases)));
}

static void the_environment_of_a_context_has_a_limit(void **state)
{
	CLEANUP(config_freep) struct config *c = accepted("");
	const struct config_context_key *env;
	struct config_context *x = &c->contexts[0];
	char kv[CONFIG_ENV_BYTES_MAX + 2];
	unsigned index;

	(void)state;
	env = config_context_key_find("env", &index);
	memset(kv, 'x', sizeof(kv));
	kv[1] = '=';
	kv[CONFIG_ENV_BYTES_MAX] = '\0';
	assert_ptr_equal(env->set(x, kv), config_env_too_large);
	kv[CONFIG_ENV_BYTES_MAX - 1] = '\0';
	assert_null(env->set(x, kv));
	assert_ptr_equal(env->set(x, "y=1"), config_env_too_large);
	strv_free(take_ptr(x->env));
	for (unsigned i = 0; i < CONFIG_ENV_MAX; i++) {
		snprintf(kv, sizeof(kv), "K%u=", i);
		assert_null(env->set(x, kv));
	}
	assert_ptr_equal(env->set(x, "more="), config_env_too_large);
	assert_null(env->set(x, "K1=again"));
}

static void an_empty_file_has_the_defaults(void **state)
{
	struct config *c = accepted("");

	(void)state;
	assert_string_equal(c->instance, "default");
	assert_string_equal(c->state_dir, "/run/moat");
	assert_string_equal(c->socket, "/run/moat/moat.sock");
	assert_string_equal(c->pin_dir, "/sys/fs/bpf/moat");
	assert_null(c->cgroup_dir);
	assert_null(c->audit_log);
	assert_int_equal(c->enforce, ENFORCE_REQUIRE);
	assert_false(c->keep_pins);
	assert_int_equal(c->namespace_idle, 60);
	assert_int_equal(c->session_idle, 86400);
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++)
		assert_true(c->user_limits[i] == 0 && c->contexts[0].limits[i] == 0);
	assert_int_equal(c->memory_reserve, 0);
	assert_int_equal(c->n_services, 0);
	assert_int_equal(c->n_contexts, 1);
	assert_string_equal(c->contexts[0].name, "default");
	assert_null(c->contexts[0].directory);
	assert_int_equal(c->contexts[0].ns, CONTEXT_USER);
	assert_int_equal(c->contexts[0].capabilities, config_capabilities_default());
	assert_int_equal(c->contexts[0].capabilities, 0xa00425fb); /* as engines have it */
	assert_true(c->contexts[0].no_new_privs);
	config_free(c);
}

static void what_is_shown_uncovers_what_it_lies_in(void **state)
{
	CLEANUP(config_freep) struct config *c = accepted("[context a]\nshow = /srv/secrets/one\n");
	const struct config_context *a;

	(void)state;
	a = config_find_context(c, "a");
	assert_true(config_is_shown(a->show, "/srv/secrets"));
	assert_true(config_is_shown(a->show, "/srv/secrets/one"));
	assert_false(config_is_shown(a->show, "/srv/secrets/two"));
	assert_false(config_is_shown(a->show, "/srv/sec"));
	assert_false(config_is_shown(config_find_context(c, "default")->show, "/srv/secrets"));
}

static void socket_and_state_dir_follow_each_other(void **state)
{
	struct config *c = accepted("[moat]\nsocket = /run/a/b.sock\n");

	(void)state;
	assert_string_equal(c->state_dir, "/run/a");
	config_free(c);
	c = accepted("[moat]\nstate_dir = /run/a\n");
	assert_string_equal(c->socket, "/run/a/moat.sock");
	config_free(c);
	refused("[moat]\nstate_dir = /run/a\nsocket = /run/ab/c.sock\n", 3,
		"socket must lie in state_dir itself");
	refused("[moat]\nsocket = /moat.sock\n", 2, "the state directory cannot be /");
	refused("[moat]\nstate_dir = /\n", 2, "the state directory cannot be /");
	refused("[moat]\n\nstate_dir = /run/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
		3, "the path of the socket is too long for a unix socket");
}

#define ADVICE "so that it can write what this service executes; shares = PATH accepts that"
#define SHARED_ROOT "the directory of context default (/), " ADVICE
#define EXPANDS "command has what a shell would expand ($, `, *, ?, [, ~), and no shell runs it: quote it " \
		"to pass it on"
#define SERVICE "[service a]\ncommand = x\n"

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

static void sockets_are_opened_one_by_one(void **state)
{
	struct config *c = accepted("[moat]\nreach = /run//docker.sock\nreach = @bus\n" SERVICE
				    "port = 80\nreachable = 9229\nreachable = 80\n"
				    "reachable = /run/web.sock\nreachable = @web\n");
	const struct config_service *s = &c->services[0];

	(void)state;
	assert_int_equal(strv_len(c->reach), 2);
	assert_string_equal(c->reach[0], "/run/docker.sock");
	assert_string_equal(c->reach[1], "@bus");
	assert_false(s->reachable);
	assert_int_equal(s->n_ports, 1);
	assert_int_equal(s->n_open, 2);
	assert_int_equal(s->open[0].port, 9229);
	assert_int_equal(s->open[1].port, 80);
	assert_int_equal(strv_len(s->open_sockets), 2);
	assert_string_equal(s->open_sockets[0], "/run/web.sock");
	assert_string_equal(s->open_sockets[1], "@web");
	config_free(c);
	c = accepted("");
	assert_string_equal(c->reach[0], "/dev/log");
	config_free(c);
	c = accepted("[moat]\nreach = none\n");
	assert_null(c->reach);
	config_free(c);
	refused("[moat]\nreach = docker.sock\n", 2,
		"reach must be the absolute path or the @NAME of a unix socket");
	refused("[moat]\nreach = @\n", 2,
		"reach must be the absolute path or the @NAME of a unix socket");
	refused(SERVICE "reachable = maybe\n", 3,
		"reachable must be yes, no, a port, or a path or @NAME of a unix socket");
	refused(SERVICE "reachable = 65536\n", 3, "reachable must be a port from 1 to 65535");
	refused(SERVICE "port = 80\n[service b]\ncommand = y\nreachable = 80\n", 6,
		"port 80 belongs to service a (line 3)");
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

static void the_command_form_makes_one_service(void **state)
{
	char *const ports[] = { (char *)"5353/udp", (char *)"8080", (char *)"8081", NULL };
	char *const argv[] = { (char *)"bun", (char *)"a b|c", NULL };
	struct config *c = NULL;

	(void)state;
	assert_int_equal(config_from_command(ports, NULL, argv, &c, NULL), 0);
	assert_null(c->file);
	assert_int_equal(c->n_services, 1);
	assert_string_equal(c->services[0].name, "main");
	assert_string_equal(c->services[0].argv[1], "a b|c");
	assert_int_equal(c->services[0].ready_port, 8080);
	assert_int_equal(c->services[0].restart, RESTART_ON_FAILURE);
	assert_string_equal(c->socket, "/run/moat/moat.sock");
	assert_int_equal(c->n_contexts, 1);
	config_free(c);
}

static void the_command_form_refuses_bad_ports(void **state)
{
	char *const bad[] = { (char *)"http", NULL };
	char *const twice[] = { (char *)"80", (char *)"80", NULL };
	char *const argv[] = { (char *)"x", NULL }, *const none[] = { NULL };
	struct config *c = NULL;
	struct failure f = { 0 };

	(void)state;
	assert_int_equal(config_from_command(bad, NULL, argv, &c, &f), -EINVAL);
	assert_string_equal(f.msg, "--port http must be 1 to 65535, with /udp behind it for UDP");
	memset(&f, 0, sizeof(f));
	assert_int_equal(config_from_command(twice, NULL, argv, &c, &f), -EINVAL);
	assert_string_equal(f.msg, "--port: port 80 is given twice");
	memset(&f, 0, sizeof(f));
	assert_int_equal(config_from_command(none, NULL, none, &c, &f), -EINVAL);
	assert_string_equal(f.msg, "no command given");
	assert_null(c);
}

static void enforce_modes_have_one_name_each(void **state)
{
	static const enum enforce_mode modes[] = { ENFORCE_REQUIRE, ENFORCE_BEST_EFFORT,
						   ENFORCE_AUDIT };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		enum enforce_mode mode = ENFORCE_REQUIRE;

		assert_null(config_enforce_from_name(config_enforce_name(modes[i]), &mode));
		assert_int_equal(mode, modes[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(every_key_of_a_context_is_read),
		cmocka_unit_test(every_key_of_a_context_is_written_as_it_can_be_given),
		cmocka_unit_test(the_environment_of_a_context_has_a_limit),
		cmocka_unit_test(an_empty_file_has_the_defaults),
		cmocka_unit_test(what_is_shown_uncovers_what_it_lies_in),
		cmocka_unit_test(socket_and_state_dir_follow_each_other),
		cmocka_unit_test(each_error_names_its_line),
		cmocka_unit_test(all_errors_are_told_in_the_order_of_their_lines),
		cmocka_unit_test(a_variable_has_any_name_without_blanks),
		cmocka_unit_test(errors_never_repeat_a_secret),
		cmocka_unit_test(sockets_are_opened_one_by_one),
		cmocka_unit_test(nul_bytes_are_refused),
		cmocka_unit_test(a_long_line_is_whole_or_refused),
		cmocka_unit_test(an_indented_line_does_not_continue_the_one_before),
		cmocka_unit_test(nothing_in_a_command_is_expanded),
		cmocka_unit_test(too_many_of_anything_is_refused),
		cmocka_unit_test(a_file_that_cannot_be_read_says_why),
		cmocka_unit_test(a_file_that_is_too_big_is_refused),
		cmocka_unit_test(the_command_form_makes_one_service),
		cmocka_unit_test(the_command_form_refuses_bad_ports),
		cmocka_unit_test(enforce_modes_have_one_name_each),
	};

	return cmocka_run_group_tests_name("config", tests, make_file, remove_file);
}
