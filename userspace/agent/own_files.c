/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/own_files.h"

#include <limits.h>

#include "agent/namespace/protected.h"
#include "agent/service/place.h"

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
	int r = protected_paths(config, &protected, &optional, f);

	if (r == 0)
		r = add_secrets(&own, config);
	if (r == 0)
		r = add_services(&services, config);
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
