/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/descriptors.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "agent/api/api.h"
#include "agent/exec/exec.h"

static const struct config two_services = { .n_services = 2 };

static void with_many_everybody_has_the_most(void **state)
{
	struct descriptors d;

	(void)state;
	assert_int_equal(descriptors_share(&two_services, 300, 1048576, &d, NULL), 0);
	assert_int_equal(d.connections, API_CONNECTIONS_MAX);
	assert_int_equal(d.execs, EXEC_RUNNING_MAX);
	assert_int_equal(d.pool, 256);
	assert_true(d.contexts > 10000);
}

static void all_shares_and_the_reserve_fit_the_limit(void **state)
{
	struct descriptors d;

	(void)state;
	for (unsigned limit = 0; limit < 70000; limit += 1 + limit / 50) {
		if (descriptors_share(&two_services, 60, limit, &d, NULL) < 0)
			continue;
		/* what is open, and a start of each service */
		assert_true(60 + 2 * 8 + 24 + d.connections + (6 + 2) * d.execs + 4 * d.contexts +
				    2 * d.pool <=
			    limit);
		assert_true(d.connections >= 8 && d.execs >= 4 && d.contexts >= 4);
	}
	assert_int_equal(descriptors_share(&two_services, 60, 1024, &d, NULL), 0);
	assert_true(d.connections > 64 && d.execs >= 60 && d.contexts > 32);
}

static void what_is_not_enough_is_refused_with_the_number(void **state)
{
	struct failure f = { 0 };
	struct descriptors d;
	unsigned needed = 0;

	(void)state;
	while (descriptors_share(&two_services, 20, ++needed, &d, NULL) == -EMFILE)
		;
	assert_int_equal(descriptors_share(&two_services, 20, needed, &d, NULL), 0);
	assert_int_equal(descriptors_share(&two_services, 20, needed - 1, &d, &f), -EMFILE);
	assert_non_null(strstr(f.msg, "RLIMIT_NOFILE"));
	assert_int_equal(strtoul(strstr(f.msg, "needs ") + 6, NULL, 10), needed);
	/* a service more needs more */
	assert_int_equal(descriptors_share(&(struct config){ .n_services = 3 }, 20, needed, &d, NULL),
			 -EMFILE);
}

static void private_contexts_have_their_places_beside_the_others(void **state)
{
	struct config_context contexts[20] = { { .ns = CONTEXT_USER }, { .ns = CONTEXT_SECURE } };
	const struct config config = { .contexts = contexts, .n_contexts = ARRAY_LEN(contexts) };
	struct failure f = { 0 };
	struct descriptors d;
	unsigned without = 0, with = 0;

	(void)state;
	while (descriptors_share(&config, 20, ++without, &d, NULL) < 0)
		;
	assert_int_equal(d.contexts, 4);
	for (size_t i = 2; i < ARRAY_LEN(contexts); i++)
		contexts[i].ns = CONTEXT_PRIVATE;
	while (descriptors_share(&config, 20, ++with, &d, &f) < 0)
		;
	assert_int_equal(d.contexts, 18 + 4);
	assert_int_equal(with, without + 18 * 4);
	assert_int_equal(strtoul(strstr(f.msg, "needs ") + 6, NULL, 10), with);
}

static void what_is_open_is_counted(void **state)
{
	unsigned before, after, limit;
	int fd;

	(void)state;
	assert_int_equal(descriptors_count(&before, &limit), 0);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(descriptors_count(&after, &limit), 0);
	assert_int_equal(after, before + 1);
	assert_true(limit > after);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_many_everybody_has_the_most),
		cmocka_unit_test(all_shares_and_the_reserve_fit_the_limit),
		cmocka_unit_test(what_is_not_enough_is_refused_with_the_number),
		cmocka_unit_test(private_contexts_have_their_places_beside_the_others),
		cmocka_unit_test(what_is_open_is_counted),
	};

	return cmocka_run_group_tests_name("descriptors", tests, NULL, NULL);
}
