/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/link.h"
#include "agent/context/workspace.h"
#include "agent/files/internal.h"

static int bad_path(struct refusal *e, const char *field, const char *why)
{
	refuse(e, MOAT_E_BAD_VALUE, "%s %s", field, why);
	snprintf(e->field, sizeof(e->field), "%s", field);
	return -EINVAL;
}

/* What of path comes behind outer, which has single slashes and n bytes; NULL: it does not begin with that. */
static const char *behind(const char *outer, size_t n, const char *path)
{
	for (size_t i = 0; i < n; i++) {
		if (*path++ != outer[i])
			return NULL;
		if (outer[i] == '/')
			path += strspn(path, "/");
	}
	return *path && *path != '/' ? NULL : path + strspn(path, "/");
}

/* Where a link leads, by the table of the configuration: false where path is beneath none. */
static bool follow(char *const *links, const char *path, bool by_target, struct config_link *ret,
		   const char **ret_rest)
{
	while (!by_target && strncmp(path, "./", 2) == 0)
		path += 2 + strspn(path + 2, "/");
	for (; links && *links; links++) {
		config_link_split(*links, ret);
		*ret_rest = by_target ? behind(ret->target, ret->target_len, path) :
					behind(ret->name, ret->name_len, path);
		if (*ret_rest)
			return true;
	}
	return false;
}

static int refuse_outside(const struct context_settings *s, const char *field, const char *path,
			  struct refusal *e)
{
	size_t links = s->values.links ? strv_len(s->values.links) : 0;

	refuse(e, MOAT_E_OUTSIDE_WORKSPACE, "%.100s is beneath none of the roots of the context: %.100s%s", path,
	       s->values.workspace, links ? ", and where its links lead" : "");
	snprintf(e->field, sizeof(e->field), "%s", field);
	return -EINVAL;
}

/* A root and what is meant beneath it. */
static int put(struct files_path *ret, const char *root, size_t n, const char *path, const char *field,
	       struct refusal *e)
{
	snprintf(ret->root, sizeof(ret->root), "%.*s", (int)n, root);
	return snprintf(ret->path, sizeof(ret->path), "%s", path) < (int)sizeof(ret->path) ?
		       0 :
		       bad_path(e, field, "is too long");
}

int files_place(const struct context_settings *settings, const char *field, const char *path,
		bool writes, struct files_path *ret, struct refusal *e)
{
	const char *directory = settings->directory[0], *workspace = settings->values.workspace;
	const char *rest = path, *beneath;
	struct config_link link;

	if (!*path)
		return bad_path(e, field, "must not be empty");
	if (!workspace) {
		if (path[0] != '/' &&
		    snprintf(ret->path, sizeof(ret->path), "%s/%s", directory, path) >= (int)sizeof(ret->path))
			return bad_path(e, field, "is too long");
		snprintf(ret->root, sizeof(ret->root), "/");
		return path[0] == '/' ? put(ret, "/", 1, path, field, e) : 0;
	}
	if (path[0] == '/' && !workspace_contains(workspace, path, &rest)) {
		if (!follow(settings->values.links, path, true, &link, &beneath))
			return refuse_outside(settings, field, path, e);
	} else if (!follow(settings->values.links, rest, false, &link, &beneath)) {
		return put(ret, workspace, strlen(workspace), rest, field, e);
	}
	if (!link.writable && writes) {
		refuse(e, MOAT_E_READ_ONLY, "%.100s: the link %.*s is read-only", path,
		       (int)(link.name_len < 64 ? link.name_len : 64), link.name);
		snprintf(e->field, sizeof(e->field), "%s", field);
		return -EINVAL;
	}
	return put(ret, link.target, link.target_len, beneath, field, e);
}
