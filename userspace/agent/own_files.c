/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/own_files.h"

#include <limits.h>

#include "agent/namespace/program.h"
#include "agent/service/place.h"

/* The command line program is not ours to run, but people trust what it tells them. */
static const char *const cli_places[] = { "moat", "../bin/moat" };

static int add_programs(char ***paths, struct failure *f)
{
	char path[PATH_MAX], self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int r = n < 0 ? -errno : namespace_program(path, f);

	if (r < 0)
		return r;
	self[n] = '\0';
	r = strv_append(paths, path);
	if (r == 0)
		r = strv_append(paths, self);
	/* moat-run lies beside moat-init. */
	snprintf(strrchr(path, '/') + 1, sizeof("moat-init"), "moat-run");
	if (r == 0 && access(path, F_OK) == 0)
		r = strv_append(paths, path);
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < ARRAY_LEN(cli_places) && r == 0; i++) {
		if (snprintf(path, sizeof(path), "%s/%s", self, cli_places[i]) >= (int)sizeof(path))
			return -ENAMETOOLONG;
		if (access(path, F_OK) == 0)
			r = strv_append(paths, path);
	}
	return r;
}

/* Symbolic links on the way are left as they are: they are to be protected as well. */
static int add_own(char ***paths, const char *path)
{
	PTR_OWNED char *here = NULL, *whole = NULL;

	if (path[0] == '/')
		return strv_append(paths, path);
	here = getcwd(NULL, 0);
	if (!here)
		return -errno;
	if (asprintf(&whole, "%s/%s", here, path) < 0) {
		whole = NULL;
		return -ENOMEM;
	}
	return strv_append(paths, whole);
}

static int add_secrets(char ***paths, const struct config *config)
{
	const char *const own[] = { config->state_dir, config->file, config->audit_log };
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(own) && r == 0; i++)
		if (own[i])
			r = add_own(paths, own[i]);
	return r;
}

static int add_set(char ***paths, const char *name)
{
	int r = 0;

	for (const char *const *p = config_path_set(name); p && *p && r == 0; p++)
		r = strv_append(paths, *p);
	return r;
}

static int add_protected(char ***paths, char ***optional, const struct config *config)
{
	int r = config->free_resolver ? 0 : add_set(optional, "@resolver");

	for (size_t i = 0; i < config->n_services; i++) {
		struct config_places places;

		config_service_places(&config->services[i], &places);
		for (const char **p = places.guarded; *p && r == 0; p++)
			r = strv_append(paths, *p);
		for (char **p = config->services[i].protect; p && *p && r == 0; p++)
			r = **p == '@' ? add_set(optional, *p) : strv_append(paths, *p);
	}
	return r;
}

/* Of the state directory, what services have of their own. */
static int add_services(char ***paths, const struct config *config)
{
	PTR_OWNED char *all = config->n_services ? service_places(config->state_dir) : NULL;

	if (config->n_services == 0)
		return 0;
	return all ? add_own(paths, all) : -ENOMEM;
}

/* What each context is shown; ends with context 0. */
static int add_shown(struct enforce_shown **ret, const struct config *config, const struct execs *execs)
{
	struct enforce_shown *shown;
	size_t n = 0;

	for (size_t i = 0; i < config->n_contexts; i++)
		n += config->contexts[i].show ? strv_len(config->contexts[i].show) : 0;
	shown = calloc(n + 1, sizeof(*shown));
	if (!shown)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < config->n_contexts; i++)
		for (char **p = config->contexts[i].show; p && *p; p++)
			shown[n++] = (struct enforce_shown){
				.context = execs_context_number(execs, config->contexts[i].name),
				.path = *p,
			};
	*ret = shown;
	return 0;
}

int protect_files(struct enforce *e, const struct config *config, const struct execs *execs,
		  struct failure *f)
{
	PTR_OWNED struct enforce_shown *shown = NULL;
	char **own = NULL, **services = NULL, **hidden = NULL, **protected = NULL, **optional = NULL;
	int r = add_programs(&protected, f);

	if (r == 0)
		r = add_secrets(&own, config);
	if (r == 0)
		r = add_services(&services, config);
	if (r == 0)
		r = add_protected(&protected, &optional, config);
	if (r == 0)
		r = config_hidden(config, &hidden);
	if (r == 0)
		r = add_shown(&shown, config, execs);
	if (r < 0)
		fail(f, -r, "cannot tell which files to protect");
	else
		r = enforce_protect(e, &(struct enforce_files){ .own = own, .services = services,
								.hidden = hidden,
								.protect = protected, .optional = optional,
								.shown = shown }, f);
	strv_free(own);
	strv_free(services);
	strv_free(hidden);
	strv_free(protected);
	strv_free(optional);
	return r;
}
