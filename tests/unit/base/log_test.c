/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

static int real_stderr = -1;

static void log_into(int fd)
{
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	assert_true(real_stderr >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	log_open("unit", LOG_INFO);
}

static int restore(void **state)
{
	(void)state;
	if (real_stderr >= 0 && dup2(real_stderr, STDERR_FILENO) < 0)
		return -1;
	close(real_stderr);
	real_stderr = -1;
	log_open("unit", LOG_INFO);
	return 0;
}

/* Fills it with lines nobody reads, then reads them: what is lost is counted, and told once. */
static void lose_and_tell(int ends[2])
{
	static char text[4 * 1024 * 1024];
	uint64_t before = log_drops(), lost;
	size_t had = 0, lines = 0;
	char expected[64];
	ssize_t n;

	for (size_t i = 0; i < 20000; i++) /* some 1.4 MB: more than a pipe or a socket takes */
		log_info("%060zu", i);
	lost = log_drops() - before;
	assert_true(lost > 0 && lost < 20000);
	assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	while ((n = read(ends[0], text + had, sizeof(text) - had)) > 0)
		had += (size_t)n;
	for (size_t i = 0; i < had; i++)
		lines += text[i] == '\n';
	assert_int_equal(lines, 20000 - lost);
	log_info("after");
	n = read(ends[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	snprintf(expected, sizeof(expected), "%llu lines of the log are lost", (unsigned long long)lost);
	assert_non_null(strstr(text, expected));
	assert_non_null(strstr(text, "unit: info: after\n"));
	assert_int_equal(log_drops() - before, lost);
	close(ends[0]);
	close(ends[1]);
}

static void nobody_who_reads_a_pipe_is_waited_for(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	log_into(ends[1]);
	lose_and_tell(ends);
	/* the flag is that of our own open file, not of the one that others share */
	assert_false(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
}

static void nor_who_reads_a_socket(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	log_into(ends[1]);
	lose_and_tell(ends);
}

static void no_name_forges_a_line_or_commands_a_terminal(void **state)
{
	char line[256];
	int ends[2];
	ssize_t n;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	log_into(ends[1]);
	log_info("a\nb\033[2Jc\x7f" "d\xc2\x9b" "e\x9b" "f\xc3\xa9g\xe2\x82\xac");
	n = read(ends[0], line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	assert_string_equal(line, "unit: info: a?b?[2Jc?d??e?f\xc3\xa9g\xe2\x82\xac\n");
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(nobody_who_reads_a_pipe_is_waited_for, restore),
		cmocka_unit_test_teardown(nor_who_reads_a_socket, restore),
		cmocka_unit_test_teardown(no_name_forges_a_line_or_commands_a_terminal, restore),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
