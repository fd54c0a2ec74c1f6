/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts that an agent before this one has left: made again, in front of the first request. */
#include "agent/exec/internal.h"
#include "base/log.h"

struct restoring {
	struct execs *execs;
	struct context_settings **made; /* by the number in the file; shared again */
	size_t n_made;
	unsigned restored;
};

static void lost(const struct kept_context *kept, const struct refusal *e)
{
	log_warning("context %.150s is not as the agent before has left it: %s", kept->name,
		    e->message);
}

/* What the API has changed of one of the configuration. */
static int change(struct restoring *r, struct context *c, const struct kept_context *kept,
		  struct refusal *e)
{
	struct config_context values;
	int result;

	if (json_object_size(kept->values) == 0)
		return 0;
	if (context_values_copy(&c->settings->values, &values) < 0)
		return refuse(e, MOAT_E_OUT_OF_MEMORY, "out of memory");
	result = context_decode(kept->values, true, &values, e);
	if (result == 0)
		result = execs_context_change(r->execs, c, &values, e);
	context_values_clear(&values);
	return result;
}

/* One reference of them is the caller's. */
static int settings_of(struct restoring *r, const struct kept_context *kept,
		       struct context_settings **ret, struct refusal *e)
{
	struct config_context values = { 0 };
	struct context_settings **made;
	int result;

	if (kept->settings > UINT32_MAX)
		return refuse(e, MOAT_E_BAD_VALUE, "its settings have no number");
	if (kept->settings >= r->n_made) {
		made = reallocarray(r->made, kept->settings + 1, sizeof(*made));
		if (!made)
			return refuse(e, MOAT_E_OUT_OF_MEMORY, "out of memory");
		memset(made + r->n_made, 0, (kept->settings + 1 - r->n_made) * sizeof(*made));
		r->made = made;
		r->n_made = kept->settings + 1;
	}
	if (!r->made[kept->settings]) {
		result = context_decode(kept->values, false, &values, e);
		if (result == 0)
			result = exec_settings_make(r->execs, &values, &r->made[kept->settings], e);
		context_values_clear(&values);
		if (result < 0)
			return result;
	}
	*ret = r->made[kept->settings];
	(*ret)->refs++;
	return 0;
}

static int make(struct restoring *r, const struct kept_context *kept, struct context **ret,
		struct refusal *e)
{
	struct context_settings *settings = NULL;
	int result = settings_of(r, kept, &settings, e);

	if (result < 0)
		return result;
	result = exec_context_enter(r->execs, kept->name, settings, ret, e);
	if (result == 0) {
		(*ret)->session = kept->session;
		(*ret)->created_unix_ms = kept->created_unix_ms;
	}
	return result;
}

static void restore_one(const struct kept_context *kept, void *data)
{
	struct restoring *r = data;
	struct context *c = context_find(r->execs->contexts, kept->name);
	struct refusal e;
	int result = 0;

	if (kept->settings > 0 && c)
		result = refuse(&e, MOAT_E_CONTEXT_EXISTS,
				"the configuration has one of that name now");
	else if (kept->settings == 0 && !c)
		result = refuse(&e, MOAT_E_NO_SUCH_CONTEXT,
				"the configuration has none of that name any more");
	else
		result = c ? change(r, c, kept, &e) : make(r, kept, &c, &e);
	if (result == 0 && kept->state_len &&
	    context_state_apply(r->execs->contexts, c, kept->state, kept->state_len) !=
		    CONTEXT_STATE_TAKEN)
		result = refuse(&e, MOAT_E_BAD_VALUE, "its state is none");
	if (result < 0)
		lost(kept, &e);
	else
		r->restored++;
	if (c && c->session)
		exec_session_idle(r->execs, c);
}

int execs_keep(struct execs *execs, const char *directory, struct failure *f)
{
	struct restoring r = { .execs = execs };
	struct kept *kept;
	unsigned broken;
	/* Without a user namespace (moatd --dev) it is in the sight of user code, which has the same user. */
	bool covered = !execs->config->dev || layers_active(execs_layers(execs)) & LAYER_MOUNTS;
	int result = kept_open(directory, covered, execs->contexts, execs->config, &kept, f);

	if (result < 0)
		return result;
	result = kept_read(kept, restore_one, &r, &broken);
	for (size_t i = 0; i < r.n_made; i++)
		if (r.made[i])
			context_settings_unref(r.made[i], contexts_env_total(execs->contexts));
	free(r.made);
	if (result < 0) {
		kept_close(kept);
		return fail(f, -result, "cannot read what contexts an agent before has left");
	}
	if (broken)
		log_warning("of what contexts an agent before has left %u lines cannot be read",
			    broken);
	if (r.restored)
		log_info("%u contexts are as the agent before has left them", r.restored);
	kept_begin(kept);
	if (kept_not(kept) && execs->config->dev) /* who has one warning, and all else in the status */
		log_info("contexts do not outlive the agent: %s", kept_not(kept));
	else if (kept_not(kept))
		log_warning("contexts do not outlive the agent: %s", kept_not(kept));
	execs->kept = kept;
	return 0;
}

const char *execs_not_kept(const struct execs *execs)
{
	return kept_not(execs->kept);
}
