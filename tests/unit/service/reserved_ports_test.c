/* SPDX-License-Identifier: Apache-2.0 */
/* In a network namespace of the test's own: the machine's settings are not touched. */
#include "agent/service/reserved_ports.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

#define RANGE "/proc/sys/net/ipv4/ip_local_port_range"
#define RESERVED "/proc/sys/net/ipv4/ip_local_reserved_ports"

static int own_namespace(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNET);
}

static int reset(void **state)
{
	(void)state;
	return write_file_at(AT_FDCWD, RANGE, "40000 50000") ||
	       write_file_at(AT_FDCWD, RESERVED, "\n");
}

static void expect_reserved(const char *expected)
{
	static char text[256 * 1024];
	FD_OWNED int fd = open(RESERVED, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, expected);
}

static int add_ports(const uint16_t *numbers, size_t n, struct reserved_ports *reserved,
		     struct failure *f)
{
	struct config_port ports[8] = { 0 };
	struct config_service service = { .ports = ports, .n_ports = n };
	struct config config = { .services = &service, .n_services = 1 };

	for (size_t i = 0; i < n; i++)
		ports[i].port = numbers[i];
	return reserved_ports_add(&config, reserved, f);
}

/* What the kernel picks for bind() to port 0. 0: none is left. */
static uint16_t autobind(int *ret_fd)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);

	*ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(*ret_fd >= 0);
	if (bind(*ret_fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		assert_int_equal(errno, EADDRINUSE);
		return 0;
	}
	assert_int_equal(getsockname(*ret_fd, (struct sockaddr *)&address, &len), 0);
	return ntohs(address.sin_port);
}

static void the_kernel_never_picks_a_guarded_port(void **state)
{
	struct reserved_ports reserved = { 0 };
	FD_OWNED int first = -EBADF;
	FD_OWNED int second = -EBADF;

	(void)state;
	assert_int_equal(write_file_at(AT_FDCWD, RANGE, "40000 40001"), 0);
	assert_int_equal(add_ports((uint16_t[]){ 40000 }, 1, &reserved, NULL), 0);
	assert_int_equal(autobind(&first), 40001);
	assert_int_equal(autobind(&second), 0);
	reserved_ports_remove(&reserved);
	close_fd(&second);
	assert_int_equal(autobind(&second), 40000);
}

static void what_was_reserved_stays_and_what_was_added_goes(void **state)
{
	struct reserved_ports reserved = { 0 };

	(void)state;
	assert_int_equal(write_file_at(AT_FDCWD, RESERVED, "80,41000-41002"), 0);
	assert_int_equal(
		add_ports((uint16_t[]){ 41002, 41003, 8080, 50000 }, 4, &reserved, NULL), 0);
	expect_reserved("80,41000-41003,50000\n");
	assert_int_equal(reserved.n, 2);
	/* Somebody else adds one meanwhile. */
	assert_int_equal(write_file_at(AT_FDCWD, RESERVED, "80,41000-41003,45000,50000"), 0);
	reserved_ports_remove(&reserved);
	expect_reserved("80,41000-41002,45000\n");
	reserved_ports_remove(&reserved); /* harmless */
	expect_reserved("80,41000-41002,45000\n");
}

static void ports_outside_of_the_range_change_nothing(void **state)
{
	struct reserved_ports reserved = { 0 };

	(void)state;
	assert_int_equal(add_ports((uint16_t[]){ 80, 39999, 50001 }, 3, &reserved, NULL), 0);
	assert_int_equal(reserved.n, 0);
	expect_reserved("\n");
}

static void a_list_of_many_pages_survives(void **state)
{
	static char before[256 * 1024], text[256 * 1024];
	struct reserved_ports reserved = { 0 };
	FD_OWNED int fd = open(RESERVED, O_RDWR | O_CLOEXEC);
	size_t n = 0;

	(void)state;
	for (unsigned p = 1; p < 39000; p += 2)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u", p > 1 ? "," : "", p);
	snprintf(text + n, sizeof(text) - n, "\n");
	assert_int_equal(write_all(fd, text, n + 1), 0);
	close_fd(&fd);
	expect_reserved(text);
	memcpy(before, text, n);
	snprintf(before + n, sizeof(before) - n, ",40000\n");
	assert_int_equal(add_ports((uint16_t[]){ 40000 }, 1, &reserved, NULL), 0);
	expect_reserved(before);
	reserved_ports_remove(&reserved);
	expect_reserved(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_kernel_never_picks_a_guarded_port, reset),
		cmocka_unit_test_setup(what_was_reserved_stays_and_what_was_added_goes, reset),
		cmocka_unit_test_setup(ports_outside_of_the_range_change_nothing, reset),
		cmocka_unit_test_setup(a_list_of_many_pages_survives, reset),
	};

	return cmocka_run_group_tests_name("reserved_ports", tests, own_namespace, NULL);
}
