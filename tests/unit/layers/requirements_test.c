/* SPDX-License-Identifier: Apache-2.0 */
/* Which promise holds with which layers, and for whom; and the names by which they are required. */
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>

#include "agent/layers/requirements.h"
#include "agent/layers/layers.h"

#include <cmocka.h>

#define ALL                                                                                        \
	(LAYER_SECCOMP | LAYER_LANDLOCK | LAYER_LANDLOCK_SCOPES | LAYER_MOUNTS | LAYER_PORTS |     \
	 LAYER_PROC)

static enum guard guard_of(const char *id, bool lsm, unsigned layers, uint64_t capabilities)
{
	const struct requirement *is;
	const char *by;

	for (size_t i = 0; (is = requirement_at(i)); i++)
		if (strcmp(is->id, id) == 0)
			return requirement_guard(i, lsm, layers, capabilities, &by);
	fail_msg("no requirement %s", id);
	return GUARD_COUNT;
}

static void the_kernel_programs_guard_all_and_nothing_else_does(void **state)
{
	const struct requirement *is;
	size_t n = 0;

	(void)state;
	for (; (is = requirement_at(n)); n++) {
		assert_int_equal(guard_of(is->id, true, 0, ~0ull), GUARD_FULL);
		assert_int_not_equal(guard_of(is->id, false, 0, 0), GUARD_FULL);
	}
	assert_int_equal(n, CONFIG_REQUIREMENTS);
}

static void without_them_it_depends_on_layers_and_capabilities(void **state)
{
	const uint64_t admin = 1ull << CAP_SYS_ADMIN, by_handle = 1ull << CAP_DAC_READ_SEARCH;

	(void)state;
	assert_int_equal(guard_of("A1", false, ALL, 0), GUARD_FULL);
	assert_int_equal(guard_of("A1", false, ALL, admin), GUARD_NONE);
	assert_int_equal(guard_of("A1", false, LAYER_LANDLOCK, 0), GUARD_PRIVATE_PID);
	assert_int_equal(guard_of("A2", false, ALL, 0), GUARD_PRIVATE_PID);
	assert_int_equal(guard_of("A2", false, ALL, admin), GUARD_NONE);
	assert_int_equal(guard_of("A3", false, ALL, 0), GUARD_FULL);
	assert_int_equal(guard_of("A3", false, ALL & ~LAYER_PORTS, 0), GUARD_NONE);
	assert_int_equal(guard_of("A3", false, ALL, admin), GUARD_NONE);
	assert_int_equal(guard_of("A3", false, ALL, by_handle), GUARD_FULL);
	assert_int_equal(guard_of("A3", false, ALL & ~LAYER_SECCOMP, 0), GUARD_FULL);
	assert_int_equal(guard_of("A3", false, ALL & ~LAYER_SECCOMP, by_handle), GUARD_NONE);
	assert_int_equal(guard_of("A5", false, ALL, 0), GUARD_NONE);
	assert_int_equal(guard_of("A4", false, LAYER_LANDLOCK | LAYER_PROC, 0), GUARD_FULL);
	assert_int_equal(guard_of("A4", false, LAYER_LANDLOCK, 0), GUARD_PRIVATE_PID);
	assert_int_equal(guard_of("A4", false, ALL, admin), GUARD_PRIVATE_PID);
	assert_int_equal(guard_of("A6", false, ALL, 0), GUARD_FULL);
	assert_int_equal(guard_of("A6", false, ALL, admin), GUARD_NONE);
	assert_int_equal(guard_of("C3", false, ALL, 0), GUARD_FULL);
	assert_int_equal(guard_of("C3", false, ALL, admin), GUARD_NONE);
	assert_int_equal(guard_of("C3", false, LAYER_SECCOMP, 0), GUARD_NONE);
}

static void a_context_without_a_filter_has_not_what_the_filter_guards(void **state)
{
	struct config config = { 0 };
	struct config_context values = { 0 };

	(void)state;
	assert_null(config_requirements("A6", &config.required));
	assert_null(requirement_missing(&config, false, ALL, &values));
	values.no_seccomp = true;
	assert_string_equal(requirement_missing(&config, false, ALL, &values)->id, "A6");
	assert_null(requirement_missing(&config, true, 0, &values));
}

static void what_is_required_by_name_is_missed_where_it_does_not_hold(void **state)
{
	struct config config = { 0 };
	struct config_context values = { 0 };

	(void)state;
	assert_null(config_requirements(" A1  C3 A2", &config.required));
	assert_null(requirement_missing(&config, false, ALL, &values));
	values.shared_pid = true;
	assert_string_equal(requirement_missing(&config, false, ALL, &values)->id, "A2");
	assert_null(requirement_missing(&config, true, 0, &values));
	values.shared_pid = false;
	assert_string_equal(requirement_missing(&config, false, 0, &values)->id, "C3");
	assert_non_null(config_requirements("A1 B2", &config.required));
	assert_non_null(config_requirements("  ", &config.required));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_kernel_programs_guard_all_and_nothing_else_does),
		cmocka_unit_test(without_them_it_depends_on_layers_and_capabilities),
		cmocka_unit_test(a_context_without_a_filter_has_not_what_the_filter_guards),
		cmocka_unit_test(what_is_required_by_name_is_missed_where_it_does_not_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
