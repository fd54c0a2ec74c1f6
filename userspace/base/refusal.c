/* SPDX-License-Identifier: Apache-2.0 */
#include "base/refusal.h"

#include <stdarg.h>

enum moat_error refusal_of_want(int err)
{
	switch (err) {
	case ENOMEM:
	case ENOBUFS:
		return MOAT_E_OUT_OF_MEMORY;
	case EAGAIN: /* clone(2): no more processes */
	case EMFILE:
	case ENFILE:
	case ENOSPC: /* of cgroups, namespaces, watches */
	case EUSERS:
	case EBUSY: /* cgroup.max.descendants, as namespace_spawn() passes it on */
		return MOAT_E_TOO_MANY_PROCESSES;
	default:
		return MOAT_OK;
	}
}

int refuse(struct refusal *r, enum moat_error code, const char *fmt, ...)
{
	va_list args;

	*r = (struct refusal){
		.code = code, .offset = -1, .limit = -1, .expected = -1, .exit_code = -1, .count = -1
	};
	va_start(args, fmt);
	vsnprintf(r->message, sizeof(r->message), fmt, args);
	va_end(args);
	return -EINVAL;
}
