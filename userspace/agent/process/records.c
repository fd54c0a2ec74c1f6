/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process/records.h"

#include "base/held.h"

static struct record *list_of(struct records *r)
{
	return r->many ? r->many : r->few;
}

const struct record *records_get(const struct records *r, size_t i)
{
	return r->many ? &r->many[i] : &r->few[i];
}

void records_free(struct records *r)
{
	if (!r->many)
		return;
	free(r->many);
	held_give(r->size * sizeof(*r->many));
	*r = (struct records){ 0 };
}

static bool grow(struct records *r)
{
	size_t size = r->many ? r->size * 2 : 64;
	struct record *many;

	if (size > RECORDS_MAX || !held_take(size * sizeof(*many)))
		return false;
	many = malloc(size * sizeof(*many));
	if (!many) {
		held_give(size * sizeof(*many));
		return false;
	}
	memcpy(many, list_of(r), r->n * sizeof(*many));
	if (r->many) {
		free(r->many);
		held_give(r->size * sizeof(*many));
	}
	r->many = many;
	r->size = size;
	return true;
}

/* Makes fewer of those there are: neighbours of one stream become one; then, if need be, the older half goes. */
static void thin(struct records *r)
{
	struct record *list = list_of(r);
	size_t n = 0, all = r->n;

	for (size_t i = 0; i < r->n; i++)
		if (n == 0 || list[n - 1].stream != list[i].stream)
			list[n++] = list[i];
	if (n > all / 2) {
		memmove(list, list + n / 2, (n - n / 2) * sizeof(*list));
		n -= n / 2;
	}
	r->n = n;
}

void records_add(struct records *r, uint32_t stream, uint64_t at, uint64_t offset, uint32_t ms)
{
	struct record *last = r->n ? &list_of(r)[r->n - 1] : NULL;

	if (last && last->stream == stream && ms - last->ms < RECORDS_MERGE_MS)
		return;
	if (r->n == (r->many ? r->size : ARRAY_LEN(r->few)) && !grow(r))
		thin(r);
	list_of(r)[r->n++] =
		(struct record){ .at = at, .offset = offset, .ms = ms, .stream = stream };
}

ssize_t records_find(const struct records *r, uint64_t at)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (records_get(r, middle)->at <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? (ssize_t)low - 1 : -ENOENT;
}
