/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cmocka.h>

#define MSEC NSEC_PER_MSEC

/* What the callbacks of one test see; one test at a time. */
static struct {
	struct loop *loop;
	char order[64];
	unsigned calls;
	uint64_t last_ns;
} t;

static int setup(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	return loop_new(&t.loop);
}

static int teardown(void **state)
{
	(void)state;
	loop_free(t.loop);
	return 0;
}

struct named_timer {
	struct loop_timer timer;
	char name;
};

/* They are set one after the other, so on a slow machine their delays alone do not order them. */
static void note_in_order(struct loop_timer *timer)
{
	assert_true(timer->deadline_ns >= t.last_ns);
	assert_true(timer->deadline_ns <= now_ns());
	t.last_ns = timer->deadline_ns;
	t.calls++;
}

static void stop(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(t.loop);
}

static void note(struct loop_timer *timer)
{
	size_t n = strlen(t.order);

	t.order[n] = container_of(timer, struct named_timer, timer)->name;
	t.order[n + 1] = '\0';
}

static void timers_expire_in_order_of_their_deadlines(void **state)
{
	struct loop_timer timers[100] = { 0 }, end = { 0 };
	uint64_t start = now_ns();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(timers); i++)
		assert_int_equal(loop_timer_set(t.loop, &timers[i], (i * 37 % 100) * MSEC / 10,
						note_in_order), 0);
	assert_int_equal(loop_timer_set(t.loop, &end, 12 * MSEC, stop), 0);
	assert_int_equal(loop_run(t.loop), 0);
	assert_int_equal(t.calls, ARRAY_LEN(timers));
	assert_true(now_ns() - start >= 12 * MSEC);
	assert_int_equal(end.index, 0);
}

static void a_cancelled_or_moved_timer_keeps_its_new_time(void **state)
{
	struct named_timer a = { .name = 'a' }, b = { .name = 'b' }, c = { .name = 'c' };
	struct loop_timer end = { 0 };

	(void)state;
	loop_timer_set(t.loop, &a.timer, 1 * MSEC, note);
	loop_timer_set(t.loop, &b.timer, 2 * MSEC, note);
	loop_timer_set(t.loop, &c.timer, 3 * MSEC, note);
	loop_timer_set(t.loop, &a.timer, 5 * MSEC, note); /* later than c */
	loop_timer_set(t.loop, &end, 20 * MSEC, stop);
	loop_timer_cancel(t.loop, &b.timer);
	loop_timer_cancel(t.loop, &b.timer); /* harmless */
	assert_int_equal(loop_run(t.loop), 0);
	assert_string_equal(t.order, "ca");
}

static void an_earlier_timer_does_not_wait_for_a_later_one(void **state)
{
	struct named_timer late = { .name = 'l' };
	struct loop_timer end = { 0 };
	uint64_t start = now_ns();

	(void)state;
	loop_timer_set(t.loop, &late.timer, 60 * NSEC_PER_SEC, note);
	loop_timer_set(t.loop, &end, 1 * MSEC, stop);
	assert_int_equal(loop_run(t.loop), 0);
	assert_true(now_ns() - start < 50 * NSEC_PER_SEC);
	assert_string_equal(t.order, "");
	loop_timer_cancel(t.loop, &late.timer);
}

static void a_delay_without_end_is_no_overflow(void **state)
{
	struct named_timer never = { .name = 'n' };
	struct loop_timer end = { 0 };

	(void)state;
	assert_int_equal(loop_timer_set(t.loop, &never.timer, UINT64_MAX, note), 0);
	loop_timer_set(t.loop, &end, 5 * MSEC, stop);
	assert_int_equal(loop_run(t.loop), 0);
	assert_string_equal(t.order, "");
}

/* Sets itself again at once, for ever. */
static void again(struct loop_timer *timer)
{
	if (++t.calls == 100000)
		loop_stop(t.loop); /* starved */
	else
		loop_timer_set(t.loop, timer, 0, again);
}

static void on_byte(struct loop_source *source, uint32_t events)
{
	char byte;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(source->fd, &byte, 1), 1);
	loop_stop(t.loop);
}

static void a_timer_that_sets_itself_again_does_not_starve_sources(void **state)
{
	struct loop_source source = { .fd = -EBADF };
	struct loop_timer timer = { 0 };
	int pipe_fds[2];

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(loop_add(t.loop, &source, pipe_fds[0], EPOLLIN, on_byte), 0);
	loop_timer_set(t.loop, &timer, 0, again);
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	assert_int_equal(loop_run(t.loop), 0);
	assert_true(t.calls < 100000);
	loop_remove(t.loop, &source);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

struct pair {
	struct loop_source a, b;
	int fd_a, fd_b;
};

static void on_either(struct loop_source *source, uint32_t events)
{
	(void)source;
	(void)events;
	t.calls++;
}

/* Whichever is told first frees both, the other of which has an event in the same batch. */
static void on_first_frees_both(struct loop_source *source, uint32_t events)
{
	struct pair *p = *(struct pair **)t.order;

	(void)source;
	(void)events;
	t.calls++;
	loop_remove(t.loop, &p->a);
	loop_remove(t.loop, &p->b);
	memset(p, 0x5a, sizeof(*p));
	free(p);
}

static void a_removed_source_is_not_called_even_if_its_event_was_fetched(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));
	struct loop_timer end = { 0 };
	int fds[2], more[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(pipe2(more, O_CLOEXEC), 0);
	memcpy(t.order, &p, sizeof(p));
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(write(more[1], "x", 1), 1);
	assert_int_equal(loop_add(t.loop, &p->a, fds[0], EPOLLIN, on_first_frees_both), 0);
	assert_int_equal(loop_add(t.loop, &p->b, more[0], EPOLLIN, on_first_frees_both), 0);
	loop_timer_set(t.loop, &end, 10 * MSEC, stop);
	assert_int_equal(loop_run(t.loop), 0);
	assert_int_equal(t.calls, 1);
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		close(more[i]);
	}
}

static void removing_what_was_never_added_is_harmless(void **state)
{
	struct loop_source zeroed = { 0 }, unset = { .fd = -EBADF };

	(void)state;
	loop_remove(t.loop, &zeroed);
	loop_remove(t.loop, &unset);
	assert_true(fcntl(0, F_GETFD) >= 0);
}

static void modify_changes_what_is_waited_for(void **state)
{
	struct loop_source source = { .fd = -EBADF };
	struct loop_timer end = { 0 };
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(loop_add(t.loop, &source, fds[0], EPOLLIN, on_either), 0);
	loop_timer_set(t.loop, &end, 5 * MSEC, stop);
	assert_int_equal(loop_run(t.loop), 0);
	assert_int_equal(t.calls, 0);
	assert_int_equal(loop_modify(t.loop, &source, EPOLLOUT), 0);
	loop_timer_set(t.loop, &end, 5 * MSEC, stop);
	assert_int_equal(loop_run(t.loop), 0);
	assert_true(t.calls > 0);
	loop_remove(t.loop, &source);
	close(fds[0]);
	close(fds[1]);
}

static void adding_a_closed_descriptor_says_so(void **state)
{
	struct loop_source source = { .fd = -EBADF };

	(void)state;
	assert_int_equal(loop_add(t.loop, &source, 1 << 20, EPOLLIN, on_either), -EBADF);
	assert_int_equal(source.fd, -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		LOOP_TEST(timers_expire_in_order_of_their_deadlines),
		LOOP_TEST(a_cancelled_or_moved_timer_keeps_its_new_time),
		LOOP_TEST(an_earlier_timer_does_not_wait_for_a_later_one),
		LOOP_TEST(a_delay_without_end_is_no_overflow),
		LOOP_TEST(a_timer_that_sets_itself_again_does_not_starve_sources),
		LOOP_TEST(a_removed_source_is_not_called_even_if_its_event_was_fetched),
		LOOP_TEST(removing_what_was_never_added_is_harmless),
		LOOP_TEST(modify_changes_what_is_waited_for),
		LOOP_TEST(adding_a_closed_descriptor_says_so),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
