/* SPDX-License-Identifier: Apache-2.0 */
/* The query of a request: each parameter is one that the route knows, and given once. */
#include "agent/api/internal.h"

const char *api_query(struct api_request *r, const char *name)
{
	return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
}

bool api_has_query(struct api_request *r, const char *name)
{
	return MHD_lookup_connection_value_n(r->connection, MHD_GET_ARGUMENT_KIND, name,
					     strlen(name), NULL, NULL) == MHD_YES;
}

static enum MHD_Result bad_query(struct api_request *r, enum moat_error code, const char *key,
				 const char *what)
{
	r->failed = true;
	refuse(&r->error, code, "%.64s %s", key, what);
	snprintf(r->error.field, sizeof(r->error.field), "%s", key);
	return MHD_NO;
}

/* Whether key is the name in a route's list; *ret_bare: it may have no value. */
static bool is_parameter(const char *name, const char *key, bool *ret_bare)
{
	size_t n = strlen(key);

	*ret_bare = name[0] && name[strlen(name) - 1] == '?';
	return strncmp(name, key, n) == 0 && strlen(name) == n + *ret_bare;
}

static enum MHD_Result check_query(void *cls, enum MHD_ValueKind kind, const char *key,
				   const char *value)
{
	struct api_request *r = cls;
	unsigned i = 0;
	bool bare = false;

	(void)kind;
	while (r->route->query && r->route->query[i] &&
	       !is_parameter(r->route->query[i], key, &bare))
		i++;
	if (!r->route->query || !r->route->query[i])
		return bad_query(r, MOAT_E_UNKNOWN_FIELD, key, "is not a known query parameter");
	if (r->query >> i & 1)
		return bad_query(r, MOAT_E_BAD_VALUE, key, "is given twice");
	if (!value && !bare)
		return bad_query(r, MOAT_E_BAD_VALUE, key, "has no value");
	r->query |= 1u << i;
	return MHD_YES;
}

void api_check_query(struct api_request *r)
{
	MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, check_query, r);
}
