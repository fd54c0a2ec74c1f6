/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent does with a moat-init that does not keep to the protocol: this program takes its place, sets
 * itself up as it should, and then does what the name of the state directory says. Every caller is told within
 * its time, no descriptor stays open, what is killed is launched again, and the agent can be stopped.
 */
#include "exec/fixture.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "agent/descriptors.h"
#include "agent/namespace/internal.h"

/* --- The adversary -------------------------------------------------------------------------- */

static char request[INIT_PACKET_MAX];

static void say(const void *data, size_t n, int fd, int n_fds)
{
	char control[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { (void *)data, n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[4] = { fd, fd, fd, fd };

	if (n_fds) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, (size_t)n_fds * sizeof(int));
	}
	(void)!sendmsg(INIT_SOCKET_FD, &msg, MSG_NOSIGNAL);
}

static void answer(uint32_t type, uint64_t exec, uint32_t step, int err)
{
	const struct init_reply reply = { .type = type, .exec = exec, .step = step, .err = err, .pid = 7 };

	say(&reply, sizeof(reply), -1, 0);
}

static void speak_random(void)
{
	uint32_t words[sizeof(struct init_reply) / 4];
	unsigned seed = (unsigned)getpid();

	for (int i = 0; i < 1000; i++) {
		for (size_t w = 0; w < ARRAY_LEN(words); w++)
			words[w] = (uint32_t)rand_r(&seed);
		words[0] %= 40; /* a type, more often than not */
		say(words, sizeof(words), -1, 0);
	}
}

static void misbehave(const char *mode, uint64_t exec)
{
	if (strcmp(mode, "double") == 0) {
		answer(INIT_SPAWN_FAILED, exec, INIT_STEP_EXEC, ENOENT);
		answer(INIT_SPAWN_FAILED, exec, INIT_STEP_EXEC, ENOENT);
	} else if (strcmp(mode, "wrong") == 0) {
		answer(INIT_SPAWN_FAILED, exec + 1, INIT_STEP_EXEC, ENOENT);
	} else if (strcmp(mode, "no-error") == 0) {
		answer(INIT_SPAWN_FAILED, exec, INIT_STEP_EXEC, 0);
	} else if (strcmp(mode, "step") == 0) {
		answer(INIT_SPAWN_FAILED, exec, 4711, ENOENT);
	} else if (strcmp(mode, "short") == 0) {
		say("abc", 3, -1, 0);
	} else if (strcmp(mode, "empty") == 0) {
		say("", 0, -1, 0);
	} else if (strcmp(mode, "long") == 0) {
		say(request, 65536, -1, 0);
	} else if (strcmp(mode, "random") == 0) {
		speak_random();
	} else if (strcmp(mode, "ready") == 0) {
		answer(INIT_READY, 0, 0, 0);
	} else if (strcmp(mode, "failed") == 0) {
		answer(INIT_FAILED, 0, INIT_STEP_DEV, ENODEV);
	} else if (strcmp(mode, "exits") == 0) {
		for (uint64_t i = 0; i < 20000; i++)
			answer(INIT_EXITED, i, 0, 0); /* of nobody, of 0, of others */
	} else if (strcmp(mode, "descriptors") == 0) {
		for (int n = 1; n <= 4; n++) {
			const struct init_reply reply = { .type = INIT_EXITED, .exec = 99 };

			say(&reply, sizeof(reply), STDIN_FILENO, n);
		}
		answer(INIT_CLONE_DONE, 0, 0, 0);
	} else if (strcmp(mode, "clone") == 0) {
		const struct init_reply reply = { .type = INIT_CLONE_DONE, .pid = 1 };

		say(&reply, sizeof(reply), STDIN_FILENO, 1);
	} else if (strcmp(mode, "end") == 0) {
		_exit(0);
	} /* else it is silent */
}

static int adversary(void)
{
	const struct init_setup *setup = (const void *)request;
	const struct init_spawn *spawn = (const void *)request;
	char mode[64];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (recv(INIT_SOCKET_FD, request, sizeof(request) - 1, 0) < (ssize_t)sizeof(*setup))
		return 1;
	snprintf(mode, sizeof(mode), "%s", strrchr(request + sizeof(*setup), '/') + 1);
	if (strcmp(mode, "mute") != 0)
		answer(INIT_READY, 0, 0, 0);
	while (recv(INIT_SOCKET_FD, request, sizeof(request), 0) > 0)
		misbehave(mode, spawn->type == INIT_SPAWN ? spawn->exec : 0);
	return 0;
}

/* --- The agent ------------------------------------------------------------------------------ */

static const char *const modes[] = { "silent", "double", "wrong", "no-error", "step", "short", "empty", "long",
				     "random", "ready", "failed", "exits", "descriptors", "clone", "end" };

static unsigned open_now(void)
{
	unsigned n, limit;

	assert_int_equal(descriptors_count(&n, &limit), 0);
	return n;
}

static int try_open_with(const char *mode, struct failure *f)
{
	int r;
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", fx.dir, mode);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/moat.conf", fx.dir);
	file = fopen(path, "we");
	assert_non_null(file);
	fprintf(file, "[moat]\nenforce = best-effort\ninstance = adv-%d\nstate_dir = %s/%s\n[service s]\ncommand = true\n[context c]\n",
		(int)getpid(), fx.dir, mode);
	fclose(file);
	r = config_load(path, &fx.config, f);
	if (r == 0)
		r = loop_new(&fx.loop);
	if (r == 0)
		r = enforce_open(fx.config, NULL, &fx.enforce, f);
	if (r == 0)
		r = cgroups_open(fx.config, fx.loop, &fx.cgroups, f);
	return r < 0 ? r : execs_open(fx.config, fx.enforce, fx.cgroups, fx.loop, &fx.execs, f);
}

static void open_with(const char *mode)
{
	struct failure f = { 0 };

	if (try_open_with(mode, &f) < 0)
		print_error("%s: %s\n", mode, f.msg);
	assert_non_null(fx.execs);
}

static void close_with(const char *mode)
{
	char path[PATH_MAX];

	execs_close(take_ptr(fx.execs));
	cgroups_close(fx.cgroups);
	enforce_close(fx.enforce, false);
	config_free(fx.config);
	loop_free(fx.loop);
	snprintf(path, sizeof(path), "%s/%s", fx.dir, mode);
	assert_int_equal(rmdir(path), 0);
}

static void check_told(struct outcome *r, bool limited)
{
	assert_int_equal(r->failed, 1);
	assert_int_equal(r->started + r->ended, 0);
	if (r->error.code == MOAT_E_COMMAND_NOT_FOUND)
		return; /* it did answer, before anything else */
	assert_true(r->error.code == MOAT_E_NAMESPACE_LOST || (limited && r->error.code == MOAT_E_NOT_STARTED));
}

static void check_mode(const char *mode)
{
	OUTCOME limited = { .keep_running = true };
	OUTCOME patient = { .keep_running = true };
	OUTCOME cloned = { .keep_running = true };
	OUTCOME again = { .keep_running = true };
	unsigned fds;

	open_with(mode);
	fds = open_now();
	assert_int_equal(start(&patient, &(struct exec_request){ .argv = ARGV("x") }), 0);
	assert_int_equal(start(&limited, &(struct exec_request){ .argv = ARGV("x"), .timeout_ms = 300 }), 0);
	assert_int_equal(start(&cloned, &(struct exec_request){ .argv = ARGV("x"), .context = "c",
								.timeout_ms = 300 }), 0);
	RUN_UNTIL(limited.failed && patient.failed && cloned.failed);
	check_told(&limited, true);
	check_told(&patient, false);
	check_told(&cloned, true);
	/* There is another one, which is asked, too. */
	assert_int_equal(start(&again, &(struct exec_request){ .argv = ARGV("x"), .timeout_ms = 1000 }), 0);
	RUN_UNTIL(again.failed);
	check_told(&again, true);
	RUN_UNTIL(open_now() <= fds + 8); /* pipes kept for the next command, a cgroup's two */
	close_with(mode);
}

static void no_caller_waits_for_it(void **state)
{
	(void)state;
	log_open("unit", LOG_ERROR - 1); /* all this is said, and here it is meant */
	namespace_spawn_ms = 400;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		check_mode(modes[i]);
	log_open("unit", LOG_WARNING);
}

static void start_that_waits_for_it_can_be_stopped(void **state)
{
	struct failure f = { 0 };
	uint64_t began = now_ns();
	sigset_t set;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0); /* as the agent has it */
	assert_int_equal(raise(SIGTERM), 0);
	assert_int_equal(try_open_with("mute", &f), -EINTR);
	assert_true(now_ns() - began < 10 * NSEC_PER_SEC);
	assert_non_null(strstr(f.msg, "stopped before"));
	/* It is still there for whoever stops the agent. */
	assert_int_equal(sigtimedwait(&set, NULL, &(struct timespec){ 0 }), SIGTERM);
	assert_int_equal(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
	close_with("mute");
}

static int make_dir(void **state)
{
	char self[PATH_MAX], path[PATH_MAX + 16];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	(void)state;
	assert_true(n > 0);
	self[n] = '\0';
	snprintf(path, sizeof(path), "%s/moat-init", dirname(self));
	(void)unlink(path);
	self[strlen(self)] = '/'; /* as it was before dirname() */
	assert_int_equal(symlink("adversary_test", path), 0);
	snprintf(fx.dir, sizeof(fx.dir), "/tmp/moat-adversary-XXXXXX");
	return mkdtemp(fx.dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char path[PATH_MAX];

	(void)state;
	snprintf(path, sizeof(path), "%s/moat.conf", fx.dir);
	unlink(path);
	return rmdir(fx.dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_caller_waits_for_it),
		cmocka_unit_test(start_that_waits_for_it_can_be_stopped),
	};

	if (argc > 0 && strcmp(argv[0], "moat-init") == 0)
		return adversary();
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
