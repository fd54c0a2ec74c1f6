/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns: a name against *, ? and […], in time of the product of their lengths at most. */
#include <ctype.h>

#include "command/command.h"

/* One character of UTF-8, or a byte that is none. */
static size_t take(const char *text, size_t n, uint32_t *ret)
{
	const unsigned char *t = (const unsigned char *)text;
	size_t len = t[0] < 0xc2 ? 1 : t[0] < 0xe0 ? 2 : t[0] < 0xf0 ? 3 : t[0] < 0xf5 ? 4 : 1;

	if (len == 1 || len > n || !utf8_valid(text, len)) {
		*ret = t[0];
		return 1;
	}
	*ret = t[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++)
		*ret = *ret << 6 | (t[i] & 0x3f);
	return len;
}

static bool in_class(const char *name, size_t n, uint32_t c)
{
	static const struct {
		const char *name;
		int (*is)(int c);
	} classes[] = { { "alnum", isalnum }, { "alpha", isalpha }, { "blank", isblank },
			{ "cntrl", iscntrl }, { "digit", isdigit }, { "graph", isgraph },
			{ "lower", islower }, { "print", isprint }, { "punct", ispunct },
			{ "space", isspace }, { "upper", isupper }, { "xdigit", isxdigit } };

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (strlen(classes[i].name) == n && memcmp(classes[i].name, name, n) == 0)
			return c < 128 && classes[i].is((int)c);
	return false;
}

/* Behind the "]" that closes the bracket at `at`; 0: it is no bracket expression. */
static size_t bracket_end(const char *pattern, const char *active, size_t n, size_t at)
{
	size_t i = at + 1;
	bool classes = true; /* more of them may end */

	if (i < n && active[i] && (pattern[i] == '!' || pattern[i] == '^'))
		i++;
	for (size_t first = i; i < n; i++) {
		if (active[i] && pattern[i] == ']' && i > first)
			return i + 1;
		if (classes && pattern[i] == '[' && i + 1 < n && pattern[i + 1] == ':') {
			size_t j = i + 2;

			while (j + 1 < n && !(pattern[j] == ':' && pattern[j + 1] == ']'))
				j++;
			classes = j + 1 < n;
			if (classes)
				i = j + 1;
		}
	}
	return 0;
}

/* pattern[at..end): a bracket expression. */
static bool match_bracket(const char *pattern, const char *active, size_t at, size_t end,
			  uint32_t c)
{
	bool negated = active[at + 1] && (pattern[at + 1] == '!' || pattern[at + 1] == '^'),
	     found = false;
	size_t i = at + 1 + negated;

	end--;
	while (i < end) {
		uint32_t low, high;

		if (pattern[i] == '[' && i + 1 < end && pattern[i + 1] == ':') {
			size_t start = i + 2, j = start;

			while (j + 1 < end && !(pattern[j] == ':' && pattern[j + 1] == ']'))
				j++;
			if (j + 1 < end) {
				found = found || in_class(pattern + start, j - start, c);
				i = j + 2;
				continue;
			}
		}
		i += take(pattern + i, end - i, &low);
		high = low;
		if (i + 1 < end && pattern[i] == '-' && active[i]) {
			i++;
			i += take(pattern + i, end - i, &high);
		}
		found = found || (low <= c && c <= high);
	}
	return found != negated;
}

/* Whether the pattern at `at` takes the character; *ret_next: where it goes on. */
static bool match_one(const char *pattern, const char *active, size_t n, size_t at, uint32_t c,
		      size_t *ret_next)
{
	uint32_t own;
	size_t end;

	if (active[at] && pattern[at] == '?') {
		*ret_next = at + 1;
		return true;
	}
	if (active[at] && pattern[at] == '[') {
		end = bracket_end(pattern, active, n, at);
		if (end) {
			*ret_next = end;
			return match_bracket(pattern, active, at, end, c);
		}
	}
	*ret_next = at + take(pattern + at, n - at, &own);
	return own == c;
}

bool command_match(const char *pattern, const char *active, size_t n, const char *name)
{
	size_t len = strlen(name), at = 0, i = 0, star = 0, star_i = 0, next;
	bool after_star = false;

	while (i < len) {
		uint32_t c;
		size_t step = take(name + i, len - i, &c);

		if (at < n && active[at] && pattern[at] == '*') {
			after_star = true;
			star = ++at;
			star_i = i;
		} else if (at < n && match_one(pattern, active, n, at, c, &next)) {
			at = next;
			i += step;
		} else if (after_star) { /* the last star takes one character more */
			at = star;
			star_i += take(name + star_i, len - star_i, &c);
			i = star_i;
		} else {
			return false;
		}
	}
	while (at < n && active[at] && pattern[at] == '*')
		at++;
	return at == n;
}
