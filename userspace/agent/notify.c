/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"

#define AGAIN (100 * NSEC_PER_MSEC)

/* 0 or -errno; -EAGAIN: its queue is full. */
static int send_state(const struct notify *notify, const char *state)
{
	FD_OWNED int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t n = strlen(notify->socket);

	if (fd < 0)
		return -errno;
	if (n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, notify->socket, n);
	if (address.sun_path[0] == '@')
		address.sun_path[0] = '\0';
	return sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
		      (struct sockaddr *)&address,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0 ? -errno : 0;
}

static void send_pending(struct notify *notify);

static void on_again(struct loop_timer *timer)
{
	send_pending(container_of(timer, struct notify, again));
}

static void send_pending(struct notify *notify)
{
	while (notify->n_pending > 0) {
		int r = send_state(notify, notify->pending[0]);

		if (r == -EAGAIN || r == -ENOBUFS || r == -EMFILE || r == -ENFILE) {
			if (loop_timer_set(notify->loop, &notify->again, AGAIN, on_again) < 0)
				log_warning("the service manager is not told %s: out of memory",
					    notify->pending[0]);
			return;
		}
		if (r < 0)
			log_warning("cannot notify the service manager: %s", strerror(-r));
		notify->pending[0] = notify->pending[1];
		notify->n_pending--;
	}
}

void notify_open(struct notify *notify, struct loop *loop)
{
	const char *path = getenv("NOTIFY_SOCKET");

	*notify = (struct notify){ .loop = loop };
	notify->socket = path && *path ? strdup(path) : NULL;
	if (path && *path && !notify->socket)
		log_warning("cannot notify the service manager: out of memory");
	unsetenv("NOTIFY_SOCKET");
}

void notify_send(struct notify *notify, const char *state)
{
	if (!notify->socket || notify->n_pending == ARRAY_LEN(notify->pending))
		return;
	notify->pending[notify->n_pending++] = state;
	send_pending(notify);
}

void notify_close(struct notify *notify)
{
	if (notify->socket)
		send_pending(notify);
	if (notify->loop)
		loop_timer_cancel(notify->loop, &notify->again);
	free(notify->socket);
	*notify = (struct notify){ 0 };
}
