/* SPDX-License-Identifier: Apache-2.0 */
#include "base/refusal.h"

#include <stdarg.h>

int refuse(struct refusal *r, enum moat_error code, const char *fmt, ...)
{
	va_list args;

	*r = (struct refusal){ .code = code, .offset = -1, .limit = -1 };
	va_start(args, fmt);
	vsnprintf(r->message, sizeof(r->message), fmt, args);
	va_end(args);
	return -EINVAL;
}
