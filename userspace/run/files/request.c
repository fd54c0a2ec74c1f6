/* SPDX-License-Identifier: Apache-2.0 */
#include "run/files/internal.h"

static bool hash_fits(const struct files_request *r)
{
	return !(r->flags & FILES_SAME) || r->operation == FILES_WRITE ||
	       r->operation == FILES_APPEND || r->operation == FILES_REPLACE;
}

bool files_request_valid(const struct files_request *r)
{
	bool replaces = r->operation == FILES_REPLACE;

	return r->magic == FILES_MAGIC && r->operation < FILES_OPERATION_COUNT &&
	       !(r->flags & ~(unsigned)FILES_FLAGS) && r->mode <= 07777 && hash_fits(r) &&
	       r->offset <= INT64_MAX && r->length <= INT64_MAX &&
	       (r->operation != FILES_LIST || (r->limit >= 1 && r->limit <= FILES_ENTRIES_MAX)) &&
	       r->root_len >= 1 && r->root_len <= FILES_PATH_MAX && r->path_len <= FILES_PATH_MAX &&
	       r->to_len <= FILES_PATH_MAX && (r->to_len == 0 || r->operation == FILES_RENAME) &&
	       r->old_len <= FILES_TEXT_MAX && r->new_len <= FILES_TEXT_MAX &&
	       (r->operation == FILES_PREPARE || replaces == (r->old_len > 0)) &&
	       (replaces || r->new_len == 0) &&
	       replaces == (r->count > 0);
}

size_t files_request_strings(const struct files_request *r)
{
	return (size_t)r->root_len + r->path_len + r->to_len + r->old_len + r->new_len;
}

/* The next string, with a NUL of its own in room. */
static char *take(const char **text, uint32_t n, char **room)
{
	char *s = memcpy(*room, *text, n);

	s[n] = '\0';
	*text += n;
	*room += n + 1;
	return s;
}

static bool is_path(const char *s, uint32_t n)
{
	return strlen(s) == n;
}

bool files_request_split(struct job *j, const char *text, size_t n, char *room)
{
	const struct files_request *r = &j->request;

	if (n != files_request_strings(r))
		return false;
	j->root = take(&text, r->root_len, &room);
	j->path = take(&text, r->path_len, &room);
	j->to = take(&text, r->to_len, &room);
	j->old_text = take(&text, r->old_len, &room);
	j->new_text = take(&text, r->new_len, &room);
	if (!is_path(j->root, r->root_len) || !is_path(j->path, r->path_len) ||
	    !is_path(j->to, r->to_len) || j->root[0] != '/')
		return false;
	j->path += strspn(j->path, "/");
	j->to += strspn(j->to, "/");
	j->whole = strspn(j->root, "/") == r->root_len;
	return true;
}
