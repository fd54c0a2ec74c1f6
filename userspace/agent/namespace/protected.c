/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/namespace/protected.h"

#include <limits.h>

#include "agent/namespace/program.h"
#include "init/protocol.h"

#define LINKS_MAX 40 /* as many as the kernel follows */

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

int protected_paths(const struct config *config, char ***paths, char ***optional, struct failure *f)
{
	int r = add_programs(paths, f);

	if (r == 0)
		r = add_protected(paths, optional, config);
	return r;
}

/* --- As mounts ----------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x + 1, *y + 1);
}

/* kind and path, unless it is there. */
static int add_mount(char ***mounts, char kind, const char *path)
{
	char text[PATH_MAX + 1];

	for (char **m = *mounts; m && *m; m++)
		if (strcmp(*m + 1, path) == 0) {
			if (kind == INIT_PROTECT_READONLY || (*m)[0] == INIT_PROTECT_PINNED)
				(*m)[0] = kind; /* the strictest of those that name it */
			return 0;
		}
	snprintf(text, sizeof(text), "%c%s", kind, path);
	return strv_append(mounts, text);
}

/* The directories that lead there. Cuts it. */
static int pin_parents(char ***mounts, char *resolved)
{
	int r = 0;

	for (char *slash; r == 0 && (slash = strrchr(resolved, '/')) && slash != resolved;) {
		*slash = '\0';
		r = add_mount(mounts, INIT_PROTECT_PINNED, resolved);
	}
	return r;
}

/* The symbolic link that path is, if it is one, where it lies, and what that leads to: whoever replaced one of them would
 * replace the file. */
static int pin_links(char ***mounts, const char *path)
{
	char at[PATH_MAX], dir[PATH_MAX], link[2 * PATH_MAX], target[PATH_MAX];
	int r = 0;

	snprintf(at, sizeof(at), "%s", path);
	for (int depth = 0; depth < LINKS_MAX && r == 0; depth++) {
		const char *name = strrchr(at, '/') ? strrchr(at, '/') + 1 : at;
		PTR_OWNED char *above = strndup(at, (size_t)(name - at));
		ssize_t n;

		if (!above || !realpath(*above ? above : ".", dir))
			return above ? 0 : -ENOMEM;
		snprintf(link, sizeof(link), "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name);
		n = readlink(link, target, sizeof(target) - 1);
		if (n < 0 || strlen(link) >= PATH_MAX)
			return 0;
		target[n] = '\0';
		if (snprintf(at, sizeof(at), "%s%s%s", target[0] == '/' ? "" : dir, target[0] == '/' ? "" : "/",
			     target) >= (int)sizeof(at))
			return 0;
		r = add_mount(mounts, INIT_PROTECT_PINNED, link);
		if (r == 0)
			r = pin_parents(mounts, link);
	}
	return r;
}

/* The file or directory, and what leads there: a mount point is not moved. */
static int add_with_parents(char ***mounts, const char *path, bool optional, struct failure *f)
{
	char kind = optional ? INIT_PROTECT_IF_THERE : INIT_PROTECT_READONLY;
	char resolved[PATH_MAX];
	int r;

	if (!realpath(path, resolved))
		return optional && errno == ENOENT ? 0 : fail(f, errno, "cannot protect %s", path);
	if (strcmp(resolved, "/") == 0)
		return fail(f, EINVAL, "cannot protect /");
	r = pin_links(mounts, path);
	if (r == 0)
		r = add_mount(mounts, kind, resolved);
	if (r == 0)
		r = pin_parents(mounts, resolved);
	return r < 0 ? fail(f, -r, "cannot protect %s", path) : 0;
}

/* What lies in something that is read-only needs no mount of its own. */
static void drop_covered(char **mounts)
{
	const char *above = NULL;
	char **to = mounts;

	for (char **m = mounts; *m; m++) {
		size_t n = above ? strlen(above) : 0;

		if (above && strncmp(*m + 1, above, n) == 0 && (*m)[1 + n] == '/') {
			free(*m);
			continue;
		}
		above = (*m)[0] != INIT_PROTECT_PINNED ? *m + 1 : NULL;
		*to++ = *m;
	}
	*to = NULL;
}

int protected_mounts(const struct config *config, char ***ret_mounts, struct failure *f)
{
	char **paths = NULL, **optional = NULL, **mounts = NULL;
	/* moat's programs run from copies: they may be replaced or gone when a moat-init is made again. */
	int r = add_programs(&optional, f);

	if (r == 0)
		r = add_protected(&paths, &optional, config);
	for (char **p = paths; p && *p && r == 0; p++)
		r = add_with_parents(&mounts, *p, false, f);
	for (char **p = optional; p && *p && r == 0; p++)
		r = add_with_parents(&mounts, *p, true, f);
	strv_free(paths);
	strv_free(optional);
	if (r < 0 || !mounts) {
		strv_free(mounts);
		return r;
	}
	qsort(mounts, strv_len(mounts), sizeof(*mounts), compare);
	drop_covered(mounts);
	*ret_mounts = mounts;
	return 0;
}
