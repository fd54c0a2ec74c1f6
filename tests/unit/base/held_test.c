/* SPDX-License-Identifier: Apache-2.0 */
/* The bound on what is held for clients. */
#include "base/held.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void what_is_beyond_the_bound_is_not_taken(void **state)
{
	(void)state;
	held_set_max(1000);
	assert_true(held_take(750));
	assert_false(held_scarce());
	assert_true(held_take(250));
	assert_true(held_scarce());
	assert_false(held_take(1));
	assert_int_equal(held_used(), 1000);
	held_force(500); /* what cannot be refused is counted all the same */
	assert_false(held_take(0));
	assert_false(held_take(SIZE_MAX));
	held_give(800);
	assert_false(held_scarce());
	assert_true(held_take(300));
	held_give(1000);
	assert_int_equal(held_used(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_beyond_the_bound_is_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
