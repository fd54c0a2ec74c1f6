/* SPDX-License-Identifier: Apache-2.0 */
/* What is said to a moat-init, and what it answers; when there is one is in life.c. */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "agent/namespace/internal.h"
#include "base/log.h"

/*
 * A command of the same context can stop (SIGSTOP) one that is just being started, where the kernel
 * does not judge signals: moat-init would wait for it for ever. What does not come to execve in
 * this time is killed; and when even that brings no answer in the same time again, it is moat-init that
 * does not answer.
 */
uint64_t namespace_spawn_ms = 10000;

const char *const namespace_step_names[INIT_STEP_COUNT] = {
#define STEP_NAME(name, text) text,
	INIT_STEPS(STEP_NAME)
#undef STEP_NAME
};

/* One packet at a time, and wiped after each: it holds environments. */
static char packet[INIT_PACKET_MAX] __attribute__((aligned(16)));

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

static size_t build_spawn(const struct namespace_spawn *s)
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
	len = build_spawn(s);
	r = send_packet(ns->socket, len, fds, 4);
	explicit_bzero(packet, len);
	return r;
}

static void lose(struct namespace *ns, const char *why);
static void watch_pending(struct namespace *ns);

/* Kills what has been between clone and execve for too long, through its cgroup. Rearmed only
 * while something is pending, and never cancelled: no timer call per spawn. */
static void on_watchdog(struct loop_timer *timer)
{
	struct namespace *ns = container_of(timer, struct namespace, watchdog);
	uint64_t age = ns->pending ? now_ns() - ns->pending_ns : 0;
	struct cgroup *g;

	if (!ns->pending)
		return;
	if (age >= 2 * namespace_spawn_ms * NSEC_PER_MSEC) {
		lose(ns, "moat-init does not answer");
		return;
	}
	if (age >= namespace_spawn_ms * NSEC_PER_MSEC) {
		log_warning("namespace %s: a command did not start in %llu ms, it is killed", ns->name,
			    (unsigned long long)namespace_spawn_ms);
		g = cgroup_by_fd(ns->cgroups, ns->pending->cgroup_fd);
		if (g)
			(void)cgroup_kill(g);
	}
	watch_pending(ns);
}

static void watch_pending(struct namespace *ns)
{
	if (!ns->watchdog.index)
		(void)loop_timer_set(ns->loop, &ns->watchdog, namespace_spawn_ms * NSEC_PER_MSEC,
				     on_watchdog);
}

static void set_congested(struct namespace *ns, bool congested)
{
	if (ns->congested == congested)
		return;
	ns->congested = congested;
	(void)loop_modify(ns->loop, &ns->on_socket, EPOLLIN | (congested ? EPOLLOUT : 0u));
}

/* Sends s if it may go now: 0 sent, -EAGAIN must wait, other -errno failed. */
static int try_send(struct namespace *ns, struct namespace_spawn *s)
{
	int r;

	if (ns->state != NAMESPACE_READY || ns->pending || ns->congested)
		return -EAGAIN;
	r = s->prepare ? s->prepare(s) : 0;
	if (r < 0) /* not ours to wait for */
		return r == -EAGAIN ? -EBUSY : r;
	r = send_spawn(ns, s);
	if (r == -EAGAIN)
		set_congested(ns, true);
	if (r == 0) {
		ns->pending = s;
		ns->pending_ns = now_ns();
		watch_pending(ns);
	}
	return r;
}

void namespace_pump(struct namespace *ns)
{
	while (!list_empty(&ns->queue)) {
		struct namespace_spawn *s =
			list_entry(ns->queue.next, struct namespace_spawn, queue);
		int r = try_send(ns, s);

		if (r == -EAGAIN)
			return;
		list_remove(&s->queue);
		if (r < 0)
			s->on_spawned(s, -r, INIT_STEP_REQUEST, 0);
	}
}

/* --- Receiving ----------------------------------------------------------------------------- */

void namespace_fail_sent(struct namespace *ns, int err)
{
	struct namespace_spawn *s = take_ptr(ns->pending);

	if (s)
		s->on_spawned(s, err, INIT_STEP_NONE, 0);
}

void namespace_fail_all(struct namespace *ns, int err)
{
	namespace_fail_sent(ns, err);
	while (!list_empty(&ns->queue)) {
		struct namespace_spawn *s =
			list_entry(ns->queue.next, struct namespace_spawn, queue);

		list_remove(&s->queue);
		s->on_spawned(s, err, INIT_STEP_NONE, 0);
	}
}

static void lose(struct namespace *ns, const char *why)
{
	namespace_event(ns, NAMESPACE_BROKEN, why);
}

static void on_answer(struct namespace *ns, const struct init_reply *reply)
{
	struct namespace_spawn *s = ns->pending;
	bool ok = reply->type == INIT_SPAWNED;

	if (!s || s->exec != reply->exec || reply->step >= INIT_STEP_COUNT ||
	    (!ok && reply->err <= 0)) {
		lose(ns, "moat-init answered what was not asked");
		return;
	}
	/* The next one goes before the caller is told: it starts while we do our accounting. */
	ns->pending = NULL;
	namespace_pump(ns);
	s->on_spawned(s, ok ? 0 : reply->err, reply->step, reply->pid);
}

/* What a moat-init says of its own set-up. */
static bool on_set_up(struct namespace *ns, const struct init_reply *reply)
{
	char why[128];

	if (ns->state != NAMESPACE_LAUNCHING)
		return false;
	if (reply->type == INIT_READY && !ns->template &&
	    enforce_keep_mounts(ns->enforce, ns->init.pidfd, &ns->declared) < 0) {
		namespace_event(ns, NAMESPACE_BROKEN, "its mounts cannot be guarded");
		return true;
	}
	if (reply->type == INIT_READY) {
		namespace_event(ns, NAMESPACE_ANSWERED, NULL);
		return true;
	}
	ns->launch_err = reply->err > 0 ? reply->err : EPROTO;
	snprintf(why, sizeof(why), "set-up failed at %s: %s",
		 reply->step < INIT_STEP_COUNT ? namespace_step_names[reply->step] : "?",
		 strerror(ns->launch_err));
	namespace_event(ns, NAMESPACE_BROKEN, why);
	return true;
}

/* fd: what came with it, owned; -EBADF: nothing. */
static void on_reply(struct namespace *ns, const struct init_reply *reply, int fd)
{
	FD_OWNED int received = fd;

	switch (reply->type) {
	case INIT_SPAWNED:
	case INIT_SPAWN_FAILED:
		on_answer(ns, reply);
		return;
	case INIT_EXITED:
		if (reply->exec)
			ns->on_exit(ns, reply, ns->data);
		return;
	case INIT_READY:
	case INIT_FAILED:
		if (on_set_up(ns, reply))
			return;
		break;
	case INIT_CLONE_DONE:
	case INIT_CLONE_FAILED:
		if (!ns->cloning || (received >= 0) != (reply->type == INIT_CLONE_DONE))
			break;
		namespace_cloned(ns, reply, take_fd(&received));
		return;
	default:
		break;
	}
	lose(ns, "unexpected message from moat-init");
}

/* The one descriptor of a message; where there are more (the kernel pads the space for them) none. */
static int only_fd(const struct cmsghdr *cmsg)
{
	size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	int fds[2] = { -EBADF, -EBADF };

	if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS || n > ARRAY_LEN(fds))
		return -EBADF;
	memcpy(fds, CMSG_DATA(cmsg), n * sizeof(int));
	if (n == 1)
		return fds[0];
	for (size_t i = 0; i < n; i++)
		close_fd(&fds[i]);
	return -EBADF;
}

/* One packet, with the descriptor that came with it. What recvmsg(2) returns. */
static ssize_t receive(int socket, struct init_reply *ret_reply, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { ret_reply, sizeof(*ret_reply) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
	struct cmsghdr *cmsg = n >= 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	*ret_fd = cmsg ? only_fd(cmsg) : -EBADF;
	return n;
}

void namespace_read(struct namespace *ns, int limit)
{
	while (limit-- > 0 && ns->socket >= 0) {
		FD_OWNED int fd = -EBADF;
		struct init_reply reply;
		ssize_t n = receive(ns->socket, &reply, &fd);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n == (ssize_t)sizeof(reply))
			on_reply(ns, &reply, take_fd(&fd));
		else
			lose(ns, n == 0 ? "moat-init ended" : "malformed message from moat-init");
	}
}

void namespace_on_socket(struct loop_source *source, uint32_t events)
{
	struct namespace *ns = container_of(source, struct namespace, on_socket);

	if (events & EPOLLOUT) {
		set_congested(ns, false);
		namespace_pump(ns);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		namespace_read(ns, 64);
}

/* --- For the rest of the agent ------------------------------------------------------------- */

const char *namespace_name(const struct namespace *ns)
{
	return ns->name;
}

enum context_namespace namespace_kind(const struct namespace *ns)
{
	return ns->kind;
}

pid_t namespace_pid(const struct namespace *ns)
{
	return ns->init.pid;
}

int namespace_spawn(struct namespace *ns, struct namespace_spawn *spawn)
{
	int r;

	if (ns->set->closing)
		return -ESRCH;
	if (strings_size(spawn) > INIT_STRINGS_MAX)
		return -E2BIG;
	list_init(&spawn->queue);
	r = list_empty(&ns->queue) ? try_send(ns, spawn) : -EAGAIN;
	if (r != -EAGAIN)
		return r;
	list_append(&ns->queue, &spawn->queue);
	namespace_event(ns, NAMESPACE_WANTED, NULL);
	return 0;
}

/* Whose answer nobody waits for. */
static void on_ghost_spawned(struct namespace_spawn *spawn, int err, enum init_step step, pid_t pid)
{
	(void)err;
	(void)step;
	(void)pid;
	free(spawn);
}

void namespace_cancel(struct namespace *ns, struct namespace_spawn *spawn)
{
	struct namespace_spawn *ghost;

	if (ns->pending != spawn) {
		list_remove(&spawn->queue);
		return;
	}
	ghost = calloc(1, sizeof(*ghost));
	ns->pending = ghost;
	if (!ghost) {
		lose(ns, "out of memory");
		return;
	}
	ghost->exec = spawn->exec;
	ghost->cgroup_fd = -EBADF; /* the caller has killed it */
	ghost->on_spawned = on_ghost_spawned;
}

int namespace_signal(struct namespace *ns, uint64_t exec, int signal, bool group)
{
	struct init_signal m = { .type = INIT_SIGNAL, .signal = signal, .exec = exec,
				 .group = group };

	if (ns->state != NAMESPACE_READY)
		return -ESRCH;
	return send(ns->socket, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* --- Setting up ---------------------------------------------------------------------------- */

/* Appends what is to be covered, or uncovered, to a message of at bytes. -E2BIG: there is no room. */
static int put_path(size_t *at, const char *path)
{
	if (*at + strlen(path) + 1 > sizeof(packet))
		return -E2BIG;
	*at = put(*at, path);
	return 0;
}

/*
 * Whether a context whose commands run there is shown what is hidden from the others: then nothing covers it, for
 * all of them. Where the kernel enforces, it tells them apart.
 */
static bool is_shown_in(const struct namespace *ns, const char *name)
{
	const struct config *config = ns->set->config;

	if (ns->template)
		return false; /* those that it becomes uncover it */
	for (size_t i = 0; i < config->n_contexts; i++) {
		const struct config_context *c = &config->contexts[i];
		bool here = ns->kind == CONTEXT_SECURE ? c->shared_pid == ns->shared_pid :
							 i == 0; /* default */

		if (here && config_is_shown(c, name))
			return true;
	}
	return false;
}

int namespace_send_setup(struct namespace *ns)
{
	const struct hidden_files *hidden = &ns->set->hidden;
	struct init_setup *m = (void *)packet;
	size_t at = sizeof(*m);
	int r = 0;

	*m = (struct init_setup){ .type = INIT_SETUP, .shared_pid = ns->shared_pid,
				  .capabilities = ns->capabilities, .shm_size = ns->shm_size,
				  .template = ns->template };
	for (char **p = hidden->own; p && *p && r == 0; p++, m->n_hidden++)
		r = put_path(&at, *p);
	for (size_t i = 0; hidden->names && hidden->names[i] && r == 0; i++)
		if (!is_shown_in(ns, hidden->names[i])) {
			r = put_path(&at, hidden->paths[i]);
			m->n_hidden++;
		}
	if (r < 0)
		return r;
	m->strings_len = (uint32_t)(at - sizeof(*m));
	return send_packet(ns->socket, at, NULL, 0);
}

int namespace_send_clone(struct namespace *template, const struct namespace *ns, int socket)
{
	/* Only this one child of the template's is to be a moat-init. */
	static const struct moat_label init = { .role = MOAT_ROLE_INIT };
	const struct hidden_files *hidden = &ns->set->hidden;
	struct init_clone *m = (void *)packet;
	size_t at = sizeof(*m);
	int r = enforce_announce(template->enforce, template->init.pidfd, &init);

	if (r < 0)
		return r;
	*m = (struct init_clone){ .type = INIT_CLONE, .shared_pid = ns->shared_pid,
				  .capabilities = ns->capabilities, .shm_size = ns->shm_size };
	for (size_t i = 0; hidden->names && hidden->names[i] && r == 0; i++)
		if (config_is_shown(ns->context, hidden->names[i])) {
			r = put_path(&at, hidden->paths[i]);
			m->n_shown++;
		}
	if (r < 0)
		return r;
	m->strings_len = (uint32_t)(at - sizeof(*m));
	return send_packet(template->socket, at, &socket, 1);
}
