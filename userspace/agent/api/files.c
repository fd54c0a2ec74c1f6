/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/contexts/{id}/files: what is asked. The answers are in files_answer.c. */
#include "agent/api/files.h"

#define LIST_DEFAULT 1000u

/* --- The query ------------------------------------------------------------------------------ */

static int bad(struct api_request *r, const char *field, const char *why)
{
	refuse(&r->error, MOAT_E_BAD_VALUE, "%s %s", field, why);
	snprintf(r->error.field, sizeof(r->error.field), "%s", field);
	r->failed = true;
	return -EINVAL;
}

/* Percent escapes decoded: any bytes but NUL, and at most max. */
static int decode(struct api_request *r, const char *field, const char *text, char *ret, size_t max)
{
	size_t len = 0;

	for (; *text && len < max; len++) {
		int high, low;

		if (*text != '%') {
			ret[len] = *text++;
			continue;
		}
		high = api_hex_digit(text[1]);
		low = high < 0 ? -1 : api_hex_digit(text[2]);
		if (low < 0 || (high == 0 && low == 0))
			return bad(r, field, "has a wrong percent escape");
		ret[len] = (char)(high << 4 | low);
		text += 3;
	}
	ret[len] = '\0';
	return *text    ? bad(r, field, "is too long") :
	       len == 0 ? bad(r, field, "must not be empty") :
			  0;
}

/* true, false, or there without a value; *ret stays as it is without it. */
static int query_bool(struct api_request *r, const char *name, bool *ret)
{
	const char *text = api_query(r, name);

	if (!text) {
		*ret |= api_has_query(r, name);
		return 0;
	}
	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		return bad(r, name, "must be true or false");
	*ret = strcmp(text, "true") == 0;
	return 0;
}

static int query_flag(struct api_request *r, const char *name, unsigned flag, bool inverted,
		      unsigned *flags)
{
	bool value = !(*flags & flag) == inverted;

	if (query_bool(r, name, &value) < 0)
		return -EINVAL;
	*flags = value != inverted ? *flags | flag : *flags & ~flag;
	return 0;
}

static int parse_mode(struct api_request *r, const char *text, mode_t *ret)
{
	unsigned mode = 0;
	size_t n = strspn(text, "01234567");

	if (n == 0 || n > 4 || text[n])
		return bad(r, "mode", "must be one to four octal digits");
	for (const char *p = text; *p; p++)
		mode = mode * 8 + (unsigned)(*p - '0');
	*ret = mode & 01777;
	return mode & ~01777u ? bad(r, "mode", "must not have set-user-ID or set-group-ID") : 0;
}

static int parse_hash(struct api_request *r, const char *text, struct files_ask *ask)
{
	for (size_t i = 0; i < sizeof(ask->hash); i++) {
		int high = api_hex_digit(text[2 * i]);
		int low = high < 0 ? -1 : api_hex_digit(text[2 * i + 1]);

		if (low < 0)
			return bad(r, "ifMatch", "must be a SHA-256, 64 hexadecimal digits");
		ask->hash[i] = (uint8_t)(high << 4 | low);
	}
	ask->flags |= FILES_SAME;
	return text[2 * sizeof(ask->hash)] ?
		       bad(r, "ifMatch", "must be a SHA-256, 64 hexadecimal digits") :
		       0;
}

static int query_limit(struct api_request *r, uint32_t *ret)
{
	const char *text = api_query(r, "limit");
	char *end;
	unsigned long n;

	*ret = LIST_DEFAULT;
	if (!text)
		return 0;
	n = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
	if (n < 1 || n > FILES_ENTRIES_MAX || *end)
		return bad(r, "limit", "must be 1 to 10000");
	*ret = (uint32_t)n;
	return 0;
}

/* RFC 9110, 14.2. What is none, or several ranges, is not looked at: the whole file is the answer. */
static void take_range(struct api_request *r, struct files_ask *ask)
{
	const char *text = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Range");
	unsigned long long from, to = INT64_MAX;
	int n = 0;

	if (!text || strncmp(text, "bytes=", 6) != 0 || strpbrk(text, " +,"))
		return;
	text += 6;
	if (sscanf(text, "-%18llu%n", &from, &n) == 1 && text[n] == '\0') {
		ask->flags |= FILES_SUFFIX;
		ask->length = from;
	} else if ((sscanf(text, "%18llu-%n", &from, &n) == 1 && n > 0 && text[n] == '\0') ||
		   (sscanf(text, "%18llu-%18llu%n", &from, &to, &n) == 2 && text[n] == '\0' &&
		    to >= from)) {
		ask->flags |= FILES_RANGE;
		ask->offset = from;
		ask->length = to == INT64_MAX ? INT64_MAX : to - from + 1;
	}
}

/* --- The requests --------------------------------------------------------------------------- */

static int open_request(struct api_request *r, enum files_operation operation, enum form form)
{
	const char *path = api_query(r, "path");
	struct api_files *f;

	if (!path) {
		refuse(&r->error, MOAT_E_MISSING_FIELD, "path is missing");
		snprintf(r->error.field, sizeof(r->error.field), "path");
		r->failed = true;
		return -EINVAL;
	}
	f = calloc(1, sizeof(*f));
	if (!f) {
		refuse(&r->error, MOAT_E_OUT_OF_MEMORY, "out of memory");
		r->failed = true;
		return -EINVAL;
	}
	r->files = f;
	f->request = r;
	f->form = form;
	f->observer = api_files_observer;
	f->ask = (struct files_ask){ .context = r->id, .operation = operation, .path = f->path };
	return decode(r, "path", path, f->path, FILES_PATH_MAX);
}

static int start(struct api_request *r)
{
	struct api_files *f = r->files;
	struct agent *agent = r->api->agent;
	int result =
		files_start(agent->execs, agent->loop, &f->ask, &f->observer, &f->files, &r->error);

	r->failed = result < 0;
	if (result < 0)
		return result;
	if (f->form != FORM_CONTENT)
		jbuf_open(&r->reply, '{');
	if (f->form == FORM_LIST)
		jbuf_add_open(&r->reply, "entries", '[');
	return 0;
}

static enum MHD_Result run(struct api_request *r, int result)
{
	if (result == 0)
		result = start(r);
	if (result < 0)
		return api_refuse(r);
	api_suspend(r);
	return MHD_YES;
}

/* Whether it is about a tar archive. */
static int query_archive(struct api_request *r, bool *ret)
{
	const char *text = api_query(r, "archive");

	*ret = text || api_has_query(r, "archive");
	return *ret && (!text || strcmp(text, "tar") != 0) ? bad(r, "archive", "must be tar") : 0;
}

/* Which of the questions it is. */
static int choose_form(struct api_request *r, enum files_operation *operation, enum form *form)
{
	static const struct {
		const char *name;
		enum files_operation operation;
		enum form form;
	} table[] = { { "stat", FILES_STAT, FORM_ENTRY },
		      { "exists", FILES_STAT, FORM_EXISTS },
		      { "list", FILES_LIST, FORM_LIST } };
	bool archive;
	unsigned n;

	if (query_archive(r, &archive) < 0)
		return -EINVAL;
	n = archive;
	*operation = archive ? FILES_PACK : FILES_READ;
	*form = FORM_CONTENT;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		bool wanted = false;

		if (query_bool(r, table[i].name, &wanted) < 0)
			return -EINVAL;
		if (!wanted)
			continue;
		if (n++ > 0)
			return bad(r, table[i].name, "must not stand beside another question");
		*operation = table[i].operation;
		*form = table[i].form;
	}
	return 0;
}

enum MHD_Result api_files_get(struct api_request *r)
{
	enum files_operation operation;
	enum form form;
	int result = choose_form(r, &operation, &form);

	if (result == 0)
		result = open_request(r, operation, form);
	if (result == 0)
		result = query_flag(r, "recursive", FILES_RECURSIVE, false, &r->files->ask.flags);
	if (result == 0)
		result = query_flag(r, "hash", FILES_HASH, false, &r->files->ask.flags);
	if (result == 0)
		result = query_limit(r, &r->files->ask.limit);
	if (result == 0 && operation == FILES_READ)
		take_range(r, &r->files->ask);
	return run(r, result);
}

enum MHD_Result api_files_delete(struct api_request *r)
{
	int result = open_request(r, FILES_REMOVE, FORM_ENTRY);

	if (result == 0)
		result = query_flag(r, "recursive", FILES_RECURSIVE, false, &r->files->ask.flags);
	return run(r, result);
}

/* --- Writing -------------------------------------------------------------------------------- */

static int put_query(struct api_request *r)
{
	const char *mode = api_query(r, "mode"), *match = api_query(r, "ifMatch");
	const char *none = api_query(r, "ifNoneMatch");
	struct files_ask *ask = &r->files->ask;
	bool append = false, archive;
	char star[2] = "";

	ask->mode = 0644;
	ask->flags = FILES_PARENTS;
	if (query_archive(r, &archive) < 0 || query_bool(r, "append", &append) < 0 ||
	    query_flag(r, "mkdirs", FILES_PARENTS, false, &ask->flags) < 0 ||
	    query_flag(r, "atomic", FILES_IN_PLACE, true, &ask->flags) < 0)
		return -EINVAL;
	if (archive && (append || mode || match || api_has_query(r, "atomic") || api_query(r, "atomic")))
		return bad(r, "archive", "goes with mkdirs and ifNoneMatch alone");
	if (append || archive)
		ask->operation = append ? FILES_APPEND : FILES_UNPACK;
	if ((mode && parse_mode(r, mode, &ask->mode) < 0) ||
	    (match && parse_hash(r, match, ask) < 0))
		return -EINVAL;
	if (none && (decode(r, "ifNoneMatch", none, star, 1) < 0 || strcmp(star, "*") != 0))
		return bad(r, "ifNoneMatch", "must be *");
	if (none)
		ask->flags |= FILES_NEW;
	return none && match ? bad(r, "ifNoneMatch", "must not stand beside ifMatch") : 0;
}

void api_files_begin(struct api_request *r)
{
	if (open_request(r, FILES_WRITE, FORM_DONE) == 0 && put_query(r) == 0)
		(void)start(r);
}

size_t api_files_take(struct api_request *r, const char *data, size_t n)
{
	return r->files->files ? files_send(r->files->files, data, n) : n;
}

enum MHD_Result api_files_put(struct api_request *r)
{
	if (r->files->files)
		files_send_end(r->files->files);
	api_suspend(r);
	return MHD_YES;
}

/* --- The other changes ---------------------------------------------------------------------- */

struct change {
	const char *operation, *to, *mode, *match;
	struct json_blob old_text, new_text;
	uint64_t count;
	bool parents, overwrite;
};

#define FIELD(name, kind, member) name, kind, offsetof(struct change, member)

static const char *const operations[] = { "replace", "mkdir", "rename", NULL };

static const struct json_field change_fields[] = {
	{ FIELD("op", JSON_KIND_TEXT, operation), .mandatory = true, .choices = operations },
	{ FIELD("to", JSON_KIND_TEXT, to), .min = 1, .max = FILES_PATH_MAX },
	{ FIELD("mode", JSON_KIND_TEXT, mode), .min = 1, .max = 4 },
	{ FIELD("ifMatch", JSON_KIND_TEXT, match), .min = 64, .max = 64 },
	{ FIELD("old", JSON_KIND_BLOB, old_text), .min = 1, .max = FILES_TEXT_MAX },
	{ FIELD("new", JSON_KIND_BLOB, new_text), .max = FILES_TEXT_MAX },
	{ FIELD("count", JSON_KIND_NUMBER, count), .min = 1, .max = UINT32_MAX },
	{ FIELD("mkdirs", JSON_KIND_BOOL, parents) },
	{ FIELD("overwrite", JSON_KIND_BOOL, overwrite) },
};

const struct api_body api_change_body = { change_fields, ARRAY_LEN(change_fields) };

static int missing(struct api_request *r, const char *field)
{
	refuse(&r->error, MOAT_E_MISSING_FIELD, "%s is missing", field);
	snprintf(r->error.field, sizeof(r->error.field), "%s", field);
	return -EINVAL;
}

static int ask_replace(struct api_request *r, const struct change *c, struct files_ask *ask)
{
	ask->operation = FILES_REPLACE;
	if (!c->old_text.data || !c->new_text.data)
		return missing(r, c->old_text.data ? "new" : "old");
	ask->old_text = c->old_text.data;
	ask->old_len = (uint32_t)c->old_text.len;
	ask->new_text = c->new_text.data;
	ask->new_len = (uint32_t)c->new_text.len;
	ask->count = (uint32_t)c->count;
	return c->match ? parse_hash(r, c->match, ask) : 0;
}

static int ask_change(struct api_request *r, const struct change *c, struct files_ask *ask)
{
	ask->mode = 0755;
	ask->flags = c->parents ? FILES_PARENTS : 0;
	if (strcmp(c->operation, "replace") == 0)
		return ask_replace(r, c, ask);
	if (strcmp(c->operation, "mkdir") == 0) {
		ask->operation = FILES_MKDIR;
		return c->mode ? parse_mode(r, c->mode, &ask->mode) : 0;
	}
	if (!c->to)
		return missing(r, "to");
	ask->operation = FILES_RENAME;
	ask->to = c->to;
	ask->flags |= c->overwrite ? 0 : FILES_NEW;
	return 0;
}

enum MHD_Result api_files_post(struct api_request *r)
{
	struct change change = { .count = 1, .parents = true, .overwrite = true };
	enum MHD_Result answer;
	json_t *root = NULL;
	int result;

	if (json_parse(r->body, r->body_len, &root, &r->error) < 0)
		return api_refuse(r);
	result = json_decode(root, change_fields, ARRAY_LEN(change_fields), &change, &r->error);
	if (result == 0)
		result = open_request(r, FILES_MKDIR, FORM_DONE);
	if (result == 0)
		result = ask_change(r, &change, &r->files->ask);
	answer = run(r, result);
	json_decref(root);
	return answer;
}

int api_files_prepare(struct api_request *r, enum MHD_Result (*respond)(struct api_request *r),
		      void (*on_failed)(struct api_request *r))
{
	struct agent *agent = r->api->agent;
	struct api_files *f = calloc(1, sizeof(*f));

	if (!f)
		return refuse(&r->error, MOAT_E_OUT_OF_MEMORY, "out of memory");
	r->files = f;
	f->request = r;
	f->observer = api_files_observer;
	f->respond = respond;
	f->on_failed = on_failed;
	return files_prepare(agent->execs, agent->loop, r->id, &f->observer, &f->files, &r->error);
}
