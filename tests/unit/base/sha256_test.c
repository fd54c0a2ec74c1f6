/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/sha256.h"

static void check(const char *data, size_t n, size_t piece, const char *expected)
{
	char text[2 * SHA256_SIZE + 1];
	uint8_t hash[SHA256_SIZE];
	struct sha256 s;

	sha256_begin(&s);
	for (size_t at = 0; at < n; at += piece)
		sha256_add(&s, data + at, n - at < piece ? n - at : piece);
	sha256_end(&s, hash);
	for (size_t i = 0; i < sizeof(hash); i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
	assert_string_equal(text, expected);
}

/* FIPS 180-4's examples (the messages of 3, 0, 56 and a million bytes), in pieces of any size. */
static void the_hash_is_that_of_the_standard(void **state)
{
	static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	static char many[1000000];

	(void)state;
	check("abc", 3, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	check("", 0, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	for (size_t piece = 1; piece < 60; piece++)
		check(two_blocks, 56, piece,
		      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	memset(many, 'a', sizeof(many));
	for (size_t piece = 1; piece < 200; piece += 21)
		check(many, sizeof(many), piece,
		      "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_hash_is_that_of_the_standard) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
