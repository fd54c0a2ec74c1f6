/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One moat-init from the agent's side.
 *
 *   DOWN --launch--> STARTING --INIT_READY--> READY
 *    ^  \__ retry timer        |                |
 *    |                         +-- socket end --+--> DYING --pidfd--> reported, reaped, launched again
 */
#include "agent/namespace/namespace.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/namespace/launch.h"
#include "base/log.h"

#define START_MS 30000
#define STOP_MS 5000
#define RETRY_NS (1 * NSEC_PER_SEC) /* between two starts, when the first did not last that long */
/*
 * What does not come to execve in this time is killed: its directory or its program may lie on a file
 * system that does not answer, and where the kernel does not judge signals one of its context may
 * have stopped it.
 */
#define SPAWN_MS 30000
/* Of those on their way to execve, so many of one context: the rest is for the others. */
#define STARTS_PER_CONTEXT (INIT_STARTS_MAX / 8)

enum state { DOWN, STARTING, READY, DYING };

struct namespace {
	char *name;
	bool shared_pid, own;
	char **hidden;
	uint64_t capabilities;
	struct enforce *enforce;
	struct loop *loop;
	struct cgroups *cgroups;
	struct cgroup *cgroup;
	namespace_exit_fn on_exit;
	void *data;

	enum state state;
	struct process init;
	struct enforce_namespaces declared; /* to the kernel programs */
	int socket;
	struct loop_source on_socket, on_death;
	struct loop_timer retry, watchdog;
	uint64_t started_ns;

	struct list queue;              /* of namespace_spawn, not sent yet */
	struct list starting;           /* sent, not answered, in the order sent */
	size_t n_starting;
	struct namespace_spawn *cloning; /* the last sent, while its announcement may not be used up */
	bool asked;                     /* when that will be */
	bool congested; /* waits for the socket to take a packet */
};

static const char *const step_names[] = {
#define STEP_NAME(name, text) text,
	INIT_STEPS(STEP_NAME)
#undef STEP_NAME
};

/* One packet at a time, and wiped after each: it holds environments. */
static char packet[INIT_PACKET_MAX] __attribute__((aligned(16)));

static int ns_launch(struct namespace *ns, struct failure *f);
static void pump(struct namespace *ns);

/* --- Sending ------------------------------------------------------------------------------- */

static size_t put(size_t at, const char *s)
{
	size_t n = strlen(s) + 1;

	memcpy(packet + at, s, n);
	return at + n;
}

/* Bytes of all strings of a spawn; above INIT_STRINGS_MAX the sum may be short, but is still above. */
static size_t strings_size(const struct namespace_spawn *s)
{
	size_t n = strlen(s->cwd) + 1;

	for (char *const *a = s->argv; *a && n <= INIT_STRINGS_MAX; a++)
		n += strlen(*a) + 1;
	for (char *const *e = s->env; *e && n <= INIT_STRINGS_MAX; e++)
		n += strlen(*e) + 1;
	return n;
}

static size_t build_spawn(const struct namespace *ns,
			  const struct namespace_spawn *s)
{
	struct init_spawn *m = (void *)packet;
	size_t at = sizeof(*m);

	*m = (struct init_spawn){
		.type = INIT_SPAWN,
		.exec = s->exec,
		.capabilities = s->capabilities,
		.no_new_privs = s->no_new_privs,
		.in_cgroup = s->cgroup_fd >= 0,
		.null_stdin = s->stdio[0] < 0,
		.own_tmp = ns->own && s->own_tmp,
	};
	at = put(at, s->cwd);
	for (char *const *a = s->argv; *a; a++, m->argc++)
		at = put(at, *a);
	for (char *const *e = s->env; *e; e++, m->envc++)
		at = put(at, *e);
	m->strings_len = (uint32_t)(at - sizeof(*m));
	return at;
}

/* 0 or -errno of sendmsg(2). n_fds is 0 or 4. */
static int send_packet(int socket, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(4 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { packet, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	return sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int send_spawn(struct namespace *ns, const struct namespace_spawn *s)
{
	int out = s->stdio[1]; /* also what fills the place of a descriptor that is not there */
	const int fds[4] = { s->stdio[0] >= 0 ? s->stdio[0] : out, out, s->stdio[2],
			     s->cgroup_fd >= 0 ? s->cgroup_fd : out };
	size_t len;
	int r;

	r = enforce_announce(ns->enforce, ns->init.pidfd, &s->label);
	if (r < 0)
		return r;
	len = build_spawn(ns, s);
	r = send_packet(ns->socket, len, fds, 4);
	explicit_bzero(packet, len);
	return r;
}

static void watch_starts(struct namespace *ns);

/* Kills what has been on its way for too long, through its cgroup. */
static void on_watchdog(struct loop_timer *timer)
{
	struct namespace *ns = container_of(timer, struct namespace, watchdog);
	uint64_t now = now_ns();

	list_for_each(pos, &ns->starting) {
		struct namespace_spawn *s = list_entry(pos, struct namespace_spawn, queue);
		struct cgroup *g;

		if (s->late || now < s->deadline_ns)
			continue;
		s->late = true;
		log_warning("namespace %s: a command did not start in %d s, it is killed", ns->name,
			    SPAWN_MS / 1000);
		g = cgroup_by_fd(ns->cgroups, s->cgroup_fd);
		if (g)
			(void)cgroup_kill(g);
	}
	watch_starts(ns);
}

/* Armed only while something is on its way, and never cancelled: no timer call per spawn. */
static void watch_starts(struct namespace *ns)
{
	if (ns->watchdog.index)
		return;
	list_for_each(pos, &ns->starting) {
		struct namespace_spawn *s = list_entry(pos, struct namespace_spawn, queue);
		uint64_t now = now_ns();

		if (s->late)
			continue;
		(void)loop_timer_set(ns->loop, &ns->watchdog,
				     s->deadline_ns > now ? s->deadline_ns - now : 0, on_watchdog);
		return;
	}
}

static void set_congested(struct namespace *ns, bool congested)
{
	if (ns->congested == congested)
		return;
	ns->congested = congested;
	(void)loop_modify(ns->loop, &ns->on_socket, EPOLLIN | (congested ? EPOLLOUT : 0u));
}

/* Whether those of its context that are on their way leave no place for it. */
static bool context_is_full(struct namespace *ns, const struct namespace_spawn *s)
{
	size_t n = 0;

	if (ns->n_starting < STARTS_PER_CONTEXT)
		return false;
	list_for_each(pos, &ns->starting)
		n += list_entry(pos, struct namespace_spawn, queue)->label.context ==
		     s->label.context;
	return n >= STARTS_PER_CONTEXT;
}

static bool can_send(const struct namespace *ns)
{
	return ns->state == READY && !ns->cloning && !ns->congested &&
	       ns->n_starting < INIT_STARTS_MAX;
}

/* Sends s if it may go now: 0 sent, -EAGAIN must wait, other -errno failed. */
static int try_send(struct namespace *ns, struct namespace_spawn *s)
{
	int r;

	if (!can_send(ns) || context_is_full(ns, s))
		return -EAGAIN;
	r = s->prepare ? s->prepare(s) : 0;
	if (r < 0) /* not ours to wait for */
		return r == -EAGAIN ? -EBUSY : r;
	r = send_spawn(ns, s);
	if (r == -EAGAIN)
		set_congested(ns, true);
	if (r < 0)
		return r;
	list_remove(&s->queue); /* from the queue, if it was there */
	list_append(&ns->starting, &s->queue);
	ns->n_starting++;
	ns->cloning = s;
	ns->asked = false;
	s->deadline_ns = now_ns() + SPAWN_MS * NSEC_PER_MSEC;
	watch_starts(ns);
	return 0;
}

/* The first whose context has a place free, or NULL. */
static struct namespace_spawn *next_of(struct namespace *ns)
{
	uint64_t full = 0; /* contexts count from 1; mostly all that wait are of one */

	list_for_each(pos, &ns->queue) {
		struct namespace_spawn *s = list_entry(pos, struct namespace_spawn, queue);

		if (s->label.context == full)
			continue;
		if (!context_is_full(ns, s))
			return s;
		full = s->label.context;
	}
	return NULL;
}

static void ask(struct namespace *ns)
{
	struct init_ask m = { .type = INIT_ASK, .exec = ns->cloning->exec };

	if (send(ns->socket, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(m))
		ns->asked = true;
	else if (errno == EAGAIN)
		set_congested(ns, true);
}

/* Sends what waits, as far as it may go. */
static void pump(struct namespace *ns)
{
	struct namespace_spawn *s = NULL;

	while (can_send(ns) && (s = next_of(ns))) {
		int r = try_send(ns, s);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			list_remove(&s->queue);
			s->on_spawned(s, -r, INIT_STEP_REQUEST, 0);
		}
	}
	if (ns->cloning && !ns->asked && !ns->congested && !list_empty(&ns->queue))
		ask(ns);
}

/* --- Receiving ----------------------------------------------------------------------------- */

static void fail_list(struct list *list)
{
	while (!list_empty(list)) {
		struct namespace_spawn *s = list_entry(list->next, struct namespace_spawn, queue);

		list_remove(&s->queue);
		s->on_spawned(s, ESRCH, INIT_STEP_NONE, 0);
	}
}

static void fail_all(struct namespace *ns)
{
	ns->cloning = NULL;
	ns->n_starting = 0;
	fail_list(&ns->starting);
	fail_list(&ns->queue);
}

/* moat-init is gone or makes no sense: make sure of the former, the pidfd tells when it is true. */
static void lose(struct namespace *ns, const char *why)
{
	if (ns->state == DYING || ns->state == DOWN)
		return;
	log_error("namespace %s is lost: %s", ns->name, why);
	ns->state = DYING;
	ns->congested = false;
	loop_remove(ns->loop, &ns->on_socket);
	close_fd(&ns->socket);
	(void)syscall(SYS_pidfd_send_signal, ns->init.pidfd, SIGKILL, NULL, 0);
	fail_all(ns);
}

static struct namespace_spawn *start_of(struct namespace *ns, uint64_t exec)
{
	list_for_each(pos, &ns->starting) {
		struct namespace_spawn *s = list_entry(pos, struct namespace_spawn, queue);

		if (s->exec == exec)
			return s;
	}
	return NULL;
}

static void on_cloned(struct namespace *ns, uint64_t exec)
{
	if (ns->cloning && ns->cloning->exec == exec) /* else the answer was faster */
		ns->cloning = NULL;
	pump(ns);
}

static void on_answer(struct namespace *ns, const struct init_reply *reply)
{
	struct namespace_spawn *s = start_of(ns, reply->exec);

	if (!s || reply->step >= INIT_STEP_COUNT ||
	    (reply->type == INIT_SPAWN_FAILED) != (reply->err > 0)) {
		lose(ns, "moat-init answered what was not asked");
		return;
	}
	if (s == ns->cloning)
		ns->cloning = NULL;
	list_remove(&s->queue);
	ns->n_starting--;
	/* The next one goes before the caller is told: it starts while we do our accounting. */
	pump(ns);
	s->on_spawned(s, reply->err, reply->step, reply->pid);
}

static void on_reply(struct namespace *ns, const struct init_reply *reply)
{
	switch (reply->type) {
	case INIT_CLONED:
		on_cloned(ns, reply->exec);
		return;
	case INIT_SPAWNED:
	case INIT_SPAWN_FAILED:
		on_answer(ns, reply);
		return;
	case INIT_EXITED:
		if (reply->exec)
			ns->on_exit(reply, ns->data);
		return;
	case INIT_READY:
		if (ns->state == STARTING) {
			ns->state = READY;
			pump(ns);
			return;
		}
		break;
	case INIT_FAILED:
		if (ns->state == STARTING) {
			log_error("namespace %s: set-up failed at %s: %s", ns->name,
				  reply->step < INIT_STEP_COUNT ? step_names[reply->step] : "?",
				  strerror(reply->err));
			return;
		}
		break;
	default:
		break;
	}
	lose(ns, "unexpected message from moat-init");
}

/* Reads what has arrived, up to a limit: other sources get their turn. */
static void read_replies(struct namespace *ns, int limit)
{
	while (limit-- > 0 && ns->socket >= 0) {
		struct init_reply reply;
		ssize_t n = recv(ns->socket, &reply, sizeof(reply), MSG_DONTWAIT | MSG_TRUNC);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n == (ssize_t)sizeof(reply))
			on_reply(ns, &reply);
		else
			lose(ns, n == 0 ? "moat-init ended" : "malformed message from moat-init");
	}
}

static void on_socket_event(struct loop_source *source, uint32_t events)
{
	struct namespace *ns = container_of(source, struct namespace, on_socket);

	if (events & EPOLLOUT) {
		set_congested(ns, false);
		pump(ns);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_replies(ns, 64);
}

/* --- Life and death ------------------------------------------------------------------------ */

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
	ns->state = DOWN;
}

static void launch_again(struct namespace *ns);

static void on_retry(struct loop_timer *timer)
{
	launch_again(container_of(timer, struct namespace, retry));
}

static void launch_again(struct namespace *ns)
{
	struct failure f = { 0 };

	if (ns_launch(ns, &f) == 0)
		return;
	log_error("namespace %s cannot be made again: %s", ns->name, f.msg);
	fail_all(ns);
	(void)loop_timer_set(ns->loop, &ns->retry, RETRY_NS, on_retry);
}

/* The kernel has ended everything inside by now (zap_pid_ns_processes), unless the PID namespace
 * is shared. */
static void on_death_event(struct loop_source *source, uint32_t events)
{
	struct namespace *ns = container_of(source, struct namespace, on_death);
	struct init_reply lost = { .type = INIT_EXITED, .status = SIGKILL };

	(void)events;
	read_replies(ns, INT32_MAX); /* exits reported before it died */
	lose(ns, "moat-init died");
	reap(ns);
	ns->on_exit(&lost, ns->data);
	if (now_ns() - ns->started_ns < RETRY_NS)
		(void)loop_timer_set(ns->loop, &ns->retry, RETRY_NS, on_retry);
	else
		launch_again(ns);
}

static int send_setup(struct namespace *ns)
{
	struct init_setup *m = (void *)packet;
	size_t at = sizeof(*m);

	*m = (struct init_setup){ .type = INIT_SETUP, .shared_pid = ns->shared_pid,
				  .capabilities = ns->capabilities, .own = ns->own };
	for (char **h = ns->hidden; *h; h++, m->n_hidden++) {
		if (at + strlen(*h) + 1 > sizeof(packet))
			return -E2BIG;
		at = put(at, *h);
	}
	m->strings_len = (uint32_t)(at - sizeof(*m));
	return send_packet(ns->socket, at, NULL, 0);
}

/* On failure nothing runs, the state is DOWN. On success it is STARTING. */
static int ns_launch(struct namespace *ns, struct failure *f)
{
	int r = namespace_launch(ns->shared_pid, cgroup_fd(ns->cgroup), &ns->init, &ns->socket, f);

	if (r < 0)
		return r;
	ns->state = STARTING;
	ns->started_ns = now_ns();
	/* The child waits for INIT_SETUP; only the label makes what it starts USER. */
	r = enforce_label_init(ns->enforce, ns->init.pidfd, &ns->declared);
	if (r == 0)
		r = send_setup(ns);
	if (r == 0)
		r = loop_add(ns->loop, &ns->on_socket, ns->socket, EPOLLIN, on_socket_event);
	if (r == 0)
		r = loop_add(ns->loop, &ns->on_death, ns->init.pidfd, EPOLLIN, on_death_event);
	if (r == 0)
		return 0;
	loop_remove(ns->loop, &ns->on_socket);
	close_fd(&ns->socket);
	(void)syscall(SYS_pidfd_send_signal, ns->init.pidfd, SIGKILL, NULL, 0);
	(void)waitid((idtype_t)P_PIDFD, (id_t)ns->init.pidfd, &(siginfo_t){ 0 }, WEXITED);
	reap(ns);
	return fail(f, -r, "cannot start moat-init");
}

/* Waits for the answer to INIT_SETUP; at agent start only. */
static int wait_ready(struct namespace *ns, struct failure *f)
{
	struct pollfd p = { .fd = ns->socket, .events = POLLIN };
	struct init_reply reply;
	ssize_t n;
	int r;

	do
		r = poll(&p, 1, START_MS);
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return fail(f, r < 0 ? errno : ETIMEDOUT, "namespace %s: moat-init does not answer",
			    ns->name);
	n = recv(ns->socket, &reply, sizeof(reply), MSG_DONTWAIT);
	if (n != (ssize_t)sizeof(reply))
		return fail(f, EPROTO, "namespace %s: moat-init ended during set-up", ns->name);
	if (reply.type == INIT_FAILED && reply.step < INIT_STEP_COUNT)
		return fail(f, reply.err, "namespace %s: set-up failed at %s", ns->name,
			    step_names[reply.step]);
	if (reply.type != INIT_READY)
		return fail(f, EPROTO, "namespace %s: moat-init makes no sense", ns->name);
	ns->state = READY;
	return 0;
}

int namespace_start(const struct namespace_options *options, struct enforce *enforce,
		    struct cgroups *cgroups, struct loop *loop, namespace_exit_fn on_exit,
		    void *data, struct namespace **ret, struct failure *f)
{
	static char *const none[] = { NULL };
	struct namespace *ns = calloc(1, sizeof(*ns));
	char cgroup_name[96];
	int r = -ENOMEM;

	if (!ns)
		return fail(f, ENOMEM, "cannot make namespace %s", options->name);
	*ns = (struct namespace){ .shared_pid = options->shared_pid, .own = options->own,
				  .capabilities = options->capabilities, .enforce = enforce,
				  .cgroups = cgroups,
				  .loop = loop, .on_exit = on_exit, .data = data,
				  .socket = -EBADF, .init.pidfd = -EBADF };
	ns->on_socket.fd = ns->on_death.fd = -EBADF;
	list_init(&ns->queue);
	list_init(&ns->starting);
	snprintf(cgroup_name, sizeof(cgroup_name), "init-%s", options->name);
	ns->name = strdup(options->name);
	if (ns->name)
		r = strv_copy(options->hidden ? options->hidden : none, &ns->hidden);
	if (r < 0)
		fail(f, -r, "cannot make namespace %s", options->name);
	if (r == 0)
		r = cgroup_get(cgroups, cgroup_name, &ns->cgroup, f);
	if (r == 0)
		r = ns_launch(ns, f);
	if (r == 0)
		r = wait_ready(ns, f);
	if (r < 0) {
		namespace_stop(ns);
		return r;
	}
	*ret = ns;
	return 0;
}

void namespace_stop(struct namespace *ns)
{
	if (!ns)
		return;
	ns->state = DYING; /* nothing is queued any more */
	fail_all(ns);
	loop_timer_cancel(ns->loop, &ns->retry);
	loop_timer_cancel(ns->loop, &ns->watchdog);
	loop_remove(ns->loop, &ns->on_socket);
	close_fd(&ns->socket);
	if (ns->init.pidfd >= 0) {
		struct pollfd p = { .fd = ns->init.pidfd, .events = POLLIN };

		(void)syscall(SYS_pidfd_send_signal, ns->init.pidfd, SIGKILL, NULL, 0);
		if (poll(&p, 1, STOP_MS) <= 0)
			log_warning("namespace %s: moat-init does not end", ns->name);
		reap(ns);
	}
	cgroup_put(ns->cgroup);
	if (ns->hidden)
		strv_free(ns->hidden);
	free(ns->name);
	free(ns);
}

/* --- For the rest of the agent ------------------------------------------------------------- */

const char *namespace_name(const struct namespace *ns)
{
	return ns->name;
}

pid_t namespace_pid(const struct namespace *ns)
{
	return ns->init.pid;
}

int namespace_spawn(struct namespace *ns, struct namespace_spawn *spawn)
{
	int r;

	if (ns->state == DOWN || ns->state == DYING)
		return -ESRCH;
	if (strings_size(spawn) > INIT_STRINGS_MAX)
		return -E2BIG;
	list_init(&spawn->queue);
	r = try_send(ns, spawn); /* what waits cannot go now: it overtakes only those held back */
	if (r == -EAGAIN) {
		list_append(&ns->queue, &spawn->queue);
		pump(ns);
		r = 0;
	}
	return r;
}

int namespace_signal(struct namespace *ns, uint64_t exec, int signal, bool group)
{
	struct init_signal m = { .type = INIT_SIGNAL, .signal = signal, .exec = exec,
				 .group = group };

	if (ns->state != READY)
		return -ESRCH;
	return send(ns->socket, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}
