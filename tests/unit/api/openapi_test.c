/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openapi.json says what the tables of the code say: routes, queries, fields, limits, keys of contexts, errors, and
 * what events there are; each in both directions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "agent/api/internal.h"
#include "agent/audit/audit.h"
#include "agent/config/context_keys.h"

#include <cmocka.h>

static json_t *document;

static int load(void **state)
{
	size_t n;
	const char *text = api_openapi(&n);
	json_error_t error;

	(void)state;
	document = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
	if (!document)
		print_message("# openapi.json:%d: %s\n", error.line, error.text);
	return document ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	json_decref(document);
	return 0;
}

static const json_t *member(const json_t *value, const char *name)
{
	const json_t *found = json_object_get(value, name);

	if (!found)
		print_message("# there is no %s\n", name);
	assert_non_null(found);
	return found;
}

/* What a reference leads to; anything else is itself. */
static const json_t *resolve(const json_t *value)
{
	const char *path = json_string_value(json_object_get(value, "$ref"));
	char copy[128], *rest = copy, *name;

	if (!path)
		return value;
	assert_int_equal(strncmp(path, "#/", 2), 0);
	snprintf(copy, sizeof(copy), "%s", path + 2);
	value = document;
	while ((name = strsep(&rest, "/")))
		value = member(value, name);
	return resolve(value);
}

static const json_t *schema_of(const char *name)
{
	return member(member(member(document, "components"), "schemas"), name);
}

static void each_reference_leads_somewhere(const json_t *value)
{
	const char *key;
	size_t i;
	json_t *each;

	resolve(value);
	json_object_foreach((json_t *)value, key, each)
		each_reference_leads_somewhere(each);
	json_array_foreach(value, i, each)
		each_reference_leads_somewhere(each);
}

static void references_and_version(void **state)
{
	(void)state;
	each_reference_leads_somewhere(document);
	assert_string_equal(json_string_value(member(member(document, "info"), "version")),
			    MOAT_VERSION);
}

/* --- Routes ------------------------------------------------------------------------------- */

static const json_t *operation_of(const struct api_route *route)
{
	char method[16];

	for (size_t i = 0; i <= strlen(route->method); i++)
		method[i] = (char)(route->method[i] | (route->method[i] ? 0x20 : 0));
	return member(member(member(document, "paths"), route->path), method);
}

static void each_route_is_there_and_no_other(void **state)
{
	size_t n, there = 0;
	const struct api_route *routes = api_routes(&n);
	const char *path;
	json_t *item;

	(void)state;
	for (size_t i = 0; i < n; i++)
		operation_of(&routes[i]);
	json_object_foreach((json_t *)member(document, "paths"), path, item)
		there += json_object_size(item);
	assert_int_equal(there, n);
}

static const json_t *parameter_of(const json_t *operation, const char *name, const char *in)
{
	size_t i;
	json_t *each;

	json_array_foreach(json_object_get(operation, "parameters"), i, each)
		if (strcmp(json_string_value(member(each, "name")), name) == 0 &&
		    strcmp(json_string_value(member(each, "in")), in) == 0)
			return each;
	print_message("# there is no parameter %s\n", name);
	assert_true(false);
	return NULL;
}

static void parameters_are_those_of_the_route(void **state)
{
	size_t n, k;
	const struct api_route *routes = api_routes(&n);
	json_t *each;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		const json_t *operation = operation_of(&routes[i]);
		const char *place = strchr(routes[i].path, '{');
		size_t wanted = place ? 1 : 0, there = 0;

		print_message("# %s %s\n", routes[i].method, routes[i].path);
		if (place) {
			char *name PTR_OWNED = strndup(place + 1, strcspn(place + 1, "}"));

			parameter_of(operation, name, "path");
		}
		for (const char *const *q = routes[i].query; q && *q; q++, wanted++) {
			bool bare = (*q)[strlen(*q) - 1] == '?';
			char *name PTR_OWNED = strndup(*q, strlen(*q) - bare);
			const json_t *found = parameter_of(operation, name, "query");

			assert_int_equal(json_is_true(json_object_get(found, "allowEmptyValue")),
					 bare);
		}
		json_array_foreach(json_object_get(operation, "parameters"), k, each)
			there += strcmp(json_string_value(member(each, "in")), "header") != 0;
		assert_int_equal(there, wanted);
	}
}

/* --- Bodies ------------------------------------------------------------------------------- */

static long long number(const json_t *schema, const char *name)
{
	const json_t *value = json_object_get(schema, name);

	return value ? json_integer_value(value) : 0;
}

static void is_of_type(const json_t *schema, const char *type)
{
	assert_string_equal(json_string_value(member(schema, "type")), type);
}

static void has_choices(const json_t *schema, const char *const *choices)
{
	const json_t *list = json_object_get(schema, "enum");
	size_t n = 0;

	for (; choices && choices[n]; n++)
		assert_string_equal(json_string_value(json_array_get(list, n)), choices[n]);
	assert_int_equal(json_array_size(list), n);
}

static void has_limits(const json_t *schema, const struct json_field *field, const char *min,
		       const char *max)
{
	assert_int_equal(number(schema, min), field->choices ? 0 : field->min);
	assert_int_equal(number(schema, max), field->choices ? 0 : field->max);
}

static void is_as_the_field(const json_t *schema, const struct json_field *field)
{
	print_message("#   %s\n", field->name);
	switch (field->kind) {
	case JSON_KIND_TEXT:
	case JSON_KIND_BLOB:
		is_of_type(schema, "string");
		has_choices(schema, field->choices);
		has_limits(schema, field, "minLength", "maxLength");
		break;
	case JSON_KIND_TEXTS:
		is_of_type(schema, "array");
		assert_ptr_equal(resolve(member(schema, "items")), schema_of("Bytes"));
		has_limits(schema, field, "minItems", "maxItems");
		break;
	case JSON_KIND_ENV:
		is_of_type(schema, "object");
		assert_ptr_equal(resolve(member(schema, "additionalProperties")),
				 schema_of("Bytes"));
		has_limits(schema, field, "minProperties", "maxProperties");
		break;
	case JSON_KIND_BOOL:
		is_of_type(schema, "boolean");
		break;
	case JSON_KIND_NUMBER:
		is_of_type(schema, "integer");
		has_limits(schema, field, "minimum", "maximum");
		break;
	case JSON_KIND_SIGNAL:
		assert_ptr_equal(schema, schema_of("Signal"));
		break;
	}
}

static bool is_required(const json_t *schema, const char *name)
{
	size_t i;
	json_t *each;

	json_array_foreach(json_object_get(schema, "required"), i, each)
		if (strcmp(json_string_value(each), name) == 0)
			return true;
	return false;
}

static const json_t *body_of(const json_t *operation)
{
	const json_t *content =
		json_object_get(json_object_get(operation, "requestBody"), "content");

	return resolve(json_object_get(json_object_get(content, "application/json"), "schema"));
}

static void bodies_have_the_fields_and_limits_of_the_tables(void **state)
{
	size_t n;
	const struct api_route *routes = api_routes(&n);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		const json_t *schema = body_of(operation_of(&routes[i]));
		const struct api_body *body = routes[i].body;

		print_message("# %s %s\n", routes[i].method, routes[i].path);
		if (!body) {
			assert_true(!schema || schema == schema_of("NewContext") ||
				    schema == schema_of("ContextChange"));
			continue;
		}
		assert_int_equal(json_object_size(member(schema, "properties")), body->n);
		for (size_t k = 0; k < body->n; k++) {
			is_as_the_field(
				resolve(member(member(schema, "properties"), body->fields[k].name)),
				&body->fields[k]);
			assert_int_equal(is_required(schema, body->fields[k].name),
					 body->fields[k].mandatory);
		}
	}
}

/* --- Contexts ----------------------------------------------------------------------------- */

static bool may_be(const json_t *schema, const char *type)
{
	const json_t *types = member(schema, "type");
	size_t i;
	json_t *each;

	if (json_is_string(types))
		return strcmp(json_string_value(types), type) == 0;
	json_array_foreach(types, i, each)
		if (strcmp(json_string_value(each), type) == 0)
			return true;
	return false;
}

/* Each choice is taken, and what is none is refused. */
static void choices_are_taken(const json_t *schema, const struct config_context_key *key)
{
	struct config_context values = { 0 };
	size_t i;
	json_t *each;

	if (!json_object_get(schema, "enum"))
		return;
	json_array_foreach(json_object_get(schema, "enum"), i, each)
		assert_null(key->set(&values, json_string_value(each)));
	assert_non_null(key->set(&values, "no-such"));
}

static void is_as_the_key(const json_t *schema, const struct config_context_key *key)
{
	static const char *const types[] = {
		[CONFIG_KEY_TEXT] = "string",  [CONFIG_KEY_BOOL] = "boolean",
		[CONFIG_KEY_LIMIT] = "string", [CONFIG_KEY_LIST] = "array",
		[CONFIG_KEY_ENV] = "object",
	};

	print_message("#   %s\n", key->name);
	assert_true(may_be(schema, types[key->kind]));
	assert_int_equal(may_be(schema, "null"), key->clear != NULL);
	choices_are_taken(schema, key);
}

static void contexts_have_the_keys_that_the_configuration_has(void **state)
{
	static const struct {
		const char *schema;
		enum config_key_when from;
		size_t more;
	} cases[] = { { "Settings", CONFIG_KEY_AT_FIRST, 0 },
		      { "NewContext", CONFIG_KEY_AT_FIRST, 1 },
		      { "ContextChange", CONFIG_KEY_ALWAYS, 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const json_t *properties = member(schema_of(cases[i].schema), "properties");
		const struct config_context_key *key;
		size_t n = cases[i].more;

		print_message("# %s\n", cases[i].schema);
		for (unsigned k = 0; (key = config_context_key_at(k)); k++) {
			if (key->when < cases[i].from)
				continue;
			is_as_the_key(resolve(member(properties, key->name)), key);
			n++;
		}
		assert_int_equal(json_object_size(properties), n);
	}
}

/* --- Errors and events -------------------------------------------------------------------- */

static const struct known {
	const char *name;
	unsigned status;
	int exit;
} errors[] = {
#define ROW(code, http, exit) { #code, http, exit },
	MOAT_ERRORS(ROW)
#undef ROW
};

static void error_codes_are_those_of_the_table(void **state)
{
	const json_t *list = member(schema_of("ErrorCode"), "oneOf");
	size_t i, k;
	json_t *each;

	(void)state;
	json_array_foreach(list, i, each) {
		const char *name = json_string_value(member(each, "const"));

		print_message("# %s\n", name);
		for (k = 0; k < ARRAY_LEN(errors) && strcmp(errors[k].name, name) != 0;)
			k++;
		assert_true(k < ARRAY_LEN(errors));
		assert_int_equal(number(each, "x-status"), errors[k].status);
		assert_int_equal(number(each, "x-exit"), errors[k].exit);
		assert_true(json_string_length(member(each, "description")) > 0);
	}
	assert_int_equal(json_array_size(list), ARRAY_LEN(errors));
}

/* And says which codes it comes with. */
static void each_status_of_the_table_has_a_response(void **state)
{
	const json_t *responses = member(member(document, "components"), "responses");
	const char *name;
	char quoted[64];
	json_t *each;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		size_t n = 0;

		snprintf(quoted, sizeof(quoted), "`%s`", errors[i].name);
		json_object_foreach((json_t *)responses, name, each)
			n += strstr(json_string_value(member(each, "description")), quoted) != NULL;
		print_message("# %s\n", errors[i].name);
		assert_int_equal(n, 1);
	}
}

static void events_are_those_that_are_recorded(void **state)
{
	const json_t *list = member(schema_of("Event"), "oneOf");
	size_t n = 0, i;
	json_t *each;

	(void)state;
	for (; strcmp(audit_type_name((enum audit_type)n), "unknown") != 0; n++) {
		size_t found = 0;

		print_message("# %s\n", audit_type_name((enum audit_type)n));
		json_array_foreach(list, i, each)
			found += strcmp(json_string_value(
						member(member(member(each, "properties"), "type"),
						       "const")),
					audit_type_name((enum audit_type)n)) == 0;
		assert_int_equal(found, 1);
	}
	assert_int_equal(json_array_size(list), n + 1); /* gap */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(references_and_version),
		cmocka_unit_test(each_route_is_there_and_no_other),
		cmocka_unit_test(parameters_are_those_of_the_route),
		cmocka_unit_test(bodies_have_the_fields_and_limits_of_the_tables),
		cmocka_unit_test(contexts_have_the_keys_that_the_configuration_has),
		cmocka_unit_test(error_codes_are_those_of_the_table),
		cmocka_unit_test(each_status_of_the_table_has_a_response),
		cmocka_unit_test(events_are_those_that_are_recorded),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
