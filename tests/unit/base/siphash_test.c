/* SPDX-License-Identifier: Apache-2.0 */
/* The first test vectors that the authors of SipHash publish (vectors.h, 128 bits). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/siphash.h"

static void hashes_are_those_of_its_authors(void **state)
{
	static const unsigned char expected[][16] = {
		{ 0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7,
		  0x55, 0x02, 0x93 },
		{ 0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b,
		  0x22, 0xfc, 0x45 },
		{ 0x81, 0x77, 0x22, 0x8d, 0xa4, 0xa4, 0x5d, 0xc7, 0xfc, 0xa3, 0x8b, 0xde, 0xf6,
		  0x0a, 0xff, 0xe4 },
	};
	static const uint64_t key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	static const unsigned char text[] = { 0, 1 };

	(void)state;
	for (size_t n = 0; n < ARRAY_LEN(expected); n++) {
		uint64_t hash[2];

		siphash128(key, text, n, hash);
		assert_memory_equal(hash, expected[n], sizeof(hash));
	}
}

static void every_byte_and_the_length_count(void **state)
{
	static const uint64_t key[2] = { 1, 2 };
	char text[40] = { 0 };
	uint64_t first[2], other[2];

	(void)state;
	siphash128(key, text, sizeof(text), first);
	for (size_t i = 0; i < sizeof(text); i++) {
		text[i] = 1;
		siphash128(key, text, sizeof(text), other);
		assert_memory_not_equal(first, other, sizeof(first));
		text[i] = 0;
		siphash128(key, text, i, other);
		assert_memory_not_equal(first, other, sizeof(first));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_are_those_of_its_authors),
		cmocka_unit_test(every_byte_and_the_length_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
