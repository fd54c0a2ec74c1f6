/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of streams: beginning and end, beside a plain copy of all that came. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "agent/process/capture.h"
#include "agent/process/records.h"
#include "base/held.h"

#define ALL (4u * CAPTURE_MAX)

static char all[ALL];
static size_t allowed; /* bytes of memory; what is asked for beyond is refused */

static bool take(size_t n, void *arg)
{
	(void)arg;
	return n <= allowed && held_take(n);
}

static int setup(void **state)
{
	unsigned seed = 3;

	(void)state;
	for (size_t i = 0; i < ALL; i++)
		all[i] = (char)rand_r(&seed);
	allowed = SIZE_MAX;
	return 0;
}

static void add(struct capture *c, size_t n)
{
	capture_add(c, all + c->total, n, take, NULL);
}

/* Each byte that can be had is the one that came; returns how many cannot. */
static uint64_t check(const struct capture *c)
{
	uint64_t lost = 0, at = 0;

	while (at < c->total) {
		uint64_t was = at;
		const char *data;
		size_t n = capture_get(c, &at, &data);

		lost += at - was;
		assert_memory_equal(data, all + at, n);
		at += n;
	}
	return lost;
}

static void all_is_kept_up_to_the_limit(void **state)
{
	struct capture c = { 0 };
	size_t head;

	(void)state;
	for (size_t n = 1; c.total + n < CAPTURE_MAX; n = n * 3 + 1)
		add(&c, n);
	assert_int_equal(check(&c), 0);
	add(&c, CAPTURE_MAX - (size_t)c.total);
	assert_int_equal(check(&c), 0);
	assert_int_equal(capture_linear(&c, &head, take, NULL), CAPTURE_MAX);
	assert_int_equal(head, CAPTURE_MAX);
	assert_memory_equal(c.block->data, all, CAPTURE_MAX);
	capture_free(&c);
	assert_int_equal(held_used(), 0);
}

static void beyond_it_beginning_and_end_are_kept_in_their_order(void **state)
{
	static const size_t beyond[] = { 1, 77, CAPTURE_MAX / 2, CAPTURE_MAX, 2 * CAPTURE_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(beyond); i++) {
		struct capture c = { 0 };
		size_t head, left = CAPTURE_MAX + beyond[i];

		for (; left > 0; left -= left < 50021 ? left : 50021)
			add(&c, left < 50021 ? left : 50021);
		assert_int_equal(check(&c), beyond[i]);
		assert_int_equal(capture_linear(&c, &head, take, NULL), CAPTURE_MAX);
		assert_int_equal(head, CAPTURE_MAX / 4 / 3 * 3);
		assert_memory_equal(c.block->data, all, head);
		assert_memory_equal(c.block->data + head, all + c.total - (CAPTURE_MAX - head),
				    CAPTURE_MAX - head);
		assert_int_equal(check(&c), beyond[i]);
		add(&c, 1000); /* it goes on */
		assert_int_equal(check(&c), beyond[i] + 1000);
		capture_free(&c);
	}
	assert_int_equal(held_used(), 0);
}

static void who_shares_it_keeps_what_he_was_given(void **state)
{
	struct capture c = { 0 };
	struct capture_block *shared;
	char *copy;

	(void)state;
	add(&c, CAPTURE_MAX);
	shared = capture_block_ref(c.block);
	copy = malloc(CAPTURE_MAX);
	assert_non_null(copy);
	memcpy(copy, shared->data, CAPTURE_MAX);
	add(&c, 5000);
	assert_memory_equal(shared->data, copy, CAPTURE_MAX);
	assert_int_equal(check(&c), 5000);
	capture_block_unref(shared);
	/* Without memory for another one the old end is lost, and what comes is kept. */
	shared = capture_block_ref(c.block);
	memcpy(copy, shared->data, CAPTURE_MAX);
	allowed = 0;
	add(&c, 5000);
	assert_memory_equal(shared->data, copy, CAPTURE_MAX);
	add(&c, 3000);
	(void)check(&c);
	allowed = SIZE_MAX;
	capture_block_unref(shared);
	capture_free(&c);
	free(copy);
	assert_int_equal(held_used(), 0);
}

static void with_little_memory_less_is_kept(void **state)
{
	struct capture c = { 0 }, none = { 0 };
	size_t head;

	(void)state;
	allowed = CAPTURE_FIRST;
	for (int i = 0; i < 100; i++)
		add(&c, 333);
	assert_int_equal(check(&c), 33300 - CAPTURE_FIRST);
	assert_int_equal(capture_linear(&c, &head, take, NULL), CAPTURE_FIRST);
	allowed = 0;
	add(&none, 10000);
	assert_int_equal(check(&none), 10000);
	/* For who is waited for there is always some. */
	capture_reserve(&none, 1, true, take, NULL);
	assert_int_equal(capture_room(&none, none.total), 0);
	capture_free(&none);
	none = (struct capture){ 0 };
	capture_reserve(&none, 65536, true, take, NULL);
	assert_int_equal(capture_room(&none, 0), CAPTURE_FIRST);
	allowed = SIZE_MAX;
	capture_free(&none);
	capture_free(&c);
	assert_int_equal(held_used(), 0);
}

static void nothing_is_lost_that_has_room(void **state)
{
	(void)state;
	for (int scarce = 0; scarce < 2; scarce++) {
		struct capture c = { 0 };
		uint64_t seen = 0;
		unsigned seed = 11;

		allowed = scarce ? 8192 : SIZE_MAX;
		while (c.total < ALL - 65536) {
			size_t n, want = (size_t)rand_r(&seed) % 65536;
			uint64_t at;
			const char *data;

			capture_reserve(&c, want, true, take, NULL);
			n = capture_room(&c, seen);
			add(&c, n < want ? n : want);
			at = seen;
			n = capture_get(&c, &at, &data);
			assert_int_equal(at, seen);
			if (n > 0)
				assert_memory_equal(data, all + at, n);
			seen += n ? (size_t)rand_r(&seed) % (n + 1) : 0;
		}
		capture_free(&c);
	}
	allowed = SIZE_MAX;
	assert_int_equal(held_used(), 0);
}

static void records_say_in_which_order_streams_came(void **state)
{
	struct records r = { 0 };
	uint64_t at = 0, offset[2] = { 0 };
	unsigned seed = 5;

	(void)state;
	assert_int_equal(records_find(&r, 0), -ENOENT);
	for (size_t i = 0; i < 1000; i++) {
		uint32_t stream = (uint32_t)i % 2, n = (uint32_t)rand_r(&seed) % 100 + 1;

		records_add(&r, stream, at, offset[stream], (uint32_t)i);
		for (uint64_t byte = at; byte < at + n; byte += 7) {
			const struct record *found =
				records_get(&r, (size_t)records_find(&r, byte));

			assert_int_equal(found->stream, stream);
			assert_int_equal(found->offset + byte - found->at,
					 offset[stream] + byte - at);
		}
		at += n;
		offset[stream] += n;
	}
	assert_int_equal(r.n, 1000);
	records_free(&r);
	assert_int_equal(held_used(), 0);
}

static void of_too_many_records_the_oldest_go(void **state)
{
	struct records r = { 0 };
	uint64_t at = 0, offset[2] = { 0 };

	(void)state;
	for (size_t i = 0; i < 5 * RECORDS_MAX; i++, at += 3) {
		records_add(&r, i % 2, at, offset[i % 2], 0);
		offset[i % 2] += 3;
		assert_in_range(r.n, 1, RECORDS_MAX);
		assert_int_equal(records_find(&r, at), (ssize_t)r.n - 1);
	}
	assert_int_equal(records_find(&r, 0), -ENOENT);
	assert_true(r.n >= RECORDS_MAX / 4);
	records_free(&r);
	/* Of one stream they become fewer, and none is lost. */
	for (uint32_t i = 0; i < 3 * RECORDS_MAX; i++)
		records_add(&r, 0, i, i, i * 2 * RECORDS_MERGE_MS);
	assert_int_equal(records_find(&r, 0), 0);
	records_free(&r);
	assert_int_equal(held_used(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_kept_up_to_the_limit),
		cmocka_unit_test(beyond_it_beginning_and_end_are_kept_in_their_order),
		cmocka_unit_test(who_shares_it_keeps_what_he_was_given),
		cmocka_unit_test(with_little_memory_less_is_kept),
		cmocka_unit_test(nothing_is_lost_that_has_room),
		cmocka_unit_test(records_say_in_which_order_streams_came),
		cmocka_unit_test(of_too_many_records_the_oldest_go),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
