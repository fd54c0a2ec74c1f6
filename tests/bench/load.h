/* SPDX-License-Identifier: Apache-2.0 */
/* A part of spawn_bench.c: many commands at a time. */
#ifndef MOAT_BENCH_LOAD_H
#define MOAT_BENCH_LOAD_H

struct connection {
	int fd;
	size_t n;
	char buffer[4096];
};

struct load {
	int epoll;
	size_t width, total, sent, done, lost, request_len;
	char request[512];
	struct connection *all;
};

static void load_send(struct load *l, struct connection *c)
{
	if (l->sent >= l->total)
		return;
	if (write(c->fd, l->request, l->request_len) != (ssize_t)l->request_len)
		die("write");
	l->sent++;
}

static void load_receive(struct load *l, struct connection *c)
{
	ssize_t got = read(c->fd, c->buffer + c->n, sizeof(c->buffer) - 1 - c->n);
	const char *answer;

	if (got <= 0)
		die("the connection ended");
	c->n += (size_t)got;
	if (!response_complete(c->buffer, c->n, &answer))
		return;
	l->lost += !succeeded(answer);
	c->n = 0;
	l->done++;
	load_send(l, c);
}

static void load_open(struct load *l)
{
	char body[256];

	snprintf(body, sizeof(body), "{\"argv\":[\"%s\"]}", command);
	l->request_len = build_request(l->request, sizeof(l->request), "POST", "/v1/exec", body);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->all = calloc(l->width, sizeof(*l->all));
	if (l->epoll < 0 || !l->all)
		die("load");
	for (size_t i = 0; i < l->width; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &l->all[i] };

		l->all[i].fd = api_connect();
		if (l->all[i].fd < 0 ||
		    epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->all[i].fd, &event) < 0)
			die("connect");
	}
}

/* Runs `total` commands over `width` connections, each with one request at a time. Commands per
 * second, or a negative number when one was lost. */
static double throughput(size_t width, size_t total)
{
	struct load l = { .width = width, .total = total };
	struct epoll_event events[64];
	uint64_t start;

	load_open(&l);
	start = now_ns();
	for (size_t i = 0; i < width; i++)
		load_send(&l, &l.all[i]);
	while (l.done < total) {
		int n = epoll_wait(l.epoll, events, LEN(events), 60000);

		if (n <= 0)
			break;
		for (int i = 0; i < n; i++)
			load_receive(&l, events[i].data.ptr);
	}
	start = now_ns() - start;
	for (size_t i = 0; i < width; i++)
		close(l.all[i].fd);
	close(l.epoll);
	free(l.all);
	return l.done < total || l.lost ? -1 : (double)total * 1e9 / (double)start;
}

#endif
