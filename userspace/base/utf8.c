/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

/*
 * The well-formed sequences of RFC 3629, section 4: how many continuation bytes follow a first
 * byte, and the range of the first of them, which is what excludes overlong forms, surrogates and
 * values above U+10FFFF.
 */
static size_t sequence_after(unsigned char first, unsigned char *ret_low, unsigned char *ret_high)
{
	*ret_low = 0x80;
	*ret_high = 0xbf;
	if (first >= 0xc2 && first <= 0xdf)
		return 1;
	if (first >= 0xe0 && first <= 0xef) {
		if (first == 0xe0)
			*ret_low = 0xa0;
		if (first == 0xed)
			*ret_high = 0x9f;
		return 2;
	}
	if (first >= 0xf0 && first <= 0xf4) {
		if (first == 0xf0)
			*ret_low = 0x90;
		if (first == 0xf4)
			*ret_high = 0x8f;
		return 3;
	}
	return 0;
}

/* Most output is ASCII: eight bytes at a time. */
static const unsigned char *skip_ascii(const unsigned char *p, const unsigned char *end)
{
	uint64_t eight;

	for (; (size_t)(end - p) >= sizeof(eight); p += sizeof(eight)) {
		memcpy(&eight, p, sizeof(eight));
		if (eight & 0x8080808080808080u)
			break;
	}
	while (p < end && *p < 0x80)
		p++;
	return p;
}

bool utf8_valid(const void *data, size_t n)
{
	const unsigned char *p = data, *end = p + n;

	while ((p = skip_ascii(p, end)) < end) {
		unsigned char low, high;
		size_t more;

		more = sequence_after(*p, &low, &high);
		if (more == 0 || (size_t)(end - p) <= more || p[1] < low || p[1] > high)
			return false;
		for (size_t i = 2; i <= more; i++)
			if ((p[i] & 0xc0) != 0x80)
				return false;
		p += more + 1;
	}
	return true;
}

/*
 * What of valid UTF-8 is not to be shown as it is: U+0080 to U+009F, which are controls as those of ASCII are;
 * U+2028 and U+2029, which end lines; and what turns the direction of the text behind it (Unicode's
 * Bidi_Control: U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069).
 */
static bool commands_a_terminal(const unsigned char *p, size_t length)
{
	if (length == 1)
		return *p < ' ' || *p == 0x7f;
	if (length == 2)
		return (*p == 0xc2 && p[1] < 0xa0) || (*p == 0xd8 && p[1] == 0x9c);
	if (length != 3 || *p != 0xe2)
		return false;
	return (p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae))) ||
	       (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
}

void hide_controls(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p;) {
		unsigned char low, high;
		size_t length = 1 + (*p < 0x80 ? 0 : sequence_after(*p, &low, &high));

		if (strnlen((char *)p, length) < length || !utf8_valid(p, length)) {
			*p++ = '?';
			continue;
		}
		if (commands_a_terminal(p, length))
			memset(p, '?', length);
		p += length;
	}
}
