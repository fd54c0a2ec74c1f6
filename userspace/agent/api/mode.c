/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/mode: whether the kernel programs refuse what they judge, or only record it. */

#include "agent/api/internal.h"
#include "agent/audit/audit.h"
#include "base/log.h"

struct mode_body {
	const char *mode;
};

/* `off` is not to be had while moat runs. */
static const char *const modes[] = { "enforce", "audit", NULL };

static const struct json_field mode_fields[] = {
	{ "mode", JSON_KIND_TEXT, offsetof(struct mode_body, mode), .mandatory = true,
	  .choices = modes },
};

const struct api_body api_mode_body = { mode_fields, ARRAY_LEN(mode_fields) };

/* 0, or -EINVAL with r->error. */
static int decode_mode(struct api_request *r, enum moat_mode *ret)
{
	struct mode_body body = { 0 };
	json_t *root;
	int result;

	result = json_parse(r->body, r->body_len, &root, &r->error);
	if (result < 0)
		return result;
	result = json_decode(root, mode_fields, ARRAY_LEN(mode_fields), &body, &r->error);
	*ret = result == 0 && strcmp(body.mode, enforce_mode_name(MOAT_MODE_AUDIT)) == 0 ?
		       MOAT_MODE_AUDIT :
		       MOAT_MODE_ENFORCE;
	json_decref(root);
	return result;
}

static int set_mode(struct api_request *r, enum moat_mode mode)
{
	struct enforce *e = r->api->agent->enforce;
	int result = enforce_set_mode(e, mode);

	if (result == -ENODEV)
		return refuse(&r->error, MOAT_E_ENFORCEMENT_INACTIVE,
				     "the kernel enforces nothing: %.200s", enforce_reason(e));
	if (result < 0) {
		refuse(&r->error, MOAT_E_INTERNAL, "cannot switch the mode");
		r->error.err = -result;
		return -EINVAL;
	}
	return 0;
}

static void record(struct api_request *r, enum moat_mode from, enum moat_mode to)
{
	struct ucred peer = api_peer_credentials(r);

	log_at(to == MOAT_MODE_ENFORCE ? LOG_INFO : LOG_WARNING,
	       "mode %s, was %s (pid %d, uid %u)%s",
	       enforce_mode_name(to), enforce_mode_name(from), (int)peer.pid, (unsigned)peer.uid,
	       to == MOAT_MODE_ENFORCE ? "" : ": user code is refused nothing from now on");
	audit_record_mode(r->api->agent->audit,
			  &(struct audit_mode){ peer.pid, peer.uid, from, to });
}

enum MHD_Result api_mode_get(struct api_request *r)
{
	jbuf_open(&r->reply, '{');
	jbuf_add_text(&r->reply, "mode", enforce_mode_name(enforce_mode(r->api->agent->enforce)));
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}

enum MHD_Result api_mode_put(struct api_request *r)
{
	enum moat_mode previous = enforce_mode(r->api->agent->enforce), mode;

	if (decode_mode(r, &mode) < 0 || set_mode(r, mode) < 0)
		return api_refuse(r);
	if (mode != previous)
		record(r, previous, mode);
	jbuf_open(&r->reply, '{');
	jbuf_add_text(&r->reply, "mode", enforce_mode_name(mode));
	jbuf_add_text(&r->reply, "previous", enforce_mode_name(previous));
	jbuf_close(&r->reply, '}');
	return api_respond(r, 200);
}
