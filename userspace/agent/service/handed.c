/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/service/handed.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Where config says, or everywhere: "::", which takes IPv4 as well, or where there is no IPv6 "0.0.0.0". */
static socklen_t address_of(const struct config_service *config, uint16_t port, bool v6,
			    union address *ret)
{
	const char *text = config->listen_address;

	*ret = (union address){ 0 };
	if (v6) {
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = htons(port);
		if (text)
			(void)inet_pton(AF_INET6, text, &ret->v6.sin6_addr);
		return sizeof(ret->v6);
	}
	ret->v4.sin_family = AF_INET;
	ret->v4.sin_port = htons(port);
	if (text)
		(void)inet_pton(AF_INET, text, &ret->v4.sin_addr);
	return sizeof(ret->v4);
}

/* A descriptor or -errno. */
static int open_one(const struct config_service *config, const struct config_port *port, bool v6)
{
	FD_OWNED int fd = socket(v6 ? AF_INET6 : AF_INET,
				 (port->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	union address address;
	socklen_t len = address_of(config, port->port, v6, &address);
	int on = 1, off = 0;

	if (fd < 0)
		return -errno;
	/* Of UDP it would let others in. Of TCP it passes over what is left of old connections. */
	if (!port->udp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (v6 && !config->listen_address &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
		return -errno;
	return bind(fd, &address.any, len) < 0 ? -errno : take_fd(&fd);
}

static int open_port(const struct config_service *config, const struct config_port *port)
{
	const char *address = config->listen_address;
	int fd;

	if (address)
		return open_one(config, port, strchr(address, ':'));
	fd = open_one(config, port, true);
	return fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL ? open_one(config, port, false) : fd;
}

int handed_open(struct handed *h, const struct config_service *config, uint16_t *ret_port)
{
	for (size_t i = 0; i < config->n_ports; i++) {
		const struct config_port *port = &config->ports[i];
		int r = i < h->n ? h->fds[i] : open_port(config, port);

		if (r >= 0 && i == h->n)
			h->fds[h->n++] = r;
		if (r >= 0 && !port->udp && listen(r, SOMAXCONN) < 0)
			r = -errno;
		if (r < 0) {
			*ret_port = port->port;
			handed_close(h);
			return r;
		}
	}
	return 0;
}

void handed_close(struct handed *h)
{
	while (h->n > 0)
		close_fd(&h->fds[--h->n]);
}

/* Named as the configuration names the ports. */
static int add_names(const struct handed *h, const struct config_service *config, char ***env)
{
	char text[32 + CONFIG_PORTS_MAX * sizeof("65535/udp:")] = "LISTEN_FDNAMES=";
	size_t n = strlen(text);

	for (size_t i = 0; i < h->n; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u%s", i ? ":" : "",
				      config->ports[i].port, config->ports[i].udp ? "/udp" : "");
	return env_set(env, text);
}

int handed_env(const struct handed *h, const struct config_service *config, char ***env,
	       char **ret_pid)
{
	static const char pid[] =
		"LISTEN_PID=          "; /* HANDED_PID_SIZE with the zero, at least */
	char count[32];
	int r;

	_Static_assert(sizeof(pid) - sizeof("LISTEN_PID=") + 1 < HANDED_PID_SIZE, "room for a pid");
	snprintf(count, sizeof(count), "LISTEN_FDS=%zu", h->n);
	r = env_set(env, count);
	if (r == 0)
		r = add_names(h, config, env);
	if (r == 0)
		r = env_set(env, pid);
	for (char **kv = *env; r == 0 && kv && *kv; kv++)
		if (strncmp(*kv, "LISTEN_PID=", strlen("LISTEN_PID=")) == 0)
			*ret_pid = *kv + strlen("LISTEN_PID=");
	return r;
}

/* snprintf(3) is not for a child that may not allocate. */
static void write_pid(char *to, pid_t pid)
{
	char digits[HANDED_PID_SIZE];
	size_t n = 0;

	for (; pid > 0; pid /= 10)
		digits[n++] = (char)('0' + pid % 10);
	while (n > 0)
		*to++ = digits[--n];
	*to = '\0';
}

int handed_take(const struct handed *h, char *pid, int *report)
{
	int free_from = HANDED_FIRST + (int)h->n, moved[CONFIG_PORTS_MAX];

	if (h->n == 0)
		return 0;
	write_pid(pid, getpid());
	/* First all out of the way. What is moved is closed by execve(2), what gets its number is not. */
	*report = fcntl(*report, F_DUPFD_CLOEXEC, free_from);
	if (*report < 0)
		return -errno;
	for (size_t i = 0; i < h->n; i++) {
		moved[i] = fcntl(h->fds[i], F_DUPFD_CLOEXEC, free_from);
		if (moved[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < h->n; i++)
		if (dup2(moved[i], HANDED_FIRST + (int)i) < 0)
			return -errno;
	return 0;
}

int handed_find(const struct handed *h, const struct config_service *config, uint16_t port)
{
	for (size_t i = 0; i < h->n; i++)
		if (config->ports[i].port == port && !config->ports[i].udp)
			return h->fds[i];
	return -EBADF;
}

int handed_connect(int fd)
{
	union address address = { 0 };
	socklen_t len = sizeof(address);
	FD_OWNED int connection = -EBADF;

	if (getsockname(fd, &address.any, &len) < 0)
		return -errno;
	if (address.any.sa_family == AF_INET && !address.v4.sin_addr.s_addr)
		address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (address.any.sa_family == AF_INET6 &&
		 IN6_IS_ADDR_UNSPECIFIED(&address.v6.sin6_addr))
		address.v6.sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
	connection = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (connection < 0 || (connect(connection, &address.any, len) < 0 && errno != EINPROGRESS))
		return -errno;
	return take_fd(&connection);
}

int handed_is_taken(int fd, int connection)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(connection, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	if (info.tcpi_state == TCP_CLOSE)
		return -ECONNRESET;
	if (info.tcpi_state == TCP_SYN_SENT)
		return 0;
	/* Of a socket that listens it says how many connections wait to be accepted (tcp_get_info() in net/ipv4/tcp.c). */
	len = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	return info.tcpi_unacked == 0;
}
