// SPDX-License-Identifier: Apache-2.0
/*
 * moat-init: PID 1 of a namespace (or its subreaper, with a shared PID namespace). Waits on its
 * socket and for children, with every signal blocked; see protocol.h.
 *
 * When the agent goes away the socket closes and we exit. As PID 1 that ends everything inside. With
 * a shared PID namespace it does not: we kill the process groups we started, and the agent (the
 * dying one, or the next, which clears what it finds) kills the rest by its cgroups.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/standard_fds.h"
#include "init/init.h"

#define REAP_MAX 256 /* exits handled before the socket gets its turn */

static int signal_fd;
static bool is_template;
static enum init_world world;

static _Noreturn void die(void)
{
	children_kill_all();
	_exit(0);
}

/* A full socket means the agent is busy: we wait for it, commands go on meanwhile. */
static void reply(const struct init_reply *message)
{
	ssize_t n;

	do
		n = send(INIT_SOCKET_FD, message, sizeof(*message), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		die();
}

/* An answer with a descriptor. The agent reads as fast as it asks: one clone at a time. */
static void reply_with(const struct init_reply *message, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .align = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
				 .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { (void *)message, sizeof(*message) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	if (sendmsg(INIT_SOCKET_FD, &msg, MSG_NOSIGNAL) < 0)
		die();
}

/* Where the command will be. The caller closes both ends. 0 or -errno. */
static int make_terminal(const struct init_spawn *m, struct spawn_request *request, int *given,
			 int *ret_master, int *ret_slave)
{
	int r = own_prepare();

	if (r == 0)
		r = terminal_open(m->rows, m->cols, ret_master, ret_slave);
	for (int i = 0; i < 3 && r == 0; i++)
		request->stdio[i] = given[i] = *ret_slave;
	return r;
}

static void handle_spawn(size_t len, const int *fds, size_t n_fds)
{
	const struct init_spawn *m = (const void *)packet;
	struct init_reply answer = { .type = INIT_SPAWN_FAILED, .exec = m->exec };
	struct spawn_request request;
	enum init_step step = INIT_STEP_NONE;
	int given[PACKET_FDS_MAX];
	pid_t pid = 0;
	int master FD_OWNED = -EBADF;
	int slave FD_OWNED = -EBADF;
	int r, report;

	if (!packet_spawn(len, fds, n_fds, &request))
		die();
	for (size_t i = 0; i < n_fds; i++)
		if (fds[i] <= signal_fd ||
		    (i > SPAWN_FDS && fds[i] < INIT_GIVEN_FD + (int)INIT_GIVEN_MAX))
			die();
	memcpy(given, fds, n_fds * sizeof(*fds));
	if (children_full() || starts_full()) {
		step = INIT_STEP_MEMORY;
		r = -EAGAIN;
	} else {
		step = INIT_STEP_TERMINAL;
		r = m->rows ? make_terminal(m, &request, given, &master, &slave) : 0;
		if (r == 0)
			r = keeper_wanted() ?
				    keeper_spawn(len, given, n_fds, &pid, &report, &step) :
				    spawn_command(&request, &pid, &report, &step);
	}
	if (r == 0 && master >= 0) {
		answer.type = INIT_TERMINAL;
		reply_with(&answer, master);
		answer.type = INIT_SPAWN_FAILED;
	}
	packet_wipe(len);
	if (r < 0) {
		answer.step = step;
		answer.err = -r;
		reply(&answer);
		return;
	}
	children_add(pid, answer.exec);
	starts_add(pid, report);
}

static void handle_ask(size_t len)
{
	const struct init_ask *m = (const void *)packet;
	struct init_reply answer = { .type = INIT_CLONED, .exec = m->exec };

	if (len != sizeof(*m))
		die();
	reply(&answer);
}

static void handle_signal(size_t len)
{
	const struct init_signal *m = (const void *)packet;
	pid_t pid;

	if (len != sizeof(*m))
		die();
	pid = children_find(m->exec);
	if (pid > 0 && m->signal > 0 && m->signal < NSIG)
		kill(m->group ? -pid : pid, m->signal);
}

static int open_signal_fd(void);
static _Noreturn void serve(void);

/* Says how set-up ended, and goes to work. */
static _Noreturn void begin(int r, enum init_step step)
{
	struct init_reply answer = { .type = INIT_READY };

	if (r == 0) {
		step = INIT_STEP_SIGNALS;
		r = open_signal_fd();
	}
	if (r == 0) {
		step = INIT_STEP_DEV;
		r = terminal_setup();
	}
	if (r < 0)
		answer = (struct init_reply){ .type = INIT_FAILED, .step = step, .err = -r };
	reply(&answer);
	if (r < 0)
		_exit(1);
	serve();
}

/* Gives it the number that it has from then on. */
static int keep_ruleset(int fd)
{
	if (fd == INIT_RULESET_FD)
		return 0;
	return dup3(fd, INIT_RULESET_FD, O_CLOEXEC) < 0 ? -errno : close(fd);
}

/* In the clone of the template. */
static _Noreturn void begin_as_clone(const struct init_clone *m, int socket, int ruleset)
{
	enum init_step step = INIT_STEP_DESCRIPTORS;
	int r = 0;

	is_template = false;
	if (dup3(socket, INIT_SOCKET_FD, O_CLOEXEC) < 0)
		_exit(1); /* whoever asked sees the end of the socket */
	if (m->domain)
		r = keep_ruleset(ruleset);
	if (r == 0 && syscall(SYS_close_range,
			      m->domain ? INIT_RULESET_FD + 1u : INIT_SOCKET_FD + 1u, ~0u, 0u) < 0)
		r = -errno;
	keeper_open(m->domain, m->capabilities);
	if (r == 0 && world != INIT_WORLD_NONE)
		r = setup_uncover(packet + sizeof(*m), m->n_shown, &step);
	if (r == 0 && world == INIT_WORLD_OWN)
		r = setup_own_mounts(m->capabilities & (1ull << CAP_SYS_ADMIN), m->shared_pid,
				     m->shm_size, &step);
	if (r == 0)
		r = setup_own_process(world, m->shared_pid, m->capabilities, &step);
	if (r == 0) {
		step = INIT_STEP_FILTER;
		r = filters_apply(m->filter);
	}
	if (r == 0)
		r = setup_drop(m->capabilities, false, m->domain, &step);
	if (r == 0)
		r = spawn_init(world != INIT_WORLD_NONE);
	begin(r, step);
}

/* Whether what follows a header of that size in the packet of len bytes is n strings. */
static bool are_strings(size_t header, size_t len, size_t strings_len, size_t n)
{
	if (strings_len != len - header || (strings_len > 0 && packet[len - 1] != '\0'))
		return false;
	for (size_t i = header; i < len; i++)
		n -= packet[i] == '\0';
	return n == 0;
}

static void handle_clone(size_t len, const int *fds, size_t n_fds)
{
	const struct init_clone m = *(const struct init_clone *)(const void *)packet;
	struct init_reply answer = { .type = INIT_CLONE_DONE };
	FD_OWNED int pidfd = -EBADF;
	pid_t pid;

	if (len < sizeof(m) || m.domain > INIT_DOMAIN_COMMON ||
	    n_fds != 1u + (m.domain != INIT_DOMAIN_NONE) || fds[0] <= INIT_SOCKET_FD ||
	    m.shm_size == 0 || !are_strings(sizeof(m), len, m.strings_len, m.n_shown))
		die();
	pid = clone_init(world, m.shared_pid, &pidfd);
	if (pid == 0)
		begin_as_clone(&m, fds[0], fds[n_fds - 1]);
	if (pid < 0) {
		answer = (struct init_reply){ .type = INIT_CLONE_FAILED, .step = INIT_STEP_CLONE,
					      .err = -pid };
		reply(&answer);
		return;
	}
	answer.pid = pid;
	reply_with(&answer, pidfd);
}

static void handle_packet(void)
{
	int fds[PACKET_FDS_MAX];
	size_t n_fds, len = packet_receive(fds, &n_fds);
	uint32_t type;

	if (len < sizeof(type))
		die();
	memcpy(&type, packet, sizeof(type));
	if (is_template && type == INIT_CLONE)
		handle_clone(len, fds, n_fds);
	else if (is_template)
		die();
	else if (type == INIT_SPAWN && len >= sizeof(struct init_spawn))
		handle_spawn(len, fds, n_fds);
	else if (type == INIT_ASK)
		handle_ask(len);
	else if (type == INIT_SIGNAL)
		handle_signal(len);
	else
		die();
	packet_drop_fds(fds, n_fds);
}

static void report_exit(uint64_t exec, pid_t pid, int status, const struct rusage *ru)
{
	struct init_reply answer = {
		.type = INIT_EXITED,
		.pid = pid,
		.status = status,
		.exec = exec,
		.user_usec = (uint64_t)ru->ru_utime.tv_sec * 1000000 + (uint64_t)ru->ru_utime.tv_usec,
		.system_usec =
			(uint64_t)ru->ru_stime.tv_sec * 1000000 + (uint64_t)ru->ru_stime.tv_usec,
		.max_rss_kib = (uint64_t)ru->ru_maxrss,
	};

	reply(&answer);
}

static void on_started(pid_t pid, const struct spawn_report *told)
{
	struct init_reply answer = { .type = told->err ? INIT_SPAWN_FAILED : INIT_SPAWNED,
				     .pid = pid, .step = told->step, .err = told->err };

	memcpy(answer.text, told->text, sizeof(answer.text));
	answer.exec = told->err ? children_remove(pid) : children_exec(pid);
	reply(&answer);
}

/* Returns true when there may be more to reap. */
static bool reap(void)
{
	for (int i = 0; i < REAP_MAX; i++) {
		struct rusage ru;
		int status;
		pid_t pid = wait4(-1, &status, WNOHANG | __WALL, &ru);
		uint64_t exec;

		if (pid <= 0)
			return false;
		/* Only a child that made us its tracer (PTRACE_TRACEME) reports a stop here: let it go. */
		if (WIFSTOPPED(status)) {
			int sig = WSTOPSIG(status);

			ptrace(PTRACE_DETACH, pid, NULL, (long)(sig == SIGTRAP ? 0 : sig));
			continue;
		}
		if (keeper_ended(pid))
			continue;
		starts_settle(pid, on_started);
		own_ended(pid);
		exec = children_remove(pid);
		if (exec)
			report_exit(exec, pid, status, &ru);
	}
	return true;
}

static _Noreturn void serve(void)
{
	struct pollfd fds[2 + INIT_STARTS_MAX] = { { .fd = INIT_SOCKET_FD, .events = POLLIN },
						   { .fd = signal_fd, .events = POLLIN } };
	bool more = false;

	for (;;) {
		struct signalfd_siginfo info;
		size_t n = starts_poll(fds + 2);
		int idle = n == 0 ? own_patience() : -1; /* nothing else while somebody waits for a start */
		int r = poll(fds, 2 + n, more ? 0 : idle);

		if (r < 0)
			die(); /* every signal is blocked: nothing interrupts it */
		if (r == 0 && !more)
			own_work();
		starts_look(fds + 2, n, on_started); /* before anything changes their order */
		if (fds[0].revents)
			handle_packet();
		/* First the exit, which somebody waits for; then what told of it. SIGCHLDs are not
		 * counted: one that comes in between belongs to a child that is still there for the
		 * second look. */
		if (fds[1].revents || more)
			more = reap();
		if (fds[1].revents && read(signal_fd, &info, sizeof(info)) > 0)
			more = reap() || more;
	}
}

/* Takes the filters off the end of a set-up of len bytes. Returns what is before them; 0: it is none. */
static size_t setup_filters(size_t len)
{
	const struct init_setup *m = (const void *)packet;
	size_t filters = 0;

	if (len < sizeof(*m) || m->type != INIT_SETUP)
		return 0;
	for (unsigned i = 0; i < INIT_FILTERS; i++)
		filters += m->filter_len[i];
	if (len - sizeof(*m) < filters || filters_keep(packet + len - filters, m->filter_len) < 0)
		return 0;
	return len - filters;
}

static int setup(enum init_step *step)
{
	const struct init_setup *m = (const void *)packet;
	const char *names = packet + sizeof(*m);
	int fds[PACKET_FDS_MAX], r;
	size_t n_fds, len = setup_filters(packet_receive(fds, &n_fds));

	*step = INIT_STEP_REQUEST;
	if (len == 0 || m->domain > INIT_DOMAIN_COMMON || m->world > INIT_WORLD_NONE ||
	    n_fds != 1u + (m->domain != INIT_DOMAIN_NONE) || fds[0] <= INIT_SOCKET_FD ||
	    m->shm_size == 0 || m->n_devices > INIT_DEVICES_MAX ||
	    !are_strings(sizeof(*m), len, m->strings_len,
			 (size_t)m->n_hidden + m->n_devices + m->n_protected))
		return -EPROTO;
	is_template = m->template;
	world = m->world;
	spawn_set_secret(m->secret);
	r = setup_process(world, m->shared_pid, m->capabilities, step);
	if (r == 0 && world == INIT_WORLD_OWN) {
		*step = INIT_STEP_CGROUPFS;
		r = setns(fds[0], CLONE_NEWCGROUP) < 0 ? -errno : 0;
	}
	close(fds[0]);
	if (r == 0 && m->domain)
		r = keep_ruleset(fds[1]);
	keeper_open(m->domain, m->capabilities);
	for (uint32_t i = 0; i < m->n_hidden; i++)
		names += strlen(names) + 1;
	if (r == 0)
		r = devices_keep(names, m->n_devices);
	if (r == 0 && world == INIT_WORLD_MOUNTS)
		r = setup_covers(m, step);
	else if (r == 0 && world == INIT_WORLD_OWN)
		r = setup_mounts(m, step);
	if (r == 0 && m->own)
		r = own_open(m->shm_size); /* the last step was MASK, of the same kind */
	if (r == 0) {
		*step = INIT_STEP_FILTER;
		r = filters_apply(m->filter);
	}
	if (r == 0 && !is_template) /* what is cloned from it may get any capability of a context */
		r = setup_drop(m->capabilities, m->own, m->domain, step);
	return r < 0 || is_template ? r : spawn_init(world != INIT_WORLD_NONE);
}

/* Descriptors 0 to 3 are taken, so none that we receive can be one of them. */
static int open_signal_fd(void)
{
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	signal_fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	return signal_fd < 0 ? -errno : 0;
}

int main(void)
{
	enum init_step step;
	int r;

	if (standard_fds_open() < 0)
		_exit(1);
	/* No core, and no /proc/self of ours for anyone without CAP_SYS_PTRACE. */
	prctl(PR_SET_DUMPABLE, 0ul, 0ul, 0ul, 0ul);
	prctl(PR_SET_NAME, "moat-init");
	fcntl(INIT_SOCKET_FD, F_SETFD, FD_CLOEXEC);
	packet_open();
	r = setup(&step);
	begin(r, step);
}
