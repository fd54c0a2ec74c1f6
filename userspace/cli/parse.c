/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "base/base64.h"
#include "cli/cli.h"

#define DURATION_MAX_MS (7ull * 24 * 3600 * 1000)
#define BYTES_MAX (1ull << 40)

int parse_duration(const char *text, uint64_t *ret_ms)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = { { "ms", 1 }, { "", 1000 }, { "s", 1000 }, { "m", 60000 },
		      { "h", 3600000 }, { "d", 86400000 } };
	uint64_t whole = 0, fraction = 0, scale = 1, ms;
	const char *p = text;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		whole = whole * 10 + (uint64_t)(*p - '0');
		if (whole > DURATION_MAX_MS)
			return -EINVAL;
	}
	if (*p == '.') {
		if (*++p < '0' || *p > '9')
			return -EINVAL;
		for (; *p >= '0' && *p <= '9'; p++) {
			if (scale >= 1000000)
				continue;
			fraction = fraction * 10 + (uint64_t)(*p - '0');
			scale *= 10;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(p, units[i].unit) != 0)
			continue;
		ms = whole * units[i].ms + fraction * units[i].ms / scale;
		if (ms == 0 || ms > DURATION_MAX_MS)
			return -EINVAL;
		*ret_ms = ms;
		return 0;
	}
	return -EINVAL;
}

int parse_bytes(const char *text, uint64_t *ret)
{
	uint64_t n = 0;

	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9' || n > BYTES_MAX)
			return -EINVAL;
		n = n * 10 + (uint64_t)(*p - '0');
	}
	if (n == 0 || n > BYTES_MAX)
		return -EINVAL;
	*ret = n;
	return 0;
}

int parse_signal(const char *text)
{
	char *end;
	long number;

	if (strncmp(text, "SIG", 3) == 0)
		text += 3;
	if (*text >= '0' && *text <= '9') {
		number = strtol(text, &end, 10);
		return *end || number < 1 || number > SIGRTMAX ? -EINVAL : (int)number;
	}
	if (strncmp(text, "RTMIN+", 6) == 0 && text[6] >= '0' && text[6] <= '9') {
		number = strtol(text + 6, &end, 10);
		return *end || number > SIGRTMAX - SIGRTMIN ? -EINVAL : SIGRTMIN + (int)number;
	}
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *name = sigabbrev_np(i);

		if (name && strcmp(name, text) == 0)
			return i;
	}
	return -EINVAL;
}

json_t *bytes_to_json(const char *data, size_t n)
{
	json_t *text = utf8_valid(data, n) && !memchr(data, 0, n) ? json_stringn(data, n) : NULL;
	char *base64 PTR_OWNED = NULL;

	if (text)
		return text;
	base64 = malloc(base64_length(n) + 1);
	if (!base64)
		return NULL;
	base64_encode(data, n, base64);
	text = json_pack("{s:s#}", "base64", base64, base64_length(n));
	explicit_bzero(base64, base64_length(n));
	return text;
}

int parse_env_file(const char *text, json_t *env, unsigned *ret_line)
{
	unsigned line = 0;

	while (*text) {
		size_t n = strcspn(text, "\n");
		size_t value_len = n && text[n - 1] == '\r' ? n - 1 : n;
		const char *equals = memchr(text, '=', value_len);
		size_t name_len = equals ? (size_t)(equals - text) : 0;
		json_t *value;

		line++;
		if (value_len && *text != '#') {
			*ret_line = line;
			/* A blank in a name is a slip, as in "export A=1". */
			if (!equals || !env_name_valid(text, name_len) ||
			    memchr(text, ' ', name_len) || memchr(text, '\t', name_len))
				return -EINVAL;
			value = bytes_to_json(equals + 1, value_len - name_len - 1);
			if (!value)
				return -ENOMEM;
			if (json_object_setn_new(env, text, name_len, value) < 0)
				return -ENOMEM;
		}
		text += n + (text[n] == '\n');
	}
	return 0;
}

char *percent_encode(char *to, const char *text)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";

	for (; *text; text++)
		if (strchr(plain, *text))
			*to++ = *text;
		else
			to += snprintf(to, 4, "%%%02X", (unsigned)(unsigned char)*text);
	*to = '\0';
	return to;
}
