/* SPDX-License-Identifier: Apache-2.0 */

#include "agent/config/link.h"
#include "agent/files/internal.h"

static void files_free(struct files *f)
{
	loop_timer_cancel(f->loop, &f->stall);
	loop_timer_cancel(f->loop, &f->again);
	files_input_close(f);
	if (f->freed)
		*f->freed = true;
	free(f);
}

/* moat-run has said all, and exits; or it is to say no more. */
static struct files_observer *finish(struct files *f, bool kill)
{
	struct files_observer *o = f->observer;

	if (f->exec) {
		if (!f->ended) {
			exec_unobserve(f->exec, &f->watch);
			if (kill)
				(void)exec_kill(f->exec);
		}
		exec_unpin(f->exec);
	}
	files_free(f);
	return o;
}

static void failed(struct files *f, const struct refusal *e)
{
	struct refusal error = *e;
	struct files_observer *o = finish(f, true);

	o->on_failed(o, &error);
}

static void on_stall(struct loop_timer *timer)
{
	struct files *f = container_of(timer, struct files, stall);
	struct refusal e;

	refuse(&e, MOAT_E_FILE_TIMED_OUT, "%s: nothing came or went for %llu seconds", f->path,
	       (unsigned long long)((f->started ? 1 : 2) * FILES_STALL_NS / NSEC_PER_SEC));
	failed(f, &e);
}

void files_moved(struct files *f)
{
	(void)loop_timer_set(f->loop, &f->stall, FILES_STALL_NS, on_stall);
}

static void no_entry(struct files_observer *o, const struct files_told *told)
{
	(void)o;
	(void)told;
}

static void no_data(struct files_observer *o, const void *data, size_t n)
{
	(void)o;
	(void)data;
	(void)n;
}

static void no_room(struct files_observer *o)
{
	(void)o;
}

static void no_end(struct files_observer *o, const struct files_end *end)
{
	(void)o;
	(void)end;
}

static void no_failure(struct files_observer *o, const struct refusal *e)
{
	(void)o;
	(void)e;
}

static struct files_observer nobody = { no_entry, no_data, no_room, no_end, no_failure };

void files_cancel(struct files *f)
{
	if (!f->started || !f->parser.sending) {
		(void)finish(f, true);
		return;
	}
	/* The end of its input, too early, has it take away what it has begun. */
	f->observer = &nobody;
	files_input_close(f);
	files_moved(f);
}

/* --- From moat-run ------------------------------------------------------------------------- */

static void on_entry(void *data, const struct files_told *told)
{
	struct files *f = data;

	f->observer->on_entry(f->observer, told);
}

static void on_content(void *data, const void *bytes, size_t n)
{
	struct files *f = data;

	f->observer->on_data(f->observer, bytes, n);
}

static void on_end(void *data, const struct files_end *end)
{
	struct files_observer *o = finish(data, false);

	o->on_end(o, end);
}

static void on_error(void *data, const struct files_error *error)
{
	struct files *f = data;
	struct files_observer *o;
	struct refusal e;

	files_describe(error, f->path, &e);
	o = finish(f, false);
	o->on_failed(o, &e);
}

/* A piece of what it has written: 1. 0: there is no more; -1: f is no more. */
static int take_piece(struct files *f)
{
	static const struct files_parser_ops ops = { on_entry, on_content, on_end, on_error };
	static char bytes[FILES_DATA_MAX];
	bool freed = false, sense = true;
	struct exec_piece piece;
	enum exec_read kind;
	struct refusal e;

	kind = exec_read(f->exec, &f->reader, bytes, sizeof(bytes), &piece);
	if (kind == EXEC_READ_NOTHING)
		return 0;
	if (kind == EXEC_READ_BYTES)
		exec_reader_take(f->exec, &f->reader, &piece, piece.n);
	files_moved(f);
	f->freed = &freed;
	if (kind == EXEC_READ_LOST)
		sense = false;
	else if (piece.stream == EXEC_STDOUT)
		sense = files_parser_feed(&f->parser, &ops, f, bytes, piece.n) == 0;
	explicit_bzero(bytes, piece.n);
	if (freed)
		return -1;
	f->freed = NULL;
	if (sense)
		return 1;
	refuse(&e, MOAT_E_FILE_FAILED, "%s: what came from the context makes no sense", f->path);
	failed(f, &e);
	return -1;
}

/* Its answer would have ended f before. */
static void ended_without(struct files *f)
{
	struct exec_info info;
	struct refusal e;

	exec_get_info(f->exec, &info);
	if (info.oom_killed > 0)
		refuse(&e, MOAT_E_OUT_OF_MEMORY, "%s: the context is out of memory", f->path);
	else
		refuse(&e, MOAT_E_FILE_FAILED, "%s: moat-run was ended before it had answered",
		       f->path);
	failed(f, &e);
}

static void take_all(struct files *f)
{
	int r = 1;

	while (r > 0 && !f->paused)
		r = take_piece(f);
	if (r == 0 && f->ended)
		ended_without(f);
}

static void on_again(struct loop_timer *timer)
{
	take_all(container_of(timer, struct files, again));
}

static void on_output(struct exec_observer *o, struct exec *exec)
{
	(void)exec;
	take_all(container_of(o, struct files, watch));
}

static void on_started(struct exec_observer *o, struct exec *exec)
{
	struct files *f = container_of(o, struct files, watch);

	f->exec = exec;
	f->started = true;
	files_moved(f);
	files_input_flush(f);
	if (f->waited && f->len == 0) {
		f->waited = false;
		f->observer->on_room(f->observer);
	}
}

static void on_not_started(struct exec_observer *o, const struct refusal *e)
{
	struct files *f = container_of(o, struct files, watch);

	exec_unpin(take_ptr(f->exec));
	failed(f, e);
}

/* What it has written is still there. */
static void on_gone(struct exec_observer *o, struct exec *exec)
{
	struct files *f = container_of(o, struct files, watch);

	(void)exec;
	f->ended = true;
	take_all(f);
}

void files_pause(struct files *f, bool paused)
{
	f->paused = paused;
	files_moved(f);
	if (!paused && loop_timer_set(f->loop, &f->again, 0, on_again) < 0)
		(void)exec_kill(f->exec);
}

/* --- The beginning ------------------------------------------------------------------------- */

static int start(struct files *f, const char *context, struct refusal *e)
{
	FD_OWNED int theirs = -EBADF;
	struct exec_request request = { .context = context,
					.files = true,
					.timeout_ms = FILES_TIME_MS };
	int r = files_input_open(f, &theirs);

	if (r == 0)
		r = loop_timer_set(f->loop, &f->stall, 2 * FILES_STALL_NS, on_stall);
	if (r < 0) {
		enum moat_error want = refusal_of_want(-r);

		return refuse(e, want ? want : MOAT_E_INTERNAL,
			      "no resources for another request: %s", strerror(-r));
	}
	request.stdin_fd = theirs;
	f->reader.known = true;
	f->watch = (struct exec_observer){
		.held = &f->reader,
		.on_started = on_started,
		.on_failed = on_not_started,
		.on_output = on_output,
		.on_ended = on_gone,
	};
	list_init(&f->watch.link);
	r = exec_start(f->execs, &request, &f->watch, &f->exec, e);
	if (r == 0)
		exec_pin(f->exec);
	return r;
}

static int find_places(struct execs *execs, const struct files_ask *ask, struct files_path *at,
		       struct files_path *to, struct refusal *e)
{
	const struct context *c = context_find(execs_contexts(execs), ask->context);
	bool writes = ask->operation != FILES_READ && ask->operation != FILES_LIST &&
		      ask->operation != FILES_STAT && ask->operation != FILES_PACK;
	int r;

	if (!c)
		return refuse(e, MOAT_E_NO_SUCH_CONTEXT, "no context %.150s", ask->context);
	if (ask->operation == FILES_PREPARE) {
		/* Whose root is to be made. */
		snprintf(at->root, sizeof(at->root), "/");
		snprintf(at->path, sizeof(at->path), "%s", ask->path);
		to->path[0] = '\0';
		return 0;
	}
	r = files_place(c->settings, "path", ask->path, writes, at, e);
	to->path[0] = '\0';
	if (r < 0 || !ask->to)
		return r;
	r = files_place(c->settings, "to", ask->to, writes, to, e);
	if (r == 0 && strcmp(at->root, to->root) != 0)
		r = refuse(e, MOAT_E_OTHER_FILESYSTEM, "%.100s is beneath another root than %.100s",
			   ask->to, ask->path);
	return r;
}

int files_start(struct execs *execs, struct loop *loop, const struct files_ask *ask,
		struct files_observer *o, struct files **ret, struct refusal *e)
{
	struct files_path at, to;
	struct files *f;
	int r = find_places(execs, ask, &at, &to, e);

	if (r < 0)
		return r;
	f = calloc(1, sizeof(*f));
	if (!f)
		return refuse(e, MOAT_E_OUT_OF_MEMORY, "out of memory");
	f->execs = execs;
	f->loop = loop;
	f->observer = o;
	f->fd = f->source.fd = -EBADF;
	snprintf(f->path, sizeof(f->path), "%s", ask->path);
	files_parser_open(&f->parser, ask);
	r = files_input_request(f, ask, &at, &to);
	r = r < 0 ? refuse(e, MOAT_E_OUT_OF_MEMORY, "out of memory") : start(f, ask->context, e);
	if (r < 0) {
		files_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

/* As run/files/protocol.h has them. 0 or -ENOMEM. */
static int write_links(char *const *links, char **ret, uint32_t *ret_len)
{
	size_t size = 0;
	char *at;

	for (char *const *l = links; l && *l; l++)
		size += strlen(*l) + 2;
	*ret = at = malloc(size + 1);
	if (!at)
		return -ENOMEM;
	for (char *const *l = links; l && *l; l++) {
		struct config_link link;

		config_link_split(*l, &link);
		at = (char *)mempcpy(at, link.name, link.name_len);
		*at++ = '\0';
		at = (char *)mempcpy(at, link.target, link.target_len);
		*at++ = '\0';
	}
	*ret_len = (uint32_t)(at - *ret);
	return 0;
}

int files_prepare(struct execs *execs, struct loop *loop, const char *context,
		  struct files_observer *o, struct files **ret, struct refusal *e)
{
	const struct context *c = context_find(execs_contexts(execs), context);
	struct files_ask ask = { .context = context, .operation = FILES_PREPARE, .mode = 0755 };
	PTR_OWNED char *links = NULL;
	int r;

	if (!c || !c->settings->values.workspace)
		return 0;
	ask.path = c->settings->values.workspace;
	if (write_links(c->settings->values.links, &links, &ask.old_len) < 0)
		return refuse(e, MOAT_E_OUT_OF_MEMORY, "out of memory");
	ask.old_text = links;
	r = files_start(execs, loop, &ask, o, ret, e);
	return r < 0 ? r : 1;
}
