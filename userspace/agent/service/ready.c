/* SPDX-License-Identifier: Apache-2.0 */
/* When a service is ready: as soon as it runs, or when one of its own processes listens on its port. */
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

static void look(struct service *s)
{
	char holder[160], *error = s->info.last_error;
	uint16_t port = s->info.config->ready_port;
	int r = listener_find(port, cgroup_fd(s->cgroup), holder, sizeof(holder));

	if (r == LISTENER_OWN) {
		service_dispatch(s, SERVICE_EVENT_LISTEN);
		return;
	}
	if (r == LISTENER_OTHER)
		snprintf(error, sizeof(s->info.last_error), "port %u is held by %s", port, holder);
	else if (r < 0)
		snprintf(error, sizeof(s->info.last_error), "cannot tell who listens on port %u: %s",
			 port, strerror(-r));
	else
		error[0] = '\0';
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
