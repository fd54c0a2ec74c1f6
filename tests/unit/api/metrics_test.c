/* SPDX-License-Identifier: Apache-2.0 */
/* The exposition format, and the buckets behind it. */
#include "agent/api/internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void an_observation_is_in_the_first_bucket_that_holds_it(void **state)
{
	struct histogram h = { 0 };
	uint64_t sum = 0;

	(void)state;
	for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
		assert_true(i == 0 || histogram_bounds_ns[i] > histogram_bounds_ns[i - 1]);
		histogram_add(&h, histogram_bounds_ns[i]); /* the bound belongs to its bucket */
		assert_int_equal(h.buckets[i], i ? 2 : 1);
		histogram_add(&h, histogram_bounds_ns[i] + 1);
		assert_int_equal(h.buckets[i + 1], 1);
		sum += 2 * histogram_bounds_ns[i] + 1;
	}
	histogram_add(&h, 0);
	assert_int_equal(h.buckets[0], 2);
	histogram_add(&h, 3600 * NSEC_PER_SEC);
	assert_int_equal(h.buckets[HISTOGRAM_BOUNDS], 2);
	assert_int_equal(h.sum_ns, sum + 3600 * NSEC_PER_SEC);
}

static void assert_written(struct jbuf *b, const char *text)
{
	assert_false(b->failed);
	jbuf_raw(b, "", 1);
	assert_string_equal(b->data, text);
	jbuf_free(b);
}

static void buckets_are_written_as_sums_up_to_all(void **state)
{
	struct histogram h = { 0 };
	struct jbuf b = { 0 };

	(void)state;
	histogram_add(&h, 1);
	histogram_add(&h, 250000);
	histogram_add(&h, 700000);
	histogram_add(&h, 2000000000);
	api_write_histogram(&b, "x_seconds", &h);
	assert_written(&b,
		       "x_seconds_bucket{le=\"0.00025\"} 2\n"
		       "x_seconds_bucket{le=\"0.0005\"} 2\n"
		       "x_seconds_bucket{le=\"0.001\"} 3\n"
		       "x_seconds_bucket{le=\"0.0025\"} 3\n"
		       "x_seconds_bucket{le=\"0.005\"} 3\n"
		       "x_seconds_bucket{le=\"0.01\"} 3\n"
		       "x_seconds_bucket{le=\"0.025\"} 3\n"
		       "x_seconds_bucket{le=\"0.05\"} 3\n"
		       "x_seconds_bucket{le=\"0.1\"} 3\n"
		       "x_seconds_bucket{le=\"0.25\"} 3\n"
		       "x_seconds_bucket{le=\"0.5\"} 3\n"
		       "x_seconds_bucket{le=\"1\"} 3\n"
		       "x_seconds_bucket{le=\"+Inf\"} 4\n"
		       "x_seconds_sum 2.000950001\n"
		       "x_seconds_count 4\n");
}

static void label_values_cannot_break_out(void **state)
{
	const char *const labels[] = { "a", "plain", "b", "q\" b\\ n\n\\n}", "c", "", NULL };
	const char *const none[] = { NULL };
	struct jbuf b = { 0 };

	(void)state;
	api_write_sample(&b, "x", labels, "7");
	assert_written(&b, "x{a=\"plain\",b=\"q\\\" b\\\\ n\\n\\\\n}\",c=\"\"} 7\n");
	api_write_sample(&b, "x", none, "0.5");
	assert_written(&b, "x 0.5\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_observation_is_in_the_first_bucket_that_holds_it),
		cmocka_unit_test(buckets_are_written_as_sums_up_to_all),
		cmocka_unit_test(label_values_cannot_break_out),
	};

	return cmocka_run_group_tests_name("api_metrics", tests, NULL, NULL);
}
