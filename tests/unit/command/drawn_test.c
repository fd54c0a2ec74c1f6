/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target of `make fuzz` without libFuzzer: strings drawn from pieces of the language, in the time of a unit test, and
 * under the sanitizers as the other unit tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <sys/random.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "../../fuzz/command_fuzz.c"

#define DRAWN 10000u
#define PIECES_MAX 40u

static const char *const pieces[] = {
	"a", "b=", "c", " ", " ", " ", "\n", ";", "&", "&&", "||", "|", "|&", "!", "{ ", "}", "(", ")", "'", "\"", "\\", "\\\n",
	"$a", "$g", "${H}", "${x:-", "${a:+", "${x:?", "$?", "$!", "~", "/", "*", "?", "[a-z]", "[!", "[[:alpha:]]", "]", "<", ">", ">>",
	"2>&1", "<&-", "<>", "&>", "<<E\n", "<<'E'\n", "<<-E\n", "\nE\n", "<<<", "\"$(cat <<'E'\n", "\nE\n)\"", "$(", "`", "$((", "#",
	"cd", "export ", "unset ", "set -e", "command ", "source d/bin/activate", "for ", "if ", "1", "{a,b}", "=", "\t", "\xc3\xa9", "\xff",
	"a[", "]=", "\r",
};

static void what_is_drawn_is_read_expanded_printed_and_read_again(void **state)
{
	unsigned seed;
	char text[1024];

	(void)state;
	assert_int_equal(getrandom(&seed, sizeof(seed), 0), sizeof(seed));
	print_message("# seed %u\n", seed);
	for (unsigned i = 0; i < DRAWN; i++) {
		size_t n = 0;

		for (unsigned left = (unsigned)rand_r(&seed) % PIECES_MAX + 1; left > 0; left--) {
			const char *piece = pieces[(unsigned)rand_r(&seed) % ARRAY_LEN(pieces)];

			n = (size_t)((char *)mempcpy(text + n, piece, strlen(piece)) - text);
		}
		assert_int_equal(LLVMFuzzerTestOneInput((const uint8_t *)text, n), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_drawn_is_read_expanded_printed_and_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
