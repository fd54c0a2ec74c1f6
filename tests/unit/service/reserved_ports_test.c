/* SPDX-License-Identifier: Apache-2.0 */
/* In a network namespace of the test's own: the machine's settings are not touched. */
#include "agent/service/reserved_ports.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#define RANGE "/proc/sys/net/ipv4/ip_local_port_range"
#define RESERVED "/proc/sys/net/ipv4/ip_local_reserved_ports"

static char state_dir[] = "/tmp/moat-ports-test-XXXXXX";

static int own_namespace(void **state)
{
	(void)state;
	return mkdtemp(state_dir) ? unshare(CLONE_NEWNET) : -1;
}

static int remove_state(void **state)
{
	(void)state;
	return rmdir(state_dir); /* nothing may be left in it */
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
	struct config config = { .state_dir = state_dir, .services = &service, .n_services = 1 };

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

/* As SIGKILL leaves it: what was reserved stays so, and nobody is there to take it back. */
static void die(struct reserved_ports *reserved)
{
	free(reserved->ports);
	free(reserved->journal);
	*reserved = (struct reserved_ports){ 0 };
}

static void what_an_agent_that_was_killed_left_is_taken_back_by_the_next(void **state)
{
	struct reserved_ports reserved = { 0 };

	(void)state;
	assert_int_equal(write_file_at(AT_FDCWD, RESERVED, "41000"), 0);
	assert_int_equal(add_ports((uint16_t[]){ 41000, 42000, 43000 }, 3, &reserved, NULL), 0);
	expect_reserved("41000,42000,43000\n");
	die(&reserved);
	/* The next one still needs one of them, and knows that it is its own. */
	assert_int_equal(add_ports((uint16_t[]){ 42000 }, 1, &reserved, NULL), 0);
	expect_reserved("41000,42000\n");
	die(&reserved);
	assert_int_equal(add_ports((uint16_t[]){ 80 }, 1, &reserved, NULL), 0);
	expect_reserved("41000\n");
	reserved_ports_remove(&reserved);
	expect_reserved("41000\n");
}

static void what_was_left_in_another_network_namespace_is_not_taken_for_ours(void **state)
{
	struct reserved_ports reserved = { 0 };
	char journal[64];

	(void)state;
	assert_int_equal(add_ports((uint16_t[]){ 42000 }, 1, &reserved, NULL), 0);
	die(&reserved);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(reset(state), 0);
	assert_int_equal(write_file_at(AT_FDCWD, RESERVED, "42000"), 0); /* somebody's here */
	assert_int_equal(add_ports((uint16_t[]){ 43000 }, 1, &reserved, NULL), 0);
	reserved_ports_remove(&reserved);
	expect_reserved("42000\n");
	snprintf(journal, sizeof(journal), "%s/reserved-ports", state_dir);
	assert_int_equal(access(journal, F_OK), -1);
}

static void whoever_holds_the_lock_does_not_hold_up_the_start(void **state)
{
	struct reserved_ports reserved = { 0 };
	FD_OWNED int lock = open(RESERVED, O_RDONLY | O_CLOEXEC);
	uint64_t before = now_ns();

	(void)state;
	assert_int_equal(flock(lock, LOCK_EX), 0);
	assert_int_equal(add_ports((uint16_t[]){ 42000 }, 1, &reserved, NULL), 0);
	expect_reserved("42000\n");
	assert_true(now_ns() - before < 10 * NSEC_PER_SEC);
	close_fd(&lock);
	reserved_ports_remove(&reserved);
	expect_reserved("\n");
}

static void the_lock_is_had_as_soon_as_its_holder_lets_go(void **state)
{
	struct reserved_ports reserved = { 0 };
	FD_OWNED int lock = open(RESERVED, O_RDONLY | O_CLOEXEC);
	uint64_t before = now_ns();
	pid_t child;

	(void)state;
	assert_int_equal(flock(lock, LOCK_EX), 0);
	child = fork();
	if (child == 0) { /* it holds it, too */
		usleep(100000);
		_exit(0);
	}
	close_fd(&lock);
	assert_int_equal(add_ports((uint16_t[]){ 42000 }, 1, &reserved, NULL), 0);
	assert_in_range(now_ns() - before, 90 * NSEC_PER_MSEC, 450 * NSEC_PER_MSEC);
	expect_reserved("42000\n");
	assert_int_equal(waitpid(child, NULL, 0), child);
	reserved_ports_remove(&reserved);
	expect_reserved("\n");
	lock = open(RESERVED, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0); /* nobody has it any more */
}

static void ports_outside_of_the_range_change_nothing(void **state)
{
	struct reserved_ports reserved = { 0 };

	(void)state;
	assert_int_equal(add_ports((uint16_t[]){ 80, 39999, 50001 }, 3, &reserved, NULL), 0);
	assert_int_equal(reserved.n, 0);
	expect_reserved("\n");
	reserved_ports_remove(&reserved);
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
		cmocka_unit_test_setup(what_an_agent_that_was_killed_left_is_taken_back_by_the_next, reset),
		cmocka_unit_test_setup(what_was_left_in_another_network_namespace_is_not_taken_for_ours,
				       reset),
		cmocka_unit_test_setup(whoever_holds_the_lock_does_not_hold_up_the_start, reset),
		cmocka_unit_test_setup(the_lock_is_had_as_soon_as_its_holder_lets_go, reset),
		cmocka_unit_test_setup(ports_outside_of_the_range_change_nothing, reset),
		cmocka_unit_test_setup(a_list_of_many_pages_survives, reset),
	};

	return cmocka_run_group_tests_name("reserved_ports", tests, own_namespace, remove_state);
}
