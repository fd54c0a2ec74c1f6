/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which command runs in which namespace.
 *
 *   context          without env of the exec's own    with it, or isolated
 *   namespace=user   user                             secure
 *   namespace=secure secure                           secure
 *   namespace=private context-NAME                    secure
 *
 * With pid = shared the same under the names user-shared and secure-shared. In secure each exec has mount,
 * IPC and UTS namespaces of its own; where the kernel does not enforce, and a context's capabilities would
 * show it what is beside it, it has a secure-of-NAME instead, which is nobody else's.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>

#include "agent/exec/internal.h"

/* The audit log is opened after us, but has to be there to be covered. */
static void touch(const char *path)
{
	FD_OWNED int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);

	(void)fd; /* if it cannot be made, realpath() says so */
}

/*
 * What user code must not see: the directory of the socket, the configuration (its environments
 * hold credentials of services) and the audit log. All of them must exist: a cover is a mount.
 */
static int hidden_paths(const struct config *config, char ***ret, struct failure *f)
{
	const char *const paths[] = { config->state_dir, config->file, config->audit_log };
	char **hidden = NULL;
	int r = 0;

	if (config->audit_log)
		touch(config->audit_log);
	for (size_t i = 0; i < ARRAY_LEN(paths) && r == 0; i++) {
		char resolved[PATH_MAX];

		if (!paths[i])
			continue;
		if (realpath(paths[i], resolved))
			r = strv_append(&hidden, resolved);
		else
			r = -errno;
		if (r < 0)
			fail(f, -r, "cannot hide %s from user code", paths[i]);
	}
	if (r < 0)
		strv_free(hidden);
	else
		*ret = hidden;
	return r;
}

struct opening {
	struct execs *execs;
	char **hidden;
	struct failure *f;
	/* Of all contexts whose commands may come there, together. */
	uint64_t user_capabilities[2], secure_capabilities[2]; /* [shared_pid] */
	/* Made at most once each. */
	struct exec_space *user[2], *secure[2]; /* [shared_pid] */
	int r;
};

static struct exec_space *space_open(struct opening *o, const char *name, bool shared,
				     enum context_namespace kind, uint64_t capabilities)
{
	struct execs *execs = o->execs;
	struct exec_space *space = &execs->spaces[execs->n_spaces];
	const struct namespace_options options = {
		.name = name, .shared_pid = shared, .own = kind == CONTEXT_SECURE,
		.hidden = o->hidden, .capabilities = capabilities,
	};

	*space = (struct exec_space){ .execs = execs, .kind = kind };
	snprintf(space->name, sizeof(space->name), "%s", name);
	o->r = namespace_start(&options, execs->enforce, execs->cgroups, execs->loop,
			       exec_on_exit, space, &space->ns, o->f);
	if (o->r < 0)
		return NULL;
	execs->n_spaces++;
	return space;
}

static struct exec_space *user_space(struct opening *o, bool shared)
{
	if (!o->user[shared])
		o->user[shared] = space_open(o, shared ? "user-shared" : "user", shared,
					     CONTEXT_USER, o->user_capabilities[shared]);
	return o->user[shared];
}

/*
 * With these a command is not kept from what is beside it in its PID namespace, moat-init and other execs'
 * environments among it, where the kernel programs do not do that: then its secure execs are by themselves.
 */
#define SEES_OTHERS (1ull << CAP_SYS_PTRACE | 1ull << CAP_SYS_ADMIN | 1ull << CAP_PERFMON)

static bool secure_alone(const struct opening *o, const struct config_context *c)
{
	return !enforce_active(o->execs->enforce) && (c->capabilities & SEES_OTHERS);
}

static struct exec_space *secure_space(struct opening *o, const struct config_context *c)
{
	bool shared = c->shared_pid;
	char name[64];

	if (secure_alone(o, c)) {
		snprintf(name, sizeof(name), "secure-of-%s", c->name);
		return space_open(o, name, shared, CONTEXT_SECURE, c->capabilities);
	}
	if (!o->secure[shared])
		o->secure[shared] = space_open(o, shared ? "secure-shared" : "secure", shared,
					       CONTEXT_SECURE, o->secure_capabilities[shared]);
	return o->secure[shared];
}

static void add_capabilities(struct context *c, void *data)
{
	const struct config_context *config = c->config;
	struct opening *o = data;

	if (config->ns == CONTEXT_USER)
		o->user_capabilities[config->shared_pid] |= config->capabilities;
	if (!secure_alone(o, config))
		o->secure_capabilities[config->shared_pid] |= config->capabilities;
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
	c->secure = secure_space(o, c->config);
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
				      c->config->capabilities);
		break;
	}
}

int exec_spaces_open(struct execs *execs, struct failure *f)
{
	struct opening o = { .execs = execs, .f = f };
	int r = hidden_paths(execs->config, &o.hidden, f);

	if (r < 0)
		return r;
	/* user, secure, both shared, and up to two for each context: fixed, so pointers hold. */
	execs->spaces = calloc(execs->config->n_contexts * 2 + 4, sizeof(*execs->spaces));
	if (!execs->spaces)
		o.r = fail(f, ENOMEM, "cannot make namespaces");
	contexts_for_each(execs->contexts, add_capabilities, &o);
	contexts_for_each(execs->contexts, give_group, &o);
	if (o.r == 0)
		user_space(&o, false);
	if (o.r == 0)
		o.secure[0] = space_open(&o, "secure", false, CONTEXT_SECURE,
					 o.secure_capabilities[0]);
	contexts_for_each(execs->contexts, give_spaces, &o);
	strv_free(o.hidden);
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
