/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/internal.h"

static const char *const events_query[] = { "since", "follow", NULL };

static const char *const process_events_query[] = { "since", "follow", "beatMs", NULL };

static const char *const raw_query[] = { "since", "follow", NULL };

static const char *const port_query[] = { "state", "timeoutMs", NULL };

static const char *const stdin_query[] = { "offset", "close?", NULL };

static const char *const health_query[] = { "ready?", "service", NULL };

static const char *const remove_query[] = { "keep", NULL };

static const char *const files_get_query[] = { "path",       "stat?", "exists?", "list?",
					       "recursive?", "hash?", "limit",   "archive",
					       NULL };
static const char *const files_put_query[] = { "path", "append?", "atomic",      "mkdirs",
					       "mode", "ifMatch", "ifNoneMatch", "archive",
					       NULL };
static const char *const files_post_query[] = { "path", NULL };
static const char *const files_delete_query[] = { "path", "recursive?", NULL };

static const struct api_route routes[] = {
	{ "POST", "/v1/exec", NULL, true, api_exec_handle, .body = &api_exec_body },
	{ "GET", "/v1/processes", NULL, false, api_processes_list },
	{ "GET", "/v1/processes/{id}", NULL, false, api_process_get },
	{ "DELETE", "/v1/processes/{id}", NULL, false, api_process_kill },
	{ "GET", "/v1/processes/{id}/events", process_events_query, true, api_process_events },
	{ "GET", "/v1/processes/{id}/stdout", raw_query, true, api_process_stdout },
	{ "GET", "/v1/processes/{id}/stderr", raw_query, true, api_process_stderr },
	{ "POST", "/v1/processes/{id}/stdin", stdin_query, true, api_process_stdin },
	{ "PUT", "/v1/processes/{id}/stdin", stdin_query, true, api_process_stdin },
	{ "POST", "/v1/processes/{id}/wait", NULL, true, api_process_wait, .body = &api_wait_body },
	{ "POST", "/v1/processes/{id}/resize", NULL, false, api_process_resize,
	  .body = &api_resize_body },
	{ "POST", "/v1/processes/{id}/signal", NULL, false, api_process_signal,
	  .body = &api_signal_body },
	{ "GET", "/v1/contexts", NULL, false, api_contexts_list },
	{ "POST", "/v1/contexts", NULL, true, api_context_create },
	{ "GET", "/v1/contexts/{name}", NULL, false, api_context_get },
	{ "PATCH", "/v1/contexts/{name}", NULL, false, api_context_patch },
	{ "DELETE", "/v1/contexts/{name}", remove_query, true, api_context_remove },
	{ "DELETE", "/v1/contexts/{name}/state", NULL, false, api_context_reset },
	{ "GET", "/v1/contexts/{name}/files", files_get_query, true, api_files_get },
	{ "PUT", "/v1/contexts/{name}/files", files_put_query, true, api_files_put, api_files_begin,
	  api_files_take },
	{ "POST", "/v1/contexts/{name}/files", files_post_query, true, api_files_post,
	  .body = &api_change_body },
	{ "DELETE", "/v1/contexts/{name}/files", files_delete_query, true, api_files_delete },
	{ "GET", "/v1/ports", NULL, false, api_ports_list },
	{ "GET", "/v1/ports/{port}", port_query, true, api_port_get },
	{ "GET", "/v1/services", NULL, false, api_services_list },
	{ "GET", "/v1/status", NULL, false, api_status_get },
	{ "GET", "/v1/health", health_query, false, api_health_get },
	{ "GET", "/v1/mode", NULL, false, api_mode_get },
	{ "PUT", "/v1/mode", NULL, false, api_mode_put, .body = &api_mode_body },
	{ "GET", "/v1/events", events_query, true, api_events_get },
	{ "GET", "/v1/openapi.json", NULL, false, api_openapi_get },
	{ "GET", "/metrics", NULL, false, api_metrics_get },
};

const struct api_route *api_routes(size_t *ret_n)
{
	*ret_n = ARRAY_LEN(routes);
	return routes;
}

int api_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Takes a segment with its percent escapes decoded (RFC 3986, 2.1). How long it is in the path; 0: it is none, or not
 * UTF-8, or too long. */
static size_t take_id(const char *path, char *id)
{
	size_t n = 0, len = 0;

	for (; path[n] && path[n] != '/' && len < API_ID_MAX - 1; len++) {
		int high, low;

		if (path[n] != '%') {
			id[len] = path[n++];
			continue;
		}
		high = api_hex_digit(path[n + 1]);
		low = high < 0 ? -1 : api_hex_digit(path[n + 2]);
		if (low < 0 || (high == 0 && low == 0))
			return 0;
		id[len] = (char)(high << 4 | low);
		n += 3;
	}
	id[len] = '\0';
	return (path[n] && path[n] != '/') || !utf8_valid(id, len) ? 0 : n;
}

/* Matches segment by segment; what stands for {…} goes to id. */
static bool path_matches(const char *pattern, const char *path, char *id)
{
	while (*pattern) {
		if (*pattern == '{') {
			size_t n = take_id(path, id);

			if (n == 0)
				return false;
			pattern = strchr(pattern, '}') + 1;
			path += n;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*path;
}

const struct api_route *api_route_find(struct api_request *r, const char *method,
				       const char *path)
{
	/* Without a stream's; of others libmicrohttpd leaves the body out. */
	bool head = strcmp(method, "HEAD") == 0;
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (!path_matches(routes[i].path, path, r->id))
			continue;
		bool whole = strcmp(routes[i].method, "GET") == 0 && !routes[i].waits;

		if (strcmp(routes[i].method, method) == 0 || (head && whole)) {
			r->allow[0] = '\0';
			return &routes[i];
		}
		used += (size_t)snprintf(r->allow + used, sizeof(r->allow) - used, "%s%s%s",
					 used ? ", " : "", routes[i].method, whole ? ", HEAD" : "");
	}
	if (used)
		refuse(&r->error, MOAT_E_METHOD_NOT_ALLOWED, "this path knows %s only",
			      r->allow);
	else
		refuse(&r->error, MOAT_E_NOT_FOUND, "there is no such path");
	return NULL;
}
