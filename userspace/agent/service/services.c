/* SPDX-License-Identifier: Apache-2.0 */
/* All services together. */
#include "agent/service/internal.h"

#include "agent/service/place.h"
#include "base/log.h"

#define STOP_GRACE (5 * NSEC_PER_SEC) /* from SIGTERM to SIGKILL, and from there to giving up */

static bool listens(const struct services *services, const struct config_service *config)
{
	const struct enforce *e = services->enforce;

	if (config->n_ports == 0 || config->listen == LISTEN_NO)
		return false;
	return config->listen == LISTEN_YES ||
	       (e && !enforce_active(e) && !enforce_guards_ports(e));
}

static int service_open(struct services *services, const struct config_service *config,
			struct failure *f)
{
	struct service *s = &services->list[services->n++];
	uint16_t port;

	s->owner = services;
	s->info.config = config;
	s->info.last_status = -1;
	s->process.pidfd = s->report = s->probe = -EBADF;
	s->info.listens = listens(services, config);
	/* Before anybody else is there. What is taken already is told when it starts. */
	if (s->info.listens)
		(void)handed_open(&s->handed, config, &port);
	s->backoff_ns = SERVICE_BACKOFF_MIN;
	return service_place_make(services->config->state_dir, config->name, &s->place, f);
}

int services_open(const struct config *config, struct cgroups *cgroups, struct enforce *enforce,
		  struct loop *loop, const struct services_callbacks *callbacks, struct services **ret,
		  struct failure *f)
{
	struct services *services = calloc(1, sizeof(*services));
	int r = 0;

	if (services)
		services->list = calloc(config->n_services ? config->n_services : 1,
					sizeof(*services->list));
	if (!services || !services->list) {
		free(services);
		return fail(f, ENOMEM, "cannot set up services");
	}
	services->config = config;
	services->cgroups = cgroups;
	services->enforce = enforce;
	services->loop = loop;
	services->callbacks = *callbacks;
	for (size_t i = 0; i < config->n_services && r == 0; i++)
		r = service_open(services, &config->services[i], f);
	if (r < 0) {
		services_free(services);
		return r;
	}
	*ret = services;
	return 0;
}

void services_start(struct services *services)
{
	for (size_t i = 0; i < services->n && !services->stopping; i++)
		service_dispatch(&services->list[i], SERVICE_EVENT_START);
	if (services->n == 0)
		services->callbacks.all_ready(services->callbacks.data);
}

void services_note_ready(struct services *services)
{
	for (size_t i = 0; i < services->n; i++)
		if (!services->list[i].was_ready)
			return;
	if (!services->all_ready)
		services->callbacks.all_ready(services->callbacks.data);
	services->all_ready = true;
}

void services_note_exited(struct services *services)
{
	for (size_t i = 0; i < services->n; i++)
		if (services->list[i].info.state != SERVICE_EXITED)
			return;
	services->callbacks.all_exited(services->list[0].info.last_status, services->callbacks.data);
}

static void on_all_stopped(struct loop_timer *timer)
{
	struct services *services = container_of(timer, struct services, grace);

	services->on_stopped(services->stopped_data);
}

/* From the loop: the caller of services_stop() is not to be surprised inside its own call. */
void services_note_stopped(struct services *services)
{
	if (!services->stopping)
		return;
	for (size_t i = 0; i < services->n; i++)
		if (services->list[i].info.state != SERVICE_STOPPED)
			return;
	(void)loop_timer_set(services->loop, &services->grace, 0, on_all_stopped);
}

static void on_grace_over(struct loop_timer *timer)
{
	struct services *services = container_of(timer, struct services, grace);
	bool first = !services->killed;

	services->killed = true;
	for (size_t i = 0; i < services->n; i++) {
		struct service *s = &services->list[i];

		if (s->info.state == SERVICE_STOPPED)
			continue;
		log_warning("service %s %s", s->info.config->name,
			    first ? "does not end in time and is killed" : "cannot be killed");
		if (s->cgroup)
			(void)cgroup_kill(s->cgroup);
	}
	if (!first || loop_timer_set(services->loop, timer, STOP_GRACE, on_grace_over) < 0)
		services->on_stopped(services->stopped_data);
}

void services_stop(struct services *services, void (*on_stopped)(void *data), void *data)
{
	services->stopping = true;
	services->on_stopped = on_stopped;
	services->stopped_data = data;
	(void)loop_timer_set(services->loop, &services->grace, STOP_GRACE, on_grace_over);
	for (size_t i = services->n; i-- > 0;)
		service_dispatch(&services->list[i], SERVICE_EVENT_STOP);
	services_note_stopped(services);
}

void services_free(struct services *services)
{
	if (!services)
		return;
	loop_timer_cancel(services->loop, &services->grace);
	for (size_t i = 0; i < services->n; i++) {
		struct service *s = &services->list[i];

		service_release(s);
		handed_close(&s->handed);
		cgroup_put(s->cgroup);
		if (s->place)
			service_place_remove(s->place);
		free(s->place);
	}
	free(services->list);
	free(services);
}

void services_for_each(struct services *services,
		       void (*fn)(const struct service_info *info, void *data), void *data)
{
	for (size_t i = 0; i < services->n; i++)
		fn(&services->list[i].info, data);
}
