/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept of a stream of bytes that may be endless: its beginning and its end. Up to CAPTURE_MAX bytes, or where memory is
 * short up to less, all is there; beyond, the first quarter stays, and the rest is a ring that has the newest bytes.
 */
#ifndef MOAT_CAPTURE_H
#define MOAT_CAPTURE_H

#include "base/base.h"

#define CAPTURE_MAX (1024u * 1024)
#define CAPTURE_FIRST 4096u

/* Shared by its capture and the answers that still send it: of what is in it nothing changes as long as it is shared, but more
 * may be added behind. Counted by held_take() as long as it is there. */
struct capture_block {
	unsigned refs;
	size_t size, used;
	char data[];
};

struct capture_block *capture_block_ref(struct capture_block *block); /* NULL is permitted */
void capture_block_unref(struct capture_block *block);

struct capture {
	struct capture_block *block;
	bool fixed;      /* it grows no more: behind the head is the ring */
	size_t at, tail; /* of the ring: where the next byte goes, and how many are there */
	uint64_t total;  /* bytes that have come */
};

/* Whether n bytes more may be held; they are counted then. */
typedef bool (*capture_take_fn)(size_t n, void *arg);

/* Makes room for n bytes, if it can. force: for the smallest block at least. */
void capture_reserve(struct capture *c, size_t n, bool force, capture_take_fn take, void *arg);
/* How many bytes can be added so that none is lost that lies at `seen` or behind it. After capture_reserve(). */
size_t capture_room(const struct capture *c, uint64_t seen);
void capture_add(struct capture *c, const char *data, size_t n, capture_take_fn take, void *arg);
/* The bytes at *offset, or where they are lost, the first behind them, and then *offset is moved. Returns how many lie there in
 * one place; 0: there is nothing more. */
size_t capture_get(const struct capture *c, uint64_t *offset, const char **ret);
/* Brings what is kept into one place, in its order: so many bytes, of which *ret_head come before the hole. */
size_t capture_linear(struct capture *c, size_t *ret_head, capture_take_fn take, void *arg);
size_t capture_kept(const struct capture *c);
void capture_free(struct capture *c);

#endif
