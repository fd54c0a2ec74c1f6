/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts as data: found by name and number, made and forgotten, at the price that is promised. */
#include "agent/context/context.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#define MANY 10000u
#define BYTES_EACH 1024u /* of a promise of 4096: cgroup and tables come on top */
#define NS_EACH 20000

static struct config_context configured = { .capabilities = 1, .no_new_privs = true };
static struct config config = { .contexts = &configured, .n_contexts = 1 };

static int open_contexts(void **state)
{
	configured.name = (char *)CONFIG_DEFAULT_CONTEXT;
	return contexts_open(&config, 1000, (struct contexts **)state);
}

static int close_contexts(void **state)
{
	contexts_free(*state);
	return 0;
}

static struct context *added(struct contexts *contexts, const char *name)
{
	struct context_settings *settings = context_find(contexts, CONFIG_DEFAULT_CONTEXT)->settings;
	struct context *c;

	settings->refs++;
	assert_int_equal(context_add(contexts, name, settings, &c), 0);
	return c;
}

static void a_context_is_found_by_name_and_by_number(void **state)
{
	struct context *a = added(*state, "a"), *b = added(*state, "session-\xc3\xa4/..");

	assert_ptr_equal(context_find(*state, "a"), a);
	assert_ptr_equal(context_by_number(*state, a->number), a);
	assert_ptr_equal(context_find(*state, "session-\xc3\xa4/.."), b);
	assert_ptr_equal(context_by_number(*state, b->number), b);
	assert_null(context_find(*state, "b"));
	assert_null(context_by_number(*state, b->number + 1));
	assert_int_equal(contexts_count(*state), 3);
}

static void only_what_can_be_a_file_is_the_name_of_a_place(void **state)
{
	struct context *plain = added(*state, "session-abc"), *other = added(*state, "session-a/..");
	char expected[40];

	assert_string_equal(plain->place, "session-abc");
	snprintf(expected, sizeof(expected), "session_%llu", (unsigned long long)other->number);
	assert_string_equal(other->place, expected);
}

static void a_name_is_given_once(void **state)
{
	struct context *a = added(*state, "a"), *again;

	assert_int_equal(context_add(*state, "a", a->settings, &again), -EEXIST);
	assert_int_equal(contexts_count(*state), 2);
}

static void a_number_is_never_given_again(void **state)
{
	uint64_t last = added(*state, "a")->number;

	assert_int_equal(last, 1002);
	for (unsigned i = 0; i < 100; i++) {
		struct context *c;

		context_free(*state, context_find(*state, "a"));
		c = added(*state, "a");
		assert_true(c->number > last);
		last = c->number;
	}
	assert_null(context_by_number(*state, 1002));
}

static void what_has_lost_its_name_is_found_by_its_number(void **state)
{
	struct context *old = added(*state, "a"), *new;

	context_unname(*state, old);
	assert_null(context_find(*state, "a"));
	assert_ptr_equal(context_by_number(*state, old->number), old);
	new = added(*state, "a");
	assert_ptr_equal(context_find(*state, "a"), new);
	assert_ptr_equal(context_by_number(*state, old->number), old);
	context_free(*state, old);
	assert_ptr_equal(context_find(*state, "a"), new);
}

static void there_are_only_so_many(void **state)
{
	struct context_settings *settings = context_find(*state, CONFIG_DEFAULT_CONTEXT)->settings;
	struct context *c;
	char name[32];

	for (unsigned i = 1; i < CONFIG_CONTEXTS_MAX; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		added(*state, name);
	}
	assert_int_equal(context_add(*state, "more", settings, &c), -EUSERS);
	context_free(*state, context_find(*state, "c7"));
	added(*state, "more");
}

static void settings_are_copies_that_are_shared(void **state)
{
	size_t *total = contexts_env_total(*state), before = *total;
	struct config_context values = { .directory = (char *)"/srv" };
	struct context_settings *settings;

	assert_int_equal(env_set(&values.env, "A=1"), 0);
	assert_int_equal(context_settings_make(&values, total, &settings), 0);
	strv_free(values.env);
	assert_string_equal(env_get(settings->values.env, "A"), "1");
	for (unsigned own = 0; own < 2; own++) {
		assert_string_equal(env_get(settings->env[own], "A"), "1");
		assert_non_null(env_get(settings->env[own], "PATH"));
		assert_string_equal(settings->directory[own], "/srv");
	}
	assert_string_equal(env_get(settings->env[0], "HOME"), "/srv");
	assert_string_not_equal(env_get(settings->env[1], "HOME"), "/srv");
	assert_true(*total > before);
	settings->refs++;
	context_settings_unref(settings, total);
	assert_true(*total > before);
	context_settings_unref(settings, total);
	assert_int_equal(*total, before);
}

static void write_settings(const struct config_context *values, char **ret)
{
	struct jbuf b = { 0 };

	jbuf_open(&b, '{');
	context_write_values(values, &b);
	jbuf_close(&b, '}');
	assert_false(b.failed);
	*ret = strndup(b.data, b.len);
	jbuf_free(&b);
}

/* What GET tells of one context, POST makes another one of, whatever default has. */
static void what_is_told_of_settings_can_be_given_again(void **state)
{
	static char *env[] = { (char *)"A=1", NULL };
	const struct config_context told[] = {
		{ .capabilities = 1, .no_new_privs = true },
		{ .ns = CONTEXT_SECURE, .shared_pid = true, .env = env, .directory = (char *)"/tmp",
		  .home = (char *)"/root", .own_tmp = true, .careless = true,
		  .limits = { [LIMIT_MEMORY] = 1 << 30, [LIMIT_PIDS] = CONFIG_NO_LIMIT, [LIMIT_CPU] = 1500 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(told); i++) {
		PTR_OWNED char *text = NULL;
		PTR_OWNED char *again = NULL;
		struct config_context made;
		struct refusal e = { 0 };
		json_t *root;

		/* the other one's are there before */
		assert_int_equal(context_values_copy(&told[!i], &made), 0);
		strv_free(made.env);
		made.env = NULL;
		write_settings(&told[i], &text);
		assert_int_equal(json_parse(text, strlen(text), &root, &e), 0);
		assert_int_equal(context_decode(root, false, &made, &e), 0);
		write_settings(&made, &again);
		assert_string_equal(again, text);
		json_decref(root);
		context_values_clear(&made);
	}
}

static void ten_thousand_are_small_and_found_at_once(void **state)
{
	size_t before = mallinfo2().uordblks, bytes;
	uint64_t start = now_ns(), made, found;
	char name[32];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "session-%u", i);
		added(*state, name);
	}
	made = now_ns() - start;
	bytes = (mallinfo2().uordblks - before) / MANY;
	start = now_ns();
	for (unsigned i = 0; i < MANY; i++) {
		struct context *c;

		snprintf(name, sizeof(name), "session-%u", i);
		c = context_find(*state, name);
		assert_non_null(c);
		assert_ptr_equal(context_by_number(*state, c->number), c);
	}
	found = now_ns() - start;
	print_message("# %zu bytes, made in %llu ns, found in %llu ns each\n", bytes,
		      (unsigned long long)made / MANY, (unsigned long long)found / MANY);
#ifndef MOAT_ASAN
	assert_true(bytes < BYTES_EACH);
	assert_true(made / MANY < NS_EACH); /* thirty times what they take */
#endif
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "session-%u", i);
		context_free(*state, context_find(*state, name));
	}
	assert_int_equal(contexts_count(*state), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_contexts, close_contexts)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_context_is_found_by_name_and_by_number),
		TEST(only_what_can_be_a_file_is_the_name_of_a_place),
		TEST(a_name_is_given_once),
		TEST(a_number_is_never_given_again),
		TEST(what_has_lost_its_name_is_found_by_its_number),
		TEST(there_are_only_so_many),
		TEST(settings_are_copies_that_are_shared),
		TEST(what_is_told_of_settings_can_be_given_again),
		TEST(ten_thousand_are_small_and_found_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
