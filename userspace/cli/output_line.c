/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output_line.h"

#include "base/base64.h"

/* What is left of a line. */
struct rest {
	const char *at, *end;
};

static bool skip(struct rest *r, const char *text)
{
	size_t n = strlen(text);

	if ((size_t)(r->end - r->at) < n || memcmp(r->at, text, n) != 0)
		return false;
	r->at += n;
	return true;
}

static bool skip_number(struct rest *r)
{
	const char *from = r->at;

	while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
		r->at++;
	return r->at > from;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind a backslash. The agent writes those of JSON that are short, and \u00XX for controls. */
static bool take_escape(struct rest *r, char *ret)
{
	static const char letters[] = "\"\\nrt", bytes[] = "\"\\\n\r\t";
	const char *found = r->at < r->end && *r->at ? strchr(letters, *r->at) : NULL;
	int high, low;

	if (found) {
		*ret = bytes[found - letters];
		r->at++;
		return true;
	}
	if (!skip(r, "u00") || r->end - r->at < 2)
		return false;
	high = hex_digit(r->at[0]);
	low = hex_digit(r->at[1]);
	if (high < 0 || high > 1 || low < 0)
		return false;
	*ret = (char)(high << 4 | low);
	r->at += 2;
	return true;
}

/* To its closing quote, which is left behind. */
static bool take_string(struct rest *r, char *buf, size_t *ret_n)
{
	size_t n = 0;

	while (r->at < r->end) {
		const char *from = r->at;

		while (r->at < r->end && *r->at != '"' && *r->at != '\\')
			r->at++;
		memcpy(buf + n, from, (size_t)(r->at - from));
		n += (size_t)(r->at - from);
		if (r->at == r->end)
			return false;
		if (*r->at++ == '"') {
			*ret_n = n;
			return true;
		}
		if (!take_escape(r, &buf[n++]))
			return false;
	}
	return false;
}

bool output_line_decode(const char *line, size_t len, char *buf, bool *ret_stderr, size_t *ret_n)
{
	struct rest r = { line, line + len };
	bool is_stderr, base64;
	const char *data;
	size_t n;

	if (!skip(&r, "{\"seq\":") || !skip_number(&r) || !skip(&r, ",\"type\":\"std"))
		return false;
	is_stderr = skip(&r, "err");
	if ((!is_stderr && !skip(&r, "out")) || !skip(&r, "\",\"at\":") || !skip_number(&r) ||
	    !skip(&r, ",\"t\":") || !skip_number(&r) || !skip(&r, ",\"data\":\""))
		return false;
	data = r.at;
	if (!take_string(&r, buf, &n))
		return false;
	base64 = skip(&r, ",\"encoding\":\"base64\"");
	if (!skip(&r, "}") || r.at != r.end)
		return false;
	if (base64 && base64_decode(data, n, buf, &n) < 0)
		return false;
	*ret_stderr = is_stderr;
	*ret_n = n;
	return true;
}
