/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"

#include <malloc.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/api/api.h"
#include "agent/audit/audit.h"
#include "agent/descriptors.h"
#include "agent/process/harden.h"
#include "agent/notify.h"
#include "agent/process/tables.h"
#include "agent/own_files.h"
#include "agent/recorded.h"
#include "agent/service/reserved_ports.h"
#include "agent/state_dir.h"
#include "agent/workspaces.h"
#include "base/log.h"

#define OPENED_LATER 32 /* by all modules, without kernel programs */
#define OF_GUARD 20     /* programs, links and maps of the cgroup, where there are no others */
#define REAP_AGAIN (10 * NSEC_PER_MSEC)
#define WORKSPACES_PATIENCE (10 * NSEC_PER_SEC) /* a file system may never answer */

struct run {
	struct agent agent;
	int lock;
	bool started; /* as a whole, once */
	struct reserved_ports reserved;
	struct notify notify;
	int signals;
	struct loop_source signal_source;
	struct loop_timer reap_again;
	struct workspaces workspaces;
	struct loop_timer patience;
	struct execs *stopped; /* clients still read of them, until the API is closed */
};

/* Stopping */

static void on_services_stopped(void *data)
{
	struct run *run = data;

	loop_stop(run->agent.loop);
}

static void stop_execs(struct run *run)
{
	if (!run->agent.execs)
		return;
	execs_stop(run->agent.execs);
	run->stopped = take_ptr(run->agent.execs);
}

/* Once: a second signal finds it under way. */
static void begin_stop(struct run *run, int exit_status)
{
	struct agent *agent = &run->agent;

	if (agent->stopping)
		return;
	agent->stopping = true;
	agent->exit_status = exit_status;
	notify_send(&run->notify, "STOPPING=1");
	workspaces_stop(&run->workspaces);
	api_drain(agent->api);
	stop_execs(run);
	services_stop(agent->services, on_services_stopped, run);
}

static void on_all_exited(int wait_status, void *data)
{
	int status = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status)
					      : WEXITSTATUS(wait_status);

	log_info("every service has ended");
	begin_stop(data, status);
}

static void on_port_held(const char *service, uint16_t port, const char *who, void *data)
{
	const struct run *run = data;

	audit_record_port_held(run->agent.audit, service, port, who);
}

/* The control plane is there when every service has been. */
static void on_all_ready(void *data)
{
	struct run *run = data;

	notify_send(&run->notify, "READY=1");
}

/* Signals and children */

struct pid_search {
	pid_t pid;
	bool found;
};

static void match_service(const struct service_info *info, void *data)
{
	struct pid_search *search = data;

	search->found = search->found || info->pid == search->pid;
}

static void match_namespace(struct namespace *ns, void *data)
{
	struct pid_search *search = data;

	search->found = search->found || namespace_pid(ns) == search->pid;
}

static void on_reap_again(struct loop_timer *timer);

/*
 * Orphans come to the agent because it is PID 1 or a subreaper. Exits of services and of moat-inits
 * are not touched: their owners wait for them by pidfd. But an exit that its owner has not yet
 * collected (it will, in this turn of the loop or the next) hides the others: then again, later.
 */
static void reap_orphans(struct run *run)
{
	struct agent *agent = &run->agent;

	for (;;) {
		struct pid_search search = { 0 };
		siginfo_t info = { 0 };

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			return;
		search.pid = info.si_pid;
		services_for_each(agent->services, match_service, &search);
		if (agent->execs)
			execs_for_each_namespace(agent->execs, match_namespace, &search);
		if (search.found) {
			(void)loop_timer_set(agent->loop, &run->reap_again, REAP_AGAIN,
					     on_reap_again);
			return;
		}
		(void)waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
	}
}

static void on_reap_again(struct loop_timer *timer)
{
	reap_orphans(container_of(timer, struct run, reap_again));
}

static void on_signal(struct loop_source *source, uint32_t events)
{
	struct run *run = container_of(source, struct run, signal_source);
	struct signalfd_siginfo info;

	(void)events;
	while (read(run->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
			reap_orphans(run);
			break;
		case SIGHUP: /* logrotate(8) */
			audit_reopen_log(run->agent.audit);
			break;
		default:
			log_info("%s", run->agent.stopping ? "stopping already" : "stopping");
			begin_stop(run, 0);
			break;
		}
	}
}

static void handled_signals(sigset_t *ret_set)
{
	/* Besides these two all that would end the process by itself, and leave its services behind, but for
	 * what a fault raises. */
	static const int handled[] = { SIGCHLD, SIGHUP,	 SIGTERM,   SIGINT,  SIGQUIT, SIGUSR1,	 SIGUSR2,
				       SIGALRM, SIGPROF, SIGVTALRM, SIGPOLL, SIGPWR,  SIGSTKFLT, SIGXCPU };

	sigemptyset(ret_set);
	for (size_t i = 0; i < ARRAY_LEN(handled); i++)
		sigaddset(ret_set, handled[i]);
	for (int sig = SIGRTMIN; sig <= SIGRTMAX; sig++)
		sigaddset(ret_set, sig);
}

void agent_block_signals(void)
{
	sigset_t set;

	handled_signals(&set);
	(void)sigprocmask(SIG_BLOCK, &set, NULL); /* EINVAL alone, for another first argument */
}

static int open_signals(struct run *run, struct failure *f)
{
	sigset_t set;
	int r;

	handled_signals(&set);
	/* A peer that goes away, and a file at its limit (RLIMIT_FSIZE), is an error of write(2), not the
	 * end of the agent. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	/* no other is blocked, whatever whoever started the agent had blocked */
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return fail(f, errno, "cannot block signals");
	run->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (run->signals < 0)
		return fail(f, errno, "cannot receive signals");
	if (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return fail(f, errno, "cannot become a subreaper");
	r = loop_add(run->agent.loop, &run->signal_source, run->signals, EPOLLIN, on_signal);
	return r < 0 ? fail(f, -r, "cannot receive signals") : 0;
}

/* Opening and closing */

static int reserve_ports(struct run *run, struct failure *f)
{
	struct failure why = { 0 };
	int r = run->agent.config->dev ?
			0 :
			reserved_ports_add(run->agent.config, &run->reserved, &why);

	if (r == 0)
		return 0;
	if (run->agent.config->enforce != ENFORCE_BEST_EFFORT)
		return fail(f, EINVAL, "%s", why.msg);
	log_warning("%s", why.msg);
	return 0;
}

/* For its ports and what looks at them, where they are to be bound by the agent. */
static unsigned descriptors_of_ports(const struct config *config)
{
	unsigned n = 0;

	for (size_t i = 0; i < config->n_services; i++)
		if (config->services[i].listen == LISTEN_YES)
			n += (unsigned)config->services[i].n_ports + 1;
	return n;
}

/* Before anything is open: what is not enough by then is not, whatever the kernel programs take. */
static int check_descriptors(const struct config *config, struct failure *f)
{
	struct descriptors shares;
	unsigned used, limit;
	int r = descriptors_count(&used, &limit);

	return r < 0 ? fail(f, -r, "cannot count the open descriptors") :
		       descriptors_share(config,
					 used + OPENED_LATER + OF_GUARD + descriptors_of_ports(config),
					 limit, &shares, f);
}

/* What the LSM programs would, where there are none. */
static void guard_ports(struct agent *agent)
{
	if (agent->config->dev)
		return;
	enforce_guard_cgroup(agent->enforce, agent->config, cgroups_instance(agent->cgroups),
			     cgroups_user(agent->cgroups));
	if (enforce_active(agent->enforce))
		return;
	malloc_trim(0);
	if (enforce_guards_ports(agent->enforce))
		log_info("ports of services are guarded, by programs of user code's cgroup");
	else
		log_warning("ports of services are not guarded: %s",
			    enforce_guards_reason(agent->enforce));
}

/* When all that stays open is: the rest is shared out. */
static int open_api(struct agent *agent, struct failure *f)
{
	struct descriptors shares;
	unsigned used, limit;
	int r = descriptors_count(&used, &limit);

	if (r < 0)
		return fail(f, -r, "cannot count the open descriptors");
	r = descriptors_share(agent->config, used, limit, &shares, f);
	if (r < 0)
		return r;
	/* Each command in a context of its own has that one's group counted in its share. */
	cgroups_limit(agent->cgroups, shares.pool, shares.execs);
	execs_limit(agent->execs, shares.execs, shares.contexts);
	r = execs_keep(agent->execs, agent->config->state_dir, f);
	return r < 0 ? r : api_open(agent, shares.connections, &agent->api, f);
}

static int open_modules(struct run *run, struct failure *f)
{
	struct agent *agent = &run->agent;
	struct config *config = agent->config;
	const struct probe_result *obstacle = probe_obstacle(&agent->probes, true);
	const struct services_callbacks callbacks = { on_all_exited, on_port_held, on_all_ready,
						      run };
	int r = loop_new(&agent->loop);

	if (r < 0)
		return fail(f, -r, "cannot make the event loop");
	notify_open(&run->notify, agent->loop);
	r = open_signals(run, f);
	if (r == 0)
		r = state_dir_lock(config->state_dir, &run->lock, f);
	if (r == 0)
		r = reserve_ports(run, f);
	if (r == 0)
		r = enforce_open(config, obstacle ? obstacle->detail : NULL, &agent->enforce, f);
	malloc_trim(0); /* libbpf has read the type information of the whole kernel */
	if (r == 0 && config->dev)
		log_warning(
			"for development alone: what user code is kept from here is less than as root, and moat "
			"status says what; MOAT_SOCKET=%s",
			config->socket);
	else if (r == 0 && !enforce_active(agent->enforce))
		log_warning("not enforced by the kernel: %s", enforce_reason(agent->enforce));
	if (r == 0) /* before what hides its file from user code */
		r = audit_open(config->audit_log, config->instance, agent->loop, recorded_context_name,
			       agent, &agent->audit, f);
	if (r == 0)
		r = cgroups_open(config, agent->loop, &agent->cgroups, f);
	/* User code that has a cgroup namespace of its own can change its own: nobody has the same after it. */
	if (r == 0 && !enforce_active(agent->enforce))
		cgroups_limit(agent->cgroups, 0, SIZE_MAX);
	if (r == 0)
		guard_ports(agent);
	if (r == 0 && cgroups_have_memory(agent->cgroups))
		tables_raise();
	if (r == 0 && !config->dev)
		tables_allow_ping();
	if (r == 0) {
		r = execs_open(config, agent->enforce, agent->cgroups, agent->loop,
			       &agent->execs, f);
	}
	if (r == 0)
		r = services_open(config, agent->cgroups, agent->enforce, agent->loop, &callbacks,
				  &agent->services, f);
	if (r == 0) {
		recorded_begin(agent);
		r = protect_files(agent->enforce, config, agent->execs, f);
	}
	if (r == 0) {
		r = enforce_watch(agent->enforce, agent->loop, audit_record, agent->audit);
		if (r < 0)
			fail(f, -r, "cannot watch for denials");
	}
	return r < 0 ? r : open_api(agent, f);
}

/*
 * The reverse; also of a start that got only half way, and of a loop that failed. The API answers until it
 * is closed: what is gone by then is NULL for it.
 */
static void close_modules(struct run *run)
{
	struct agent *agent = &run->agent;

	agent->stopping = true;
	workspaces_stop(&run->workspaces);
	if (agent->api)
		api_drain(agent->api);
	stop_execs(run);
	if (agent->api)
		api_close(take_ptr(agent->api));
	execs_close(run->stopped);
	services_free(take_ptr(agent->services));
	cgroups_close(agent->cgroups);
	if (agent->enforce)
		enforce_close(agent->enforce, agent->config->keep_pins);
	audit_close(agent->audit);
	if (run->started || !run->reserved.adopted)
		reserved_ports_remove(&run->reserved);
	state_dir_unlock(agent->config->state_dir, &run->lock);
	if (agent->loop) {
		loop_timer_cancel(agent->loop, &run->reap_again);
		loop_timer_cancel(agent->loop, &run->patience);
		loop_remove(agent->loop, &run->signal_source);
	}
	close_fd(&run->signals);
	notify_close(&run->notify);
	loop_free(agent->loop);
}

static void on_workspaces(void *data)
{
	struct run *run = data;

	loop_timer_cancel(run->agent.loop, &run->patience);
	api_hold(run->agent.api, false);
}

/* They go on being made, but clients wait no longer. */
static void on_patience(struct loop_timer *timer)
{
	api_hold(container_of(timer, struct run, patience)->agent.api, false);
}

static void make_workspaces(struct run *run)
{
	struct agent *agent = &run->agent;

	if (loop_timer_set(agent->loop, &run->patience, WORKSPACES_PATIENCE, on_patience) == 0)
		api_hold(agent->api, true);
	workspaces_start(&run->workspaces, agent->config, agent->execs, agent->loop, on_workspaces,
			 run);
}

int agent_run(struct config *config, const struct probe_report *probes)
{
	struct run run = { .lock = -EBADF, .signals = -EBADF };
	struct failure f = { 0 };
	int r;

	run.agent.config = config;
	run.agent.probes = *probes;
	run.agent.started_unix_ms = unix_ms();
	run.agent.started_ns = now_ns();
	harden_self();
	if (config->dev)
		harden_mark_user_code();
	r = check_descriptors(config, &f);
	if (r == 0)
		r = open_modules(&run, &f);
	if (r == 0) {
		run.started = true;
		make_workspaces(&run);
		services_start(run.agent.services);
		r = loop_run(run.agent.loop);
		if (r < 0)
			fail(&f, -r, "the event loop failed");
	}
	close_modules(&run);
	if (r < 0) {
		log_error("%s", f.msg);
		return 1;
	}
	log_info("stopped");
	return run.agent.exit_status;
}
