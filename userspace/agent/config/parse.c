/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file format is inih's, but inih is forgiving where this agent must not be: it cuts long lines
 * and what follows " ;", takes an indented line for the continuation of the one before, ignores
 * what follows a ']' and says nothing of empty sections. So it gets its lines from next_line(),
 * which checks those things, counts lines, and leaves no meaning to indentation.
 */
#include "agent/config/parse.h"

#include <ctype.h>
#include <stdarg.h>

#include <ini.h>

#include "agent/config/value.h"

#define LINE_BYTES_MAX 16384

/* Debian's inih has these as variables; another build keeps what it was compiled with. */
extern int ini_max_line __attribute__((weak));
extern bool ini_allow_inline_comments __attribute__((weak));

enum section { SECTION_NONE, SECTION_MOAT, SECTION_SERVICE, SECTION_CONTEXT };

struct parser {
	struct config *config;
	struct config_error *error;
	char *next, *end; /* what is not read yet */
	unsigned line;    /* of what inih was given last */
	char *value;      /* the value on it, to compare with what inih makes of it */
	enum section section;
	bool any_section; /* NONE is then one that was refused */
	struct config_service *service; /* of the section, which adds no other meanwhile */
	struct config_context *context;
	unsigned moat_line;
	uint64_t seen; /* keys that the section has had, by their place in the table */
	bool reach_given;
	bool no_memory;
};

/* Keys: what each does with its value; NULL, or why it is refused. */

static const char *set_instance(struct parser *p, const char *text)
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

static const char *set_socket(struct parser *p, const char *text)
{
	p->error->paths_line = p->line;
	return config_value_path(text, &p->config->socket);
}

static const char *set_state_dir(struct parser *p, const char *text)
{
	p->error->paths_line = p->line;
	return config_value_path(text, &p->config->state_dir);
}

static const char *set_pin_dir(struct parser *p, const char *text)
{
	return config_value_path(text, &p->config->pin_dir);
}

static const char *set_cgroup_dir(struct parser *p, const char *text)
{
	return config_value_path(text, &p->config->cgroup_dir);
}

static const char *set_audit_log(struct parser *p, const char *text)
{
	return config_value_path(text, &p->config->audit_log);
}

static const char *set_enforce(struct parser *p, const char *text)
{
	return config_enforce_from_name(text, &p->config->enforce);
}

static const char *set_keep_pins(struct parser *p, const char *text)
{
	return config_value_bool(text, &p->config->keep_pins);
}

static const char *set_namespace_idle(struct parser *p, const char *text)
{
	return config_value_seconds(text, false, &p->config->namespace_idle);
}

static const char *set_user_memory_max(struct parser *p, const char *text)
{
	return config_value_limit(text, LIMIT_MEMORY, &p->config->user_limits[LIMIT_MEMORY]);
}

static const char *set_user_pids_max(struct parser *p, const char *text)
{
	return config_value_limit(text, LIMIT_PIDS, &p->config->user_limits[LIMIT_PIDS]);
}

static const char *set_user_cpu_max(struct parser *p, const char *text)
{
	return config_value_limit(text, LIMIT_CPU, &p->config->user_limits[LIMIT_CPU]);
}

static const char *set_memory_reserve(struct parser *p, const char *text)
{
	if (strcmp(text, "none") == 0) {
		p->config->memory_reserve = CONFIG_NO_LIMIT;
		return NULL;
	}
	return config_value_size(text, &p->config->memory_reserve) ?
		       "must be a size of at least 1M, such as 512M or 2G, or none" : NULL;
}

static const char *set_shm_size(struct parser *p, const char *text)
{
	return config_value_size(text, &p->config->shm_size);
}

static const char *set_device(struct parser *p, const char *text)
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

static const char *set_command(struct parser *p, const char *text)
{
	return config_value_words(text, &p->service->argv);
}

static const char *set_port(struct parser *p, const char *text)
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
static const char *set_reachable(struct parser *p, const char *text)
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
static const char *set_reach(struct parser *p, const char *text)
{
	if (!p->reach_given) {
		strv_free(p->config->reach);
		p->config->reach = NULL;
	}
	p->reach_given = true;
	return strcmp(text, "none") == 0 ? NULL : add_socket(&p->config->reach, text);
}

static const char *set_follow(struct parser *p, const char *text)
{
	return config_value_bool(text, &p->service->follow);
}

static const char *set_start_timeout(struct parser *p, const char *text)
{
	return config_value_seconds(text, true, &p->service->start_timeout_s);
}

static const char *set_ready(struct parser *p, const char *text)
{
	struct config_port port;

	if (strncmp(text, "tcp:", 4) != 0 || strchr(text, '/') ||
	    config_value_port(text + 4, &port))
		return "must be tcp:PORT";
	p->service->ready_port = port.port;
	p->service->ready_line = p->line;
	return NULL;
}

static const char *set_restart(struct parser *p, const char *text)
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

static const char *set_service_env(struct parser *p, const char *text)
{
	if (strncmp(text, "HOME=", 5) == 0)
		p->service->home_line = p->line;
	return config_value_env(text, &p->service->env);
}

static const char *set_service_directory(struct parser *p, const char *text)
{
	p->service->directory_line = p->line;
	return config_value_path(text, &p->service->directory);
}

static const char *set_core(struct parser *p, const char *text)
{
	return config_value_bool(text, &p->service->core);
}

static const char *add_path(const char *text, size_t max, char ***paths)
{
	PTR_OWNED char *path = NULL;
	const char *why = config_value_path(text, &path);

	if (!why && *paths && strv_len(*paths) == max)
		return "is one too many";
	if (!why && strv_append(paths, path) < 0)
		return "out of memory";
	return why;
}

/* A path, or the name of a set of them. */
static const char *set_protect(struct parser *p, const char *text)
{
	char ***paths = &p->service->protect;

	if (text[0] == '@' && !config_path_set(text))
		return "must be @resolver or @system";
	if (*paths && strv_len(*paths) == CONFIG_PROTECT_MAX)
		return "is one too many for this service";
	if (text[0] != '@')
		return add_path(text, CONFIG_PROTECT_MAX, paths);
	return strv_append(paths, text) < 0 ? "out of memory" : NULL;
}

static const char *set_shares(struct parser *p, const char *text)
{
	p->service->shares_line = p->line;
	return add_path(text, CONFIG_SHARES_MAX, &p->service->shares);
}

static const char *set_hide(struct parser *p, const char *text)
{
	return strcmp(text, "/") == 0 ? "cannot be /" : add_path(text, CONFIG_HIDE_MAX, &p->config->hide);
}

static const char *set_protect_resolver(struct parser *p, const char *text)
{
	bool protect;
	const char *why = config_value_bool(text, &protect);

	if (!why)
		p->config->free_resolver = !protect;
	return why;
}

static const char *set_show(struct parser *p, const char *text)
{
	return add_path(text, CONFIG_SHOW_MAX, &p->context->show);
}

static const char *set_namespace(struct parser *p, const char *text)
{
	static const struct config_choice choices[] = {
		{ "user", CONTEXT_USER },
		{ "secure", CONTEXT_SECURE },
		{ "private", CONTEXT_PRIVATE },
		{ NULL, 0 },
	};
	int value;
	const char *why =
		config_value_choice(text, choices, "must be user, secure or private", &value);

	if (!why)
		p->context->ns = (enum context_namespace)value;
	return why;
}

static const char *set_pid(struct parser *p, const char *text)
{
	static const struct config_choice choices[] = {
		{ "private", 0 }, { "shared", 1 }, { NULL, 0 },
	};
	int value;
	const char *why = config_value_choice(text, choices, "must be private or shared", &value);

	if (!why)
		p->context->shared_pid = value;
	return why;
}

static const char *set_capabilities(struct parser *p, const char *text)
{
	return config_value_capabilities(text, &p->context->capabilities);
}

static const char *set_no_new_privs(struct parser *p, const char *text)
{
	return config_value_bool(text, &p->context->no_new_privs);
}

static const char *set_context_env(struct parser *p, const char *text)
{
	return config_value_env(text, &p->context->env);
}

static const char *set_context_home(struct parser *p, const char *text)
{
	return config_value_path(text, &p->context->home);
}

static const char *set_context_tmp(struct parser *p, const char *text)
{
	static const struct config_choice choices[] = {
		{ "shared", 0 }, { "private", 1 }, { NULL, 0 },
	};
	int value;
	const char *why = config_value_choice(text, choices, "must be shared or private", &value);

	if (!why)
		p->context->own_tmp = value;
	return why;
}

static const char *set_context_careful(struct parser *p, const char *text)
{
	bool careful;
	const char *why = config_value_bool(text, &careful);

	if (!why)
		p->context->careless = !careful;
	return why;
}

static const char *set_context_directory(struct parser *p, const char *text)
{
	return config_value_path(text, &p->context->directory);
}

static const char *set_memory_max(struct parser *p, const char *text)
{
	return config_value_limit(text, LIMIT_MEMORY, &p->context->limits[LIMIT_MEMORY]);
}

static const char *set_pids_max(struct parser *p, const char *text)
{
	return config_value_limit(text, LIMIT_PIDS, &p->context->limits[LIMIT_PIDS]);
}

static const char *set_cpu_max(struct parser *p, const char *text)
{
	return config_value_limit(text, LIMIT_CPU, &p->context->limits[LIMIT_CPU]);
}

static const struct key {
	enum section section;
	const char *name;
	const char *(*set)(struct parser *p, const char *text);
	bool repeatable;
} keys[] = {
	{ SECTION_MOAT, "instance", set_instance },
	{ SECTION_MOAT, "socket", set_socket },
	{ SECTION_MOAT, "state_dir", set_state_dir },
	{ SECTION_MOAT, "pin_dir", set_pin_dir },
	{ SECTION_MOAT, "cgroup_dir", set_cgroup_dir },
	{ SECTION_MOAT, "audit_log", set_audit_log },
	{ SECTION_MOAT, "enforce", set_enforce },
	{ SECTION_MOAT, "keep_pins", set_keep_pins },
	{ SECTION_MOAT, "namespace_idle", set_namespace_idle },
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
	{ SECTION_CONTEXT, "namespace", set_namespace },
	{ SECTION_CONTEXT, "pid", set_pid },
	{ SECTION_CONTEXT, "capabilities", set_capabilities },
	{ SECTION_CONTEXT, "no_new_privs", set_no_new_privs },
	{ SECTION_CONTEXT, "env", set_context_env, true },
	{ SECTION_CONTEXT, "directory", set_context_directory },
	{ SECTION_CONTEXT, "show", set_show, true },
	{ SECTION_CONTEXT, "home", set_context_home },
	{ SECTION_CONTEXT, "tmp", set_context_tmp },
	{ SECTION_CONTEXT, "careful", set_context_careful },
	{ SECTION_CONTEXT, "memory_max", set_memory_max },
	{ SECTION_CONTEXT, "pids_max", set_pids_max },
	{ SECTION_CONTEXT, "cpu_max", set_cpu_max },
};
_Static_assert(ARRAY_LEN(keys) <= 64, "struct parser.seen has a bit for each");

/* An ini_handler. inih may be built to pass a line number behind the value, too; ours is better. */
static int on_key(void *data, const char *section, const char *name, const char *value)
{
	struct parser *p = data;
	const char *why;

	(void)section; /* next_line() knows it, without inih's limit of 50 bytes */
	if (p->section == SECTION_NONE) {
		if (!p->any_section)
			config_error_at(p->error, p->line, "key %s stands in no section", name);
		return 1;
	}
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (keys[i].section != p->section || strcmp(keys[i].name, name) != 0)
			continue;
		if (p->seen & 1ull << i && !keys[i].repeatable)
			why = "is given twice in this section";
		else if (!p->value || strcmp(p->value, value) != 0)
			why = "was not read whole by the INI library";
		else
			why = keys[i].set(p, value);
		p->seen |= 1ull << i;
		if (why)
			config_error_at(p->error, p->line, "%s %s", name, why);
		return 1;
	}
	config_error_at(p->error, p->line, "unknown key %s", name);
	return 1;
}

/* Lines */

static void begin_service(struct parser *p, const char *name)
{
	struct config *c = p->config;

	for (size_t i = 0; i < c->n_services; i++)
		if (strcmp(c->services[i].name, name) == 0) {
			config_error_at(p->error, p->line,
					"service %s is there already, in line %u", name,
					c->services[i].line);
			return;
		}
	if (c->n_services == CONFIG_SERVICES_MAX) {
		config_error_at(p->error, p->line, "more than %u services", CONFIG_SERVICES_MAX);
		return;
	}
	p->service = config_add_service(c, name, p->line);
	p->no_memory = p->no_memory || !p->service;
	p->section = p->service ? SECTION_SERVICE : SECTION_NONE;
}

static void begin_context(struct parser *p, const char *name)
{
	struct config *c = p->config;

	for (size_t i = 0; i < c->n_contexts; i++) {
		if (strcmp(c->contexts[i].name, name) != 0)
			continue;
		if (c->contexts[i].line) {
			config_error_at(p->error, p->line,
					"context %s is there already, in line %u", name,
					c->contexts[i].line);
			return;
		}
		/* "default" always exists; now it has a section. */
		c->contexts[i].line = p->line;
		p->context = &c->contexts[i];
		p->section = SECTION_CONTEXT;
		return;
	}
	if (c->n_contexts == CONFIG_CONTEXTS_MAX) {
		config_error_at(p->error, p->line, "more than %u contexts", CONFIG_CONTEXTS_MAX);
		return;
	}
	p->context = config_add_context(c, name, p->line);
	p->no_memory = p->no_memory || !p->context;
	p->section = p->context ? SECTION_CONTEXT : SECTION_NONE;
}

/* text: what stands between the brackets; changed. */
static void begin_section(struct parser *p, char *text)
{
	char *save = NULL, *kind = strtok_r(text, " \t", &save);
	char *name = strtok_r(NULL, " \t", &save), *more = strtok_r(NULL, " \t", &save);

	p->section = SECTION_NONE;
	p->any_section = true;
	p->seen = 0;
	if (kind && strcmp(kind, "moat") == 0 && !name) {
		if (p->moat_line)
			config_error_at(p->error, p->line,
					"section [moat] is there already, in line %u",
					p->moat_line);
		p->moat_line = p->line;
		p->section = SECTION_MOAT;
		return;
	}
	if (!kind || (strcmp(kind, "service") != 0 && strcmp(kind, "context") != 0) || more) {
		config_error_at(p->error, p->line,
				"unknown section: there are [moat], [service NAME] and "
				"[context NAME]");
		return;
	}
	if (!name || !config_value_is_name(name)) {
		config_error_at(p->error, p->line,
				"the name of a %s must be 1 to 32 of a-z, 0-9 and -, and not begin "
				"with -", kind);
		return;
	}
	if (kind[0] == 's')
		begin_service(p, name);
	else
		begin_context(p, name);
}

/* Cuts the next line out of the text, trimmed; NULL at the end. */
static char *cut_line(struct parser *p, size_t *ret_len)
{
	char *line = p->next, *end;

	if (line >= p->end)
		return NULL;
	p->line++;
	if (p->line == 1 && p->end - line >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
		line += 3;
	end = memchr(line, '\n', (size_t)(p->end - line));
	p->next = end ? end + 1 : p->end;
	if (!end)
		end = p->end; /* where config_parse()'s caller has put a NUL */
	while (line < end && isspace((unsigned char)*line))
		line++;
	while (line < end && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	*ret_len = (size_t)(end - line);
	return line;
}

/* An ini_reader: one line into buf. Lines with an error, and comments, reach inih empty. */
static char *next_line(char *buf, int size, void *stream)
{
	struct parser *p = stream;
	size_t n;
	char *line = cut_line(p, &n);

	if (!line)
		return NULL;
	p->value = NULL;
	snprintf(buf, (size_t)size, "\n");
	if (memchr(line, '\0', n))
		config_error_at(p->error, p->line, "NUL byte");
	else if (!utf8_valid(line, n))
		config_error_at(p->error, p->line, "not UTF-8 text");
	else if (line[0] == '\0' || line[0] == '#' || line[0] == ';')
		;
	else if (n + 2 > (size_t)size)
		config_error_at(p->error, p->line, "line is longer than %d bytes", size - 2);
	else if (line[0] == '[' && line[n - 1] != ']')
		config_error_at(p->error, p->line, "a section line must end with ]");
	else if (line[0] == '[') {
		line[n - 1] = '\0';
		begin_section(p, line + 1);
	} else {
		snprintf(buf, (size_t)size, "%s\n", line);
		p->value = strpbrk(line, "=:");
		if (p->value && *p->value == ':' && !strchr(line, '='))
			config_error_at(p->error, p->line, "%.*s: write =, not :",
					(int)(p->value - line), line);
		while (p->value && isspace((unsigned char)*++p->value))
			;
	}
	return buf;
}

int config_parse(struct config *config, char *text, size_t len, struct config_error *e)
{
	struct parser p = { .config = config, .error = e, .next = text, .end = text + len };
	int r;

	if (&ini_max_line)
		ini_max_line = LINE_BYTES_MAX + 2;
	if (&ini_allow_inline_comments)
		ini_allow_inline_comments = false;
	r = ini_parse_stream(next_line, &p, on_key, &p);
	if (r == -2 || p.no_memory)
		return -ENOMEM;
	/* Of its own, inih refuses only lines without a '='. It counts calls of next_line(). */
	if (r > 0)
		config_error_at(e, (unsigned)r, "neither [section] nor key = value");
	return 0;
}
