/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one service. */
#include "agent/service/internal.h"

#include <poll.h>
#include <stdarg.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/service/listener.h"
#include "agent/service/spawn.h"
#include "base/log.h"
#include "init/protocol.h"

#define BACKOFF_MAX (10 * NSEC_PER_SEC)
#define UPTIME_GOOD (10 * NSEC_PER_SEC) /* after as long as this, back-off begins anew */
#define RUN_BOUND_S 60 /* until its program runs, where start_timeout sets no bound */
#define RELEASE_MS 5000
#define STATUS_NOT_STARTED (127 << 8) /* as wait(2) reports exit status 127 */

static const char *name_of(const struct service *s)
{
	return s->info.config->name;
}

static void set_state(struct service *s, enum service_state state)
{
	s->info.state = state;
	s->info.since_unix_ms = unix_ms();
}

static void set_error(struct service *s, const char *fmt, ...) PRINTF(2, 3);

static void set_error(struct service *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->info.last_error, sizeof(s->info.last_error), fmt, ap);
	va_end(ap);
}

static void describe_status(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
}

/* What the kernel has to tell */

/* Reads what the child has to say; true when it runs its program. */
static bool take_report(struct service *s)
{
	struct service_report report;
	ssize_t n = read(s->report, &report, sizeof(report));

	loop_remove(s->owner->loop, &s->reports);
	close_fd(&s->report);
	if (n == 0)
		return true;
	if (n == (ssize_t)sizeof(report) && report.err == 0)
		set_error(s, "%s is not in PATH: %s", s->info.config->argv[0], strerror(ENOENT));
	else if (n == (ssize_t)sizeof(report))
		set_error(s, "%s: %s", init_step_name(report.step), strerror(report.err));
	else
		set_error(s, "no report: %s", strerror(n < 0 ? errno : EPROTO));
	s->told = true;
	log_error("cannot start service %s: %s", name_of(s), s->info.last_error);
	return false;
}

static void on_report(struct loop_source *source, uint32_t events)
{
	struct service *s = container_of(source, struct service, reports);

	(void)events;
	/* After a failure the pidfd has the rest to say. */
	if (take_report(s))
		service_dispatch(s, SERVICE_EVENT_RUNS);
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

	loop_timer_cancel(loop, &s->timer);
	loop_timer_cancel(loop, &s->bound);
	loop_remove(loop, &s->exits);
	loop_remove(loop, &s->reports);
	close_fd(&s->report);
	close_fd(&s->probe);
	close_fd(&s->process.pidfd);
	s->process.pid = s->info.pid = 0;
}

void service_release(struct service *s)
{
	struct pollfd exit = { .fd = s->process.pidfd, .events = POLLIN };

	if (s->process.pidfd >= 0) {
		(void)pidfd_send_signal(s->process.pidfd, SIGKILL, NULL, 0);
		/* not for ever: it may wait for a file system that does not answer */
		if (poll(&exit, 1, RELEASE_MS) > 0)
			(void)waitid(P_PIDFD, (id_t)s->process.pidfd, NULL, WEXITED | WNOHANG);
	}
	release_process(s);
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
	s->info.last_status = status;
	service_dispatch(s, SERVICE_EVENT_END);
}

static void on_bound_over(struct loop_timer *timer)
{
	service_dispatch(container_of(timer, struct service, bound), SERVICE_EVENT_LATE);
}

static void on_backoff_over(struct loop_timer *timer)
{
	struct service *s = container_of(timer, struct service, timer);

	s->info.restarts++;
	service_dispatch(s, SERVICE_EVENT_START);
}

static void on_cgroup_empty(struct cgroup *cgroup, void *data)
{
	(void)cgroup;
	service_dispatch(data, SERVICE_EVENT_EMPTY);
}

/* What is done about it */

static void bound_start(struct service *s, uint64_t seconds)
{
	loop_timer_cancel(s->owner->loop, &s->bound);
	if (seconds && loop_timer_set(s->owner->loop, &s->bound, seconds * NSEC_PER_SEC,
				      on_bound_over) < 0)
		log_error("service %s: its start has no bound: out of memory", name_of(s));
}

/* Its ports, where it has them from us. 0, or -errno with who has one. */
static int hold_ports(struct service *s, struct failure *f)
{
	char who[160];
	uint16_t port;
	int r = s->info.listens ? handed_open(&s->handed, s->info.config, &port) : 0;

	if (r == -EADDRINUSE &&
	    listener_find(port, cgroup_fd(s->cgroup), who, sizeof(who)) == LISTENER_OTHER) {
		service_note_held(s, port, who);
		return fail(f, EINVAL, "port %u is held by %s", port, who);
	}
	return r < 0 ? fail(f, -r, "cannot bind its port %u", port) : 0;
}

/*
 * A program that knows nothing of handed-over sockets finds its port taken, by us. Where nobody has asked for them, it is
 * given its way: it binds the ports itself from the next start on.
 */
static void give_up_ports(struct service *s)
{
	bool failed = s->info.state == SERVICE_STARTING ||
		      (!s->info.config->ready_port && s->info.last_status != 0 &&
		       now_ns() - s->started_ns < UPTIME_GOOD);

	if (!failed || !s->info.listens || s->info.config->listen == LISTEN_YES || s->took)
		return;
	handed_close(&s->handed);
	s->info.listens = false;
	log_warning(
		"service %s does not take the sockets of its ports (LISTEN_FDS), and binds them itself from now on: "
		"while it is down they are free, also for user code",
		name_of(s));
}

static int spawn(struct service *s, struct failure *f)
{
	struct services *all = s->owner;
	char name[64];
	int r;

	snprintf(name, sizeof(name), "service-%s", name_of(s));
	r = cgroup_get(all->cgroups, name, &s->cgroup, f);
	if (r == 0)
		r = hold_ports(s, f);
	if (r == 0)
		r = service_spawn(s->info.config, s->place, all->enforce, &s->handed,
				  cgroup_fd(s->cgroup), &s->process, &s->report, f);
	if (r < 0)
		return r;
	s->info.pid = s->process.pid;
	cgroup_lead(s->cgroup, s->process.pid);
	r = loop_add(all->loop, &s->exits, s->process.pidfd, EPOLLIN, on_exit_event);
	if (r == 0)
		r = loop_add(all->loop, &s->reports, s->report, EPOLLIN, on_report);
	if (r == 0)
		return 0;
	/* It must not run unwatched. */
	service_release(s);
	return fail(f, -r, "cannot watch it");
}

static void start(struct service *s)
{
	uint64_t seconds = s->info.config->start_timeout_s;
	struct failure f = { 0 };

	set_state(s, SERVICE_STARTING);
	s->told = false;
	s->started_ns = now_ns();
	if (spawn(s, &f) == 0) {
		bound_start(s, seconds ? seconds : RUN_BOUND_S);
		return;
	}
	set_error(s, "%.*s", (int)sizeof(s->info.last_error) - 1, f.msg);
	s->told = true;
	log_error("cannot start service %s: %s", name_of(s), f.msg);
	s->info.last_status = STATUS_NOT_STARTED;
	service_dispatch(s, SERVICE_EVENT_END);
}

static void runs(struct service *s)
{
	log_info("service %s runs as process %d", name_of(s), (int)s->process.pid);
	s->info.last_error[0] = '\0';
	if (!s->info.config->start_timeout_s)
		bound_start(s, 0);
	service_await_ready(s);
}

static void ready(struct service *s)
{
	loop_timer_cancel(s->owner->loop, &s->timer);
	loop_timer_cancel(s->owner->loop, &s->bound);
	close_fd(&s->probe);
	set_state(s, SERVICE_READY);
	s->info.last_error[0] = '\0';
	s->was_ready = true;
	log_info("service %s is ready", name_of(s));
	services_note_ready(s->owner);
}

/* Its end comes by the pidfd, if it can be killed: STARTING until then. */
static void late(struct service *s)
{
	uint64_t seconds = s->info.config->start_timeout_s;
	char why[sizeof(s->info.last_error)];

	snprintf(why, sizeof(why), "%s", s->info.last_error);
	loop_timer_cancel(s->owner->loop, &s->timer);
	if (s->report >= 0)
		set_error(s, "its program did not run within %u s: its directory, program or "
			  "interpreter cannot be opened",
			  (unsigned)(seconds ? seconds : RUN_BOUND_S));
	else
		set_error(s, "not ready within %u s%s%.160s", (unsigned)seconds, why[0] ? ": " : "", why);
	/* nobody reports any more: what ends now was killed */
	loop_remove(s->owner->loop, &s->reports);
	close_fd(&s->report);
	s->told = true;
	log_error("service %s is killed: %s", name_of(s), s->info.last_error);
	(void)cgroup_kill(s->cgroup);
}

/* The process of READY or STARTING ended. */
static void ended(struct service *s)
{
	enum restart_policy restart = s->info.config->restart;
	int status = s->info.last_status;
	bool again = restart == RESTART_ALWAYS || (restart == RESTART_ON_FAILURE && status != 0);
	char text[128] = "could not be started", why[sizeof(s->info.last_error)];

	if (!s->told) {
		describe_status(status, text, sizeof(text));
		snprintf(why, sizeof(why), "%s", s->info.last_error);
		if (s->info.state == SERVICE_STARTING)
			set_error(s, "%s before it was ready%s%.120s", text, why[0] ? ": " : "", why);
	}
	/* With what the main process leaves behind, which would hold its ports. */
	cgroup_put(take_ptr(s->cgroup));
	if (status != STATUS_NOT_STARTED)
		give_up_ports(s);
	if (!again) {
		handed_close(&s->handed); /* or who connects would wait for ever */
		set_state(s, SERVICE_EXITED);
		log_info("service %s %s", name_of(s), text);
		services_note_exited(s->owner);
		return;
	}
	if (now_ns() - s->started_ns >= UPTIME_GOOD)
		s->backoff_ns = SERVICE_BACKOFF_MIN;
	set_state(s, SERVICE_BACKOFF);
	log_warning("service %s %s; starting it again in %llu ms", name_of(s), text,
		    (unsigned long long)(s->backoff_ns / NSEC_PER_MSEC));
	if (loop_timer_set(s->owner->loop, &s->timer, s->backoff_ns, on_backoff_over) < 0)
		log_error("service %s stays down: out of memory", name_of(s));
	s->backoff_ns = s->backoff_ns * 2 > BACKOFF_MAX ? BACKOFF_MAX : s->backoff_ns * 2;
}

static void terminate(struct service *s)
{
	loop_timer_cancel(s->owner->loop, &s->timer);
	loop_timer_cancel(s->owner->loop, &s->bound);
	set_state(s, SERVICE_STOPPING);
	if (pidfd_send_signal(s->process.pidfd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
		(void)cgroup_kill(s->cgroup);
}

/* Its main process is gone: ends what it left behind, and then it is STOPPED. */
static void clear(struct service *s)
{
	loop_timer_cancel(s->owner->loop, &s->timer);
	set_state(s, SERVICE_STOPPING);
	if (s->cgroup) {
		(void)cgroup_kill(s->cgroup);
		if (cgroup_watch_empty(s->cgroup, on_cgroup_empty, s) == 0)
			return;
	}
	service_dispatch(s, SERVICE_EVENT_EMPTY);
}

static void stopped(struct service *s)
{
	set_state(s, SERVICE_STOPPED);
	log_debug("service %s is stopped", name_of(s));
	services_note_stopped(s->owner);
}

void service_dispatch(struct service *s, enum service_event event)
{
	static void (*const table[][SERVICE_EVENT_COUNT])(struct service *s) = {
		[SERVICE_STOPPED] = { [SERVICE_EVENT_START] = start, [SERVICE_EVENT_STOP] = clear },
		[SERVICE_STARTING] = {
			[SERVICE_EVENT_RUNS] = runs,	 [SERVICE_EVENT_LISTEN] = ready,
			[SERVICE_EVENT_LATE] = late,	 [SERVICE_EVENT_END] = ended,
			[SERVICE_EVENT_STOP] = terminate,
		},
		[SERVICE_READY] = { [SERVICE_EVENT_END] = ended, [SERVICE_EVENT_STOP] = terminate },
		[SERVICE_BACKOFF] = { [SERVICE_EVENT_START] = start, [SERVICE_EVENT_STOP] = clear },
		[SERVICE_EXITED] = { [SERVICE_EVENT_STOP] = clear },
		[SERVICE_STOPPING] = { [SERVICE_EVENT_END] = clear, [SERVICE_EVENT_EMPTY] = stopped },
	};

	if (table[s->info.state][event])
		table[s->info.state][event](s);
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
