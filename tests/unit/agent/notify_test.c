/* SPDX-License-Identifier: Apache-2.0 */
/* A service manager whose queue is full hears everything all the same, in order. */
#include "agent/notify.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

static const char path[] = "@moat-notify-test";
static struct loop *loop;
static int manager = -EBADF;

static int setup(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)state;
	memcpy(address.sun_path + 1, path + 1, sizeof(path) - 2);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return loop_new(&loop) < 0 ||
	       bind(manager, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(path) - 1)) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_free(loop);
	close_fd(&manager);
	unsetenv("NOTIFY_SOCKET");
	return 0;
}

/* What the manager finds next; "" nothing. */
static const char *heard(void)
{
	static char text[64];
	ssize_t n = recv(manager, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static unsigned fill(void)
{
	FD_OWNED int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;
	socklen_t len = sizeof(address);
	unsigned n = 0;

	assert_int_equal(getsockname(manager, (struct sockaddr *)&address, &len), 0);
	while (sendto(fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&address, len) == 1)
		n++;
	assert_int_equal(errno, EAGAIN);
	return n;
}

static void on_time(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(loop);
}

static void run_for(uint64_t ms)
{
	struct loop_timer timer = { 0 };

	assert_int_equal(loop_timer_set(loop, &timer, ms * NSEC_PER_MSEC, on_time), 0);
	assert_int_equal(loop_run(loop), 0);
}

static void what_is_said_is_heard(void **state)
{
	struct notify notify;

	(void)state;
	setenv("NOTIFY_SOCKET", path, 1);
	notify_open(&notify, loop);
	assert_null(getenv("NOTIFY_SOCKET"));
	notify_send(&notify, "READY=1");
	assert_string_equal(heard(), "READY=1");
	notify_send(&notify, "STOPPING=1");
	assert_string_equal(heard(), "STOPPING=1");
	notify_close(&notify);
}

static void a_full_queue_loses_nothing(void **state)
{
	struct notify notify;
	unsigned n;

	(void)state;
	setenv("NOTIFY_SOCKET", path, 1);
	notify_open(&notify, loop);
	n = fill();
	notify_send(&notify, "READY=1");
	notify_send(&notify, "STOPPING=1");
	run_for(250);
	for (; n > 0; n--)
		assert_string_equal(heard(), "x");
	assert_string_equal(heard(), "");
	run_for(250);
	assert_string_equal(heard(), "READY=1");
	assert_string_equal(heard(), "STOPPING=1");
	assert_string_equal(heard(), "");
	notify_close(&notify);
}

static void without_a_manager_nothing_happens(void **state)
{
	struct notify notify;

	(void)state;
	notify_open(&notify, loop);
	notify_send(&notify, "READY=1");
	notify_close(&notify);
	assert_string_equal(heard(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define NOTIFY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		NOTIFY_TEST(what_is_said_is_heard),
		NOTIFY_TEST(a_full_queue_loses_nothing),
		NOTIFY_TEST(without_a_manager_nothing_happens),
	};

	return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
