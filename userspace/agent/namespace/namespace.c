/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on their way to a moat-init, and what it answers; when there is one is in life.c. */
#include <limits.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "agent/namespace/internal.h"
#include "base/log.h"

/*
 * What does not come to execve in this time is killed: its directory or its program may lie on a file
 * system that does not answer, and where the kernel does not judge signals one of its context may
 * have stopped it. When moat-init says nothing at all in the same time again, it is moat-init that does not
 * answer.
 */
uint64_t namespace_spawn_ms = 30000;
/* Of those on their way to execve, so many of one context: the rest is for the others. */
#define STARTS_PER_CONTEXT (INIT_STARTS_MAX / 8)

/* --- Sending ------------------------------------------------------------------------------- */

static void lose(struct namespace *ns, const char *why);
static void watch_starts(struct namespace *ns);

static void set_congested(struct namespace *ns, bool congested)
{
	if (ns->congested == congested)
		return;
	ns->congested = congested;
	(void)loop_modify(ns->loop, &ns->on_socket, EPOLLIN | (congested ? EPOLLOUT : 0u));
}

/* Has moat-init say when the last command that was sent is cloned. */
static void ask(struct namespace *ns)
{
	int r = ns->asked ? 0 : namespace_send_ask(ns, ns->unborn->exec);

	if (r == 0)
		ns->asked = true;
	else if (r == -EAGAIN)
		set_congested(ns, true);
}

/* Kills what has been on its way for too long, through its cgroup. */
static void on_watchdog(struct loop_timer *timer)
{
	struct namespace *ns = container_of(timer, struct namespace, watchdog);
	uint64_t now = now_ns(), period = namespace_spawn_ms * NSEC_PER_MSEC;

	/* moat-init answers what it is asked at once, whatever becomes of the command. */
	if (ns->unborn && now >= ns->unborn->deadline_ns + period) {
		lose(ns, "moat-init does not answer");
		return;
	}
	list_for_each(pos, &ns->starting) {
		struct namespace_spawn *s = list_entry(pos, struct namespace_spawn, queue);
		struct cgroup *g;

		if (s->late || now < s->deadline_ns)
			continue;
		s->late = true;
		log_warning("namespace %s: a command did not start in %llu ms, it is killed", ns->name,
			    (unsigned long long)namespace_spawn_ms);
		g = cgroup_by_fd(ns->cgroups, s->cgroup_fd);
		if (g)
			(void)cgroup_kill(g);
	}
	if (ns->unborn && ns->unborn->late)
		ask(ns);
	watch_starts(ns);
}

/* Armed only while something is on its way, and never cancelled: no timer call per spawn. */
static void watch_starts(struct namespace *ns)
{
	uint64_t now = now_ns(), at = 0;

	if (ns->watchdog.index)
		return;
	list_for_each(pos, &ns->starting) {
		struct namespace_spawn *s = list_entry(pos, struct namespace_spawn, queue);

		if (!s->late && !at)
			at = s->deadline_ns;
	}
	if (!at && ns->unborn)
		at = ns->unborn->deadline_ns + namespace_spawn_ms * NSEC_PER_MSEC;
	if (at)
		(void)loop_timer_set(ns->loop, &ns->watchdog, at > now ? at - now : 0, on_watchdog);
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
	return ns->state == NAMESPACE_READY && !ns->unborn && !ns->congested &&
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
	r = namespace_send_spawn(ns, s);
	if (r == -EAGAIN)
		set_congested(ns, true);
	if (r < 0)
		return r;
	list_remove(&s->queue); /* from the queue, if it was there */
	list_append(&ns->starting, &s->queue);
	ns->n_starting++;
	ns->unborn = s;
	ns->asked = false;
	s->deadline_ns = now_ns() + namespace_spawn_ms * NSEC_PER_MSEC;
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

void namespace_pump(struct namespace *ns)
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
	if (ns->unborn && !ns->asked && !ns->congested && !list_empty(&ns->queue))
		ask(ns);
}

/* --- Receiving ----------------------------------------------------------------------------- */

static void fail_list(struct list *list, int err)
{
	while (!list_empty(list)) {
		struct namespace_spawn *s = list_entry(list->next, struct namespace_spawn, queue);

		list_remove(&s->queue);
		s->on_spawned(s, err, INIT_STEP_NONE, 0);
	}
}

void namespace_fail_sent(struct namespace *ns, int err)
{
	ns->unborn = NULL;
	ns->n_starting = 0;
	fail_list(&ns->starting, err);
}

void namespace_fail_all(struct namespace *ns, int err)
{
	namespace_fail_sent(ns, err);
	fail_list(&ns->queue, err);
}

static void lose(struct namespace *ns, const char *why)
{
	namespace_event(ns, NAMESPACE_BROKEN, why);
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
	if (ns->unborn && ns->unborn->exec == exec) /* else the answer was faster */
		ns->unborn = NULL;
	namespace_pump(ns);
}

static void on_answer(struct namespace *ns, const struct init_reply *reply)
{
	struct namespace_spawn *s = start_of(ns, reply->exec);

	if (!s || reply->step >= INIT_STEP_COUNT ||
	    (reply->type == INIT_SPAWN_FAILED) != (reply->err > 0)) {
		lose(ns, "moat-init answered what was not asked");
		return;
	}
	if (s == ns->unborn)
		ns->unborn = NULL;
	list_remove(&s->queue);
	ns->n_starting--;
	/* The next one goes before the caller is told: it starts while we do our accounting. */
	namespace_pump(ns);
	memcpy(s->missing, reply->text, sizeof(reply->text));
	s->on_spawned(s, reply->err, reply->step, reply->pid);
}

/* fd: owned. False: it was not asked for, or is none. */
static bool on_terminal(struct namespace *ns, uint64_t exec, int fd)
{
	struct namespace_spawn *s = start_of(ns, exec);
	FD_OWNED int terminal = fd;
	unsigned int number;

	if (!s || !s->rows || s->terminal >= 0 || terminal < 0 || ioctl(terminal, TIOCGPTN, &number) < 0)
		return false;
	s->terminal = take_fd(&terminal);
	return true;
}

/* What a moat-init says of its own set-up. */
static bool on_set_up(struct namespace *ns, const struct init_reply *reply)
{
	const char *missing = NULL;
	char why[PATH_MAX + 128];

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
	if (reply->step == INIT_STEP_MASK && reply->err == ENOENT)
		missing = hidden_files_missing(&ns->set->hidden);
	snprintf(why, sizeof(why), "set-up failed at %s: %s%s", init_step_name(reply->step),
		 missing ? missing : strerror(ns->launch_err),
		 missing ? " is to be hidden and is not there; it would be in sight when it comes" : "");
	namespace_event(ns, NAMESPACE_BROKEN, why);
	return true;
}

/* fd: what came with it, owned; -EBADF: nothing. */
static void on_reply(struct namespace *ns, const struct init_reply *reply, int fd)
{
	FD_OWNED int received = fd;

	switch (reply->type) {
	case INIT_CLONED:
		on_cloned(ns, reply->exec);
		return;
	case INIT_TERMINAL:
		if (on_terminal(ns, reply->exec, take_fd(&received)))
			return;
		break;
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

/* n and err: of the recvmsg(2) that brought no message. */
static void lose_for(struct namespace *ns, ssize_t n, int err)
{
	char why[96];

	if (n < 0)
		snprintf(why, sizeof(why), "cannot read from moat-init: %s", strerror(err));
	lose(ns, n < 0 ? why : n == 0 ? "moat-init ended" : "malformed message from moat-init");
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
			lose_for(ns, n, errno);
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
	if (namespace_strings_size(spawn) > INIT_STRINGS_MAX)
		return -E2BIG;
	list_init(&spawn->queue);
	r = try_send(ns, spawn); /* what waits cannot go now: it overtakes only those held back */
	if (r != -EAGAIN)
		return r;
	list_append(&ns->queue, &spawn->queue);
	namespace_event(ns, NAMESPACE_WANTED, NULL);
	namespace_pump(ns);
	return 0;
}

/* Whose answer nobody waits for. */
static void on_ghost_spawned(struct namespace_spawn *spawn, int err, enum init_step step, pid_t pid)
{
	(void)err;
	(void)step;
	(void)pid;
	close_fd(&spawn->terminal);
	free(spawn);
}

void namespace_cancel(struct namespace *ns, struct namespace_spawn *spawn)
{
	struct namespace_spawn *ghost;

	if (start_of(ns, spawn->exec) != spawn) {
		list_remove(&spawn->queue);
		return;
	}
	ghost = calloc(1, sizeof(*ghost));
	if (ghost) {
		ghost->exec = spawn->exec;
		ghost->label = spawn->label;
		ghost->deadline_ns = spawn->deadline_ns;
		ghost->cgroup_fd = -EBADF; /* the caller has killed it */
		ghost->rows = spawn->rows;
		ghost->terminal = -EBADF; /* what is there is the caller's */
		ghost->on_spawned = on_ghost_spawned;
		list_append(&spawn->queue, &ghost->queue); /* in its place */
	} else {
		ns->n_starting--;
	}
	list_remove(&spawn->queue);
	if (ns->unborn == spawn)
		ns->unborn = ghost;
	if (!ghost)
		lose(ns, "out of memory");
}

int namespace_signal(struct namespace *ns, uint64_t exec, int signal, bool group)
{
	struct init_signal m = { .type = INIT_SIGNAL, .signal = signal, .exec = exec,
				 .group = group };

	if (ns->state != NAMESPACE_READY)
		return -ESRCH;
	return send(ns->socket, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}
