/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a moat-init: one table of state and event, and what entering each state does.
 *
 * There are two ways to make one: from nothing (launch.c), for those that are always there, and by a fork of
 * the template (init/clone.c), for those that come and go. Nothing here waits but what says so.
 */
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/namespace/internal.h"
#include "agent/namespace/launch.h"
#include "base/log.h"

#define WAIT_MS 30000   /* for its turn to be launched */
#define LAUNCH_MS 20000 /* until it is ready */
#define STOP_MS 5000
#define RETRY_NS (1 * NSEC_PER_SEC) /* between two starts, when the first did not last that long */

static void on_timer(struct loop_timer *timer);
static void on_death_event(struct loop_source *source, uint32_t events);

static void set_timer(struct namespace *ns, uint64_t delay_ns)
{
	/* Without memory for it nothing is bounded any more; there is nothing better to do. */
	if (loop_timer_set(ns->loop, &ns->timer, delay_ns, on_timer) < 0)
		log_error("namespace %s: out of memory", ns->name);
}

static void disconnect(struct namespace *ns)
{
	loop_remove(ns->loop, &ns->on_socket);
	close_fd(&ns->socket);
	ns->congested = false;
}

/* --- Making one ---------------------------------------------------------------------------- */

/* Of a moat-init that waits for nothing but us: its label, and what we hear of it. 0 or -errno. */
static int adopt(struct namespace *ns)
{
	int r = loop_add(ns->loop, &ns->on_death, ns->init.pidfd, EPOLLIN, on_death_event);

	ns->started_ns = now_ns();
	if (r < 0) { /* nobody would see its end: the agent's general reaper does */
		namespace_kill(ns);
		close_fd(&ns->init.pidfd);
		ns->init.pid = 0;
		return r;
	}
	r = enforce_label_init(ns->enforce, ns->init.pidfd,
			       !ns->shared_pid && ns->kind != CONTEXT_SECURE, &ns->declared);
	if (r == 0)
		r = loop_add(ns->loop, &ns->on_socket, ns->socket, EPOLLIN, namespace_on_socket);
	return r;
}

/* A launch that got no further; whether a process came of it decides what it is. */
static void launch_failed(struct namespace *ns, int r, const char *why)
{
	ns->launch_err = -r;
	namespace_event(ns, ns->init.pidfd >= 0 ? NAMESPACE_BROKEN : NAMESPACE_FAILED, why);
}

static int launch_from_nothing(struct namespace *ns, struct failure *f)
{
	static const struct moat_label init = { .role = MOAT_ROLE_INIT };
	int r;

	enforce_name_exec(ns->enforce, cgroup_fd(ns->cgroup), &init);
	r = namespace_launch(ns->set->world, ns->shared_pid, cgroup_fd(ns->cgroup), &ns->init,
			     &ns->socket, f);

	if (r < 0)
		return r;
	cgroup_lead(ns->cgroup, ns->init.pid);
	namespace_event(ns, NAMESPACE_BEGUN, NULL);
	/* The child waits for INIT_SETUP; only the label makes what it starts USER. */
	r = adopt(ns);
	if (r == 0)
		r = namespace_send_setup(ns);
	return r < 0 ? fail(f, -r, "cannot start moat-init") : 0;
}

static int launch_clone(struct namespace *ns, struct failure *f)
{
	struct namespace *template = ns->set->template;
	FD_OWNED int theirs = -EBADF;
	int ends[2], r;

	r = namespace_make_socket(ends, f);
	if (r < 0)
		return r;
	ns->socket = ends[0];
	theirs = ends[1];
	r = namespace_send_clone(template, ns, theirs);
	if (r < 0)
		return fail(f, -r, "cannot ask for a moat-init");
	template->cloning = ns;
	namespace_event(ns, NAMESPACE_BEGUN, NULL);
	return 0;
}

void namespace_give_shm_back(struct namespace *ns)
{
	cgroups_shm_give_back(ns->cgroups, ns->shm_size);
	ns->shm_size = 0;
}

void namespace_launch_now(struct namespace *ns)
{
	struct failure f = { 0 };
	int r;

	if (!ns->shm_size)
		ns->shm_size = cgroups_shm_take(ns->cgroups, ns->set->config->shm_size);
	r = ns->cloned ? launch_clone(ns, &f) : launch_from_nothing(ns, &f);

	if (r < 0)
		launch_failed(ns, r, f.msg);
}

void namespace_cloned(struct namespace *template, const struct init_reply *reply, int pidfd)
{
	struct namespace *ns = take_ptr(template->cloning);
	int r = reply && reply->err > 0 ? -reply->err : -ESRCH;

	if (pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0 && errno != ESRCH) {
		close_fd(&pidfd);
		namespace_event(template, NAMESPACE_BROKEN, "moat-init gave something that is no process");
	}
	if (pidfd >= 0) {
		ns->init = (struct process){ .pid = reply->pid, .pidfd = pidfd };
		r = adopt(ns);
	}
	if (r < 0)
		launch_failed(ns, r, reply ? strerror(-r) : "its template is lost");
	namespaces_pump(ns->set);
}

/* --- The end of one ------------------------------------------------------------------------ */

static void reap(struct namespace *ns)
{
	siginfo_t info;

	/* ECHILD: the agent is PID 1 and its general reaper was faster. */
	(void)waitid((idtype_t)P_PIDFD, (id_t)ns->init.pidfd, &info, WEXITED | WNOHANG);
	loop_remove(ns->loop, &ns->on_death);
	close_fd(&ns->init.pidfd);
	enforce_forget_init(ns->enforce, &ns->declared);
	ns->declared = (struct enforce_namespaces){ 0 };
	ns->init.pid = 0;
}

/* The kernel has ended everything inside by now (zap_pid_ns_processes), unless the PID namespace
 * is shared. */
static void on_death_event(struct loop_source *source, uint32_t events)
{
	struct namespace *ns = container_of(source, struct namespace, on_death);
	const struct init_reply lost = { .type = INIT_EXITED, .status = SIGKILL };
	bool meant = ns->state == NAMESPACE_STOPPING;

	(void)events;
	namespace_read(ns, INT32_MAX); /* exits reported before it died */
	namespace_event(ns, NAMESPACE_BROKEN, "moat-init died");
	reap(ns);
	if (!meant)
		ns->on_exit(ns, &lost, ns->data);
	namespace_event(ns, NAMESPACE_GONE, NULL);
}

void namespace_kill(struct namespace *ns)
{
	disconnect(ns);
	if (ns->init.pidfd >= 0)
		(void)syscall(SYS_pidfd_send_signal, ns->init.pidfd, SIGKILL, NULL, 0);
}

/* --- States -------------------------------------------------------------------------------- */

static void enter_waiting(struct namespace *ns, const char *why)
{
	(void)why;
	set_timer(ns, WAIT_MS * NSEC_PER_MSEC);
	if (ns->lasting) {
		namespace_launch_now(ns);
		return;
	}
	list_append(&ns->set->waiting, &ns->waiting);
	namespaces_pump(ns->set);
}

static void enter_launching(struct namespace *ns, const char *why)
{
	(void)why;
	ns->launch_err = 0;
	set_timer(ns, LAUNCH_MS * NSEC_PER_MSEC);
}

static void enter_ready(struct namespace *ns, const char *why)
{
	(void)why;
	loop_timer_cancel(ns->loop, &ns->timer);
	namespaces_launched(ns);
	namespace_pump(ns);
	if (ns->n_held == 0)
		namespaces_idle(ns);
	namespaces_pump(ns->set);
}

/* There is nothing to be waited for. Who waits is told by the timer: not from within his own request. */
static void enter_failed(struct namespace *ns, const char *why)
{
	log_error("namespace %s cannot be made: %s", ns->name, why);
	list_remove(&ns->waiting);
	disconnect(ns);
	namespaces_launched(ns);
	set_timer(ns, 0);
}

static void enter_lost(struct namespace *ns, const char *why)
{
	log_error("namespace %s is lost: %s", ns->name, why);
	loop_timer_cancel(ns->loop, &ns->timer);
	namespace_kill(ns);
	namespaces_launched(ns);
	list_remove(&ns->idle);
	ns->set->n_ending += ns->living;
	if (ns->cloning)
		namespace_cloned(ns, NULL, -EBADF);
	namespace_fail_sent(ns, ESRCH);
}

/* As one that cannot be made: those who wait for it are told. */
static void enter_lost_in_launch(struct namespace *ns, const char *why)
{
	if (!ns->launch_err)
		ns->launch_err = EPROTO;
	enter_lost(ns, why);
}

static void enter_stopping(struct namespace *ns, const char *why)
{
	(void)why;
	list_remove(&ns->idle);
	ns->set->n_ending += ns->living;
	namespace_kill(ns);
	namespace_fail_sent(ns, ESRCH); /* only what was cancelled: nobody waits for it */
}

static void enter_down(struct namespace *ns, const char *why)
{
	(void)why;
	ns->set->n_ending -= ns->living;
	namespaces_gone(ns); /* before it is launched again: that counts anew */
	if (ns->ended) {
		if (ns->forgotten)
			namespace_free_soon(ns);
	} else if (ns->launch_err || now_ns() - ns->started_ns < RETRY_NS) {
		set_timer(ns, ns->launch_err ? 0 : RETRY_NS);
	} else if (ns->lasting || !list_empty(&ns->queue)) {
		namespace_event(ns, NAMESPACE_WANTED, NULL);
	}
}

/* DOWN: a launch has failed, or it is time for another one. Else: it has taken too long. */
static void on_timer(struct loop_timer *timer)
{
	struct namespace *ns = container_of(timer, struct namespace, timer);
	struct namespace *template = ns->set->template;
	int err = ns->launch_err;

	if (ns->state == NAMESPACE_DOWN && ns->forgotten) {
		namespace_free(ns);
	} else if (ns->state == NAMESPACE_DOWN && err) {
		ns->launch_err = 0;
		if (ns->lasting && !ns->ended)
			set_timer(ns, RETRY_NS);
		namespace_fail_all(ns, err);
	} else if (ns->state == NAMESPACE_DOWN) {
		if ((ns->lasting && !ns->ended) || !list_empty(&ns->queue))
			namespace_event(ns, NAMESPACE_WANTED, NULL);
	} else if (ns->state == NAMESPACE_LAUNCHING && ns->init.pidfd < 0) {
		namespace_event(template, NAMESPACE_BROKEN, "moat-init does not answer");
	} else {
		ns->launch_err = ETIMEDOUT;
		namespace_event(ns, ns->state == NAMESPACE_WAITING ? NAMESPACE_FAILED : NAMESPACE_BROKEN,
				"not ready in time");
	}
}

static const struct {
	enum namespace_state next;
	void (*enter)(struct namespace *ns, const char *why);
} transitions[NAMESPACE_STATES][NAMESPACE_EVENTS] = {
	/* What is not here means nothing in that state. */
	[NAMESPACE_DOWN] = {
		[NAMESPACE_WANTED] = { NAMESPACE_WAITING, enter_waiting },
	},
	[NAMESPACE_WAITING] = {
		[NAMESPACE_BEGUN] = { NAMESPACE_LAUNCHING, enter_launching },
		[NAMESPACE_FAILED] = { NAMESPACE_DOWN, enter_failed },
	},
	[NAMESPACE_LAUNCHING] = {
		[NAMESPACE_ANSWERED] = { NAMESPACE_READY, enter_ready },
		[NAMESPACE_FAILED] = { NAMESPACE_DOWN, enter_failed },
		[NAMESPACE_BROKEN] = { NAMESPACE_LOST, enter_lost_in_launch },
	},
	[NAMESPACE_READY] = {
		[NAMESPACE_BROKEN] = { NAMESPACE_LOST, enter_lost },
		[NAMESPACE_IDLE] = { NAMESPACE_STOPPING, enter_stopping },
	},
	[NAMESPACE_LOST] = {
		[NAMESPACE_GONE] = { NAMESPACE_DOWN, enter_down },
	},
	[NAMESPACE_STOPPING] = {
		[NAMESPACE_GONE] = { NAMESPACE_DOWN, enter_down },
	},
};

void namespace_event(struct namespace *ns, enum namespace_event event, const char *why)
{
	if (ns->set->closing || !transitions[ns->state][event].enter)
		return;
	/* enter() may bring about the next one. */
	const unsigned from = ns->state;

	ns->state = transitions[from][event].next;
	transitions[from][event].enter(ns, why);
}

/* --- At the start and the end of the agent ------------------------------------------------- */

int namespace_wait_ready(struct namespace *ns, int stop_fd, uint64_t until_ns, struct failure *f)
{
	while (ns->state == NAMESPACE_LAUNCHING) {
		struct pollfd fds[] = { { .fd = ns->socket, .events = POLLIN },
					{ .fd = stop_fd, .events = POLLIN } };
		uint64_t now = now_ns();
		int r = now < until_ns ? poll(fds, 2, (int)((until_ns - now) / NSEC_PER_MSEC) + 1) : 0;

		if (r < 0 && errno != EINTR)
			return fail(f, errno, "cannot wait for namespace %s", ns->name);
		if (r == 0)
			return fail(f, ETIMEDOUT, "namespace %s: moat-init does not answer", ns->name);
		if (r > 0 && fds[1].revents)
			return fail(f, EINTR, "stopped before namespace %s was made", ns->name);
		if (r > 0)
			namespace_read(ns, 1);
	}
	if (ns->state == NAMESPACE_READY)
		return 0;
	return fail(f, ns->launch_err ? ns->launch_err : EPROTO, "namespace %s cannot be made", ns->name);
}

void namespace_wait_gone(struct namespace *ns)
{
	struct pollfd p = { .fd = ns->init.pidfd, .events = POLLIN };

	ns->state = NAMESPACE_DOWN;
	if (ns->init.pidfd < 0)
		return;
	if (poll(&p, 1, STOP_MS) <= 0)
		log_warning("namespace %s: moat-init does not end", ns->name);
	reap(ns);
}

void namespace_free_soon(struct namespace *ns)
{
	set_timer(ns, 0);
}

void namespace_free(struct namespace *ns)
{
	namespace_give_shm_back(ns);
	loop_timer_cancel(ns->loop, &ns->timer);
	loop_timer_cancel(ns->loop, &ns->watchdog);
	list_remove(&ns->link);
	list_remove(&ns->waiting);
	list_remove(&ns->idle);
	if (ns->cgroup)
		enforce_forget_exec(ns->enforce, cgroup_fd(ns->cgroup));
	cgroup_put(ns->cgroup);
	free(ns->name);
	free(ns);
}
