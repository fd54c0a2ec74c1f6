/* SPDX-License-Identifier: Apache-2.0 */
/* A server that writes its answer byte by byte, or in larger steps. */
#ifndef MOAT_LIB_FIXTURE_H
#define MOAT_LIB_FIXTURE_H

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/base.h"
#include "base/standard_fds.h"
#include "moat/moat.h"

#include <cmocka.h>

struct script {
	int fd;
	const char *text;
	size_t len, step;
};

static void *serve(void *arg)
{
	struct script *s = arg;

	for (size_t i = 0; i < s->len; i += s->step)
		if (send(s->fd, s->text + i, s->len - i < s->step ? s->len - i : s->step,
			 MSG_NOSIGNAL) < 0)
			break;
	shutdown(s->fd, SHUT_WR);
	return NULL;
}

struct server {
	pthread_t thread;
	struct script script;
	struct moat_client *client;
};

static void server_open(struct server *s, const char *text, size_t len, size_t step)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	s->script = (struct script){ fds[0], text, len, step };
	assert_int_equal(moat_from_fd(fds[1], &s->client), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, &s->script), 0);
}

static void server_close(struct server *s)
{
	moat_disconnect(s->client);
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	close(s->script.fd);
}

#endif
