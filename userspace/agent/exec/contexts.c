/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts as they come and go. What they have of their own: a cgroup from the start, namespaces once something
 * has run in them (namespace/set.c).
 *
 *   made --removed--> ending --(nothing runs in it)--> gone --(no exec knows it)--> freed
 *
 * While it is ending its name is taken, so that no two that live share a name, and nothing is started in it.
 */
#include <linux/capability.h>

#include "agent/exec/internal.h"
#include "agent/layers/requirements.h"
#include "base/log.h"

/* --- Making and changing ------------------------------------------------------------------- */

static int give_group(struct execs *execs, struct context *c, struct failure *f)
{
	return cgroup_group_add(execs->cgroups, c->name, c->settings->values.limits,
				execs->config->enforce == ENFORCE_BEST_EFFORT, &c->group, f);
}

/* Where the kernel programs refuse nothing: what no other layer keeps from the context. */
static void warn_of_covers(const struct context *c)
{
	const struct config_context *values = &c->settings->values;

	if (values->capabilities & 1ull << CAP_SYS_ADMIN)
		log_warning(
			"context %s can see what is hidden, change what is protected%s: it has CAP_SYS_ADMIN, and the kernel enforces nothing",
			c->name,
			values->shared_pid ?
				", and read what services and other contexts keep in memory" :
				"");
	else if (values->capabilities & 1ull << CAP_PERFMON)
		log_warning(
			"context %s does without CAP_PERFMON, by which it would read what others keep in memory",
			c->name);
}

struct opening {
	struct execs *execs;
	struct failure *f;
	int r;
};

static void open_one(struct context *c, void *data)
{
	struct opening *o = data;

	if (o->r == 0)
		o->r = give_group(o->execs, c, o->f);
	if (!enforce_active(o->execs->enforce))
		warn_of_covers(c);
}

int exec_contexts_open(struct execs *execs, struct failure *f)
{
	struct opening o = { .execs = execs, .f = f };

	contexts_for_each(execs->contexts, open_one, &o);
	return o.r;
}

static int no_memory(struct refusal *e)
{
	return refuse(e, MOAT_E_OUT_OF_MEMORY, "out of memory");
}

/* What is required and does not hold for it, or NULL. */
static const struct requirement *missing_for(const struct execs *execs,
					     const struct config_context *values)
{
	return requirement_missing(execs->config, enforce_mode(execs->enforce) == MOAT_MODE_ENFORCE,
				   layers_active(execs_layers(execs)), values);
}

int exec_check_required(struct execs *execs, struct failure *f)
{
	const struct config *config = execs->config;

	for (size_t i = 0; i < config->n_contexts; i++) {
		const struct requirement *missing = missing_for(execs, &config->contexts[i]);

		if (missing)
			return fail(f, EINVAL,
				    "enforce = require %s: %s (%s) is not guarded for context %s",
				    missing->id, missing->name, missing->text,
				    config->contexts[i].name);
	}
	return 0;
}

static int check_values(struct execs *execs, const struct config_context *values, struct refusal *e)
{
	const struct config_service *service = config_guarding(execs->config, values);
	const struct requirement *missing;

	if (service) {
		refuse(e, MOAT_E_BAD_VALUE, "directory or HOME lies in what service %s executes", service->name);
		snprintf(e->field, sizeof(e->field), "directory");
		return -EINVAL;
	}
	if (values->links && !values->workspace) {
		refuse(e, MOAT_E_BAD_VALUE, "link needs a workspace");
		snprintf(e->field, sizeof(e->field), "link");
		return -EINVAL;
	}
	if (execs->config->dev && (!values->shared_pid || !values->no_new_privs)) {
		refuse(e, MOAT_E_BAD_VALUE,
		       "an ordinary user (moatd --dev) has no PID namespaces, and no_new_privs always");
		snprintf(e->field, sizeof(e->field), "%s",
			 values->shared_pid ? "no_new_privs" : "pid");
		return -EINVAL;
	}
	if (values->shared_pid && !execs->config->dev && !cgroups_are_there(execs->cgroups)) {
		refuse(e, MOAT_E_BAD_VALUE,
		       "pid = shared needs a cgroup, to end what it starts, and there is none");
		snprintf(e->field, sizeof(e->field), "pid");
		return -EINVAL;
	}
	missing = missing_for(execs, values);
	if (missing) {
		refuse(e, MOAT_E_BAD_VALUE, "%s (%s) is required and would not be guarded: %s",
		       missing->id, missing->name, "pid = shared, or its capabilities");
		snprintf(e->field, sizeof(e->field), "%s",
			 values->shared_pid ? "pid" : "capabilities");
		return -EINVAL;
	}
	if (namespaces_can(execs->namespaces, values))
		return 0;
	refuse(e, MOAT_E_CAPABILITIES_UNAVAILABLE,
	       "capabilities are more than the contexts of the configuration have");
	snprintf(e->field, sizeof(e->field), "capabilities");
	return -EINVAL;
}

int exec_settings_make(struct execs *execs, const struct config_context *values,
		       struct context_settings **ret, struct refusal *e)
{
	size_t *total = contexts_env_total(execs->contexts);
	int r = check_values(execs, values, e);

	if (r < 0)
		return r;
	if (context_settings_make(values, total, ret) < 0)
		return no_memory(e);
	if (*total <= CONTEXTS_ENV_MAX)
		return 0;
	context_settings_unref(*ret, total);
	refuse(e, MOAT_E_ENVIRONMENT_TOO_LARGE, "the environments of all contexts are larger than %u MiB",
	       CONTEXTS_ENV_MAX >> 20);
	e->limit = CONTEXTS_ENV_MAX;
	return -EINVAL;
}

int exec_context_enter(struct execs *execs, const char *name, struct context_settings *settings,
		       struct context **ret, struct refusal *e)
{
	struct failure f = { 0 };
	struct context *c;
	int r = context_add(execs->contexts, name, settings, &c);

	if (r < 0)
		context_settings_unref(settings, contexts_env_total(execs->contexts));
	if (r == -EUSERS) {
		refuse(e, MOAT_E_TOO_MANY_CONTEXTS, "there are %u contexts already", CONFIG_CONTEXTS_MAX);
		e->limit = CONFIG_CONTEXTS_MAX;
		return -EINVAL;
	}
	if (r == -EEXIST)
		return refuse(e, MOAT_E_CONTEXT_EXISTS, "there is a context %.150s already", name);
	if (r < 0)
		return no_memory(e);
	r = give_group(execs, c, &f);
	if (r < 0) {
		context_free(execs->contexts, c);
		if (refusal_of_want(-r))
			return exec_describe_errno(e, r);
		return refuse(e, MOAT_E_LIMIT_UNAVAILABLE, "%s", f.msg);
	}
	*ret = c;
	return 0;
}

static void count_private(struct context *c, void *data)
{
	*(size_t *)data += c->settings->values.ns == CONTEXT_PRIVATE;
}

/* Each keeps its place once it has run something: the others need some as well. */
static int check_places(struct execs *execs, const struct config_context *values, struct refusal *e)
{
	size_t n = 0, max = namespaces_private_max(execs->namespaces);

	if (values->ns != CONTEXT_PRIVATE)
		return 0;
	contexts_for_each(execs->contexts, count_private, &n);
	if (n < max)
		return 0;
	refuse(e, MOAT_E_TOO_MANY_CONTEXTS,
	       "there are %zu private contexts already, and descriptors for no more", n);
	e->limit = (long long)max;
	return -EINVAL;
}

int execs_context_add(struct execs *execs, const char *name, const struct config_context *values,
		      struct context **ret, struct refusal *e)
{
	struct context_settings *settings;
	int r;

	if (execs->closing)
		return refuse(e, MOAT_E_SHUTTING_DOWN, "the agent stops");
	r = check_places(execs, values, e);
	if (r == 0)
		r = exec_settings_make(execs, values, &settings, e);
	if (r == 0)
		r = exec_context_enter(execs, name, settings, ret, e);
	if (r == 0 && !enforce_active(execs->enforce))
		warn_of_covers(*ret);
	if (r == 0)
		kept_put(execs->kept, *ret);
	return r;
}

const struct layers *execs_layers(const struct execs *execs)
{
	return namespaces_layers(execs->namespaces);
}

struct contexts *execs_contexts(struct execs *execs)
{
	return execs->contexts;
}

#define SESSION_NAME_SIZE (sizeof(CONFIG_SESSION_PREFIX) + EXEC_SESSION_MAX)

/* --- Sessions ------------------------------------------------------------------------------ */

bool exec_session_id_valid(const char *id)
{
	size_t n = strlen(id);

	for (const unsigned char *p = (const unsigned char *)id; *p; p++)
		if (*p < ' ' || *p == 0x7f || (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
			return false;
	return n > 0 && n <= EXEC_SESSION_MAX && utf8_valid(id, n);
}

void execs_watch_sessions(struct execs *execs, void (*on_expired)(const char *context, void *data), void *data)
{
	execs->on_session_expired = on_expired;
	execs->session_data = data;
}

static void on_session_timer(struct loop_timer *timer)
{
	struct execs *execs = container_of(timer, struct execs, session_timer);
	uint64_t idle = execs->config->session_idle * NSEC_PER_SEC;
	struct refusal e;

	while (!list_empty(&execs->idle_sessions)) {
		struct context *c = list_entry(execs->idle_sessions.next, struct context, idle);
		uint64_t now = now_ns();

		if (now < c->idle_ns + idle) {
			(void)loop_timer_set(execs->loop, timer, c->idle_ns + idle - now, on_session_timer);
			return;
		}
		list_remove(&c->idle);
		if (execs->on_session_expired)
			execs->on_session_expired(c->name, execs->session_data);
		(void)execs_context_remove(execs, c, false, NULL, &e);
	}
}

void exec_session_idle(struct execs *execs, struct context *c)
{
	if (!c->session || execs->closing || execs->config->session_idle == 0)
		return;
	c->idle_ns = now_ns();
	list_remove(&c->idle);
	list_append(&execs->idle_sessions, &c->idle);
	if (!execs->session_timer.index)
		(void)loop_timer_set(execs->loop, &execs->session_timer,
				     execs->config->session_idle * NSEC_PER_SEC, on_session_timer);
}

static int make_session(struct execs *execs, const char *name, struct context **ret, struct refusal *e)
{
	struct context *from = context_find(execs->contexts, CONFIG_DEFAULT_CONTEXT);
	int r;

	from->settings->refs++;
	r = exec_context_enter(execs, name, from->settings, ret, e);
	if (r == 0) {
		(*ret)->session = true;
		kept_put(execs->kept, *ret);
	}
	return r;
}

/* What the context of a request is called; buf is for that of a session. */
static const char *name_of(const char *context, const char *session, char buf[SESSION_NAME_SIZE])
{
	if (!session)
		return context ? context : CONFIG_DEFAULT_CONTEXT;
	snprintf(buf, SESSION_NAME_SIZE, CONFIG_SESSION_PREFIX "%s", session);
	return buf;
}

bool execs_falls_back(struct execs *execs, const char *context, const char *session,
		      enum exec_shell shell)
{
	char of_session[SESSION_NAME_SIZE];
	const struct context *c =
		context_find(execs->contexts, name_of(context, session, of_session));

	if (shell != EXEC_SHELL_BY_CONTEXT)
		return shell == EXEC_SHELL_FALLBACK;
	if (!c) /* what a session that is not there yet would have */
		c = context_find(execs->contexts, CONFIG_DEFAULT_CONTEXT);
	return c->settings->values.falls_back;
}

int exec_context_of(struct execs *execs, const struct exec_request *request, struct context **ret,
		    bool *ret_created, struct refusal *e)
{
	char of_session[SESSION_NAME_SIZE];
	const char *name = name_of(request->context, request->session, of_session);
	struct context *c = context_find(execs->contexts, name);

	if (c && c->ending)
		return refuse(e, MOAT_E_CONTEXT_ENDING, "context %.150s is ending", c->name);
	if (!c && (!request->session || request->no_create))
		return refuse(e, MOAT_E_NO_SUCH_CONTEXT, "no context %.150s", name);
	*ret_created = !c;
	if (!c && make_session(execs, name, &c, e) < 0)
		return -EINVAL;
	*ret = c;
	return 0;
}

void exec_context_unmake(struct execs *execs, struct context *c)
{
	struct refusal e;

	if (list_empty(&c->execs)) /* else others want it, too */
		(void)execs_context_remove(execs, c, false, NULL, &e);
}

int execs_context_change(struct execs *execs, struct context *c, const struct config_context *values,
			 struct refusal *e)
{
	struct context_settings *settings;
	int r;

	if (c->ending)
		return refuse(e, MOAT_E_CONTEXT_ENDING, "context %.150s is ending", c->name);
	r = exec_settings_make(execs, values, &settings, e);
	if (r < 0)
		return r;
	context_settings_unref(c->settings, contexts_env_total(execs->contexts));
	c->settings = settings;
	kept_put(execs->kept, c);
	if (c->n_active == 0)
		exec_session_idle(execs, c); /* it is of use to somebody */
	return 0;
}

bool execs_context_reset(struct execs *execs, struct context *c)
{
	bool reset = context_state_reset(execs->contexts, c);

	if (reset)
		kept_put(execs->kept, c);
	return reset;
}

/* --- The end ------------------------------------------------------------------------------- */

static void release(struct execs *execs, struct context *c)
{
	for (size_t i = 0; i < ARRAY_LEN(c->own); i++)
		namespace_forget(c->own[i]);
	context_free(execs->contexts, c);
}

/* Nothing runs in it. */
static void finish(struct execs *execs, struct context *c)
{
	context_unname(execs->contexts, c);
	list_remove(&c->idle);
	for (size_t i = 0; i < ARRAY_LEN(c->own); i++)
		namespace_end(c->own[i]);
	cgroup_group_forget(take_ptr(c->group));
	while (!list_empty(&c->waiters)) {
		struct context_waiter *w = list_entry(c->waiters.next, struct context_waiter, link);

		list_remove(&w->link);
		w->on_gone(w);
	}
	if (list_empty(&c->execs))
		release(execs, c);
}

void exec_enter_context(struct exec *x)
{
	list_append(&x->context->execs, &x->in_context);
	list_remove(&x->context->idle);
	x->context->n_active++;
}

void exec_leave_context(struct exec *x)
{
	struct context *c = x->context;

	if (--c->n_active > 0)
		return;
	if (c->ending)
		finish(x->execs, c);
	else
		exec_session_idle(x->execs, c);
}

void exec_forget_context(struct exec *x)
{
	struct context *c = x->context;

	if (list_empty(&x->in_context))
		return;
	list_remove(&x->in_context);
	if (c->gone && list_empty(&c->execs))
		release(x->execs, c);
}

/* One that has not been told to stop, or NULL. Asked anew each time: when one stops, others may be freed with it. */
static struct exec *next_to_stop(struct context *c)
{
	list_for_each(pos, &c->execs) {
		struct exec *x = list_entry(pos, struct exec, in_context);

		if (exec_is_active(x) && !x->killed)
			return x;
	}
	return NULL;
}

int execs_context_remove(struct execs *execs, struct context *c, bool keep, struct context_waiter *w,
			 struct refusal *e)
{
	struct exec *x;

	if (strcmp(c->name, CONFIG_DEFAULT_CONTEXT) == 0)
		return refuse(e, MOAT_E_IMMUTABLE, "context %s is always there", c->name);
	c->ending = true;
	kept_drop(execs->kept, c);
	c->n_active++; /* it is there until this is done */
	while (!keep && (x = next_to_stop(c)))
		exec_stop(x);
	if (--c->n_active == 0) {
		finish(execs, c);
		return 0;
	}
	if (w)
		list_append(&c->waiters, &w->link);
	return 1;
}
