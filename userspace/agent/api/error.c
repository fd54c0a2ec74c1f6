/* SPDX-License-Identifier: Apache-2.0 */
/* What a refusal looks like to a client. */
#include "agent/api/internal.h"

unsigned api_error_status(enum moat_error code)
{
	switch (code) {
#define MOAT_ERROR_STATUS(name, http, exit) case MOAT_E_##name: return http;
	MOAT_ERRORS(MOAT_ERROR_STATUS)
#undef MOAT_ERROR_STATUS
	case MOAT_OK:
		break;
	}
	return 500;
}

static const char *error_name(enum moat_error code)
{
	switch (code) {
#define MOAT_ERROR_NAME(name, http, exit) case MOAT_E_##name: return #name;
	MOAT_ERRORS(MOAT_ERROR_NAME)
#undef MOAT_ERROR_NAME
	case MOAT_OK:
		break;
	}
	return "INTERNAL";
}

void api_write_error(struct jbuf *b, const struct refusal *error)
{
	jbuf_open(b, '{');
	jbuf_add_text(b, "code", error_name(error->code));
	jbuf_add_text(b, "message", error->message);
	if (error->err || error->step || error->field[0] || error->offset >= 0 ||
	    error->limit >= 0 || error->expected >= 0 || error->exit_code >= 0 ||
	    error->count >= 0) {
		jbuf_add_open(b, "details", '{');
		if (error->err)
			jbuf_add_signed(b, "errno", error->err);
		if (error->step)
			jbuf_add_text(b, "step", error->step);
		if (error->field[0])
			jbuf_add_text(b, "field", error->field);
		if (error->offset >= 0)
			jbuf_add_signed(b, "offset", error->offset);
		if (error->limit >= 0)
			jbuf_add_signed(b, "limit", error->limit);
		if (error->expected >= 0)
			jbuf_add_signed(b, "expected", error->expected);
		if (error->exit_code >= 0)
			jbuf_add_signed(b, "exitCode", error->exit_code);
		if (error->count >= 0)
			jbuf_add_signed(b, "count", error->count);
		jbuf_close(b, '}');
	}
	jbuf_close(b, '}');
}
