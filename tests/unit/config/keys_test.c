/* SPDX-License-Identifier: Apache-2.0 */
#include "config/fixture.h"

#include <sys/capability.h>

#include "agent/config/context_keys.h"
#include "agent/config/value.h"

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
		cmocka_unit_test(sockets_are_opened_one_by_one),
		cmocka_unit_test(the_command_form_makes_one_service),
		cmocka_unit_test(the_command_form_refuses_bad_ports),
		cmocka_unit_test(enforce_modes_have_one_name_each),
	};

	return cmocka_run_group_tests_name("keys", tests, make_file, remove_file);
}
