/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/context/workspace.h"
#include "agent/files/internal.h"

static int bad_path(struct refusal *e, const char *field, const char *why)
{
	refuse(e, MOAT_E_BAD_VALUE, "%s %s", field, why);
	snprintf(e->field, sizeof(e->field), "%s", field);
	return -EINVAL;
}

int files_place(const struct context_settings *settings, const char *field, const char *path,
		struct files_path *ret, struct refusal *e)
{
	const char *directory = settings->directory[0], *workspace = settings->values.workspace;
	int n;

	if (!*path)
		return bad_path(e, field, "must not be empty");
	if (workspace && path[0] == '/' && !workspace_contains(workspace, path, &path)) {
		refuse(e, MOAT_E_OUTSIDE_WORKSPACE,
		       "%.100s is not beneath %.100s, the workspace of the context", path,
		       workspace);
		snprintf(e->field, sizeof(e->field), "%s", field);
		return -EINVAL;
	}
	snprintf(ret->root, sizeof(ret->root), "%s", workspace ? workspace : "/");
	n = path[0] == '/' || workspace ?
		    snprintf(ret->path, sizeof(ret->path), "%s", path) :
		    snprintf(ret->path, sizeof(ret->path), "%s/%s", directory, path);
	return n < (int)sizeof(ret->path) ? 0 : bad_path(e, field, "is too long");
}
