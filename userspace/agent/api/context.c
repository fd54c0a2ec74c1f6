/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/contexts: contexts at run time. */
#include "agent/api/internal.h"
#include "agent/audit/audit.h"
#include "agent/config/value.h"

static struct context *find(struct api_request *r)
{
	struct context *c = context_find(execs_contexts(r->api->agent->execs), r->id);

	if (!c)
		refuse(&r->error, MOAT_E_NO_SUCH_CONTEXT, "no context %.150s", r->id);
	return c;
}

/* --- What is told --------------------------------------------------------------------------- */

static void write_head(const struct context *c, struct jbuf *b)
{
	jbuf_add_text(b, "name", c->name);
	jbuf_add_unsigned(b, "number", c->number);
	jbuf_add_text(b, "state", c->ending ? "ending" : "ready");
	jbuf_add_bool(b, "session", c->session);
	jbuf_add_unsigned(b, "running", c->n_active);
	jbuf_add_time(b, "createdAt", c->created_unix_ms);
}

static void list_one(struct context *c, void *data)
{
	struct jbuf *b = data;

	jbuf_open(b, '{');
	write_head(c, b);
	jbuf_close(b, '}');
}

enum MHD_Result api_contexts_list(struct api_request *r)
{
	jbuf_open(&r->reply, '{');
	jbuf_add_open(&r->reply, "contexts", '[');
	contexts_for_each(execs_contexts(r->api->agent->execs), list_one, &r->reply);
	jbuf_close(&r->reply, ']');
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}

static void add_usage(struct jbuf *b, const char *key, uint64_t value)
{
	if (value == CGROUP_UNKNOWN)
		jbuf_add_null(b, key);
	else
		jbuf_add_unsigned(b, key, value);
}

static void write_usage(const struct context *c, struct jbuf *b)
{
	struct cgroup_usage usage;

	cgroup_group_usage(c->group, &usage);
	jbuf_add_open(b, "usage", '{');
	add_usage(b, "memory", usage.memory);
	add_usage(b, "processes", usage.processes);
	add_usage(b, "cpuUs", usage.cpu_us);
	jbuf_close(b, '}');
}

static void write_whole(const struct context *c, struct jbuf *b)
{
	write_head(c, b);
	jbuf_add_open(b, "settings", '{');
	context_write_values(&c->settings->values, b);
	jbuf_close(b, '}');
	jbuf_key(b, "userState");
	context_write_state(c, b);
	write_usage(c, b);
}

enum MHD_Result api_context_get(struct api_request *r)
{
	struct context *c = find(r);

	if (!c)
		return api_refuse(r);
	jbuf_open(&r->reply, '{');
	write_whole(c, &r->reply);
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}

/* --- Secrets -------------------------------------------------------------------------------- */

bool api_warns_of(enum context_state_fate fate)
{
	return fate != CONTEXT_STATE_UNASKED && fate != CONTEXT_STATE_TAKEN;
}

/* Of what a command string changed, where that is not in its context now. */
static void write_fate(struct jbuf *b, enum context_state_fate fate)
{
	bool large = fate == CONTEXT_STATE_TOO_LARGE;

	if (!api_warns_of(fate))
		return;
	jbuf_open(b, '{');
	jbuf_add_text(b, "code", large ? "STATE_TOO_LARGE" : "STATE_NOT_RETURNED");
	jbuf_add_text(
		b, "message",
		large ? "what the string changed was not taken: its context's state would be too large" :
			"the string did not come to hand back what it changed: its context is as before");
	jbuf_close(b, '}');
}

void api_write_warnings(struct jbuf *b, char *const *names, const struct command_warnings *string,
			enum context_state_fate fate)
{
	jbuf_add_open(b, "warnings", '[');
	for (; names && *names; names++) {
		jbuf_open(b, '{');
		jbuf_add_text(b, "code", "SECRET_IN_CONTEXT");
		jbuf_add_text(b, "name", *names);
		jbuf_add_text(b, "message",
			      "by its name a secret: every command of the context can read it; give it to a "
			      "command alone, in env");
		jbuf_close(b, '}');
	}
	for (size_t i = 0; string && i < string->n && i < COMMAND_WARNINGS_MAX; i++) {
		jbuf_open(b, '{');
		jbuf_add_text(b, "code", "SUBSTITUTION_NOT_PERFORMED");
		jbuf_add_unsigned(b, "offset", string->offsets[i]);
		jbuf_add_text(b, "message", "a substitution is not performed: from here on it is text");
		jbuf_close(b, '}');
	}
	write_fate(b, fate);
	jbuf_close(b, ']');
}

void api_record_secrets(struct api *api, const char *context, char *const *names)
{
	for (; names && *names; names++)
		audit_record_secret_name(api->agent->audit, context, *names);
}

int api_find_secrets(const json_t *env, char ***ret_names)
{
	const char *name;
	json_t *value;
	char **names = NULL;

	json_object_foreach((json_t *)env, name, value) {
		if (json_is_null(value) || !config_is_secret_name(name))
			continue;
		if (names && strv_len(names) == API_WARNINGS_MAX)
			break;
		if (strv_append(&names, name) < 0) {
			strv_free(names);
			return -ENOMEM;
		}
	}
	*ret_names = names;
	return 0;
}

/* --- Making and changing -------------------------------------------------------------------- */

/* The answer to a request that has made or changed a context. */
static enum MHD_Result tell(struct api_request *r, const struct context *c, char **secrets,
			    unsigned status)
{
	api_record_secrets(r->api, c->name, secrets);
	jbuf_open(&r->reply, '{');
	write_whole(c, &r->reply);
	api_write_warnings(&r->reply, secrets, NULL, CONTEXT_STATE_UNASKED);
	jbuf_close(&r->reply, '}');
	return api_respond(r, status);
}

/* The name of a new context; NULL with the error. */
static const char *new_name(const json_t *root, struct refusal *e)
{
	const json_t *value = json_object_get(root, "name");
	const char *name = json_string_value(value), *why;

	if (!value)
		refuse(e, MOAT_E_MISSING_FIELD, "name is missing");
	else if (!name)
		refuse(e, MOAT_E_BAD_VALUE, "name must be a string");
	else if ((why = config_value_context_name(name)))
		refuse(e, MOAT_E_BAD_VALUE, "name %s", why);
	else
		return name;
	snprintf(e->field, sizeof(e->field), "name");
	return NULL;
}

/* The settings of `from`, changed as the request says. 0: *ret is the caller's to clear. */
static int decode(const json_t *root, const struct context *from, bool change,
		  struct config_context *ret, char ***ret_secrets, struct refusal *e)
{
	struct config_context values;
	int r = context_values_copy(&from->settings->values, &values);

	if (r < 0)
		return refuse(e, MOAT_E_OUT_OF_MEMORY, "out of memory");
	r = context_decode(root, change, &values, e);
	if (r == 0 && api_find_secrets(json_object_get(root, "env"), ret_secrets) < 0)
		r = refuse(e, MOAT_E_OUT_OF_MEMORY, "out of memory");
	if (r < 0)
		context_values_clear(&values);
	else
		*ret = values;
	return r;
}

static enum MHD_Result tell_created(struct api_request *r)
{
	struct context *c = find(r);

	return c ? tell(r, c, r->secrets, 201) : api_refuse(r);
}

/* Its workspace cannot be made. */
static void unmake(struct api_request *r)
{
	struct execs *execs = r->api->agent->execs;
	struct context *c = execs ? context_find(execs_contexts(execs), r->id) : NULL;
	struct refusal e;

	if (c && !c->ending)
		(void)execs_context_remove(execs, c, false, NULL, &e);
}

/* It is there; its workspace may have to be made. */
static enum MHD_Result prepare(struct api_request *r)
{
	int result = api_files_prepare(r, tell_created, unmake);

	if (result < 0) {
		unmake(r);
		return api_refuse(r);
	}
	if (result == 0)
		return tell_created(r);
	api_suspend(r);
	return MHD_YES;
}

enum MHD_Result api_context_create(struct api_request *r)
{
	struct execs *execs = r->api->agent->execs;
	const struct context *from = context_find(execs_contexts(execs), CONFIG_DEFAULT_CONTEXT);
	struct config_context values;
	struct context *c = NULL;
	const char *name;
	json_t *root;

	if (json_parse(r->body, r->body_len, &root, &r->error) < 0)
		return api_refuse(r);
	name = new_name(root, &r->error);
	if (name && decode(root, from, false, &values, &r->secrets, &r->error) == 0) {
		(void)execs_context_add(execs, name, &values, &c, &r->error);
		context_values_clear(&values);
	}
	if (c)
		snprintf(r->id, sizeof(r->id), "%s", name);
	json_decref(root);
	return c ? prepare(r) : api_refuse(r);
}

enum MHD_Result api_context_patch(struct api_request *r)
{
	struct execs *execs = r->api->agent->execs;
	struct context *c = find(r);
	struct config_context values;
	char **secrets = NULL;
	bool changed = false;
	enum MHD_Result result;
	json_t *root;

	if (!c || json_parse(r->body, r->body_len, &root, &r->error) < 0)
		return api_refuse(r);
	if (json_object_get(root, "name")) {
		refuse(&r->error, MOAT_E_IMMUTABLE, "name cannot be changed");
		snprintf(r->error.field, sizeof(r->error.field), "name");
	} else if (decode(root, c, true, &values, &secrets, &r->error) == 0) {
		changed = execs_context_change(execs, c, &values, &r->error) == 0;
		context_values_clear(&values);
	}
	json_decref(root);
	result = changed ? tell(r, c, secrets, 200) : api_refuse(r);
	strv_free(secrets);
	return result;
}

enum MHD_Result api_context_reset(struct api_request *r)
{
	struct context *c = find(r);

	if (!c)
		return api_refuse(r);
	jbuf_open(&r->reply, '{');
	jbuf_add_text(&r->reply, "name", c->name);
	jbuf_add_bool(&r->reply, "reset", execs_context_reset(r->api->agent->execs, c));
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}

/* --- The end -------------------------------------------------------------------------------- */

static void write_removed(struct api_request *r, bool gone)
{
	jbuf_open(&r->reply, '{');
	jbuf_add_text(&r->reply, "name", r->id);
	jbuf_add_bool(&r->reply, "removed", gone);
	jbuf_close(&r->reply, '}');
}

static void on_gone(struct context_waiter *w)
{
	struct api_request *r = container_of(w, struct api_request, waiter);

	write_removed(r, true);
	r->status = 200;
	api_resume(r);
}

void api_context_detach(struct api_request *r)
{
	list_remove(&r->waiter.link);
}

enum MHD_Result api_context_remove(struct api_request *r)
{
	struct context *c = find(r);
	const char *text = api_query(r, "keep");
	bool keep = text && strcmp(text, "true") == 0;
	int result;

	if (!c)
		return api_refuse(r);
	if (text && !keep && strcmp(text, "false") != 0) {
		refuse(&r->error, MOAT_E_BAD_VALUE, "keep must be true or false");
		snprintf(r->error.field, sizeof(r->error.field), "keep");
		return api_refuse(r);
	}
	r->waiter.on_gone = on_gone;
	result = execs_context_remove(r->api->agent->execs, c, keep, keep ? NULL : &r->waiter,
				      &r->error);
	if (result < 0)
		return api_refuse(r);
	if (result == 1 && !keep) {
		api_suspend(r);
		return MHD_YES;
	}
	write_removed(r, result == 0);
	return api_respond(r, result == 0 ? 200 : 202);
}
