/* SPDX-License-Identifier: Apache-2.0 */
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>

#include "json/json.h"

static void json_free_wiped(void *p)
{
	if (p)
		free_wiped(p, malloc_usable_size(p));
}

void json_setup(void)
{
	json_set_alloc_funcs(malloc, json_free_wiped);
}

/* Depth and number of values, before jansson recurses over the text or allocates for it. */
static int scan(const char *text, size_t len, struct refusal *error)
{
	unsigned depth = 0, values = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
			continue;
		}
		if (c == '"')
			quoted = true;
		else if (c == '[' || c == '{')
			depth++;
		else if ((c == ']' || c == '}') && depth)
			depth--;
		if (c == ',' || c == '[' || c == '{')
			values++;
		if (depth <= JSON_DEPTH_MAX && values <= JSON_VALUES_MAX)
			continue;
		refuse(error, MOAT_E_BAD_JSON, depth > JSON_DEPTH_MAX ?
			      "nested too deeply" : "too many values");
		error->offset = (long long)i;
		error->limit = depth > JSON_DEPTH_MAX ? JSON_DEPTH_MAX : JSON_VALUES_MAX;
		return -EINVAL;
	}
	return 0;
}

int json_parse(const char *text, size_t len, json_t **ret_root, struct refusal *error)
{
	json_error_t why;
	json_t *root;

	if (len == 0)
		return refuse(error, MOAT_E_BAD_JSON, "the body is empty");
	if (scan(text, len, error) < 0)
		return -EINVAL;
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!root) {
		if (json_error_code(&why) == json_error_out_of_memory)
			return refuse(error, MOAT_E_OUT_OF_MEMORY, "out of memory");
		/* jansson quotes the text near the error, which may be a secret: not passed on. */
		refuse(error, MOAT_E_BAD_JSON, "%s",
			      json_error_code(&why) == json_error_duplicate_key ?
			      "a key stands twice in one object" :
			      json_error_code(&why) == json_error_null_character ||
			      json_error_code(&why) == json_error_null_byte_in_key ?
			      "NUL is not permitted in a string" :
			      json_error_code(&why) == json_error_invalid_utf8 ?
			      "the body is not UTF-8" : "the body is not valid JSON");
		error->offset = why.position;
		return -EINVAL;
	}
	if (!json_is_object(root)) {
		json_decref(root);
		return refuse(error, MOAT_E_BAD_JSON, "the body is not a JSON object");
	}
	*ret_root = root;
	return 0;
}

static int PRINTF(3, 4) bad_value(struct refusal *error, const char *field, const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	refuse(error, MOAT_E_BAD_VALUE, "%s %s", field, text);
	snprintf(error->field, sizeof(error->field), "%s", field);
	return -EINVAL;
}

static int check_range(const struct json_field *field, uint64_t value, const char *what,
		       struct refusal *error)
{
	unsigned long long min = field->min, max = field->max;

	if (value < min)
		return bad_value(error, field->name, "must be at least %llu%s", min, what);
	if (max && value > max) {
		bad_value(error, field->name, "must be at most %llu%s", max, what);
		error->limit = (long long)max;
		return -EINVAL;
	}
	return 0;
}

static int check_choice(const struct json_field *field, const char *text, struct refusal *error)
{
	char list[128] = "";
	size_t used = 0;

	for (const char *const *each = field->choices; *each; each++) {
		if (strcmp(*each, text) == 0)
			return 0;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
					 each == field->choices ? "" :
					 each[1]                ? ", " :
								  " or ",
					 *each);
	}
	return bad_value(error, field->name, "must be %s", list);
}

size_t json_choice(const char *const *choices, const char *text)
{
	size_t i = 0;

	while (strcmp(choices[i], text) != 0)
		i++;
	return i;
}

static int decode_text(const json_t *value, const struct json_field *field, void *member,
		       struct refusal *error)
{
	const char *text = json_string_value(value);

	if (!text)
		return bad_value(error, field->name, "must be a string");
	if (check_range(field, strlen(text), " bytes long", error) < 0)
		return -EINVAL;
	if (field->choices && check_choice(field, text, error) < 0)
		return -EINVAL;
	*(const char **)member = text;
	return 0;
}

static int decode_blob(const json_t *value, const struct json_field *field, void *member,
		       struct refusal *error)
{
	struct json_blob *blob = member;

	if (!json_is_string(value))
		return bad_value(error, field->name, "must be a string");
	if (check_range(field, json_string_length(value), " bytes long", error) < 0)
		return -EINVAL;
	*blob = (struct json_blob){ json_string_value(value), json_string_length(value) };
	return 0;
}

/*
 * Bytes that need not be UTF-8: "text", or {"base64": "…"}. Decoded ones are terminated and go to
 * *space, which advances and has room for what bytes_space() says.
 */
static const char bytes_wanted[] = "must be a string, or {\"base64\": …} without NUL";

static const json_t *base64_of(const json_t *value)
{
	return json_object_size(value) == 1 ? json_object_get(value, "base64") : NULL;
}

static size_t bytes_space(const json_t *value)
{
	const json_t *base64 = base64_of(value);

	return base64 ? json_string_length(base64) / 4 * 3 + 1 : 0;
}

/* NULL when it is neither. */
static const char *bytes_text(const json_t *value, char **space)
{
	const json_t *base64 = base64_of(value);
	char *text = *space;
	size_t len;

	if (!base64)
		return json_string_value(value);
	if (!json_is_string(base64) ||
	    base64_decode(json_string_value(base64), json_string_length(base64), text, &len) < 0 ||
	    memchr(text, '\0', len))
		return NULL;
	text[len] = '\0';
	*space += len + 1;
	return text;
}

static int decode_texts(const json_t *value, const struct json_field *field, void *member,
			struct refusal *error)
{
	size_t n = json_array_size(value), space = 0;
	char name[64], *decoded;
	char **texts;

	if (!json_is_array(value))
		return bad_value(error, field->name, "must be an array of strings");
	if (check_range(field, n, " elements long", error) < 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		space += bytes_space(json_array_get(value, i));
	texts = calloc(1, (n + 1) * sizeof(*texts) + space);
	if (!texts)
		return refuse(error, MOAT_E_OUT_OF_MEMORY, "out of memory");
	decoded = (char *)(texts + n + 1);
	for (size_t i = 0; i < n; i++) {
		texts[i] = (char *)bytes_text(json_array_get(value, i), &decoded);
		if (texts[i])
			continue;
		json_free_wiped(texts);
		snprintf(name, sizeof(name), "%s[%zu]", field->name, i);
		return bad_value(error, name, bytes_wanted);
	}
	*(char ***)member = texts;
	return 0;
}

/* One KEY=VALUE; -EINVAL with *error filled. */
static int env_entry(const char *key, const json_t *value, const char *parent, char **ret,
		     struct refusal *error)
{
	size_t key_len = strlen(key), space = bytes_space(value);
	const char *text;
	char name[64], *entry, *at;

	snprintf(name, sizeof(name), "%s.%.50s", parent, key);
	if (!env_name_valid(key, key_len))
		return bad_value(error, name, "is not a name: it is empty or has a '='");
	entry = malloc(key_len + (space ? space : json_string_length(value) + 1) + 1);
	if (!entry)
		return refuse(error, MOAT_E_OUT_OF_MEMORY, "out of memory");
	memcpy(entry, key, key_len);
	entry[key_len] = '=';
	at = entry + key_len + 1;
	text = bytes_text(value, &at);
	if (!text) {
		json_free_wiped(entry);
		return bad_value(error, name, bytes_wanted);
	}
	if (!space)
		memcpy(entry + key_len + 1, text, json_string_length(value) + 1);
	*ret = entry;
	return 0;
}

static int decode_env(const json_t *value, const struct json_field *field, void *member,
		      struct refusal *error)
{
	size_t n = json_object_size(value), filled = 0;
	json_t *object = (json_t *)value, *text;
	const char *key;
	char **env;

	if (!json_is_object(value))
		return bad_value(error, field->name, "must be an object of strings");
	if (check_range(field, n, " entries long", error) < 0)
		return -EINVAL;
	env = calloc(n + 1, sizeof(*env));
	if (!env)
		return refuse(error, MOAT_E_OUT_OF_MEMORY, "out of memory");
	json_object_foreach(object, key, text) {
		if (env_entry(key, text, field->name, &env[filled], error) < 0) {
			strv_free_wiped(env);
			return -EINVAL;
		}
		filled++;
	}
	*(char ***)member = env;
	return 0;
}

static int decode_bool(const json_t *value, const struct json_field *field, void *member,
		       struct refusal *error)
{
	if (!json_is_boolean(value))
		return bad_value(error, field->name, "must be true or false");
	*(bool *)member = json_is_true(value);
	return 0;
}

static int decode_number(const json_t *value, const struct json_field *field, void *member,
			 struct refusal *error)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < 0)
		return bad_value(error, field->name, "must be a whole number");
	if (check_range(field, (uint64_t)number, "", error) < 0)
		return -EINVAL;
	*(uint64_t *)member = (uint64_t)number;
	return 0;
}

static int decode_signal(const json_t *value, const struct json_field *field, void *member,
			 struct refusal *error)
{
	json_int_t number = json_integer_value(value);

	if (json_is_string(value))
		number = signal_number(json_string_value(value));
	if (number < 1 || number > SIGRTMAX)
		return bad_value(error, field->name, "must be a signal, as \"TERM\" or 15");
	*(int *)member = (int)number;
	return 0;
}

/* By enum json_kind. */
static int (*const decoders[])(const json_t *, const struct json_field *, void *,
			       struct refusal *) = {
	[JSON_KIND_TEXT] = decode_text,     [JSON_KIND_BLOB] = decode_blob,
	[JSON_KIND_TEXTS] = decode_texts,   [JSON_KIND_ENV] = decode_env,
	[JSON_KIND_BOOL] = decode_bool,     [JSON_KIND_NUMBER] = decode_number,
	[JSON_KIND_SIGNAL] = decode_signal,
};

static const struct json_field *find_field(const struct json_field *fields, size_t n_fields,
					   const char *name)
{
	for (size_t i = 0; i < n_fields; i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

static int decode_all(json_t *object, const struct json_field *fields, size_t n_fields,
		      void *decoded, struct refusal *error)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value) {
		const struct json_field *field = find_field(fields, n_fields, key);

		if (!field) {
			refuse(error, MOAT_E_UNKNOWN_FIELD, "%.64s is not a known field",
				      key);
			snprintf(error->field, sizeof(error->field), "%s", key);
			return -EINVAL;
		}
		if (decoders[field->kind](value, field, (char *)decoded + field->offset, error) < 0)
			return -EINVAL;
	}
	for (size_t i = 0; i < n_fields; i++) {
		if (!fields[i].mandatory || json_object_get(object, fields[i].name))
			continue;
		refuse(error, MOAT_E_MISSING_FIELD, "%s is missing", fields[i].name);
		snprintf(error->field, sizeof(error->field), "%s", fields[i].name);
		return -EINVAL;
	}
	return 0;
}

int json_decode(const json_t *object, const struct json_field *fields, size_t n_fields,
		void *decoded, struct refusal *error)
{
	int r = decode_all((json_t *)object, fields, n_fields, decoded, error);

	if (r < 0)
		json_release(fields, n_fields, decoded);
	return r;
}

void json_release(const struct json_field *fields, size_t n_fields, void *decoded)
{
	for (size_t i = 0; i < n_fields; i++) {
		char ***member = (void *)((char *)decoded + fields[i].offset);

		if (fields[i].kind == JSON_KIND_TEXTS)
			json_free_wiped(take_ptr(*member));
		else if (fields[i].kind == JSON_KIND_ENV)
			strv_free_wiped(take_ptr(*member));
	}
}

const char *signal_name(int signal, char *buf, size_t n)
{
	const char *abbreviation = sigabbrev_np(signal);

	if (abbreviation)
		snprintf(buf, n, "SIG%s", abbreviation);
	else if (signal >= SIGRTMIN && signal <= SIGRTMAX)
		snprintf(buf, n, "SIGRTMIN+%d", signal - SIGRTMIN);
	else
		snprintf(buf, n, "SIG%d", signal);
	return buf;
}

int signal_number(const char *name)
{
	if (strncmp(name, "SIG", 3) == 0)
		name += 3;
	if (strncmp(name, "RTMIN+", 6) == 0 && name[6] >= '0' && name[6] <= '9') {
		char *end;
		unsigned long n = strtoul(name + 6, &end, 10);

		return !*end && n <= (unsigned long)(SIGRTMAX - SIGRTMIN) ? SIGRTMIN + (int)n :
									    -EINVAL;
	}
	/* Those that the C library keeps for itself have no name: SIG32, SIG33, as signal_name() says. */
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *abbreviation = sigabbrev_np(i);
		char number[16];

		snprintf(number, sizeof(number), "%d", i);
		if (!abbreviation && strcmp(name, number) == 0)
			return i;

		if (abbreviation && strcmp(abbreviation, name) == 0)
			return i;
	}
	return -EINVAL;
}
