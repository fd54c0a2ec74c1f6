/* SPDX-License-Identifier: Apache-2.0 */
/* A part of spawn_bench.c: requests to the agent. */
#ifndef MOAT_BENCH_API_H
#define MOAT_BENCH_API_H

static int api_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static size_t build_request(char *out, size_t size, const char *method, const char *path,
			    const char *body)
{
	return (size_t)snprintf(out, size,
				"%s %s HTTP/1.1\r\nHost: moat\r\nContent-Type: application/json\r\n"
				"Content-Length: %zu\r\n\r\n%s",
				method, path, strlen(body), body);
}

/* Whether buffer[0..n) is a whole response; *ret_body points into it. */
static bool response_complete(char *buffer, size_t n, const char **ret_body)
{
	char *end, *length;

	buffer[n] = '\0';
	end = strstr(buffer, "\r\n\r\n");
	length = strcasestr(buffer, "\r\nContent-Length:");
	if (!end || !length || length > end)
		return false;
	*ret_body = end + 4;
	return n >= (size_t)(end + 4 - buffer) + strtoul(length + 17, NULL, 10);
}

/* One request and its whole response on a kept-alive connection; the body, or NULL. */
static const char *api_call(const char *method, const char *path, const char *body)
{
	static char buffer[65536];
	size_t n = build_request(buffer, sizeof(buffer), method, path, body);
	const char *answer = NULL;

	if (api_socket < 0)
		api_socket = api_connect();
	if (api_socket < 0 || write(api_socket, buffer, n) != (ssize_t)n)
		return NULL;
	for (n = 0; !answer;) {
		ssize_t got = read(api_socket, buffer + n, sizeof(buffer) - 1 - n);

		if (got <= 0)
			return NULL;
		n += (size_t)got;
		if (!response_complete(buffer, n, &answer))
			answer = NULL;
	}
	return answer;
}

static bool succeeded(const char *answer)
{
	return answer && strstr(answer, "\"exitCode\":0");
}

#endif
