/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process/capture.h"

#include "base/held.h"

struct capture_block *capture_block_ref(struct capture_block *block)
{
	if (block)
		block->refs++;
	return block;
}

void capture_block_unref(struct capture_block *block)
{
	size_t size;

	if (!block || --block->refs > 0)
		return;
	size = block->size;
	free_wiped(block, sizeof(*block) + block->used);
	held_give(size);
}

void capture_free(struct capture *c)
{
	capture_block_unref(take_ptr(c->block));
}

/* Whole groups of base64, so that what comes behind the hole can be encoded by itself. */
static size_t head_size(const struct capture *c)
{
	return c->block->size / 4 / 3 * 3;
}

static size_t ring_size(const struct capture *c)
{
	return c->block->size - head_size(c);
}

/* A copy of the given size, whose bytes are counted already, takes the block's place. False: no memory. Not realloc(): it would
 * leave a copy behind, and answers read from the old one. */
static bool replace(struct capture *c, size_t size)
{
	struct capture_block *block = malloc(sizeof(*block) + size);
	size_t used = c->block ? c->block->used : 0;

	if (!block) {
		held_give(size);
		return false;
	}
	*block = (struct capture_block){ .refs = 1, .size = size, .used = used };
	if (used)
		memcpy(block->data, c->block->data, used);
	capture_block_unref(c->block);
	c->block = block;
	return true;
}

static void fix(struct capture *c)
{
	c->fixed = true;
	if (!c->block)
		return;
	c->tail = c->total > head_size(c) ? (size_t)c->total - head_size(c) : 0;
	c->at = c->tail % ring_size(c);
}

void capture_reserve(struct capture *c, size_t n, bool force, capture_take_fn take, void *arg)
{
	size_t size = c->block ? c->block->size : CAPTURE_FIRST;

	if (force && !c->block && c->total == 0)
		c->fixed = false;
	if (c->fixed)
		return;
	while (size < c->total + n && size < CAPTURE_MAX)
		size *= 2;
	if ((!c->block || size > c->block->size) && take(size, arg))
		(void)replace(c, size);
	if (!c->block && force) {
		held_force(CAPTURE_FIRST);
		(void)replace(c, CAPTURE_FIRST);
	}
	if (!c->block || c->block->size < c->total + n)
		fix(c);
}

size_t capture_room(const struct capture *c, uint64_t seen)
{
	size_t head, unseen;

	if (!c->block)
		return 0;
	if (!c->fixed)
		return c->block->size - (size_t)c->total;
	head = head_size(c);
	if (c->total < head)
		return head - (size_t)c->total + ring_size(c);
	if (seen < head)
		seen = head;
	unseen = seen < c->total ? (size_t)(c->total - seen) : 0;
	return unseen < ring_size(c) ? ring_size(c) - unseen : 0;
}

static void ring_add(struct capture *c, const char *data, size_t n)
{
	size_t size = ring_size(c), part;

	if (n > size) {
		data += n - size;
		n = size;
	}
	while (n > 0) {
		part = size - c->at < n ? size - c->at : n;
		memcpy(c->block->data + head_size(c) + c->at, data, part);
		c->at = (c->at + part) % size;
		c->tail = c->tail + part < size ? c->tail + part : size;
		data += part;
		n -= part;
	}
	c->block->used = head_size(c) + c->tail;
}

/* What is shared stays as it is. */
static bool own(struct capture *c, capture_take_fn take, void *arg)
{
	return c->block->refs == 1 || (take(c->block->size, arg) && replace(c, c->block->size));
}

void capture_add(struct capture *c, const char *data, size_t n, capture_take_fn take, void *arg)
{
	size_t part;

	capture_reserve(c, n, false, take, arg);
	if (!c->block) {
		c->total += n;
		return;
	}
	if (!c->fixed || c->total < head_size(c)) {
		part = (c->fixed ? head_size(c) : c->block->size) - (size_t)c->total;
		part = part < n ? part : n;
		memcpy(c->block->data + c->total, data, part);
		c->total += part;
		c->block->used = (size_t)c->total;
		data += part;
		n -= part;
	}
	if (n == 0)
		return;
	c->total += n;
	if (c->tail + n > ring_size(c) && !own(c, take, arg))
		c->at = c->tail =
			0; /* no memory: what it had is lost, for the block is another's now */
	else
		ring_add(c, data, n);
}

size_t capture_get(const struct capture *c, uint64_t *offset, const char **ret)
{
	uint64_t head = c->total;
	size_t at, left;

	if (*offset >= c->total)
		return 0;
	if (!c->block) {
		*offset = c->total;
		return 0;
	}
	if (c->fixed && head > head_size(c))
		head = head_size(c);
	if (*offset < head) {
		*ret = c->block->data + *offset;
		return (size_t)(head - *offset);
	}
	if (*offset < c->total - c->tail)
		*offset = c->total - c->tail;
	left = (size_t)(c->total - *offset);
	at = (c->at + ring_size(c) - left) % ring_size(c);
	*ret = c->block->data + head_size(c) + at;
	return left < ring_size(c) - at ? left : ring_size(c) - at;
}

size_t capture_kept(const struct capture *c)
{
	return c->block ? c->block->used : 0;
}

static void reverse(char *data, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		char c = data[i];

		data[i] = data[n - 1 - i];
		data[n - 1 - i] = c;
	}
}

size_t capture_linear(struct capture *c, size_t *ret_head, capture_take_fn take, void *arg)
{
	char *ring;

	*ret_head = capture_kept(c);
	if (!c->block || !c->fixed || c->total == *ret_head)
		return *ret_head;
	*ret_head = head_size(c);
	if (c->tail < ring_size(c) || c->at == 0)
		return c->block->used;
	if (!own(c, take, arg))
		return *ret_head;
	ring = c->block->data + head_size(c);
	reverse(ring, c->at);
	reverse(ring + c->at, ring_size(c) - c->at);
	reverse(ring, ring_size(c));
	c->at = 0;
	return c->block->used;
}
