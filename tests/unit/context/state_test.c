/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a context: what packets change, which are refused, and what is made of it. */
#include "agent/context/state.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#undef fail /* ours is a function */

static char *settings_env[] = { (char *)"SET=1", (char *)"OTHER=2", NULL };
static struct config_context configured = { .env = settings_env };
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

static struct context *context_of(void **state)
{
	return context_find(*state, CONFIG_DEFAULT_CONTEXT);
}

/* Entries stand beside each other, each with its NUL; the last one's is that of the literal. */
static enum context_state_fate apply_as(void **state, const char *entries, size_t n,
					struct run_packet head)
{
	char *packet = malloc(sizeof(head) + n);
	enum context_state_fate fate;

	assert_non_null(packet);
	memcpy(packet, &head, sizeof(head));
	memcpy(packet + sizeof(head), entries, n);
	fate = context_state_apply(*state, context_of(state), packet, sizeof(head) + n);
	free(packet);
	return fate;
}

static struct run_packet head_of(const char *entries, size_t n)
{
	struct run_packet head = { .magic = RUN_MAGIC, .says = RUN_SAYS_STATE, .len = (uint32_t)n };

	for (size_t i = 0; i < n; i++)
		head.count += entries[i] == '\0';
	return head;
}

#define APPLY(state, entries)                                                                      \
	apply_as(state, entries, sizeof(entries), head_of(entries, sizeof(entries)))

static char *text_of(const struct context *c)
{
	struct jbuf b = { 0 };

	context_write_state(c, &b);
	assert_false(b.failed);
	jbuf_raw(&b, "", 1);
	return b.data;
}

static void assert_state(void **state, const char *expected)
{
	char *text = text_of(context_of(state));

	assert_string_equal(text, expected);
	free(text);
}

#define NOTHING "{\"directory\":null,\"env\":{},\"variables\":{},\"unset\":[]}"

static void a_packet_changes_the_names_that_are_in_it(void **state)
{
	assert_state(state, NOTHING);
	assert_int_equal(APPLY(state, "d/srv\0xA=1\0vB=2\0uSET\0xC"), CONTEXT_STATE_TAKEN);
	assert_state(state, "{\"directory\":\"/srv\",\"env\":{\"A\":\"1\",\"C\":null},"
			    "\"variables\":{\"B\":\"2\"},\"unset\":[\"SET\"]}");
	assert_int_equal(APPLY(state, "uA\0xB=3\0xSET=\0xAA=="), CONTEXT_STATE_TAKEN);
	assert_state(
		state,
		"{\"directory\":\"/srv\",\"env\":{\"AA\":\"=\",\"B\":\"3\",\"C\":null,\"SET\":\"\"},"
		"\"variables\":{},\"unset\":[]}");
	assert_true(*contexts_state_total(*state) > 0);
	assert_true(context_state_reset(*state, context_of(state)));
	assert_false(context_state_reset(*state, context_of(state)));
	assert_state(state, NOTHING);
	assert_int_equal(*contexts_state_total(*state), 0);
}

static void an_environment_has_settings_below_state(void **state)
{
	char **env = NULL;
	size_t size;

	assert_int_equal(APPLY(state, "xSET=3\0uOTHER\0xNEW=4\0vHERE=5\0xUNSET"),
			 CONTEXT_STATE_TAKEN);
	assert_int_equal(context_state_env(context_of(state), &env, &size), 0);
	assert_string_equal(env_get(env, "SET"), "3");
	assert_null(env_get(env, "OTHER"));
	assert_string_equal(env_get(env, "NEW"), "4");
	assert_null(env_get(env, "HERE"));
	assert_null(env_get(env, "UNSET"));
	assert_non_null(env_get(env, "PATH"));
	free_wiped(env, size);
	/* The settings are as they were. */
	assert_string_equal(env_get(context_of(state)->settings->env[0], "SET"), "1");
	assert_string_equal(env_get(context_of(state)->settings->env[1], "OTHER"), "2");
}

static void a_command_string_gets_what_no_environment_holds(void **state)
{
	static const char expected[] = "d/here\0vHERE=5\0xUNSET";
	char *entries;
	size_t n;

	assert_int_equal(APPLY(state, "xNEW=4\0vHERE=5\0xUNSET\0uSET"), CONTEXT_STATE_TAKEN);
	assert_int_equal(context_state_entries(context_of(state), "/here", true, &entries, &n), 0);
	assert_int_equal(n, sizeof(expected));
	assert_memory_equal(entries, expected, n);
	free(entries);
	assert_int_equal(context_state_entries(context_of(state), "/here", false, &entries, &n), 0);
	assert_int_equal(n, sizeof("d/here"));
	free(entries);
}

static void what_is_no_packet_changes_nothing(void **state)
{
	static const char good[] = "xA=1\0xB=2";
	const struct run_packet head = head_of(good, sizeof(good));
	struct run_packet bad[] = { head, head, head, head, head };

	assert_int_equal(APPLY(state, "xKEPT=1"), CONTEXT_STATE_TAKEN);
	bad[0].magic++;
	bad[1].count++;
	bad[2].count--;
	bad[3].len--;
	bad[4].says = 77;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(apply_as(state, good, sizeof(good), bad[i]),
				 CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(apply_as(state, good, sizeof(good) - 1, head_of(good, sizeof(good) - 1)),
			 CONTEXT_STATE_NOT_RETURNED); /* no NUL at the end */
	assert_int_equal(context_state_apply(*state, context_of(state), &head, 7),
			 CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, "dsrv"), CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, "d"), CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, "d/a\0d/b"), CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, ""), CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, "yA=1"), CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, "x1A=1"), CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, "x=1"), CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, "xA\xff=1"), CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, "vA"), CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, "uA=1"), CONTEXT_STATE_NOT_RETURNED);
	assert_int_equal(APPLY(state, "xA=1\0x B=1"), CONTEXT_STATE_NOT_RETURNED);
	assert_state(state,
		     "{\"directory\":null,\"env\":{\"KEPT\":\"1\"},\"variables\":{},\"unset\":[]}");
	assert_int_equal(apply_as(state, good, sizeof(good), head), CONTEXT_STATE_TAKEN);
}

static void of_a_name_that_comes_twice_the_last_is_taken(void **state)
{
	assert_int_equal(APPLY(state, "xA=1\0vA=2\0xB=1\0uB\0uB"), CONTEXT_STATE_TAKEN);
	assert_state(state,
		     "{\"directory\":null,\"env\":{},\"variables\":{\"A\":\"2\"},\"unset\":[]}");
}

/* n variables of size bytes each, with letter and NUL. */
static enum context_state_fate apply_many(void **state, const char *prefix, unsigned n,
					  unsigned size)
{
	char *entries = calloc(n, size), name[32];
	enum context_state_fate fate;

	assert_non_null(entries);
	for (unsigned i = 0; i < n; i++) {
		int used = snprintf(name, sizeof(name), "x%s%u=", prefix, i);

		assert_true(used < (int)size);
		memset(entries + (size_t)i * size, 'v', size - 1);
		memcpy(entries + (size_t)i * size, name, (size_t)used);
	}
	fate = apply_as(state, entries, (size_t)n * size, head_of(entries, (size_t)n * size));
	free(entries);
	return fate;
}

static void a_state_has_limits_and_is_taken_whole_or_not_at_all(void **state)
{
	assert_int_equal(apply_many(state, "N", RUN_STATE_NAMES_MAX, 12), CONTEXT_STATE_TAKEN);
	assert_int_equal(APPLY(state, "xN1=other"), CONTEXT_STATE_TAKEN);
	assert_int_equal(APPLY(state, "xMORE=1"), CONTEXT_STATE_TOO_LARGE);
	assert_int_equal(apply_many(state, "M", RUN_STATE_NAMES_MAX + 1, 12),
			 CONTEXT_STATE_NOT_RETURNED);
	assert_true(context_state_reset(*state, context_of(state)));
	assert_int_equal(apply_many(state, "B", RUN_STATE_BYTES_MAX / 4096, 4096),
			 CONTEXT_STATE_TAKEN);
	assert_int_equal(APPLY(state, "xA=1"), CONTEXT_STATE_TOO_LARGE);
	assert_int_equal(APPLY(state, "xB1=1"), CONTEXT_STATE_TAKEN);
	assert_int_equal(APPLY(state, "xA=1"), CONTEXT_STATE_TAKEN);
}

static void all_states_together_have_a_limit(void **state)
{
	size_t *total = contexts_state_total(*state);

	*total = CONTEXTS_STATE_MAX;
	assert_int_equal(APPLY(state, "xA=1"), CONTEXT_STATE_TOO_LARGE);
	*total = 0;
	assert_int_equal(APPLY(state, "xA=1"), CONTEXT_STATE_TAKEN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_contexts, close_contexts)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_packet_changes_the_names_that_are_in_it),
		TEST(an_environment_has_settings_below_state),
		TEST(a_command_string_gets_what_no_environment_holds),
		TEST(what_is_no_packet_changes_nothing),
		TEST(of_a_name_that_comes_twice_the_last_is_taken),
		TEST(a_state_has_limits_and_is_taken_whole_or_not_at_all),
		TEST(all_states_together_have_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
