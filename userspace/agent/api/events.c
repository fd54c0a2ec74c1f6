/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/events?since=N&follow=true: what audit.c keeps, as NDJSON. Lines are made when the
 * client can take them: a slow client costs no memory, it sees a "gap" instead.
 */
#include "agent/api/internal.h"
#include "agent/audit/audit.h"

#define EVENTS_BATCH (32u * 1024) /* bytes per refill */

/* missed: 0 where nobody knows how many. */
static void write_gap(struct jbuf *b, uint64_t missed)
{
	jbuf_open(b, '{');
	jbuf_add_text(b, "type", "gap");
	if (missed)
		jbuf_add_unsigned(b, "missed", missed);
	else
		jbuf_add_null(b, "missed");
	jbuf_close(b, '}');
	jbuf_newline(b);
}

static void on_kept(const struct audit_entry *entry, void *data)
{
	struct api_request *r = data;

	if (r->reply.len >= EVENTS_BATCH)
		return; /* the rest with the next refill */
	if (entry->sequence > r->since + 1)
		write_gap(&r->reply, entry->sequence - r->since - 1);
	audit_write(r->api->agent->audit, entry, &r->reply);
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
	refuse(&r->error, MOAT_E_BAD_VALUE, "%s must be %s", name, what);
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
	if (r->since > audit_newest(r->api->agent->audit)) { /* of an agent before this one */
		r->since = 0;
		write_gap(&r->reply, 0);
	}
	r->refill = refill;
	if (follow) {
		f = calloc(1, sizeof(*f));
		if (!f) {
			refuse(&r->error, MOAT_E_OUT_OF_MEMORY, "out of memory");
			return api_refuse(r);
		}
		f->follower.on_entry = on_entry;
		f->request = r;
		r->follower = &f->follower;
		audit_follow(r->api->agent->audit, r->follower);
	}
	return api_respond_stream(r);
}
