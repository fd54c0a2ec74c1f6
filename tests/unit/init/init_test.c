/* SPDX-License-Identifier: Apache-2.0 */
/* moat-init by itself, over its socket: what it answers, what it survives, what it leaves. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/cgroup/cgroup.h"
#include "agent/namespace/launch.h"
#include "exec/fixture.h"
#include "init/init.h"

struct peer {
	struct process init;
	int socket;
	struct cgroup *cgroup;
	struct cgroups *cgroups;
	struct loop *loop;
};

static struct peer peer;
static char sent[INIT_PACKET_MAX + 4096];

static void send_raw(const void *data, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(8 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	assert_true(sendmsg(peer.socket, &msg, MSG_NOSIGNAL) >= 0);
}

/* False at the end of the connection. */
static bool receive(struct init_reply *reply)
{
	struct pollfd p = { .fd = peer.socket, .events = POLLIN };
	ssize_t n;

	assert_int_equal(poll(&p, 1, 60000), 1);
	n = recv(peer.socket, reply, sizeof(*reply), 0);
	assert_true(n == (ssize_t)sizeof(*reply) || n == 0);
	return n > 0;
}

static void set_up_with(uint32_t shared_pid, uint64_t capabilities, uint32_t own)
{
	struct init_setup setup = { .type = INIT_SETUP, .shared_pid = shared_pid,
				    .capabilities = capabilities, .own = own, .shm_size = 64 << 20 };
	struct init_reply reply;
	int view = cgroups_view(peer.cgroups);

	send_raw(&setup, sizeof(setup), &view, 1);
	assert_true(receive(&reply));
	if (reply.type != INIT_READY)
		print_error("step %u: %s\n", reply.step, strerror(reply.err));
	assert_int_equal(reply.type, INIT_READY);
}

static void set_up(uint32_t shared_pid)
{
	set_up_with(shared_pid, ~0ull, 0);
}

static void open_peer(bool shared)
{
	struct failure f = { 0 };
	int r = namespace_launch(INIT_WORLD_OWN, shared, cgroup_fd(peer.cgroup), &peer.init,
				 &peer.socket, &f);

	if (r < 0)
		print_error("%s\n", f.msg);
	assert_int_equal(r, 0);
}

/* Waits for moat-init to end, by itself if it was made to. Returns its wait status. */
static int close_peer(void)
{
	struct pollfd p = { .fd = peer.init.pidfd, .events = POLLIN };
	int status;

	close_fd(&peer.socket);
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_int_equal(waitpid(peer.init.pid, &status, 0), peer.init.pid);
	close_fd(&peer.init.pidfd);
	return status;
}

static int open_private(void **state)
{
	(void)state;
	open_peer(false);
	set_up(0);
	return 0;
}

static int close_any(void **state)
{
	(void)state;
	if (peer.init.pidfd >= 0) {
		kill(peer.init.pid, SIGKILL);
		close_peer();
	}
	return 0;
}

static size_t build(uint64_t exec, const char *cwd, char *const *argv, char *const *env)
{
	struct init_spawn *m = (void *)sent;
	char *out = sent + sizeof(*m);

	*m = (struct init_spawn){ .type = INIT_SPAWN, .exec = exec, .capabilities = 0xa80425fb,
				  .no_new_privs = 1, .null_stdin = 1 };
	out = (char *)mempcpy(out, cwd, strlen(cwd) + 1);
	for (; *argv; argv++, m->argc++)
		out = (char *)mempcpy(out, *argv, strlen(*argv) + 1);
	for (; *env; env++, m->envc++)
		out = (char *)mempcpy(out, *env, strlen(*env) + 1);
	m->strings_len = (uint32_t)(out - sent - (ptrdiff_t)sizeof(*m));
	return (size_t)(out - sent);
}

/* Sends a spawn whose output goes to out (or nowhere: -1). */
static void spawn(uint64_t exec, const char *cwd, char *const *argv, char *const *env, int out)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int o = out >= 0 ? out : null;

	send_raw(sent, build(exec, cwd, argv, env), (int[]){ null, o, o, null }, 4);
}

static struct init_reply expect(uint32_t type, uint64_t exec)
{
	struct init_reply reply = { 0 };

	assert_true(receive(&reply));
	if (reply.type != type)
		print_error("type %u, step %u: %s\n", reply.type, reply.step, strerror(reply.err));
	assert_int_equal(reply.type, type);
	assert_int_equal(reply.exec, exec);
	return reply;
}

static void spawned_always_comes_before_exited(void **state)
{
	(void)state;
	for (uint64_t exec = 1; exec <= 300; exec++) {
		struct init_reply reply;

		spawn(exec, "/", ARGV("/bin/true"), ARGV(NULL), -1);
		assert_true(expect(INIT_SPAWNED, exec).pid > 1);
		reply = expect(INIT_EXITED, exec);
		assert_int_equal(reply.status, 0);
		assert_true(reply.max_rss_kib > 0);
	}
}

static void failed_steps_are_named_and_leave_no_child(void **state)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct init_reply reply;
	size_t n;

	(void)state;
	spawn(1, "/", ARGV("/nowhere"), ARGV(NULL), -1);
	reply = expect(INIT_SPAWN_FAILED, 1);
	assert_int_equal(reply.step, INIT_STEP_EXEC);
	assert_int_equal(reply.err, ENOENT);
	spawn(2, "/nowhere", ARGV("/bin/true"), ARGV(NULL), -1);
	reply = expect(INIT_SPAWN_FAILED, 2);
	assert_int_equal(reply.step, INIT_STEP_DIRECTORY);
	assert_int_equal(reply.err, ENOENT);
	/* The fourth descriptor is /dev/null, which is no cgroup. */
	n = build(3, "/", ARGV("/bin/true"), ARGV(NULL));
	((struct init_spawn *)sent)->in_cgroup = 1;
	send_raw(sent, n, (int[]){ null, null, null, null }, 4);
	reply = expect(INIT_SPAWN_FAILED, 3);
	assert_int_equal(reply.step, INIT_STEP_CLONE);
	/* No exit is reported for any of them: the next answer is the next spawn's. */
	spawn(4, "/", ARGV("/bin/true"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 4);
	expect(INIT_EXITED, 4);
}

/* What argv[0] names is of no meaning then; and nothing of it stays open. */
static void a_program_is_executed_by_its_descriptor(void **state)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	FD_OWNED int program = open("/bin/sh", O_PATH | O_CLOEXEC);
	size_t n = build(1, "/", ARGV("/bin/false", "-c", "exec 2>/dev/null; echo >&4 || exit 7"), ARGV(NULL));

	(void)state;
	((struct init_spawn *)sent)->by_descriptor = 1;
	send_raw(sent, n, (int[]){ null, null, null, null, program }, 5);
	expect(INIT_SPAWNED, 1);
	assert_int_equal(WEXITSTATUS(expect(INIT_EXITED, 1).status), 7);
	n = build(2, "/", ARGV("/bin/true"), ARGV(NULL));
	((struct init_spawn *)sent)->by_descriptor = 1;
	send_raw(sent, n, (int[]){ null, null, null, null, null }, 5);
	assert_int_equal(expect(INIT_SPAWN_FAILED, 2).step, INIT_STEP_EXEC);
}

static void many_children_are_each_reported_once(void **state)
{
	enum { MANY = 500 };
	bool seen[MANY + 1] = { 0 };

	(void)state;
	for (uint64_t exec = 1; exec <= MANY; exec++) {
		struct init_reply reply;

		spawn(exec, "/", ARGV("/bin/sleep", "0.2"), ARGV(NULL), -1);
		for (;;) { /* exits of others may come in between */
			assert_true(receive(&reply));
			if (reply.type == INIT_SPAWNED)
				break;
			assert_int_equal(reply.type, INIT_EXITED);
			assert_false(seen[reply.exec]);
			seen[reply.exec] = true;
		}
		assert_int_equal(reply.exec, exec);
	}
	for (size_t i = 1; i <= MANY; i++) {
		struct init_reply reply;

		if (seen[i])
			continue;
		assert_true(receive(&reply));
		assert_int_equal(reply.type, INIT_EXITED);
		assert_false(seen[reply.exec]);
		seen[reply.exec] = true;
		i = 0;
	}
}

/* Its children, as /proc lists them; zombies are among them. */
static bool init_has_children(void)
{
	PTR_OWNED char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", peer.init.pid, peer.init.pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, 4096, &text, NULL), 0);
	return text[0];
}

static void orphans_are_reaped_and_not_reported(void **state)
{
	(void)state;
	spawn(1, "/", ARGV("/bin/sh", "-c", "(sh -c 'sleep 0.1; exit 9' &) ; exit 0"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 1);
	assert_int_equal(expect(INIT_EXITED, 1).status, 0);
	for (int i = 0; i < 3000 && init_has_children(); i++)
		usleep(10000);
	assert_false(init_has_children());
	/* The next that it says is of the next command. */
	spawn(2, "/", ARGV("/bin/true"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 2);
	expect(INIT_EXITED, 2);
}

static void without_PATH_a_program_is_searched_where_the_agent_would_and_else_nowhere(void **state)
{
	(void)state;
	spawn(1, "/", ARGV("chroot", "--version"), ARGV(NULL), -1); /* in /usr/sbin */
	expect(INIT_SPAWNED, 1);
	assert_int_equal(expect(INIT_EXITED, 1).status, 0);
	spawn(2, "/", ARGV("chroot", "--version"), ARGV("PATH=/usr/bin"), -1);
	assert_int_equal(expect(INIT_SPAWN_FAILED, 2).err, ENOENT);
}

static void signals_from_inside_do_not_end_it(void **state)
{
	(void)state;
	spawn(1, "/", ARGV("/bin/sh", "-c",
			   "for s in HUP INT TERM QUIT KILL STOP SEGV USR1 CHLD PIPE RTMIN; do"
			   "  kill -$s 1; done; kill -KILL -1"),
	      ARGV("PATH=/bin:/usr/bin"), -1);
	expect(INIT_SPAWNED, 1);
	expect(INIT_EXITED, 1);
	spawn(2, "/", ARGV("/bin/true"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 2);
	assert_int_equal(expect(INIT_EXITED, 2).status, 0);
}

static void signal_message_reaches_command_or_group(void **state)
{
	struct init_signal m = { .type = INIT_SIGNAL, .signal = SIGTERM, .exec = 1 };
	struct init_reply reply;

	(void)state;
	spawn(1, "/", ARGV("/bin/sleep", "100"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 1);
	m.exec = 77; /* not there: no answer, no harm */
	send_raw(&m, sizeof(m), NULL, 0);
	m.exec = 1;
	send_raw(&m, sizeof(m), NULL, 0);
	reply = expect(INIT_EXITED, 1);
	assert_true(WIFSIGNALED(reply.status));
	assert_int_equal(WTERMSIG(reply.status), SIGTERM);
	send_raw(&m, sizeof(m), NULL, 0);
	spawn(2, "/", ARGV("/bin/true"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 2);
}

static void check_malformed(const void *data, size_t len, const int *fds, size_t n_fds)
{
	struct init_reply reply;

	open_private(NULL);
	send_raw(data, len, fds, n_fds);
	assert_false(receive(&reply)); /* it ends, without an answer */
	assert_true(WIFEXITED(close_peer()));
}

static void malformed_packets_end_it(void **state)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int fds[5] = { null, null, null, null, null };
	struct init_spawn *m = (void *)sent;
	size_t n = build(1, "/", ARGV("/bin/true"), ARGV("A=B"));

	(void)state;
	check_malformed("x", 1, NULL, 0);
	check_malformed(&(uint32_t){ 99 }, 4, NULL, 0);
	check_malformed(&(uint32_t){ INIT_SPAWN }, 4, fds, 4);
	check_malformed(&(uint32_t){ INIT_SIGNAL }, 4, NULL, 0);
	check_malformed(sent, n, fds, 3);
	check_malformed(sent, n, fds, 5);
	check_malformed(sent, n, NULL, 0);
	check_malformed(sent, n - 1, fds, 4);
	m->by_descriptor = 1;
	check_malformed(sent, n, fds, 4);
	m->by_descriptor = 2;
	check_malformed(sent, n, fds, 5);
	m->by_descriptor = 0;
	m->argc++;
	check_malformed(sent, n, fds, 4);
	m->argc = 0;
	check_malformed(sent, n, fds, 4);
	m->argc = UINT32_MAX;
	check_malformed(sent, n, fds, 4);
	m->argc = 1;
	m->envc = 0;
	check_malformed(sent, n, fds, 4);
	m->envc = 1;
	sent[n - 1] = 'x'; /* the last string has no end */
	check_malformed(sent, n, fds, 4);
	memset(sent, 0, sizeof(sent));
	check_malformed(sent, INIT_PACKET_MAX + 1, fds, 4);
}

static void bad_set_up_is_refused(void **state)
{
	struct {
		struct init_setup head;
		char text[16];
	} bad = { .head = { .type = INIT_SETUP, .n_hidden = 1, .strings_len = 5, .shm_size = 1 << 20 },
		  .text = "/tmp" };
	const struct {
		unsigned n_hidden, n_fds;
		enum init_step step;
	} tries[] = { { 2, 1, INIT_STEP_REQUEST }, { 1, 0, INIT_STEP_REQUEST },
		      { 1, 2, INIT_STEP_REQUEST }, { 1, 1, INIT_STEP_CGROUPFS } };
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		struct init_reply reply;

		open_peer(false);
		bad.head.n_hidden = tries[i].n_hidden;
		send_raw(&bad, sizeof(bad.head) + 5, (int[]){ null, null }, tries[i].n_fds); /* no cgroup namespace */
		assert_true(receive(&reply));
		assert_int_equal(reply.type, INIT_FAILED);
		assert_int_equal(reply.step, tries[i].step);
		assert_int_equal(WEXITSTATUS(close_peer()), 1);
	}
}

static void what_cannot_be_covered_is_a_failure(void **state)
{
	static const char text[] = "/nowhere/secret";
	struct {
		struct init_setup head;
		char text[sizeof(text)];
	} m = { .head = { .type = INIT_SETUP, .n_hidden = 1, .strings_len = sizeof(text), .shm_size = 1 << 20 } };
	int view = cgroups_view(peer.cgroups);

	(void)state;
	memcpy(m.text, text, sizeof(text));
	for (unsigned may_lack = 0; may_lack < 2; may_lack++) {
		struct init_reply reply;

		open_peer(false);
		m.head.may_lack = may_lack;
		send_raw(&m, sizeof(m.head) + sizeof(text), &view, 1);
		assert_true(receive(&reply));
		assert_int_equal(reply.type, may_lack ? INIT_READY : INIT_FAILED);
		assert_int_equal(reply.step, may_lack ? INIT_STEP_NONE : INIT_STEP_MASK);
		assert_int_equal(reply.err, may_lack ? 0 : ENOENT);
		close_peer();
	}
}

static void end_of_the_agent_ends_everything(void **state)
{
	char mark[32];

	(void)state;
	for (int shared = 0; shared < 2; shared++) {
		unsigned running = 0;

		snprintf(mark, sizeof(mark), "83%d.%06d", shared, (int)getpid() % 1000000);
		open_peer(shared);
		set_up((uint32_t)shared);
		spawn(1, "/", ARGV("/bin/sh", "-c", "sleep $1 & sleep $1; :", "sh", mark), ARGV(NULL), -1);
		expect(INIT_SPAWNED, 1);
		/* The shell and both its children; while one of these is in execve it counts less. */
		for (int i = 0; i < 3000 && running < 3; i++) {
			usleep(10000);
			running = count_processes(mark);
		}
		assert_int_equal(running, 3);
		assert_int_equal(close_peer(), 0);
		for (int i = 0; i < 3000 && count_processes(mark) > 0; i++)
			usleep(10000);
		assert_int_equal(count_processes(mark), 0);
	}
}

/* Whether needle is anywhere in the writable memory of a process. */
static bool memory_has(pid_t pid, const char *needle)
{
	char path[64], line[512];
	bool found = false;
	FILE *maps;
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(mem >= 0);
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		char mode[8];

		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[1] != 'w')
			continue;
		if (to - from > 256ul << 20) /* the shadow memory of a sanitizer */
			continue;
		for (; from < to; from += 4096) {
			static char page[4096 + 64]; /* a little of the next one */
			ssize_t n = pread(mem, page, sizeof(page), (off_t)from);

			found = found || (n > 0 && memmem(page, (size_t)n, needle, strlen(needle)));
		}
	}
	fclose(maps);
	close(mem);
	return found;
}

static void environment_is_wiped_after_each_spawn(void **state)
{
	PTR_OWNED char *big = malloc(100000);

	(void)state;
	memset(big, 'b', 100000);
	memcpy(big, "BIG=", 4);
	memcpy(big + 50000, "hunter2-and-a-half", 18);
	big[99999] = '\0';
	spawn(1, "/", ARGV("/bin/true"), ARGV("TOKEN=hunter2-and-a-half"), -1);
	expect(INIT_SPAWNED, 1);
	expect(INIT_EXITED, 1);
	assert_true(memory_has(getpid(), "hunter2-and-a-half")); /* the search works */
	assert_false(memory_has(peer.init.pid, "hunter2-and-a-half"));
	spawn(2, "/", ARGV("/bin/true"), ARGV(big), -1);
	expect(INIT_SPAWNED, 2);
	expect(INIT_EXITED, 2);
	assert_false(memory_has(peer.init.pid, "hunter2-and-a-half"));
	spawn(3, "/", ARGV("/nowhere"), ARGV("TOKEN=hunter2-and-a-half"), -1);
	expect(INIT_SPAWN_FAILED, 3);
	assert_false(memory_has(peer.init.pid, "hunter2-and-a-half"));
}

static void what_runs_is_a_sealed_copy(void **state)
{
	FD_OWNED int exe = -EBADF;
	struct statvfs fs;
	char path[64];
	int seals;

	(void)state;
	snprintf(path, sizeof(path), "/proc/%d/exe", peer.init.pid);
	exe = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(exe >= 0);
	seals = fcntl(exe, F_GET_SEALS);
	if (!(seals & F_SEAL_WRITE)) { /* vm.memfd_noexec = 2: a file of a read-only mount */
		assert_int_equal(fstatvfs(exe, &fs), 0);
		assert_true(fs.f_flag & ST_RDONLY);
		return;
	}
	assert_int_equal(seals & (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
			 F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}

static void it_is_small_and_holds_nothing_of_the_agent(void **state)
{
	PTR_OWNED char *text = NULL;
	char path[64];
	unsigned long private_kib = 0;
	const char *at;

	(void)state;
	spawn(1, "/", ARGV("/bin/sh", "-c", "ls -l /proc/self/fd | wc -l"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 1);
	expect(INIT_EXITED, 1);
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", peer.init.pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, 65536, &text, NULL), 0);
	/* Not Private_*: pages of the program itself count there while it is mapped only once. */
	at = strstr(text, "Anonymous:");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "Anonymous: %lu", &private_kib), 1);
#ifndef MOAT_ASAN
	assert_true(private_kib > 0 && private_kib < 512);
#endif
	/* Standard ones, socket, signals, and the root of its devpts. */
	for (int fd = 0; fd < 64; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", peer.init.pid, fd);
		assert_int_equal(faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW), fd <= 5 ? 0 : -1);
	}
}

static unsigned long long status_mask(const char *key)
{
	PTR_OWNED char *text = NULL;
	unsigned long long mask = 0;
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", peer.init.pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, 65536, &text, NULL), 0);
	at = strstr(text, key);
	assert_non_null(at);
	assert_int_equal(sscanf(at + strlen(key), " %llx", &mask), 1);
	return mask;
}

static void it_keeps_the_capabilities_of_its_commands_and_few_more(void **state)
{
	const unsigned long long given = 1ull << CAP_CHOWN | 1ull << CAP_NET_RAW;

	(void)state;
	for (uint32_t own = 0; own < 2; own++) {
		unsigned long long kept = given | 1ull << CAP_KILL | 1ull << CAP_SETPCAP;

		if (own)
			kept |= 1ull << CAP_SYS_ADMIN | 1ull << CAP_SYS_CHROOT;
		open_peer(false);
		set_up_with(0, given, own);
		assert_int_equal(status_mask("CapPrm:"), kept);
		assert_int_equal(status_mask("CapEff:"), kept);
		assert_int_equal(status_mask("CapInh:"), 0);
		assert_int_equal(status_mask("CapBnd:"), given);
		spawn(1, "/", ARGV("/bin/sh", "-c", "grep -q 'CapPrm:.*2001$' /proc/self/status"),
		      ARGV("PATH=/bin"), -1);
		expect(INIT_SPAWNED, 1);
		assert_int_equal(expect(INIT_EXITED, 1).status, 0);
		assert_int_equal(close_peer(), 0);
	}
}

static void commands_with_surroundings_of_their_own_share_none(void **state)
{
	(void)state;
	open_peer(false);
	set_up_with(0, ~0ull, 1);
	for (uint64_t exec = 1; exec <= 300; exec++) { /* more than it holds on to */
		spawn(exec, INIT_OWN_HOME,
		      ARGV("/bin/sh", "-c", "for p in . /dev/shm/ /dev/own/tmp; do"
					   "  [ -z \"$(ls -A $p)\" ] && : > $p/left || exit 1; done"),
		      ARGV("PATH=/bin:/usr/bin"), -1);
		expect(INIT_SPAWNED, exec);
		assert_int_equal(expect(INIT_EXITED, exec).status, 0);
	}
}

static void a_tmp_of_its_own_is_empty_and_can_be_written(void **state)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	size_t n;

	(void)state;
	open_peer(false);
	set_up_with(0, ~0ull, 1);
	n = build(1, "/", ARGV("/bin/sh", "-c", "[ -z \"$(ls -A /tmp)\" ] && : > /tmp/x"),
		  ARGV("PATH=/bin:/usr/bin"));
	((struct init_spawn *)sent)->own_tmp = 1;
	send_raw(sent, n, (int[]){ null, null, null, null }, 4);
	expect(INIT_SPAWNED, 1);
	assert_int_equal(expect(INIT_EXITED, 1).status, 0);
}

static void it_answers_for_a_clone_when_asked(void **state)
{
	struct init_ask ask = { .type = INIT_ASK, .exec = 1 };

	(void)state;
	spawn(1, "/", ARGV("/bin/sleep", "0.2"), ARGV(NULL), -1);
	send_raw(&ask, sizeof(ask), NULL, 0);
	for (int i = 0; i < 2; i++) { /* in either order */
		struct init_reply reply;

		assert_true(receive(&reply));
		assert_true(reply.type == INIT_CLONED || reply.type == INIT_SPAWNED);
		assert_int_equal(reply.exec, 1);
	}
	expect(INIT_EXITED, 1);
}

static int open_group(void **state)
{
	struct failure f = { 0 };
	char name[32];
	const struct config config = { .instance = name };

	(void)state;
	log_open("unit", LOG_WARNING);
	place_moat_init();
	peer.socket = peer.init.pidfd = -EBADF;
	snprintf(name, sizeof(name), "unit-init-%d", (int)getpid());
	if (loop_new(&peer.loop) < 0 || cgroups_open(&config, peer.loop, &peer.cgroups, &f) < 0 ||
	    cgroup_get(peer.cgroups, "init-test", &peer.cgroup, &f) < 0) {
		print_error("%s\n", f.msg);
		return -1;
	}
	return 0;
}

static int close_group(void **state)
{
	(void)state;
	cgroup_put(peer.cgroup);
	cgroups_close(peer.cgroups);
	loop_free(peer.loop);
	return 0;
}

/* The name of a test runs that one alone. */
int main(int argc, char **argv)
{
#define WITH_PEER(name) cmocka_unit_test_setup_teardown(name, open_private, close_any)
#define ALONE(name) cmocka_unit_test_teardown(name, close_any)
	const struct CMUnitTest tests[] = {
		WITH_PEER(spawned_always_comes_before_exited),
		WITH_PEER(a_program_is_executed_by_its_descriptor),
		WITH_PEER(failed_steps_are_named_and_leave_no_child),
		WITH_PEER(many_children_are_each_reported_once),
		WITH_PEER(orphans_are_reaped_and_not_reported),
		WITH_PEER(without_PATH_a_program_is_searched_where_the_agent_would_and_else_nowhere),
		WITH_PEER(signals_from_inside_do_not_end_it),
		WITH_PEER(signal_message_reaches_command_or_group),
		ALONE(malformed_packets_end_it),
		ALONE(bad_set_up_is_refused),
		ALONE(what_cannot_be_covered_is_a_failure),
		ALONE(end_of_the_agent_ends_everything),
		WITH_PEER(environment_is_wiped_after_each_spawn),
		WITH_PEER(what_runs_is_a_sealed_copy),
		WITH_PEER(it_is_small_and_holds_nothing_of_the_agent),
		WITH_PEER(it_answers_for_a_clone_when_asked),
		ALONE(a_tmp_of_its_own_is_empty_and_can_be_written),
		ALONE(it_keeps_the_capabilities_of_its_commands_and_few_more),
		ALONE(commands_with_surroundings_of_their_own_share_none),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, open_group, close_group);
}
