/* SPDX-License-Identifier: Apache-2.0 */
/* When a service is ready: as soon as it runs, or when one of its own processes listens on its port, or takes what comes
 * in by the socket that was handed to it. */
#include "agent/service/internal.h"

#include "agent/service/listener.h"
#include "base/log.h"

#define LOOK_MIN (10 * NSEC_PER_MSEC)
#define LOOK_MAX (1 * NSEC_PER_SEC)

static void look(struct service *s);

static void on_time(struct loop_timer *timer)
{
	look(container_of(timer, struct service, timer));
}

void service_note_held(struct service *s, uint16_t port, const char *who)
{
	char text[sizeof(s->info.last_error)];

	snprintf(text, sizeof(text), "port %u is held by %s", port, who);
	if (strcmp(text, s->info.last_error) == 0)
		return;
	memcpy(s->info.last_error, text, sizeof(text));
	log_error("service %s: %s", s->info.config->name, text);
	if (s->owner->callbacks.port_held)
		s->owner->callbacks.port_held(s->info.config->name, port, who,
					      s->owner->callbacks.data);
}

/* Whether it takes connections from the socket that it has from us: the one that we make. Nobody else could. */
static bool takes(struct service *s, int fd)
{
	int r = s->probe >= 0 ? handed_is_taken(fd, s->probe) : 0;

	if (r <= 0)
		snprintf(
			s->info.last_error, sizeof(s->info.last_error),
			"no connection has been taken from the socket of port %u yet, which it has by LISTEN_FDS",
			s->info.config->ready_port);
	if (r < 0)
		close_fd(&s->probe);
	if (s->probe < 0)
		s->probe = handed_connect(fd);
	s->took = s->took || r > 0;
	return r > 0;
}

/* As listener_find(); where there are no cgroups by the processes that descend from the service. */
static int find_listener(const struct service *s, uint16_t port, char *holder, size_t size)
{
	PTR_OWNED pid_t *pids = NULL;
	size_t n;
	int r;

	if (cgroup_fd(s->cgroup) >= 0)
		return listener_find(port, cgroup_fd(s->cgroup), holder, size);
	snprintf(holder, size, "somebody else");
	r = cgroup_pids(s->cgroup, &pids, &n);
	return r < 0 ? r : listener_find_among(port, pids, n);
}

static bool listens(struct service *s)
{
	char holder[160], *error = s->info.last_error;
	uint16_t port = s->info.config->ready_port;
	int r = find_listener(s, port, holder, sizeof(holder));

	if (r == LISTENER_OTHER)
		service_note_held(s, port, holder);
	else if (r < 0)
		snprintf(error, sizeof(s->info.last_error), "cannot tell who listens on port %u: %s",
			 port, strerror(-r));
	else
		error[0] = '\0';
	return r == LISTENER_OWN;
}

static void look(struct service *s)
{
	int fd = handed_find(&s->handed, s->info.config, s->info.config->ready_port);

	if (fd >= 0 ? takes(s, fd) : listens(s)) {
		service_dispatch(s, SERVICE_EVENT_LISTEN);
		return;
	}
	if (loop_timer_set(s->owner->loop, &s->timer, s->look_ns, on_time) < 0)
		log_error("service %s: readiness will not be noticed: out of memory",
			  s->info.config->name);
	s->look_ns = s->look_ns * 2 > LOOK_MAX ? LOOK_MAX : s->look_ns * 2;
}

void service_await_ready(struct service *s)
{
	if (s->info.config->ready_port == 0) {
		service_dispatch(s, SERVICE_EVENT_LISTEN);
		return;
	}
	s->look_ns = LOOK_MIN;
	look(s);
}
