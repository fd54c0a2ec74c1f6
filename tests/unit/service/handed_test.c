/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that are never free: sockets that a service has from the agent. */
#include "service/fixture.h"

#include <arpa/inet.h>

/* Serves each connection of descriptor 3 with its pid. */
#define SERVER                                                                                     \
	"import os, socket, sys\n"                                                                 \
	"s = socket.socket(fileno=3)\n"                                                            \
	"while True:\n"                                                                            \
	"    c, _ = s.accept()\n"                                                                  \
	"    c.send(b'%d' % os.getpid()); c.close()\n"

static struct config_service *add_server(const char *program, uint16_t port, bool udp)
{
	struct config_service *s = ADD("a", PYTHON, "-I", "-c", program, t.out);

	s->ports = calloc(1 + udp, sizeof(*s->ports));
	assert_non_null(s->ports);
	s->ports[s->n_ports++].port = port;
	if (udp)
		s->ports[s->n_ports++] = (struct config_port){ .port = port, .udp = true };
	s->listen = LISTEN_YES;
	s->ready_port = port;
	return s;
}

/* A descriptor or -errno. */
static int connect_to_port(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

/* What the server has to say: its pid. */
static pid_t answer_of(int fd)
{
	struct timeval limit = { .tv_sec = 20 };
	char text[32] = "";
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	assert_true(n > 0);
	return (pid_t)atoi(text);
}

static bool first_starts_again(void)
{
	return info_of(0).restarts > 0 && info_of(0).state == SERVICE_READY;
}

static bool first_backs_off(void)
{
	return info_of(0).state == SERVICE_BACKOFF;
}

static void it_has_its_sockets_by_number_and_name_and_no_others(void **state)
{
	static const char program[] =
		"import os, socket, sys\n"
		"sockets = [socket.socket(fileno=n) for n in (3, 4)]\n"
		"kinds = [each.type.name for each in sockets]\n"
		"own = int(os.environ['LISTEN_PID']) == os.getpid()\n"
		"text = ' '.join([os.environ['LISTEN_FDS'], os.environ['LISTEN_FDNAMES'], str(own), *kinds,\n"
		"                 *sorted(os.listdir('/proc/self/fd'))[:-1]])\n"
		"open(sys.argv[1], 'w').write(text)\n";
	PTR_OWNED char *text = NULL;
	char expected[128];
	uint16_t port = free_port();
	struct config_service *s = add_server(program, port, true);

	(void)state;
	s->ready_port = 0;
	s->restart = RESTART_NO;
	open_all();
	services_start(t.services);
	assert_true(run_until(first_exited, 10000));
	assert_int_equal(read_file_at(AT_FDCWD, t.out, 4096, &text, NULL), 0);
	snprintf(expected, sizeof(expected), "2 %u:%u/udp True SOCK_STREAM SOCK_DGRAM 0 1 2 3 4",
		 port, port);
	assert_string_equal(text, expected);
	assert_int_equal(connect_to_port(port), -ECONNREFUSED); /* it has ended for good */
}

static void between_two_lives_connections_wait(void **state)
{
	uint16_t port = free_port();
	pid_t first;
	int fd;

	(void)state;
	add_server(SERVER, port, false);
	open_all();
	fd = connect_to_port(port); /* before it is started */
	assert_true(fd >= 0);
	services_start(t.services);
	assert_true(run_until(first_ready, 10000));
	first = info_of(0).pid;
	assert_int_equal(answer_of(fd), first);
	kill(first, SIGKILL);
	assert_true(run_until(first_backs_off, 5000));
	fd = connect_to_port(port);
	assert_true(fd >= 0);
	assert_true(run_until(first_starts_again, 10000));
	assert_int_equal(answer_of(fd), info_of(0).pid);
	assert_int_not_equal(info_of(0).pid, first);
	stop_all();
}

static void a_socket_that_a_life_has_shut_down_listens_in_the_next(void **state)
{
	static const char program[] = "import os, socket, sys\n"
				      "s = socket.socket(fileno=3)\n"
				      "if not os.path.exists(sys.argv[1]):\n"
				      "    open(sys.argv[1], 'w').close()\n"
				      "    s.shutdown(socket.SHUT_RDWR)\n"
				      "    sys.exit(1)\n"
				      "while True:\n"
				      "    c, _ = s.accept()\n"
				      "    c.send(b'%d' % os.getpid()); c.close()\n";
	uint16_t port = free_port();

	(void)state;
	add_server(program, port, false);
	open_all();
	services_start(t.services);
	assert_true(run_until(first_ready, 10000));
	assert_int_equal(info_of(0).restarts, 1);
	assert_int_equal(answer_of(connect_to_port(port)), info_of(0).pid);
	stop_all();
}

static void ready_means_that_it_takes_connections(void **state)
{
	static const char program[] = "import socket, time\n"
				      "s = socket.socket(fileno=3)\n"
				      "time.sleep(0.5)\n"
				      "s.accept(); time.sleep(1000)\n";
	uint16_t port = free_port();
	uint64_t start = now_ns();

	(void)state;
	add_server(program, port, false);
	open_all();
	services_start(t.services);
	assert_true(run_until(first_ready, 10000));
	assert_true(now_ns() - start >= 500 * NSEC_PER_MSEC);
	assert_string_equal(info_of(0).last_error, "");
	stop_all();
}

static void one_that_does_not_take_them_is_never_ready(void **state)
{
	char expected[128];
	uint16_t port = free_port();

	(void)state;
	add_server("import time; time.sleep(1000)", port, false);
	open_all();
	services_start(t.services);
	run_until(NULL, 1000);
	assert_int_equal(info_of(0).state, SERVICE_STARTING);
	snprintf(
		expected, sizeof(expected),
		"no connection has been taken from the socket of port %u yet, which it has by LISTEN_FDS",
		port);
	assert_string_equal(info_of(0).last_error, expected);
	assert_true(info_of(0).listens);
	stop_all();
}

static void a_port_that_is_taken_is_told_with_its_holder_and_tried_again(void **state)
{
	char expected[160];
	uint16_t port = free_port();
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(bind(other, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(other, 1), 0);
	add_server(SERVER, port, false);
	open_all();
	services_start(t.services);
	assert_true(run_until(first_backs_off, 5000));
	snprintf(expected, sizeof(expected),
		 "port %u is held by process %d (handed_test) outside of moat", port,
		 (int)getpid());
	assert_string_equal(info_of(0).last_error, expected);
	snprintf(expected, sizeof(expected), "a %u process %d (handed_test) outside of moat", port,
		 (int)getpid());
	assert_string_equal(t.held_by, expected);
	close(other);
	assert_true(run_until(first_ready, 15000));
	assert_int_equal(answer_of(connect_to_port(port)), info_of(0).pid);
	stop_all();
}

static void an_address_is_the_only_one(void **state)
{
	uint16_t port = free_port();
	struct config_service *s = add_server(SERVER, port, false);

	(void)state;
	s->listen_address = (char *)"127.0.0.2";
	open_all();
	services_start(t.services);
	assert_true(run_until(first_ready, 10000));
	assert_int_equal(connect_to_port(port), -ECONNREFUSED); /* of 127.0.0.1 */
	stop_all();
	s->listen_address = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define SERVICE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		SERVICE_TEST(it_has_its_sockets_by_number_and_name_and_no_others),
		SERVICE_TEST(between_two_lives_connections_wait),
		SERVICE_TEST(a_socket_that_a_life_has_shut_down_listens_in_the_next),
		SERVICE_TEST(ready_means_that_it_takes_connections),
		SERVICE_TEST(one_that_does_not_take_them_is_never_ready),
		SERVICE_TEST(a_port_that_is_taken_is_told_with_its_holder_and_tried_again),
		SERVICE_TEST(an_address_is_the_only_one),
	};

	return cmocka_run_group_tests_name("handed-over sockets", tests, NULL, NULL);
}
