/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which command runs in which namespace.
 *
 *   context          without env of the exec's own    with it, or isolated
 *   namespace=user   user                             secure
 *   namespace=secure secure                           secure
 *   namespace=private context-NAME                    secure
 *
 * With pid = shared the same under the names user-shared and secure-shared.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>

#include "agent/exec/internal.h"
#include "base/log.h"

/* The audit log is opened after us, but has to be there to be covered. */
static void touch(const char *path)
{
	FD_OWNED int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);

	(void)fd; /* if it cannot be made, realpath() says so */
}

static bool contains(char *const *paths, const char *path)
{
	for (; paths && *paths; paths++)
		if (strcmp(*paths, path) == 0)
			return true;
	return false;
}

/* Adds the path without its links, once. */
static int add_hidden(char ***hidden, const char *path, struct failure *f)
{
	char resolved[PATH_MAX];
	int r = 0;

	if (!realpath(path, resolved))
		r = -errno;
	else if (!contains(*hidden, resolved))
		r = strv_append(hidden, resolved);
	return r < 0 ? fail(f, -r, "cannot hide %s from user code", path) : 0;
}

/*
 * What user code must not see: the directory of the socket, the configuration (its environments
 * hold credentials of services), the audit log, and what the configuration hides. All of them must exist: a
 * cover is a mount. Where the kernel refuses it as well (bpf/protect.h) the cover is only the second layer.
 */
static int moats_own(const struct config *config, char ***hidden, struct failure *f)
{
	const char *const paths[] = { config->state_dir, config->file, config->audit_log };
	int r = 0;

	if (config->audit_log)
		touch(config->audit_log);
	for (size_t i = 0; i < ARRAY_LEN(paths) && r == 0; i++)
		if (paths[i])
			r = add_hidden(hidden, paths[i], f);
	return r;
}

/* Whether any context whose commands run there sees it: then there is no cover, for all of them. */
static bool is_shown_in(const struct config *config, enum context_namespace kind, bool shared_pid,
			const struct config_context *only, const char *path)
{
	for (size_t i = 0; i < config->n_contexts; i++) {
		const struct config_context *c = &config->contexts[i];

		if (only ? c != only : c->shared_pid != shared_pid ||
				       (kind == CONTEXT_USER && c->ns != CONTEXT_USER))
			continue;
		if (config_is_shown(c, path))
			return true;
	}
	return false;
}

/* What is covered in a namespace of this kind; only: of this one context. */
static int hidden_paths(const struct execs *execs, enum context_namespace kind, bool shared_pid,
			const struct config_context *only, char ***ret, struct failure *f)
{
	const struct config *config = execs->config;
	char **hidden = NULL, **more = NULL;
	int r = moats_own(config, &hidden, f);

	if (r == 0) {
		r = config_hidden(config, &more);
		if (r < 0)
			fail(f, -r, "cannot hide files from user code");
	}
	for (char **p = more; p && *p && r == 0; p++) {
		if (!is_shown_in(config, kind, shared_pid, only, *p))
			r = add_hidden(&hidden, *p, f);
		else if (!only && !enforce_active(execs->enforce))
			log_warning("%s is shown to every context of its namespace: only the kernel could tell them apart",
				    *p);
	}
	strv_free(more);
	if (r < 0)
		strv_free(hidden);
	else
		*ret = hidden;
	return r;
}

struct opening {
	struct execs *execs;
	struct failure *f;
	uint64_t capabilities; /* of all contexts together */
	/* Made at most once each. */
	struct exec_space *user[2], *secure[2]; /* [shared_pid] */
	int r;
};

static struct exec_space *space_open(struct opening *o, const char *name, bool shared,
				     enum context_namespace kind, const struct config_context *only)
{
	struct execs *execs = o->execs;
	struct exec_space *space = &execs->spaces[execs->n_spaces];
	struct namespace_options options = {
		.name = name, .shared_pid = shared, .capabilities = o->capabilities,
	};
	char **hidden = NULL;

	o->r = hidden_paths(execs, kind, shared, only, &hidden, o->f);
	if (o->r < 0)
		return NULL;
	options.hidden = hidden;
	*space = (struct exec_space){ .execs = execs, .kind = kind };
	snprintf(space->name, sizeof(space->name), "%s", name);
	o->r = namespace_start(&options, execs->enforce, execs->cgroups, execs->loop,
			       exec_on_exit, space, &space->ns, o->f);
	strv_free(hidden);
	if (o->r < 0)
		return NULL;
	execs->n_spaces++;
	return space;
}

static struct exec_space *user_space(struct opening *o, bool shared)
{
	if (!o->user[shared])
		o->user[shared] = space_open(o, shared ? "user-shared" : "user", shared,
					     CONTEXT_USER, NULL);
	return o->user[shared];
}

static struct exec_space *secure_space(struct opening *o, bool shared)
{
	if (!o->secure[shared])
		o->secure[shared] =
			space_open(o, shared ? "secure-shared" : "secure", shared, CONTEXT_SECURE,
				   NULL);
	return o->secure[shared];
}

static void add_capabilities(struct context *c, void *data)
{
	((struct opening *)data)->capabilities |= c->config->capabilities;
}

/* A context with limits gets a cgroup of its own. */
static void give_group(struct context *c, void *data)
{
	const uint64_t *limits = c->config->limits;
	struct opening *o = data;

	for (enum config_limit i = 0; i < LIMIT_COUNT; i++)
		if (limits[i] != 0 && limits[i] != CONFIG_NO_LIMIT && o->r == 0 && !c->group)
			o->r = cgroup_group_add(o->execs->cgroups, c->config->name, limits,
						o->execs->config->enforce == ENFORCE_BEST_EFFORT,
						&c->group, o->f);
}

static void give_spaces(struct context *c, void *data)
{
	struct opening *o = data;
	char name[64];

	if (o->r < 0)
		return;
	c->secure = secure_space(o, c->config->shared_pid);
	if (o->r < 0)
		return;
	switch (c->config->ns) {
	case CONTEXT_USER:
		c->plain = user_space(o, c->config->shared_pid);
		break;
	case CONTEXT_SECURE:
		c->plain = c->secure;
		break;
	case CONTEXT_PRIVATE:
		snprintf(name, sizeof(name), "context-%s", c->config->name);
		c->plain = space_open(o, name, c->config->shared_pid, CONTEXT_PRIVATE,
				      c->config);
		break;
	}
}

/* Where the kernel refuses nothing, covers are all there is. */
static void warn_of_covers(struct context *c, void *data)
{
	(void)data;
	if (c->config->capabilities & 1ull << CAP_SYS_ADMIN)
		log_warning("context %s can see what is hidden: it has CAP_SYS_ADMIN, and the kernel enforces nothing",
			    c->config->name);
}

int exec_spaces_open(struct execs *execs, struct failure *f)
{
	struct opening o = { .execs = execs, .f = f };

	/* user, secure, both shared, and one for each private context: fixed, so pointers hold. */
	execs->spaces = calloc(execs->config->n_contexts + 4, sizeof(*execs->spaces));
	if (!execs->spaces)
		o.r = fail(f, ENOMEM, "cannot make namespaces");
	contexts_for_each(execs->contexts, add_capabilities, &o);
	contexts_for_each(execs->contexts, give_group, &o);
	if (!enforce_active(execs->enforce))
		contexts_for_each(execs->contexts, warn_of_covers, NULL);
	if (o.r == 0)
		user_space(&o, false);
	if (o.r == 0)
		secure_space(&o, false);
	contexts_for_each(execs->contexts, give_spaces, &o);
	return o.r;
}

void exec_spaces_close(struct execs *execs)
{
	for (size_t i = 0; i < execs->n_spaces; i++)
		namespace_stop(execs->spaces[i].ns);
	free(execs->spaces);
	execs->spaces = NULL;
	execs->n_spaces = 0;
}
