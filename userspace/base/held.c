/* SPDX-License-Identifier: Apache-2.0 */
#include "base/held.h"

#include <malloc.h>

#define MAX_DEFAULT (64u * 1024 * 1024)
#define TRIM_AFTER (8u * 1024 * 1024)

static size_t held_bound = MAX_DEFAULT, held_now, given;

void held_set_max(size_t max)
{
	held_bound = max;
}

size_t held_max(void)
{
	return held_bound;
}

size_t held_used(void)
{
	return held_now;
}

bool held_take(size_t n)
{
	if (held_now > held_bound || n > held_bound - held_now)
		return false;
	held_now += n;
	return true;
}

void held_force(size_t n)
{
	held_now += n;
}

void held_give(size_t n)
{
	held_now -= n;
	given += n;
	if (given < TRIM_AFTER || held_now > given)
		return;
	given = 0;
	malloc_trim(0);
}

bool held_scarce(void)
{
	return held_now > held_bound / 4 * 3;
}
