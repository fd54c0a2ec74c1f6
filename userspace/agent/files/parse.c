/* SPDX-License-Identifier: Apache-2.0 */
/* What comes from moat-run, read as the words of an adversary: user code of its context may have written them. */
#include "agent/files/files.h"

bool files_code_valid(uint32_t code)
{
	switch (code) {
#define FILES_CODE(name, http, exit) case MOAT_E_##name:
		MOAT_FILE_ERRORS(FILES_CODE)
#undef FILES_CODE
		return true;
	default:
		return false;
	}
}

static const uint32_t entries_max[FILES_OPERATION_COUNT] = {
#define FILES_ENTRIES(name, entries) [FILES_##name] = (entries),
	FILES_OPERATIONS(FILES_ENTRIES)
#undef FILES_ENTRIES
};

void files_parser_open(struct files_parser *p, const struct files_ask *ask)
{
	*p = (struct files_parser){
		.operation = ask->operation,
		.limit = ask->operation == FILES_LIST ? ask->limit : entries_max[ask->operation],
		.sending = ask->operation == FILES_WRITE || ask->operation == FILES_APPEND ||
			   ask->operation == FILES_UNPACK,
	};
}

/* Whether the frame may come now, by its type and length. */
static bool may_come(const struct files_parser *p, const struct files_frame *f)
{
	switch (f->type) {
	case FILES_DATA:
		return f->len > 0 && f->len <= FILES_DATA_MAX && f->len <= p->content_left;
	case FILES_ENTRY:
		return !p->sending && p->entries < p->limit &&
		       f->len >= sizeof(struct files_entry) &&
		       f->len <= sizeof(p->frame) - sizeof(*f);
	case FILES_KEEP:
		return f->len == 0;
	case FILES_END:
		return !p->sending && f->len == sizeof(struct files_end) &&
		       (p->content_left == 0 || p->operation == FILES_PACK) &&
		       (p->operation == FILES_LIST || p->entries == p->limit);
	case FILES_ERROR:
		return f->len == sizeof(struct files_error);
	default:
		return false;
	}
}

static bool has_no_nul(const char *text, size_t n)
{
	return strnlen(text, n) == n;
}

static int take_entry(struct files_parser *p, const struct files_parser_ops *ops, void *data,
		      const char *payload, size_t n)
{
	struct files_told told = { 0 };
	struct files_entry *e = &told.entry;

	memcpy(e, payload, sizeof(*e));
	told.name = payload + sizeof(*e);
	told.name_len = e->name_len;
	told.target_len = e->target_len;
	if (e->name_len > FILES_PATH_MAX || e->target_len > FILES_PATH_MAX ||
	    (size_t)e->name_len + e->target_len != n - sizeof(*e))
		return -EPROTO;
	told.target = told.name + told.name_len;
	if (!has_no_nul(told.name, told.name_len) || !has_no_nul(told.target, told.target_len) ||
	    (p->operation == FILES_LIST) != (told.name_len > 0) || e->has_hash > 1 ||
	    e->size > INT64_MAX || e->offset > e->size || e->length > e->size - e->offset)
		return -EPROTO;
	p->names += told.name_len + told.target_len;
	if (p->names > FILES_NAMES_MAX)
		return -EPROTO;
	p->entries++;
	if (p->operation == FILES_READ)
		p->content_left = e->length;
	if (p->operation == FILES_PACK)
		p->content_left = UINT64_MAX; /* as long as it will be */
	ops->entry(data, &told);
	return 0;
}

/* A frame that has arrived whole. 1: that was the last. */
static int take_frame(struct files_parser *p, const struct files_parser_ops *ops, void *data,
		      const struct files_frame *f)
{
	const char *payload = p->frame + sizeof(*f);
	struct files_error error;
	struct files_end end;

	switch (f->type) {
	case FILES_ENTRY:
		return take_entry(p, ops, data, payload, f->len);
	case FILES_END:
		memcpy(&end, payload, sizeof(end));
		if (end.created > 1 || end.truncated > 1)
			return -EPROTO;
		p->ended = true;
		ops->end(data, &end);
		return 1;
	case FILES_ERROR:
		memcpy(&error, payload, sizeof(error));
		if (!files_code_valid(error.code) || error.err > 4095)
			return -EPROTO;
		p->ended = true;
		ops->error(data, &error);
		return 1;
	default: /* FILES_KEEP */
		return 0;
	}
}

static size_t take_content(struct files_parser *p, const struct files_parser_ops *ops, void *data,
			   const char *bytes, size_t n)
{
	n = n < p->data_left ? n : p->data_left;
	p->data_left -= (uint32_t)n;
	p->content_left -= n;
	ops->content(data, bytes, n);
	return n;
}

/* Up to n bytes more of what has to be there whole, which is `whole` bytes. */
static size_t gather(struct files_parser *p, const char *bytes, size_t n, size_t whole)
{
	n = n < whole - p->have ? n : whole - p->have;
	memcpy(p->frame + p->have, bytes, n);
	p->have += n;
	return n;
}

int files_parser_feed(struct files_parser *p, const struct files_parser_ops *ops, void *data,
		      const void *bytes, size_t n)
{
	const char *at = bytes, *limit = at + n;

	if (p->ended)
		return -EPROTO;
	while (at < limit) {
		struct files_frame f;
		int r;

		if (p->data_left > 0) {
			at += take_content(p, ops, data, at, (size_t)(limit - at));
			continue;
		}
		if (p->have < sizeof(f))
			at += gather(p, at, (size_t)(limit - at), sizeof(f));
		if (p->have < sizeof(f))
			break;
		memcpy(&f, p->frame, sizeof(f));
		if (p->have == sizeof(f) && !may_come(p, &f))
			return -EPROTO;
		if (f.type == FILES_DATA) {
			p->data_left = f.len;
			p->have = 0;
			continue;
		}
		at += gather(p, at, (size_t)(limit - at), sizeof(f) + f.len);
		if (p->have < sizeof(f) + f.len)
			break;
		p->have = 0;
		r = take_frame(p, ops, data, &f);
		if (r != 0)
			return r < 0 ? r : 0; /* whatever comes behind the last is nobody's */
	}
	return 0;
}
