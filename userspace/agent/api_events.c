/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/events?since=N&follow=true: what audit.c keeps, as NDJSON. Lines are made when the
 * client can take them: a slow client costs no memory, it sees a "gap" instead.
 */
#include "agent/api_internal.h"
#include "agent/audit.h"

#define EVENTS_BATCH (32u * 1024) /* bytes per refill */

static void write_subject(struct jbuf *b, const struct moat_event *event, struct execs *execs)
{
	jbuf_add_open(b, "subject", '{');
	jbuf_add_unsigned(b, "pid", event->pid);
	jbuf_key(b, "comm");
	jbuf_text_n(b, event->comm, strnlen(event->comm, sizeof(event->comm)));
	jbuf_add_unsigned(b, "context", event->context);
	jbuf_add_text(b, "contextName", execs_context_name(execs, event->context));
	jbuf_add_unsigned(b, "exec", event->exec);
	jbuf_close(b, '}');
}

static void write_denial(struct jbuf *b, const struct moat_event *event, struct execs *execs)
{
	const char *name = strerrorname_np(event->err);

	jbuf_add_text(b, "hook", enforce_hook_name(event->hook));
	jbuf_add_text(b, "surface", enforce_hook_surface(event->hook));
	jbuf_add_text(b, "verdict", event->enforced ? "denied" : "would-deny");
	jbuf_add_text(b, "errno", name ? name : "unknown");
	write_subject(b, event, execs);
	jbuf_add_open(b, "object", '{');
	jbuf_add_text(b, "kind", audit_object_name(event->object_kind));
	jbuf_add_unsigned(b, "value", event->object);
	jbuf_close(b, '}');
	jbuf_add_unsigned(b, "folded", event->folded);
}

static void write_mode(struct jbuf *b, const struct audit_mode *mode)
{
	jbuf_add_text(b, "from", enforce_mode_name(mode->from));
	jbuf_add_text(b, "to", enforce_mode_name(mode->to));
	jbuf_add_open(b, "caller", '{');
	jbuf_add_signed(b, "pid", mode->pid);
	jbuf_add_unsigned(b, "uid", mode->uid);
	jbuf_close(b, '}');
}

static void write_entry(struct jbuf *b, const struct audit_entry *entry, struct execs *execs)
{
	jbuf_open(b, '{');
	jbuf_add_unsigned(b, "seq", entry->sequence);
	jbuf_add_text(b, "type", audit_type_name(entry->type));
	jbuf_add_time(b, "time", entry->unix_ms);
	if (entry->type == AUDIT_DENIAL)
		write_denial(b, &entry->denial, execs);
	else
		write_mode(b, &entry->mode);
	jbuf_close(b, '}');
	jbuf_newline(b);
}

static void on_kept(const struct audit_entry *entry, void *data)
{
	struct api_request *r = data;

	if (r->reply.len >= EVENTS_BATCH)
		return; /* the rest with the next refill */
	if (entry->sequence > r->since + 1) {
		jbuf_open(&r->reply, '{');
		jbuf_add_text(&r->reply, "type", "gap");
		jbuf_add_unsigned(&r->reply, "missed", entry->sequence - r->since - 1);
		jbuf_close(&r->reply, '}');
		jbuf_newline(&r->reply);
	}
	write_entry(&r->reply, entry, r->api->agent->execs);
	r->since = entry->sequence;
}

static void refill(struct api_request *r)
{
	if (r->api->draining) {
		r->stream_ended = true; /* the modules that events refer to are being closed */
		return;
	}
	audit_replay(r->api->agent->audit, r->since, on_kept, r);
	if (!r->follower && r->reply.len == 0)
		r->stream_ended = true;
}

struct events_follower {
	struct audit_follower follower;
	struct api_request *request;
};

static void on_entry(struct audit_follower *f, const struct audit_entry *entry)
{
	(void)entry;
	api_resume(container_of(f, struct events_follower, follower)->request);
}

void api_events_detach(struct api_request *r)
{
	if (!r->follower)
		return;
	audit_unfollow(r->follower);
	free(container_of(take_ptr(r->follower), struct events_follower, follower));
}

static int parse_since(const char *text, uint64_t *ret)
{
	char *end;

	if (!text)
		return 0;
	if (*text < '0' || *text > '9' || strlen(text) > 18)
		return -EINVAL;
	*ret = strtoull(text, &end, 10);
	return *end ? -EINVAL : 0;
}

static int parse_bool(const char *text, bool *ret)
{
	if (!text)
		return 0;
	*ret = strcmp(text, "true") == 0;
	return *ret || strcmp(text, "false") == 0 ? 0 : -EINVAL;
}

static enum MHD_Result bad_query(struct api_request *r, const char *name, const char *what)
{
	api_error_set(&r->error, MOAT_E_BAD_VALUE, "%s must be %s", name, what);
	snprintf(r->error.field, sizeof(r->error.field), "%s", name);
	return api_refuse(r);
}

enum MHD_Result api_events_get(struct api_request *r)
{
	struct events_follower *f;
	bool follow = false;

	if (parse_since(api_query(r, "since"), &r->since) < 0)
		return bad_query(r, "since", "a whole number");
	if (parse_bool(api_query(r, "follow"), &follow) < 0)
		return bad_query(r, "follow", "true or false");
	r->refill = refill;
	if (follow) {
		f = calloc(1, sizeof(*f));
		if (!f) {
			api_error_set(&r->error, MOAT_E_OUT_OF_MEMORY, "out of memory");
			return api_refuse(r);
		}
		f->follower.on_entry = on_entry;
		f->request = r;
		r->follower = &f->follower;
		audit_follow(r->api->agent->audit, r->follower);
	}
	return api_respond_stream(r);
}
