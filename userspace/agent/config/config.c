/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/config.h"

#include <fcntl.h>
#include <sys/un.h>

#include "agent/config/parse.h"
#include "agent/config/value.h"

#define DEFAULT_STATE_DIR "/run/moat"
#define SOCKET_NAME "moat.sock"

static const struct config_choice enforce_names[] = {
	{ "require", ENFORCE_REQUIRE },
	{ "best-effort", ENFORCE_BEST_EFFORT },
	{ "audit", ENFORCE_AUDIT },
	{ NULL, 0 },
};

const char *config_enforce_from_name(const char *name, enum enforce_mode *ret_mode)
{
	int value;
	const char *why = config_value_choice(name, enforce_names,
					      "must be require, best-effort or audit", &value);

	if (!why)
		*ret_mode = (enum enforce_mode)value;
	return why;
}

const char *config_enforce_name(enum enforce_mode mode)
{
	for (const struct config_choice *c = enforce_names; c->name; c++)
		if (c->value == (int)mode)
			return c->name;
	return "unknown";
}

const char *config_limit_name(enum config_limit limit)
{
	static const char *const names[] = {
		[LIMIT_MEMORY] = "memory", [LIMIT_PIDS] = "pids", [LIMIT_CPU] = "cpu",
	};

	return limit < LIMIT_COUNT ? names[limit] : "unknown";
}

struct config_service *config_add_service(struct config *config, const char *name, unsigned line)
{
	size_t n = config->n_services + 1;
	struct config_service *grown = reallocarray(config->services, n, sizeof(*grown));
	struct config_service *s;

	if (!grown)
		return NULL;
	config->services = grown;
	s = &grown[n - 1];
	*s = (struct config_service){
		.name = strdup(name), .line = line, .start_timeout_s = CONFIG_START_TIMEOUT,
	};
	if (!s->name)
		return NULL;
	config->n_services = n;
	return s;
}

struct config_context *config_add_context(struct config *config, const char *name, unsigned line)
{
	size_t n = config->n_contexts;
	struct config_context *grown, *c;

	if ((n & (n - 1)) == 0) { /* full: there is room for powers of two */
		grown = reallocarray(config->contexts, n ? 2 * n : 1, sizeof(*grown));
		if (!grown)
			return NULL;
		config->contexts = grown;
	}
	c = &config->contexts[n];
	*c = (struct config_context){
		.name = strdup(name),
		.ns = CONTEXT_USER,
		.capabilities = config_capabilities_default(),
		.no_new_privs = true,
		.line = line,
	};
	config->n_contexts++;
	return c->name ? c : NULL;
}

static int push_port(struct config_port **ports, size_t *n, const struct config_port *port)
{
	struct config_port *grown = reallocarray(*ports, *n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*ports = grown;
	grown[(*n)++] = *port;
	return 0;
}

int config_add_port(struct config_service *service, const struct config_port *port)
{
	return push_port(&service->ports, &service->n_ports, port);
}

int config_add_open_port(struct config_service *service, const struct config_port *port)
{
	return push_port(&service->open, &service->n_open, port);
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_services; i++) {
		struct config_service *s = &config->services[i];

		free(s->name);
		strv_free_wiped(s->argv);
		free(s->ports);
		strv_free_wiped(s->env);
		free(s->directory);
		free(s->listen_address);
		strv_free(s->protect);
		strv_free(s->shares);
		free(s->open);
		strv_free(s->open_sockets);
	}
	for (size_t i = 0; i < config->n_contexts; i++) {
		struct config_context *c = &config->contexts[i];

		free(c->name);
		strv_free_wiped(c->env);
		free(c->directory);
		strv_free(c->show);
		free(c->home);
		free(c->workspace);
		strv_free(c->links);
	}
	for (size_t i = 0; i < config->n_devices; i++)
		free(config->devices[i].path);
	free(config->services);
	free(config->contexts);
	free(config->file);
	free(config->instance);
	free(config->socket);
	free(config->state_dir);
	free(config->pin_dir);
	free(config->cgroup_dir);
	free(config->audit_log);
	strv_free(config->hide);
	strv_free(config->reach);
	free(config);
}

/* Socket and state directory stay NULL: each has a default that depends on the other. */
static struct config *config_new(void)
{
	/* the system log, as syslogd and journald bind it, and the cache of users and groups */
	static const char *const reach_default[] = {
		"/dev/log", "/run/systemd/journal/dev-log", "/run/nscd/socket", "/var/run/nscd/socket",
	};
	struct config *config = calloc(1, sizeof(*config));
	int r = 0;

	if (!config)
		return NULL;
	config->enforce = ENFORCE_REQUIRE;
	config->namespace_idle = 60;
	config->session_idle = CONFIG_SESSION_IDLE;
	config->shm_size = 64ull << 20;
	config->instance = strdup("default");
	config->pin_dir = strdup(CONFIG_PIN_DIR);
	for (size_t i = 0; i < ARRAY_LEN(reach_default) && r == 0; i++)
		r = strv_append(&config->reach, reach_default[i]);
	if (r < 0 || !config->instance || !config->pin_dir || !config_add_context(config, CONFIG_DEFAULT_CONTEXT, 0)) {
		config_free(config);
		return NULL;
	}
	return config;
}

static const char *default_state_dir = DEFAULT_STATE_DIR;

void config_set_state_dir(const char *path)
{
	default_state_dir = path;
}

/* The socket lies in the state directory, which is what is kept from the sight of user code. */
static int settle_paths(struct config *config, const char **ret_why)
{
	const char *slash;

	if (!config->state_dir && config->socket) {
		slash = strrchr(config->socket, '/');
		config->state_dir = strndup(config->socket, (size_t)(slash - config->socket));
	} else if (!config->state_dir) {
		config->state_dir = strdup(default_state_dir);
	}
	if (!config->state_dir)
		return -ENOMEM;
	if (!config->socket &&
	    asprintf(&config->socket, "%s/" SOCKET_NAME, config->state_dir) < 0) {
		config->socket = NULL;
		return -ENOMEM;
	}
	slash = strrchr(config->socket, '/');
	if (config->state_dir[0] == '\0' || strcmp(config->state_dir, "/") == 0)
		*ret_why = "the state directory cannot be /";
	else if ((size_t)(slash - config->socket) != strlen(config->state_dir) ||
		 strncmp(config->socket, config->state_dir, strlen(config->state_dir)) != 0)
		*ret_why = "socket must lie in state_dir itself";
	else if (strlen(config->socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		*ret_why = "the path of the socket is too long for a unix socket";
	return 0;
}

/* A port that one service opens and another one has. */
static void check_open_ports(const struct config *config, const struct config_service *s,
			     struct config_error *e)
{
	for (size_t i = 0; i < s->n_open; i++)
		for (size_t k = 0; k < config->n_services; k++) {
			const struct config_service *other = &config->services[k];

			for (size_t j = 0; j < other->n_ports && other != s; j++)
				if (other->ports[j].port == s->open[i].port)
					config_error_at(e, s->open[i].line,
							"port %u belongs to service %s (line %u)",
							s->open[i].port, other->name,
							other->ports[j].line);
		}
}

/* Ports of s against each other and against those of the services before it. */
static void check_ports(const struct config *config, size_t index, struct config_error *e)
{
	const struct config_service *s = &config->services[index];

	for (size_t i = 0; i < s->n_ports; i++) {
		const struct config_port *p = &s->ports[i];

		for (size_t j = 0; j < i; j++)
			if (s->ports[j].port == p->port && s->ports[j].udp == p->udp)
				config_error_at(e, p->line, "port %u is given twice", p->port);
		for (size_t k = 0; k < index; k++) {
			const struct config_service *other = &config->services[k];

			for (size_t j = 0; j < other->n_ports; j++)
				if (other->ports[j].port == p->port)
					config_error_at(e, p->line,
							"port %u belongs to service %s already "
							"(line %u)", p->port, other->name,
							other->ports[j].line);
		}
	}
}

/* What concerns several lines. 0 or -ENOMEM. */
static int check(struct config *config, struct config_error *e)
{
	bool faulty = e->line != 0;
	const char *why = NULL;
	int r = settle_paths(config, &why);

	if (r < 0)
		return r;
	/* Not when a line was refused: what is missing now may have stood there. */
	if (why && !faulty)
		config_error_at(e, e->paths_line, "%s", why);
	for (size_t i = 0; i < config->n_services; i++) {
		if (!config->services[i].argv && !faulty)
			config_error_at(e, config->services[i].line, "service %s has no command",
					config->services[i].name);
		check_ports(config, i, e);
		check_open_ports(config, &config->services[i], e);
		if (!faulty)
			config_check_service(config, &config->services[i], e);
	}
	for (size_t i = 0; i < config->n_contexts; i++)
		if (config->contexts[i].links && !config->contexts[i].workspace && !faulty)
			config_error_at(e, config->contexts[i].line,
					"context %s has links, but no workspace for them",
					config->contexts[i].name);
	return 0;
}

int config_load(const char *file, struct config **ret_config, struct failure *f)
{
	CLEANUP(config_freep) struct config *config = config_new();
	struct config_error e = { 0 };
	char *text = NULL;
	size_t len;
	int r = read_file_at(AT_FDCWD, file, CONFIG_FILE_MAX, &text, &len);

	if (r == -EFBIG)
		fail(f, EINVAL, "%s: larger than %u bytes", file, CONFIG_FILE_MAX);
	else if (r < 0)
		fail(f, -r, "cannot read %s", file);
	if (r < 0)
		return r;
	r = -ENOMEM;
	if (config)
		config->file = strdup(file);
	if (config && config->file)
		r = config_parse(config, text, len, &e);
	free_wiped(text, len);
	if (r == 0)
		r = check(config, &e);
	if (r < 0)
		return fail(f, -r, "%s", file);
	if (e.line)
		return config_errors_tell(&e, file, f);
	*ret_config = take_ptr(config);
	return 0;
}

static int set_directory(struct config_service *s, const char *directory, struct failure *f)
{
	const char *why = directory ? config_value_path(directory, &s->directory) : NULL;

	s->directory_line = 2; /* of ports it is 1 */
	return why ? fail(f, EINVAL, "--directory %.64s %s", directory, why) : 0;
}

int config_from_command(char *const *ports, const char *directory, char *const *argv,
			struct config **ret_config, struct failure *f)
{
	CLEANUP(config_freep) struct config *config = config_new();
	struct config_service *s = config ? config_add_service(config, "main", 0) : NULL;
	struct config_error e = { 0 };

	if (!s || strv_copy(argv, &s->argv) < 0)
		return fail(f, ENOMEM, "cannot read the command line");
	if (!argv[0] || !argv[0][0])
		return fail(f, EINVAL, "no command given");
	s->restart = RESTART_ON_FAILURE;
	if (set_directory(s, directory, f) < 0)
		return -EINVAL;
	for (; *ports; ports++) {
		struct config_port port = { .line = 1 };
		const char *why = config_value_port(*ports, &port);

		if (!why && s->n_ports == CONFIG_PORTS_MAX)
			why = "is one too many";
		if (why)
			return fail(f, EINVAL, "--port %.32s %s", *ports, why);
		if (config_add_port(s, &port) < 0)
			return fail(f, ENOMEM, "cannot read the command line");
		if (!port.udp && !s->ready_port)
			s->ready_port = port.port;
	}
	if (check(config, &e) < 0)
		return fail(f, ENOMEM, "cannot read the command line");
	if (e.line)
		return fail(f, EINVAL, "%s: %s",
			    e.line == s->directory_line ? "--directory" : "--port", e.reason);
	*ret_config = take_ptr(config);
	return 0;
}

const struct config_context *config_find_context(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_contexts; i++)
		if (strcmp(config->contexts[i].name, name) == 0)
			return &config->contexts[i];
	return NULL;
}

/* Where container engines and Kubernetes put secrets of the container. */
static const char *const always_hidden[] = { "/run/secrets", "/var/run/secrets" };

int config_hidden(const struct config *config, char ***ret_paths)
{
	char **paths = NULL;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(always_hidden) && r == 0; i++)
		if (access(always_hidden[i], F_OK) == 0)
			r = strv_append(&paths, always_hidden[i]);
	for (char **p = config->hide; p && *p && r == 0; p++)
		r = strv_append(&paths, *p);
	if (r < 0)
		strv_free(paths);
	else
		*ret_paths = paths;
	return r;
}

bool config_is_shown(char *const *show, const char *hidden)
{
	size_t n = strlen(hidden);

	for (; show && *show; show++)
		if (strncmp(*show, hidden, n) == 0 && ((*show)[n] == '\0' || (*show)[n] == '/'))
			return true;
	return false;
}

const char *const *config_path_set(const char *name)
{
	static const char *const resolver[] = {
		"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/ld.so.preload", NULL,
	};
	static const char *const system_paths[] = {
		"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", NULL,
	};

	if (strcmp(name, "@resolver") == 0)
		return resolver;
	return strcmp(name, "@system") == 0 ? system_paths : NULL;
}
