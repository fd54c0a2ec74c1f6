/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/context_keys.h"
#include "agent/context/context.h"

static int bad(struct refusal *e, const char *field, const char *why)
{
	refuse(e, MOAT_E_BAD_VALUE, "%.64s %s", field, why);
	snprintf(e->field, sizeof(e->field), "%s", field);
	return -EINVAL;
}

/* What the table says of one text. */
static int set(const struct config_context_key *key, const char *field, const char *text,
	       struct config_context *values, struct refusal *e)
{
	const char *why = key->set(values, text);

	if (!why)
		return 0;
	if (strcmp(why, "out of memory") == 0)
		return refuse(e, MOAT_E_OUT_OF_MEMORY, "out of memory");
	bad(e, field, why);
	if (why == config_env_too_large) {
		e->code = MOAT_E_ENVIRONMENT_TOO_LARGE;
		e->limit = CONFIG_ENV_BYTES_MAX;
	}
	return -EINVAL;
}

static int set_limit(const struct config_context_key *key, const json_t *value,
		     struct config_context *values, struct refusal *e)
{
	char text[64];

	if (json_is_string(value))
		return set(key, key->name, json_string_value(value), values, e);
	if (json_is_integer(value))
		snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		snprintf(text, sizeof(text), "%.3f", json_real_value(value));
	else
		return bad(e, key->name, "must be a number or a string");
	return set(key, key->name, text, values, e);
}

static int set_list(const struct config_context_key *key, const json_t *value,
		    struct config_context *values, struct refusal *e)
{
	char field[64];
	int r = 0;

	if (!json_is_array(value) && !json_is_string(value))
		return bad(e, key->name, "must be an array of strings, or one");
	if (key->clear)
		key->clear(values); /* it takes the place of what the default context has */
	if (json_is_string(value))
		return set(key, key->name, json_string_value(value), values, e);
	for (size_t i = 0; i < json_array_size(value) && r == 0; i++) {
		const char *text = json_string_value(json_array_get(value, i));

		snprintf(field, sizeof(field), "%s[%zu]", key->name, i);
		r = text ? set(key, field, text, values, e) : bad(e, field, "must be a string");
	}
	return r;
}

/* What is not null is checked where it is decoded. */
static int check_nulls(const struct config_context_key *key, const json_t *object,
		       struct refusal *e)
{
	const char *name;
	json_t *value;
	char field[64];

	json_object_foreach((json_t *)object, name, value) {
		if (!json_is_null(value) || env_name_valid(name, strlen(name)))
			continue;
		snprintf(field, sizeof(field), "%s.%.50s", key->name, name);
		return bad(e, field, "is not a name: it is empty or has a '='");
	}
	return 0;
}

/* Without what the object says null of, which is taken out here. NULL: out of memory. */
static json_t *take_nulls(const json_t *object, struct config_context *values)
{
	json_t *rest = json_copy((json_t *)object), *value;
	const char *name;
	void *next;

	json_object_foreach_safe(rest, next, name, value)
		if (json_is_null(value)) {
			env_unset(values->env, name);
			json_object_del(rest, name);
		}
	return rest;
}

/* An object of strings, as that of an exec: the same function reads both. */
static int set_env(const struct config_context_key *key, const json_t *value,
		   struct config_context *values, struct refusal *e)
{
	struct env {
		char **env;
	} decoded = { 0 };
	const struct json_field field = { key->name, JSON_KIND_ENV, offsetof(struct env, env) };
	json_t *rest, *whole;
	char name[64];
	int r;

	if (!json_is_object(value))
		return bad(e, key->name, "must be an object of strings");
	r = check_nulls(key, value, e);
	if (r < 0)
		return r;
	rest = take_nulls(value, values);
	whole = rest ? json_object() : NULL;
	if (!whole || json_object_set_new(whole, key->name, rest) < 0) {
		json_decref(whole);
		return refuse(e, MOAT_E_OUT_OF_MEMORY, "out of memory");
	}
	r = json_decode(whole, &field, 1, &decoded, e);
	for (char **kv = decoded.env; kv && *kv && r == 0; kv++) {
		snprintf(name, sizeof(name), "%s.%.*s", key->name, (int)strcspn(*kv, "="), *kv);
		r = set(key, name, *kv, values, e);
	}
	json_release(&field, 1, &decoded);
	json_decref(whole);
	return r;
}

static int set_value(const struct config_context_key *key, const json_t *value,
		     struct config_context *values, struct refusal *e)
{
	switch (key->kind) {
	case CONFIG_KEY_TEXT:
		if (!json_is_string(value))
			return bad(e, key->name, "must be a string");
		return set(key, key->name, json_string_value(value), values, e);
	case CONFIG_KEY_BOOL:
		if (!json_is_boolean(value))
			return bad(e, key->name, "must be true or false");
		return set(key, key->name, json_is_true(value) ? "yes" : "no", values, e);
	case CONFIG_KEY_LIMIT:
		return set_limit(key, value, values, e);
	case CONFIG_KEY_LIST:
		return set_list(key, value, values, e);
	case CONFIG_KEY_ENV:
		return set_env(key, value, values, e);
	}
	return bad(e, key->name, "is of no kind");
}

static int check_when(const struct config_context_key *key, bool change, struct refusal *e)
{
	if (key->when == CONFIG_KEY_ALWAYS || (key->when == CONFIG_KEY_AT_FIRST && !change))
		return 0;
	refuse(e, MOAT_E_IMMUTABLE, "%s can be given %s", key->name,
	       key->when == CONFIG_KEY_IN_FILE ? "in the configuration only" :
						 "when a context is made, and not be changed");
	snprintf(e->field, sizeof(e->field), "%s", key->name);
	return -EINVAL;
}

int context_decode(const json_t *object, bool change, struct config_context *values, struct refusal *e)
{
	const char *name;
	json_t *value;
	int r = 0;

	json_object_foreach((json_t *)object, name, value) {
		const struct config_context_key *key;
		unsigned index;

		if (strcmp(name, "name") == 0)
			continue;
		key = config_context_key_find(name, &index);
		if (!key) {
			refuse(e, MOAT_E_UNKNOWN_FIELD, "%.64s is not a known field", name);
			snprintf(e->field, sizeof(e->field), "%s", name);
			return -EINVAL;
		}
		r = check_when(key, change, e);
		if (r == 0 && json_is_null(value) && key->clear)
			key->clear(values);
		else if (r == 0)
			r = set_value(key, value, values, e);
		if (r < 0)
			return r;
	}
	return 0;
}

void context_write_values(const struct config_context *values, struct jbuf *b)
{
	const struct config_context_key *key;

	for (unsigned i = 0; (key = config_context_key_at(i)); i++) {
		if (key->when == CONFIG_KEY_IN_FILE)
			continue; /* not among them, see context.h */
		jbuf_key(b, key->name);
		key->write(values, b);
	}
}

/* --- What another has been changed by ------------------------------------------------------ */

static const char *value_of(char *const *env, const char *kv)
{
	size_t n = strcspn(kv, "=") + 1;

	for (; env && *env; env++)
		if (strncmp(*env, kv, n) == 0)
			return *env + n;
	return NULL;
}

/* One variable; value NULL: it is taken out. */
static void write_variable(const char *kv, const char *value, struct jbuf *b)
{
	char *name PTR_OWNED = strndup(kv, strcspn(kv, "="));

	if (!name) {
		b->failed = true;
		return;
	}
	jbuf_key(b, name);
	if (value)
		jbuf_bytes(b, value, strlen(value));
	else
		jbuf_null(b);
}

static void write_env_change(char *const *from, char *const *to, struct jbuf *b)
{
	for (char *const *kv = to; kv && *kv; kv++) {
		const char *old = value_of(from, *kv), *value = value_of(to, *kv);

		if (!old || strcmp(old, value) != 0)
			write_variable(*kv, value, b);
	}
	for (char *const *kv = from; kv && *kv; kv++)
		if (!value_of(to, *kv))
			write_variable(*kv, NULL, b);
}

static bool is_same(const struct config_context_key *key, const struct config_context *from,
		    const struct config_context *to)
{
	struct jbuf a = { 0 }, b = { 0 };
	bool same;

	key->write(from, &a);
	key->write(to, &b);
	same = !a.failed && !b.failed && a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
	jbuf_free(&a);
	jbuf_free(&b);
	return same;
}

void context_write_change(const struct config_context *from, const struct config_context *to,
			  struct jbuf *b)
{
	const struct config_context_key *key;

	for (unsigned i = 0; (key = config_context_key_at(i)); i++) {
		if (key->when != CONFIG_KEY_ALWAYS || is_same(key, from, to))
			continue;
		jbuf_key(b, key->name);
		if (key->kind != CONFIG_KEY_ENV) {
			key->write(to, b);
			continue;
		}
		jbuf_open(b, '{');
		write_env_change(from->env, to->env, b);
		jbuf_close(b, '}');
	}
}
