/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/service/service.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/service/spawn.h"
#include "base/log.h"

#define BACKOFF_MIN (100 * NSEC_PER_MSEC)
#define BACKOFF_MAX (10 * NSEC_PER_SEC)
#define UPTIME_GOOD (10 * NSEC_PER_SEC) /* after as long as this, back-off begins anew */
#define PROBE_MIN (10 * NSEC_PER_MSEC)
#define PROBE_MAX (1 * NSEC_PER_SEC)
#define STOP_GRACE (5 * NSEC_PER_SEC) /* from SIGTERM to SIGKILL, and from there to giving up */
#define STATUS_NOT_STARTED (127 << 8) /* as wait(2) reports exit status 127 */

struct service {
	struct services *owner;
	struct service_info info;
	struct cgroups *cgroups;
	struct cgroup *cgroup;    /* of its present life; NULL: none */
	struct process process;   /* pidfd -EBADF: not running */
	struct loop_source exits; /* on the pidfd */
	int report;               /* see service_spawn(); -EBADF: it runs, or is not there */
	struct loop_source reports;
	uint64_t started_ns;
	uint64_t backoff_ns;      /* the next delay */
	struct loop_timer timer;  /* BACKOFF: the next start. STARTING: the next readiness probe */
	int probe;                /* a connect(2) under way, or -EBADF */
	bool probe_ipv6;
	uint64_t probe_ns;        /* delay before the next round */
	struct loop_source probes;
};

struct services {
	struct loop *loop;
	struct service *list;
	size_t n;
	void (*on_all_exited)(int wait_status, void *data);
	void *data;
	bool stopping;
	struct loop_timer grace;
	bool killed; /* the grace is over */
	void (*on_stopped)(void *data);
	void *stopped_data;
};

static void start(struct service *s);
static void probe_round(struct service *s);

static const char *name_of(const struct service *s)
{
	return s->info.config->name;
}

static void set_state(struct service *s, enum service_state state)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	s->info.state = state;
	s->info.since_unix_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / NSEC_PER_MSEC;
}

static void describe_status(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
}

/* Readiness */

static void probe_close(struct service *s)
{
	loop_remove(s->owner->loop, &s->probes);
	close_fd(&s->probe);
}

static void ready(struct service *s)
{
	probe_close(s);
	loop_timer_cancel(s->owner->loop, &s->timer);
	set_state(s, SERVICE_READY);
	s->info.last_error[0] = '\0';
	log_info("service %s is ready", name_of(s));
}

static void on_probe_time(struct loop_timer *timer)
{
	probe_round(container_of(timer, struct service, timer));
}

/* A connection was refused: the other address, and after both the next round. */
static void probe_refused(struct service *s)
{
	probe_close(s);
	if (!s->probe_ipv6) {
		s->probe_ipv6 = true;
		probe_round(s);
		return;
	}
	s->probe_ipv6 = false;
	if (loop_timer_set(s->owner->loop, &s->timer, s->probe_ns, on_probe_time) < 0)
		log_error("service %s: readiness will not be noticed: out of memory", name_of(s));
	s->probe_ns = s->probe_ns * 2 > PROBE_MAX ? PROBE_MAX : s->probe_ns * 2;
}

static void on_probe_event(struct loop_source *source, uint32_t events)
{
	struct service *s = container_of(source, struct service, probes);
	socklen_t len = sizeof(int);
	int err = 0;

	(void)events;
	if (getsockopt(s->probe, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err)
		probe_refused(s);
	else
		ready(s);
}

/* Connects to the port on 127.0.0.1, then on ::1. */
static void probe_round(struct service *s)
{
	uint16_t port = htons(s->info.config->ready_port);
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = port };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = port };
	bool ipv6 = s->probe_ipv6;
	int r;

	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	v6.sin6_addr = in6addr_loopback;
	s->probe = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	r = s->probe < 0 ? -1
			 : connect(s->probe, ipv6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
				   ipv6 ? sizeof(v6) : sizeof(v4));
	if (r == 0)
		ready(s);
	else if (s->probe < 0 || errno != EINPROGRESS ||
		 loop_add(s->owner->loop, &s->probes, s->probe, EPOLLOUT, on_probe_event) < 0)
		probe_refused(s);
}

/* Ends */

static void check_all_exited(struct services *services)
{
	for (size_t i = 0; i < services->n; i++)
		if (services->list[i].info.state != SERVICE_EXITED)
			return;
	services->on_all_exited(services->list[0].info.last_status, services->data);
}

static void on_all_stopped(struct loop_timer *timer)
{
	struct services *services = container_of(timer, struct services, grace);

	services->on_stopped(services->stopped_data);
}

/* From the loop: the caller of services_stop() is not to be surprised inside its own call. */
static void check_all_stopped(struct services *services)
{
	if (!services->stopping)
		return;
	for (size_t i = 0; i < services->n; i++)
		if (services->list[i].info.state != SERVICE_STOPPED)
			return;
	(void)loop_timer_set(services->loop, &services->grace, 0, on_all_stopped);
}

static void on_cgroup_empty(struct cgroup *cgroup, void *data)
{
	struct service *s = data;

	(void)cgroup;
	set_state(s, SERVICE_STOPPED);
	log_debug("service %s is stopped", name_of(s));
	check_all_stopped(s->owner);
}

/* Its main process is gone: ends what it left behind, and then it is STOPPED. */
static void finish_stopping(struct service *s)
{
	set_state(s, SERVICE_STOPPING);
	if (!s->cgroup) {
		on_cgroup_empty(NULL, s);
		return;
	}
	(void)cgroup_kill(s->cgroup);
	if (cgroup_watch_empty(s->cgroup, on_cgroup_empty, s) < 0)
		on_cgroup_empty(s->cgroup, s);
}

static void on_backoff_over(struct loop_timer *timer)
{
	struct service *s = container_of(timer, struct service, timer);

	s->info.restarts++;
	start(s);
}

static void ended(struct service *s, int status)
{
	enum restart_policy restart = s->info.config->restart;
	bool again = restart == RESTART_ALWAYS || (restart == RESTART_ON_FAILURE && status != 0);
	char text[128] = "could not be started"; /* has been logged with the reason */

	if (!s->info.last_error[0])
		describe_status(status, text, sizeof(text));
	if (s->info.state == SERVICE_STARTING && !s->info.last_error[0])
		snprintf(s->info.last_error, sizeof(s->info.last_error), "%s before it was ready",
			 text);
	s->info.last_status = status;
	/* With what the main process leaves behind, which would hold its ports. */
	cgroup_put(take_ptr(s->cgroup));
	if (!again) {
		set_state(s, SERVICE_EXITED);
		log_info("service %s %s", name_of(s), text);
		check_all_exited(s->owner);
		return;
	}
	if (now_ns() - s->started_ns >= UPTIME_GOOD)
		s->backoff_ns = BACKOFF_MIN;
	set_state(s, SERVICE_BACKOFF);
	log_warning("service %s %s; starting it again in %llu ms", name_of(s), text,
		    (unsigned long long)(s->backoff_ns / NSEC_PER_MSEC));
	if (loop_timer_set(s->owner->loop, &s->timer, s->backoff_ns, on_backoff_over) < 0)
		log_error("service %s stays down: out of memory", name_of(s));
	s->backoff_ns = s->backoff_ns * 2 > BACKOFF_MAX ? BACKOFF_MAX : s->backoff_ns * 2;
}

/* Starts */

/* Reads what the child has to say; true when it runs its program. */
static bool take_report(struct service *s)
{
	struct service_report report;
	ssize_t n = read(s->report, &report, sizeof(report));

	loop_remove(s->owner->loop, &s->reports);
	close_fd(&s->report);
	if (n == 0)
		return true;
	if (n == (ssize_t)sizeof(report))
		snprintf(s->info.last_error, sizeof(s->info.last_error), "%s: %s",
			 service_step_name(report.step), strerror(report.err));
	else
		snprintf(s->info.last_error, sizeof(s->info.last_error), "no report: %s",
			 strerror(n < 0 ? errno : EPROTO));
	log_error("cannot start service %s: %s", name_of(s), s->info.last_error);
	return false;
}

static void on_report(struct loop_source *source, uint32_t events)
{
	struct service *s = container_of(source, struct service, reports);

	(void)events;
	/* After a failure the pidfd has the rest to say. */
	if (!take_report(s) || s->info.state != SERVICE_STARTING)
		return;
	log_info("service %s runs as process %d", name_of(s), (int)s->process.pid);
	if (s->info.config->ready_port == 0) {
		ready(s);
		return;
	}
	s->probe_ns = PROBE_MIN;
	s->probe_ipv6 = false;
	probe_round(s);
}

static int reap(struct service *s, int *ret_status)
{
	siginfo_t info = { 0 };

	if (waitid(P_PIDFD, (id_t)s->process.pidfd, &info, WEXITED | WNOHANG) < 0)
		return -errno;
	if (info.si_pid == 0)
		return -EAGAIN;
	if (info.si_code == CLD_EXITED)
		*ret_status = (info.si_status & 0xff) << 8;
	else
		*ret_status = info.si_status | (info.si_code == CLD_DUMPED ? 0x80 : 0);
	return 0;
}

/* Lets go of everything that belongs to the process. */
static void release_process(struct service *s)
{
	struct loop *loop = s->owner->loop;

	probe_close(s);
	loop_timer_cancel(loop, &s->timer);
	loop_remove(loop, &s->exits);
	loop_remove(loop, &s->reports);
	close_fd(&s->report);
	close_fd(&s->process.pidfd);
	s->process.pid = s->info.pid = 0;
}

static void on_exit_event(struct loop_source *source, uint32_t events)
{
	struct service *s = container_of(source, struct service, exits);
	int r, status = STATUS_NOT_STARTED;

	(void)events;
	r = reap(s, &status);
	if (r == -EAGAIN)
		return;
	if (r < 0)
		log_error("service %s: its exit status is lost: %s", name_of(s), strerror(-r));
	if (s->report >= 0)
		(void)take_report(s);
	release_process(s);
	if (s->info.state == SERVICE_STOPPING) {
		s->info.last_status = status;
		finish_stopping(s);
		return;
	}
	ended(s, status);
}

static void start(struct service *s)
{
	struct loop *loop = s->owner->loop;
	struct failure f = { 0 };
	char name[64];
	int r;

	set_state(s, SERVICE_STARTING);
	s->info.last_error[0] = '\0';
	s->started_ns = now_ns();
	snprintf(name, sizeof(name), "service-%s", name_of(s));
	r = cgroup_get(s->cgroups, name, &s->cgroup, &f);
	if (r == 0)
		r = service_spawn(s->info.config, cgroup_fd(s->cgroup), &s->process, &s->report,
				  &f);
	if (r == 0) {
		s->info.pid = s->process.pid;
		r = loop_add(loop, &s->exits, s->process.pidfd, EPOLLIN, on_exit_event);
		if (r == 0)
			r = loop_add(loop, &s->reports, s->report, EPOLLIN, on_report);
		if (r == 0)
			return;
		fail(&f, -r, "cannot watch it");
		/* It must not run unwatched. */
		(void)cgroup_kill(s->cgroup);
		(void)waitid(P_PIDFD, (id_t)s->process.pidfd, NULL, WEXITED);
		release_process(s);
	}
	snprintf(s->info.last_error, sizeof(s->info.last_error), "%.*s",
		 (int)sizeof(s->info.last_error) - 1, f.msg);
	log_error("cannot start service %s: %s", name_of(s), f.msg);
	ended(s, STATUS_NOT_STARTED);
}

/* The table */

static void service_open(struct services *services, const struct config_service *config,
			 struct cgroups *cgroups)
{
	struct service *s = &services->list[services->n++];

	s->cgroups = cgroups;
	s->owner = services;
	s->info.config = config;
	s->info.last_status = -1;
	s->process.pidfd = s->report = s->probe = -EBADF;
	s->backoff_ns = BACKOFF_MIN;
	set_state(s, SERVICE_STOPPED);
}

int services_open(const struct config *config, struct cgroups *cgroups, struct loop *loop,
		  void (*on_all_exited)(int wait_status, void *data), void *data,
		  struct services **ret, struct failure *f)
{
	struct services *services = calloc(1, sizeof(*services));

	if (services)
		services->list = calloc(config->n_services ? config->n_services : 1,
					sizeof(*services->list));
	if (!services || !services->list) {
		free(services);
		return fail(f, ENOMEM, "cannot set up services");
	}
	services->loop = loop;
	services->on_all_exited = on_all_exited;
	services->data = data;
	for (size_t i = 0; i < config->n_services; i++)
		service_open(services, &config->services[i], cgroups);
	*ret = services;
	return 0;
}

void services_start(struct services *services)
{
	for (size_t i = 0; i < services->n && !services->stopping; i++)
		start(&services->list[i]);
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
		log_warning("service %s %s", name_of(s),
			    first ? "does not end in time and is killed" : "cannot be killed");
		if (s->cgroup)
			(void)cgroup_kill(s->cgroup);
	}
	if (!first || loop_timer_set(services->loop, timer, STOP_GRACE, on_grace_over) < 0)
		services->on_stopped(services->stopped_data);
}

static void stop(struct service *s)
{
	if (s->process.pidfd < 0) {
		loop_timer_cancel(s->owner->loop, &s->timer);
		finish_stopping(s);
		return;
	}
	probe_close(s);
	loop_timer_cancel(s->owner->loop, &s->timer);
	set_state(s, SERVICE_STOPPING);
	if (pidfd_send_signal(s->process.pidfd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
		(void)cgroup_kill(s->cgroup);
}

void services_stop(struct services *services, void (*on_stopped)(void *data), void *data)
{
	services->stopping = true;
	services->on_stopped = on_stopped;
	services->stopped_data = data;
	(void)loop_timer_set(services->loop, &services->grace, STOP_GRACE, on_grace_over);
	for (size_t i = services->n; i-- > 0;)
		stop(&services->list[i]);
	check_all_stopped(services);
}

void services_free(struct services *services)
{
	if (!services)
		return;
	loop_timer_cancel(services->loop, &services->grace);
	for (size_t i = 0; i < services->n; i++) {
		struct service *s = &services->list[i];

		if (s->process.pidfd >= 0) {
			/* Freed without services_stop(): SIGKILL makes the wait a short one. */
			(void)pidfd_send_signal(s->process.pidfd, SIGKILL, NULL, 0);
			(void)waitid(P_PIDFD, (id_t)s->process.pidfd, NULL, WEXITED);
		}
		release_process(s);
		cgroup_put(s->cgroup);
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

const char *service_state_name(enum service_state state)
{
	static const char *const names[] = {
		[SERVICE_STOPPED] = "stopped", [SERVICE_STARTING] = "starting",
		[SERVICE_READY] = "ready",     [SERVICE_BACKOFF] = "backoff",
		[SERVICE_EXITED] = "exited",   [SERVICE_STOPPING] = "stopping",
	};

	return (unsigned)state < ARRAY_LEN(names) ? names[state] : "unknown";
}
