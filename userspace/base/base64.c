/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *data, size_t n, char *ret)
{
	const unsigned char *s = data;

	for (; n >= 3; n -= 3, s += 3) {
		*ret++ = base64_digits[s[0] >> 2];
		*ret++ = base64_digits[(s[0] & 3) << 4 | s[1] >> 4];
		*ret++ = base64_digits[(s[1] & 15) << 2 | s[2] >> 6];
		*ret++ = base64_digits[s[2] & 63];
	}
	if (n == 0)
		return;
	*ret++ = base64_digits[s[0] >> 2];
	*ret++ = base64_digits[(s[0] & 3) << 4 | (n == 2 ? s[1] >> 4 : 0)];
	*ret++ = n == 2 ? base64_digits[(s[1] & 15) << 2] : '=';
	*ret = '=';
}

static int base64_value(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t n, void *ret, size_t *ret_len)
{
	unsigned char *out = ret;
	size_t padding = 0;

	if (n % 4)
		return -EINVAL;
	if (n && text[n - 1] == '=')
		padding = text[n - 2] == '=' ? 2 : 1;
	for (size_t i = 0; i < n; i += 4) {
		size_t digits = i + 4 == n ? 4 - padding : 4;
		uint32_t bits = 0;

		for (size_t j = 0; j < 4; j++) {
			int v = j < digits ? base64_value((unsigned char)text[i + j]) : 0;

			if (v < 0)
				return -EINVAL;
			bits = bits << 6 | (uint32_t)v;
		}
		/* Bits behind the last byte must be zero: one text per value. */
		if (digits < 4 && bits & (digits == 3 ? 0xffu : 0xffffu))
			return -EINVAL;
		*out++ = (unsigned char)(bits >> 16);
		if (digits > 2)
			*out++ = (unsigned char)(bits >> 8);
		if (digits > 3)
			*out++ = (unsigned char)bits;
	}
	*ret_len = (size_t)(out - (unsigned char *)ret);
	return 0;
}
