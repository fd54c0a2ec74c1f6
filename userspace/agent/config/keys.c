/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of [moat] and [service NAME]: what each does with its value; NULL, or why it is refused. */
#include <arpa/inet.h>

#include "agent/config/parse.h"
#include "agent/config/value.h"

static const char *set_instance(struct config_parser *p, const char *text)
{
	char *copy;

	if (!config_value_is_name(text))
		return "must be 1 to 32 of a-z, 0-9 and -, and not begin with -";
	copy = strdup(text);
	if (!copy)
		return "out of memory";
	free(p->config->instance);
	p->config->instance = copy;
	return NULL;
}

static const char *set_socket(struct config_parser *p, const char *text)
{
	p->error->paths_line = p->line;
	return config_value_path(text, &p->config->socket);
}

static const char *set_state_dir(struct config_parser *p, const char *text)
{
	p->error->paths_line = p->line;
	return config_value_path(text, &p->config->state_dir);
}

static const char *set_pin_dir(struct config_parser *p, const char *text)
{
	return config_value_path(text, &p->config->pin_dir);
}

static const char *set_cgroup_dir(struct config_parser *p, const char *text)
{
	return config_value_path(text, &p->config->cgroup_dir);
}

static const char *set_audit_log(struct config_parser *p, const char *text)
{
	return config_value_path(text, &p->config->audit_log);
}

static const char *set_enforce(struct config_parser *p, const char *text)
{
	p->config->required = 0;
	if (strncmp(text, "require ", 8) != 0)
		return config_enforce_from_name(text, &p->config->enforce);
	p->config->enforce = ENFORCE_BEST_EFFORT;
	return config_requirements(text + 8, &p->config->required);
}

static const char *set_keep_pins(struct config_parser *p, const char *text)
{
	return config_value_bool(text, &p->config->keep_pins);
}

static const char *set_namespace_idle(struct config_parser *p, const char *text)
{
	return config_value_seconds(text, false, &p->config->namespace_idle);
}

static const char *set_session_idle(struct config_parser *p, const char *text)
{
	return config_value_seconds(text, true, &p->config->session_idle);
}

static const char *set_user_memory_max(struct config_parser *p, const char *text)
{
	return config_value_limit(text, LIMIT_MEMORY, &p->config->user_limits[LIMIT_MEMORY]);
}

static const char *set_user_pids_max(struct config_parser *p, const char *text)
{
	return config_value_limit(text, LIMIT_PIDS, &p->config->user_limits[LIMIT_PIDS]);
}

static const char *set_user_cpu_max(struct config_parser *p, const char *text)
{
	return config_value_limit(text, LIMIT_CPU, &p->config->user_limits[LIMIT_CPU]);
}

static const char *set_memory_reserve(struct config_parser *p, const char *text)
{
	if (strcmp(text, "none") == 0) {
		p->config->memory_reserve = CONFIG_NO_LIMIT;
		return NULL;
	}
	return config_value_size(text, &p->config->memory_reserve) ?
		       "must be a size of at least 1M, such as 512M or 2G, or none" : NULL;
}

static const char *set_shm_size(struct config_parser *p, const char *text)
{
	return config_value_size(text, &p->config->shm_size);
}

static const char *set_device(struct config_parser *p, const char *text)
{
	struct config *c = p->config;
	const char *why;

	if (c->n_devices == CONFIG_DEVICES_MAX)
		return "is one too many";
	why = config_value_device(text, &c->devices[c->n_devices]);
	if (!why)
		c->n_devices++;
	return why;
}

static const char *set_command(struct config_parser *p, const char *text)
{
	return config_value_words(text, &p->service->argv);
}

static const char *set_port(struct config_parser *p, const char *text)
{
	struct config_port port = { .line = p->line };
	const char *why = config_value_port(text, &port);

	if (!why && p->service->n_ports == CONFIG_PORTS_MAX)
		return "is one too many for this service";
	if (!why && config_add_port(p->service, &port) < 0)
		return "out of memory";
	return why;
}

static const char *add_socket(char ***names, const char *text)
{
	PTR_OWNED char *name = NULL;
	const char *why = config_value_socket(text, &name);

	if (!why && *names && strv_len(*names) == CONFIG_SOCKETS_MAX)
		return "is one too many";
	if (!why && strv_append(names, name) < 0)
		return "out of memory";
	return why;
}

/* yes, no, a port, or a unix socket. */
static const char *set_reachable(struct config_parser *p, const char *text)
{
	struct config_port port = { .line = p->line };

	if (text[0] == '/' || text[0] == '@')
		return add_socket(&p->service->open_sockets, text);
	if (text[0] < '0' || text[0] > '9')
		return config_value_bool(text, &p->service->reachable) ?
			       "must be yes, no, a port, or a path or @NAME of a unix socket" : NULL;
	if (config_value_port(text, &port))
		return "must be a port from 1 to 65535";
	if (p->service->n_open == CONFIG_PORTS_MAX)
		return "is one too many for this service";
	return config_add_open_port(p->service, &port) < 0 ? "out of memory" : NULL;
}

/* The first one takes the place of the default list. */
static const char *set_reach(struct config_parser *p, const char *text)
{
	if (!p->reach_given) {
		strv_free(p->config->reach);
		p->config->reach = NULL;
	}
	p->reach_given = true;
	return strcmp(text, "none") == 0 ? NULL : add_socket(&p->config->reach, text);
}

/* yes, no, or the address to listen at. */
static const char *set_listen(struct config_parser *p, const char *text)
{
	struct config_service *s = p->service;
	struct in6_addr any;
	bool yes;

	s->listen_line = p->line;
	if (config_value_bool(text, &yes) == NULL) {
		s->listen = yes ? LISTEN_YES : LISTEN_NO;
		return NULL;
	}
	if (inet_pton(AF_INET, text, &any) != 1 && inet_pton(AF_INET6, text, &any) != 1)
		return "must be yes, no, or an address such as 127.0.0.1 or ::1";
	s->listen = LISTEN_YES;
	free(s->listen_address);
	s->listen_address = strdup(text);
	return s->listen_address ? NULL : "out of memory";
}

static const char *set_follow(struct config_parser *p, const char *text)
{
	return config_value_bool(text, &p->service->follow);
}

static const char *set_start_timeout(struct config_parser *p, const char *text)
{
	return config_value_seconds(text, true, &p->service->start_timeout_s);
}

static const char *set_ready(struct config_parser *p, const char *text)
{
	struct config_port port;

	if (strncmp(text, "tcp:", 4) != 0 || strchr(text, '/') ||
	    config_value_port(text + 4, &port))
		return "must be tcp:PORT";
	p->service->ready_port = port.port;
	p->service->ready_line = p->line;
	return NULL;
}

static const char *set_restart(struct config_parser *p, const char *text)
{
	static const struct config_choice choices[] = {
		{ "always", RESTART_ALWAYS },
		{ "on-failure", RESTART_ON_FAILURE },
		{ "no", RESTART_NO },
		{ NULL, 0 },
	};
	int value;
	const char *why =
		config_value_choice(text, choices, "must be always, on-failure or no", &value);

	if (!why)
		p->service->restart = (enum restart_policy)value;
	return why;
}

static const char *set_service_env(struct config_parser *p, const char *text)
{
	if (strncmp(text, "HOME=", 5) == 0)
		p->service->home_line = p->line;
	return config_value_env(text, &p->service->env);
}

static const char *set_service_directory(struct config_parser *p, const char *text)
{
	p->service->directory_line = p->line;
	return config_value_path(text, &p->service->directory);
}

static const char *set_core(struct config_parser *p, const char *text)
{
	return config_value_bool(text, &p->service->core);
}

/* A path, or the name of a set of them. */
static const char *set_protect(struct config_parser *p, const char *text)
{
	char ***paths = &p->service->protect;

	if (text[0] == '@' && !config_path_set(text))
		return "must be @resolver or @system";
	if (*paths && strv_len(*paths) == CONFIG_PROTECT_MAX)
		return "is one too many for this service";
	if (text[0] != '@')
		return config_value_add_path(text, CONFIG_PROTECT_MAX, paths);
	return strv_append(paths, text) < 0 ? "out of memory" : NULL;
}

static const char *set_shares(struct config_parser *p, const char *text)
{
	p->service->shares_line = p->line;
	return config_value_add_path(text, CONFIG_SHARES_MAX, &p->service->shares);
}

static const char *set_hide(struct config_parser *p, const char *text)
{
	return strcmp(text, "/") == 0 ? "cannot be /" :
					config_value_add_path(text, CONFIG_HIDE_MAX, &p->config->hide);
}

static const char *set_protect_resolver(struct config_parser *p, const char *text)
{
	bool protect;
	const char *why = config_value_bool(text, &protect);

	if (!why)
		p->config->free_resolver = !protect;
	return why;
}

static const struct config_key keys[] = {
	{ SECTION_MOAT, "instance", set_instance },
	{ SECTION_MOAT, "socket", set_socket },
	{ SECTION_MOAT, "state_dir", set_state_dir },
	{ SECTION_MOAT, "pin_dir", set_pin_dir },
	{ SECTION_MOAT, "cgroup_dir", set_cgroup_dir },
	{ SECTION_MOAT, "audit_log", set_audit_log },
	{ SECTION_MOAT, "enforce", set_enforce },
	{ SECTION_MOAT, "keep_pins", set_keep_pins },
	{ SECTION_MOAT, "namespace_idle", set_namespace_idle },
	{ SECTION_MOAT, "session_idle", set_session_idle },
	{ SECTION_MOAT, "user_memory_max", set_user_memory_max },
	{ SECTION_MOAT, "user_pids_max", set_user_pids_max },
	{ SECTION_MOAT, "user_cpu_max", set_user_cpu_max },
	{ SECTION_MOAT, "memory_reserve", set_memory_reserve },
	{ SECTION_MOAT, "shm_size", set_shm_size },
	{ SECTION_MOAT, "device", set_device, true },
	{ SECTION_MOAT, "hide", set_hide, true },
	{ SECTION_MOAT, "protect_resolver", set_protect_resolver },
	{ SECTION_MOAT, "reach", set_reach, true },
	{ SECTION_SERVICE, "command", set_command },
	{ SECTION_SERVICE, "port", set_port, true },
	{ SECTION_SERVICE, "reachable", set_reachable, true },
	{ SECTION_SERVICE, "listen", set_listen },
	{ SECTION_SERVICE, "ready", set_ready },
	{ SECTION_SERVICE, "restart", set_restart },
	{ SECTION_SERVICE, "env", set_service_env, true },
	{ SECTION_SERVICE, "directory", set_service_directory },
	{ SECTION_SERVICE, "core", set_core },
	{ SECTION_SERVICE, "protect", set_protect, true },
	{ SECTION_SERVICE, "shares", set_shares, true },
	{ SECTION_SERVICE, "follow", set_follow },
	{ SECTION_SERVICE, "start_timeout", set_start_timeout },
	{ SECTION_SERVICE, "hide", set_hide, true },
};
_Static_assert(ARRAY_LEN(keys) <= 64, "struct config_parser.seen has a bit for each");

const struct config_key *config_key_find(enum config_section section, const char *name,
					 unsigned *ret_index)
{
	for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
		if (keys[i].section == section && strcmp(keys[i].name, name) == 0) {
			*ret_index = i;
			return &keys[i];
		}
	return NULL;
}
