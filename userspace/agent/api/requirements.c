/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/status: each promise, and what keeps it. */
#include "agent/api/internal.h"
#include "agent/layers/requirements.h"

struct exceptions {
	struct jbuf *b;
	size_t requirement;
	bool lsm;
	unsigned layers;
};

/* Of the configuration, or in use: sessions are as default is. */
static void write_exception(struct context *c, void *data)
{
	const struct exceptions *e = data;

	if (!c->session &&
	    !requirement_holds(e->requirement, e->lsm, e->layers, &c->settings->values))
		jbuf_text(e->b, c->name);
}

void api_write_requirements(struct jbuf *b, const struct agent *agent)
{
	struct exceptions e = { .b = b,
				.lsm = enforce_mode(agent->enforce) == MOAT_MODE_ENFORCE,
				.layers = layers_active(execs_layers(agent->execs)) };
	const struct requirement *is;

	jbuf_add_open(b, "requirements", '[');
	for (; (is = requirement_at(e.requirement)); e.requirement++) {
		const char *by;
		enum guard guard = requirement_guard(e.requirement, e.lsm, e.layers, 0, &by);

		jbuf_open(b, '{');
		jbuf_add_text(b, "id", is->id);
		jbuf_add_text(b, "name", is->name);
		jbuf_add_text(b, "text", is->text);
		jbuf_add_text(b, "guard", guard_name(guard));
		jbuf_add_text(b, "by", by);
		jbuf_add_bool(b, "required",
			      agent->config->enforce == ENFORCE_REQUIRE ||
				      agent->config->required >> e.requirement & 1);
		jbuf_add_open(b, "notFor", '[');
		contexts_for_each(execs_contexts(agent->execs), write_exception, &e);
		jbuf_close(b, ']');
		jbuf_close(b, '}');
	}
	jbuf_close(b, ']');
}
