/* SPDX-License-Identifier: Apache-2.0 */
/* Where a UTF-8 sequence is torn in two. */
#include "json/json.h"

size_t utf8_partial_tail(const void *data, size_t n)
{
	/* A sequence that lacks bytes is completed with the smallest ones its lead byte permits. */
	static const unsigned char fill = 0x80;
	const unsigned char *s = data;

	for (size_t tail = 1; tail <= 3 && tail <= n; tail++) {
		unsigned char lead = s[n - tail], try[4] = { 0 };
		size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;

		if (lead < 0x80)
			return 0;
		if (lead < 0xc0)
			continue;
		if (len <= tail)
			return 0;
		memcpy(try, s + n - tail, tail);
		for (size_t i = tail; i < len; i++)
			try[i] = fill;
		if (tail == 1 && lead == 0xe0)
			try[1] = 0xa0;
		if (tail == 1 && lead == 0xf0)
			try[1] = 0x90;
		return utf8_valid(try, len) ? tail : 0;
	}
	return 0;
}
