/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/workspaces.h"

#include "base/log.h"

static void complain(const struct workspaces *w, const struct refusal *e)
{
	log_warning("the workspace of context %s cannot be made: %s",
		    w->config->contexts[w->next - 1].name, e->message);
}

static void go_on(struct workspaces *w)
{
	struct refusal e;
	int r = 0;

	while (r != 1 && w->next < w->config->n_contexts) {
		r = files_prepare(w->execs, w->loop, w->config->contexts[w->next++].name,
				  &w->observer, &w->files, &e);
		if (r < 0)
			complain(w, &e);
	}
	if (r != 1)
		w->on_done(w->data);
}

static void on_entry(struct files_observer *o, const struct files_told *told)
{
	(void)o;
	(void)told;
}

static void on_end(struct files_observer *o, const struct files_end *end)
{
	struct workspaces *w = container_of(o, struct workspaces, observer);

	(void)end;
	w->files = NULL;
	go_on(w);
}

static void on_failed(struct files_observer *o, const struct refusal *e)
{
	struct workspaces *w = container_of(o, struct workspaces, observer);

	w->files = NULL;
	complain(w, e);
	go_on(w);
}

void workspaces_start(struct workspaces *w, const struct config *config, struct execs *execs,
		      struct loop *loop, void (*on_done)(void *data), void *data)
{
	*w = (struct workspaces){
		.config = config,
		.execs = execs,
		.loop = loop,
		.observer = { .on_entry = on_entry, .on_end = on_end, .on_failed = on_failed },
		.on_done = on_done,
		.data = data,
	};
	go_on(w);
}

void workspaces_stop(struct workspaces *w)
{
	if (w->files)
		files_cancel(w->files);
	w->files = NULL;
}
