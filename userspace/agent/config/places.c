/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a service executes what it finds: its directory and its HOME. User code must not be able to
 * write there, so neither may contain what is user code's by right.
 */
#include <limits.h>

#include "agent/config/parse.h"

/* "" for /, so that a '/' follows in everything beneath. */
static const char *without_slash(const char *path)
{
	return strcmp(path, "/") == 0 ? "" : path;
}

static bool contains(const char *outer, const char *inner)
{
	size_t n;

	outer = without_slash(outer);
	inner = without_slash(inner);
	n = strlen(outer);
	return strncmp(inner, outer, n) == 0 && (inner[n] == '/' || inner[n] == '\0');
}

/* By the path, and by where it leads today. */
static bool really_contains(const char *outer, const char *inner)
{
	char real_outer[PATH_MAX], real_inner[PATH_MAX];

	return contains(outer, inner) ||
	       (realpath(outer, real_outer) &&
		contains(real_outer, realpath(inner, real_inner) ? real_inner : inner));
}

static const char *directory_of_context(const struct config_context *c)
{
	return c->directory ? c->directory : c->workspace ? c->workspace : "/";
}

static const char *home_of_context(const struct config_context *context)
{
	const char *home = env_get(context->env, "HOME"), *directory = context->directory;

	if (!home)
		home = context->home ? context->home : context->workspace;
	if (!home && directory && strcmp(directory, "/") != 0)
		home = directory;
	return home ? home : "/root";
}

/* What everybody writes, or nobody can be kept from; NULL: nothing of it is there. */
static const char *common_place_in(const char *path)
{
	static const char *const places[] = { "/tmp", "/var/tmp", "/dev/shm", "/dev", "/proc", "/sys" };

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (really_contains(path, places[i]))
			return places[i];
	return NULL;
}

static void check_guarded(const struct config *config, const char *path, unsigned line,
			  struct config_error *e)
{
	static const char advice[] = "so that it can write what this service executes; shares = PATH "
				     "accepts that";
	const char *place = common_place_in(path);

	for (size_t i = 0; i < config->n_contexts; i++) {
		const struct config_context *c = &config->contexts[i];

		const char *directory = directory_of_context(c);

		if (really_contains(path, directory))
			config_error_at(e, line, "%s contains the directory of context %s (%s), %s",
					path, c->name, directory, advice);
		if (c->workspace && really_contains(path, c->workspace))
			config_error_at(e, line, "%s contains the workspace of context %s (%s), %s",
					path, c->name, c->workspace, advice);
		if (really_contains(path, home_of_context(c)))
			config_error_at(e, line, "%s contains the HOME of context %s (%s), %s", path,
					c->name, home_of_context(c), advice);
	}
	if (place)
		config_error_at(e, line, "%s contains %s, where user code writes, %s", path, place,
				advice);
}

static bool is_shared(const struct config_service *service, const char *path)
{
	for (char **p = service->shares; p && *p; p++)
		if (contains(*p, path))
			return true;
	return false;
}

void config_service_places(const struct config_service *service, struct config_places *ret)
{
	const char *const places[] = { service->directory, env_get(service->env, "HOME") };
	size_t guarded = 0, shared = 0;

	*ret = (struct config_places){ 0 };
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (!places[i])
			continue;
		if (is_shared(service, places[i]))
			ret->shared[shared++] = places[i];
		else
			ret->guarded[guarded++] = places[i];
	}
}

/* By the names alone: what they lead to is user code's affair by now. */
const struct config_service *config_guarding(const struct config *config,
					     const struct config_context *context)
{
	const char *directory = directory_of_context(context), *workspace = context->workspace;

	for (size_t i = 0; i < config->n_services; i++) {
		struct config_places places;

		config_service_places(&config->services[i], &places);
		for (const char **path = places.guarded; *path; path++)
			if (contains(*path, directory) ||
			    contains(*path, home_of_context(context)) ||
			    (workspace && contains(*path, workspace)))
				return &config->services[i];
	}
	return NULL;
}

/* Each line of shares has to be about something. */
static void check_shares(const struct config_service *service, struct config_error *e)
{
	struct config_places places;

	config_service_places(service, &places);
	for (char **p = service->shares; p && *p; p++) {
		bool used = false;

		for (const char **shared = places.shared; *shared; shared++)
			used = used || contains(*p, *shared);
		if (!used)
			config_error_at(e, service->shares_line,
					"shares %s is about nothing: the service has neither directory "
					"nor HOME there", *p);
	}
}

void config_check_service(const struct config *config, const struct config_service *service,
			  struct config_error *e)
{
	const char *home = env_get(service->env, "HOME");
	struct config_places places;
	bool listed = !service->ready_port;

	config_service_places(service, &places);
	for (const char **path = places.guarded; *path; path++) {
		unsigned line = *path == home ? service->home_line : service->directory_line;

		if ((*path)[0] != '/')
			config_error_at(e, line, "HOME must be an absolute path");
		else
			check_guarded(config, *path, line, e);
	}
	check_shares(service, e);
	if (service->listen == LISTEN_YES && service->n_ports == 0)
		config_error_at(e, service->listen_line, "listen: the service has no port");
	for (size_t i = 0; i < service->n_ports; i++)
		listed = listed || (service->ports[i].port == service->ready_port &&
				    !service->ports[i].udp);
	if (!listed)
		config_error_at(e, service->ready_line,
				"ready = tcp:%u: the service has no such port, so nobody keeps it free "
				"for it: port = %u", service->ready_port, service->ready_port);
}
