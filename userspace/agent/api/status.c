/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/status, /v1/services, /v1/health: what runs, and what is enforced and what is not. */
#include <sys/wait.h>

#include "agent/api/internal.h"
#include "base/held.h"

static bool enforcing(const struct enforce *e)
{
	return enforce_mode(e) == MOAT_MODE_ENFORCE;
}

static void write_enforcement(struct jbuf *b, const struct agent *agent)
{
	jbuf_add_open(b, "enforcement", '{');
	jbuf_add_bool(b, "active", enforce_active(agent->enforce));
	jbuf_add_text(b, "mode", enforce_mode_name(enforce_mode(agent->enforce)));
	jbuf_add_text(b, "reason", enforce_reason(agent->enforce));
	jbuf_close(b, '}');
}

/* Whether programs other than the LSM's guard all of a surface. */
static bool is_guarded(const struct agent *agent, const char *surface)
{
	return strcmp(surface, "ports") == 0 && enforce_guards_ports(agent->enforce);
}

/* Each surface once, in the order of the table, that the kernel does not guard now. */
static void write_not_enforced(struct jbuf *b, const struct agent *agent)
{
	static const char *const surfaces[] = {
#define HOOK_SURFACE(name, surface, err) surface,
		MOAT_HOOKS(HOOK_SURFACE)
#undef HOOK_SURFACE
	};

	jbuf_add_open(b, "notEnforced", '[');
	for (size_t i = 0; !enforcing(agent->enforce) && i < ARRAY_LEN(surfaces); i++) {
		size_t first = 0;

		while (strcmp(surfaces[first], surfaces[i]) != 0)
			first++;
		if (first == i && !is_guarded(agent, surfaces[i]))
			jbuf_text(b, surfaces[i]);
	}
	jbuf_close(b, ']');
}

static void write_check(struct jbuf *b, const struct probe_result *result)
{
	jbuf_open(b, '{');
	jbuf_add_text(b, "name", result->name);
	jbuf_add_bool(b, "ok", result->ok);
	jbuf_add_bool(b, "required", result->required);
	jbuf_add_text(b, "detail", result->detail);
	jbuf_close(b, '}');
}

/* Of those that take the place of the kernel programs; 0: another one. */
static unsigned layer_of(const char *name)
{
	static const struct {
		const char *name;
		unsigned layer;
	} layers[] = { { "mounts", LAYER_MOUNTS },
		       { "seccomp", LAYER_SECCOMP },
		       { "landlock", LAYER_LANDLOCK } };

	for (size_t i = 0; i < ARRAY_LEN(layers); i++)
		if (strcmp(name, layers[i].name) == 0)
			return layers[i].layer;
	return 0;
}

/*
 * state: "active" (its programs decide, or another layer takes its place), "audit", "inactive" (the kernel could, moat does not),
 * "available" (every probe of the layer is ok), "partial", "missing".
 */
static const char *layer_state(const struct agent *agent, const char *layer, size_t ok, size_t n)
{
	if (strcmp(layer, "cgroup") == 0 && enforce_guards_ports(agent->enforce))
		return "active";
	if (strcmp(layer, "lsm") == 0 && enforce_active(agent->enforce))
		return enforcing(agent->enforce) ? "active" : "audit";
	if (strcmp(layer, "lsm") == 0 && ok == n)
		return "inactive";
	if (layers_active(execs_layers(agent->execs)) & layer_of(layer))
		return "active";
	return ok == n ? "available" : ok ? "partial" : "missing";
}

static void write_layer(struct jbuf *b, const struct agent *agent, const char *layer)
{
	const struct probe_report *probes = &agent->probes;
	size_t ok = 0, n = 0;

	jbuf_add_open(b, layer, '{');
	jbuf_add_open(b, "checks", '[');
	for (size_t i = 0; i < probes->n; i++) {
		if (strcmp(probes->results[i].layer, layer) != 0)
			continue;
		n++;
		ok += probes->results[i].ok;
		write_check(b, &probes->results[i]);
	}
	jbuf_close(b, ']');
	jbuf_add_text(b, "state", layer_state(agent, layer, ok, n));
	if (strcmp(layer, "cgroup") == 0)
		jbuf_add_text(b, "reason", enforce_guards_reason(agent->enforce));
	jbuf_close(b, '}');
}

static void write_layers(struct jbuf *b, const struct agent *agent)
{
	const struct probe_report *probes = &agent->probes;

	jbuf_add_open(b, "layers", '{');
	for (size_t i = 0; i < probes->n; i++) {
		size_t first = 0;

		while (strcmp(probes->results[first].layer, probes->results[i].layer) != 0)
			first++;
		if (first == i)
			write_layer(b, agent, probes->results[i].layer);
	}
	jbuf_close(b, '}');
}

static void add_limit(struct jbuf *b, const char *key, uint64_t limit)
{
	if (limit == CONFIG_NO_LIMIT)
		jbuf_add_null(b, key);
	else
		jbuf_add_unsigned(b, key, limit);
}

struct limits_writer {
	struct jbuf *b;
	struct contexts *contexts;
};

/* Of contexts made at run time those that are in use: ten thousand that are not would tell nothing. */
static bool is_listed(const struct limits_writer *w, const struct cgroup_limits *limits)
{
	const struct context *c = limits->context ? context_find(w->contexts, limits->context) : NULL;

	return !limits->context || limits->used || (c && c->configured);
}

static void write_limits_of(const struct cgroup_limits *limits, void *data)
{
	struct limits_writer *w = data;
	struct jbuf *b = w->b;

	if (!is_listed(w, limits))
		return;
	jbuf_open(b, '{');
	jbuf_add_text(b, "context", limits->context);
	add_limit(b, "memoryMax", limits->max[LIMIT_MEMORY]);
	add_limit(b, "pidsMax", limits->max[LIMIT_PIDS]);
	add_limit(b, "cpuMaxMillis", limits->max[LIMIT_CPU]);
	if (limits->context)
		jbuf_add_unsigned(b, "filesInMemory", limits->files);
	jbuf_close(b, '}');
}

/* What is in force, and which kinds of limit cannot be here. */
static void write_limits(struct jbuf *b, const struct agent *agent)
{
	struct limits_writer w = { b, execs_contexts(agent->execs) };
	const struct cgroups *cgroups = agent->cgroups;

	jbuf_add_open(b, "limits", '[');
	cgroups_for_each_limits(cgroups, write_limits_of, &w);
	jbuf_close(b, ']');
	jbuf_add_open(b, "notLimited", '[');
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++) {
		const char *reason = cgroups_missing(cgroups, i);

		if (!reason)
			continue;
		jbuf_open(b, '{');
		jbuf_add_text(b, "resource", config_limit_name(i));
		jbuf_add_text(b, "reason", reason);
		jbuf_close(b, '}');
	}
	jbuf_close(b, ']');
	jbuf_add_unsigned(b, "memoryReserve", cgroups_reserve(cgroups));
}

static void write_places_of(struct jbuf *b, const char *service, const char *const *paths, const char *reason)
{
	for (; *paths; paths++) {
		jbuf_open(b, '{');
		jbuf_add_text(b, "service", service);
		jbuf_add_text(b, "path", *paths);
		jbuf_add_text(b, "reason", reason);
		jbuf_close(b, '}');
	}
}

/* Where user code can write what a service executes. */
static void write_unguarded(struct jbuf *b, const struct agent *agent)
{
	const struct config *config = agent->config;

	jbuf_add_open(b, "unguarded", '[');
	for (size_t i = 0; i < config->n_services; i++) {
		struct config_places places;

		config_service_places(&config->services[i], &places);
		write_places_of(b, config->services[i].name, places.shared, "the configuration shares it");
		if (!enforcing(agent->enforce))
			write_places_of(b, config->services[i].name, places.guarded,
					"the kernel does not guard it now");
	}
	jbuf_close(b, ']');
}

static void write_namespace(struct namespace *ns, void *data)
{
	struct jbuf *b = data;

	jbuf_open(b, '{');
	jbuf_add_text(b, "name", namespace_name(ns));
	jbuf_add_signed(b, "pid", namespace_pid(ns));
	jbuf_close(b, '}');
}

static void write_counters(struct jbuf *b, struct enforce *e)
{
	struct moat_counter counters[MOAT_HOOK_COUNT] = { 0 };
	struct moat_drops drops = { 0 };
	bool known = enforce_counters(e, counters, &drops) == 0;

	jbuf_add_open(b, "hooks", '[');
	for (unsigned i = 0; known && i < MOAT_HOOK_COUNT; i++) {
		jbuf_open(b, '{');
		jbuf_add_text(b, "hook", enforce_hook_name(i));
		jbuf_add_text(b, "surface", enforce_hook_surface(i));
		jbuf_add_unsigned(b, "allowed", counters[i].allowed);
		jbuf_add_unsigned(b, "denied", counters[i].denied);
		jbuf_add_unsigned(b, "wouldDeny", counters[i].would_deny);
		jbuf_close(b, '}');
	}
	jbuf_close(b, ']');
	jbuf_add_open(b, "events", '{');
	jbuf_add_unsigned(b, "lostRingFull", drops.ring_full);
	jbuf_add_unsigned(b, "folded", drops.folded);
	jbuf_close(b, '}');
}

static void write_execs(struct jbuf *b, const struct execs *execs)
{
	struct execs_stats stats;

	execs_get_stats(execs, &stats);
	jbuf_add_open(b, "execs", '{');
	jbuf_add_unsigned(b, "started", execs_total(&stats, EXECS_STARTED, EXECS_STARTED));
	jbuf_add_unsigned(b, "failed", execs_total(&stats, EXECS_FAILED, EXECS_FAILED));
	jbuf_add_unsigned(b, "ended", execs_total(&stats, EXECS_EXITED, EXECS_TIMED_OUT));
	jbuf_add_unsigned(b, "timedOut", execs_total(&stats, EXECS_TIMED_OUT, EXECS_TIMED_OUT));
	jbuf_add_unsigned(b, "running", execs_total(&stats, EXECS_RUNNING, EXECS_RUNNING));
	jbuf_close(b, '}');
}

struct listening {
	struct jbuf *b;
	bool enforcing, ports; /* what is guarded: all, or the ports that are configured */
};

static void write_socket(const struct service_socket *socket, void *data)
{
	const struct listening *l = data;
	struct jbuf *b = l->b;

	jbuf_open(b, '{');
	jbuf_add_text(b, "service", socket->service);
	jbuf_add_text(b, "protocol", socket->protocol);
	api_write_output(b, "address", socket->address, strlen(socket->address));
	if (socket->port)
		jbuf_add_unsigned(b, "port", socket->port);
	jbuf_add_text(b, "access",
		      socket->reachable                                ? "reachable" :
		      l->enforcing || (l->ports && socket->configured) ? "guarded" :
									 "not guarded");
	jbuf_close(b, '}');
}

/* What the control plane's services listen on, listed in the configuration or not. */
static void write_listening(struct jbuf *b, const struct agent *agent)
{
	struct listening l = { b, enforcing(agent->enforce), enforce_guards_ports(agent->enforce) };

	jbuf_add_open(b, "listening", '[');
	(void)services_for_each_socket(agent->services, write_socket, &l);
	jbuf_close(b, ']');
}

enum MHD_Result api_status_get(struct api_request *r)
{
	struct agent *agent = r->api->agent;
	struct jbuf *b = &r->reply;

	jbuf_open(b, '{');
	jbuf_add_text(b, "version", MOAT_VERSION);
	jbuf_add_text(b, "instance", agent->config->instance);
	jbuf_add_signed(b, "pid", getpid());
	jbuf_add_time(b, "startedAt", agent->started_unix_ms);
	jbuf_add_unsigned(b, "uptimeMs", (now_ns() - agent->started_ns) / NSEC_PER_MSEC);
	jbuf_add_text(b, "kernel", agent->probes.kernel);
	jbuf_add_text(b, "enforce", config_enforce_name(agent->config->enforce));
	write_enforcement(b, agent);
	write_not_enforced(b, agent);
	write_layers(b, agent);
	api_write_requirements(b, agent);
	jbuf_add_open(b, "namespaces", '[');
	execs_for_each_namespace(agent->execs, write_namespace, b);
	jbuf_close(b, ']');
	jbuf_add_text(b, "cgroup", cgroups_path(agent->cgroups));
	jbuf_add_bool(b, "memoryEvents", cgroups_have_memory(agent->cgroups));
	write_limits(b, agent);
	write_unguarded(b, agent);
	write_listening(b, agent);
	write_counters(b, agent->enforce);
	write_execs(b, agent->execs);
	jbuf_add_open(b, "contexts", '{');
	jbuf_add_unsigned(b, "count", contexts_count(execs_contexts(agent->execs)));
	jbuf_add_bool(b, "kept", !execs_not_kept(agent->execs));
	jbuf_add_text(b, "reason", execs_not_kept(agent->execs));
	jbuf_close(b, '}');
	jbuf_add_unsigned(b, "connections", r->api->n_peers);
	jbuf_add_open(b, "clientMemory", '{');
	jbuf_add_unsigned(b, "used", held_used());
	jbuf_add_unsigned(b, "max", held_max());
	jbuf_close(b, '}');
	jbuf_close(b, '}');
	return api_respond(r, 200);
}

static void write_ports(struct jbuf *b, const struct config_service *config)
{
	jbuf_add_open(b, "ports", '[');
	for (size_t i = 0; i < config->n_ports; i++) {
		jbuf_open(b, '{');
		jbuf_add_unsigned(b, "port", config->ports[i].port);
		jbuf_add_text(b, "protocol", config->ports[i].udp ? "udp" : "tcp");
		jbuf_close(b, '}');
	}
	jbuf_close(b, ']');
}

static void write_last_exit(struct jbuf *b, int status)
{
	char name[24];

	jbuf_key(b, "lastExit");
	if (status == -1) {
		jbuf_null(b);
		return;
	}
	jbuf_open(b, '{');
	if (WIFEXITED(status))
		jbuf_add_signed(b, "exitCode", WEXITSTATUS(status));
	else
		jbuf_add_null(b, "exitCode");
	jbuf_add_text(b, "signal", WIFSIGNALED(status) ?
		      signal_name(WTERMSIG(status), name, sizeof(name)) : NULL);
	jbuf_close(b, '}');
}

static void write_service(const struct service_info *info, void *data)
{
	struct jbuf *b = data;

	jbuf_open(b, '{');
	jbuf_add_text(b, "name", info->config->name);
	jbuf_add_text(b, "state", service_state_name(info->state));
	if (info->pid)
		jbuf_add_signed(b, "pid", info->pid);
	else
		jbuf_add_null(b, "pid");
	write_ports(b, info->config);
	jbuf_add_bool(b, "reachable", info->config->reachable);
	jbuf_add_bool(b, "listen", info->listens);
	jbuf_add_unsigned(b, "restarts", info->restarts);
	jbuf_add_time(b, "since", info->since_unix_ms);
	write_last_exit(b, info->last_status);
	jbuf_add_text(b, "lastError", info->last_error[0] ? info->last_error : NULL);
	jbuf_close(b, '}');
}

enum MHD_Result api_services_list(struct api_request *r)
{
	api_list_open(r, "services");
	services_for_each(r->api->agent->services, write_service, &r->reply);
	return api_respond_list(r);
}

struct readiness {
	const char *service; /* NULL: every one */
	struct refusal *why; /* its code stays MOAT_OK while nothing is amiss */
	bool known;
};

static void check_service(const struct service_info *info, void *data)
{
	struct readiness *n = data;

	if (n->service && strcmp(info->config->name, n->service) != 0)
		return;
	n->known = true;
	if (info->state == SERVICE_READY || n->why->code)
		return;
	refuse(n->why, MOAT_E_NOT_READY, "service %s is %s%s%.160s", info->config->name,
	       service_state_name(info->state), info->last_error[0] ? ": " : "", info->last_error);
}

/* Whether the kernel does what the configuration asks for. */
static bool enforces_as_configured(const struct agent *agent)
{
	switch (agent->config->enforce) {
	case ENFORCE_REQUIRE:
		return enforce_mode(agent->enforce) == MOAT_MODE_ENFORCE;
	case ENFORCE_AUDIT:
		return enforce_mode(agent->enforce) != MOAT_MODE_OFF;
	case ENFORCE_BEST_EFFORT: /* what is required by name was there at the start */
		return !agent->config->required || enforce_mode(agent->enforce) != MOAT_MODE_AUDIT;
	}
	return true;
}

/* 0, or -EINVAL with r->error: what is not ready. */
static int check_ready(struct api_request *r, const char *service)
{
	struct agent *agent = r->api->agent;
	struct readiness n = { .service = service, .why = &r->error };

	r->error.code = MOAT_OK;
	services_for_each(agent->services, check_service, &n);
	if (service && !n.known)
		return refuse(&r->error, MOAT_E_NO_SUCH_SERVICE, "no service %.64s", service);
	if (!r->error.code && !enforces_as_configured(agent))
		return refuse(&r->error, MOAT_E_NOT_READY, "enforcement is in mode %s",
			      enforce_mode_name(enforce_mode(agent->enforce)));
	return r->error.code ? -EINVAL : 0;
}

/*
 * GET /v1/health?ready&service=NAME. Without a query: the agent answers. ready: every service is ready and
 * enforcement is as configured; service: the same, of this service alone. A draining agent answers
 * SHUTTING_DOWN before it gets here.
 */
enum MHD_Result api_health_get(struct api_request *r)
{
	const char *service = api_query(r, "service");
	int ready = 0;

	if (r->api->agent->stopping) {
		refuse(&r->error, MOAT_E_SHUTTING_DOWN, "the agent stops");
		return api_refuse(r);
	}
	if (service || api_has_query(r, "ready"))
		ready = check_ready(r, service);
	if (ready < 0)
		return api_refuse(r);
	jbuf_open(&r->reply, '{');
	jbuf_add_text(&r->reply, "status", "ok");
	jbuf_add_text(&r->reply, "instance", execs_instance(r->api->agent->execs));
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}
