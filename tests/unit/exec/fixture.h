/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real namespaces, a real moat-init, a real cgroup, for the tests of the exec path. Each test group
 * opens them once. Needs root. Include after the cmocka headers.
 */
#ifndef MOAT_EXEC_FIXTURE_H
#define MOAT_EXEC_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "agent/cgroup/cgroup.h"
#include "agent/enforce/enforce.h"
#include "agent/exec/exec.h"
#include "base/log.h"

/* A string vector for the length of the enclosing block. */
#define ARGV(...) ((char **)(const char *[]){ __VA_ARGS__, NULL })
#define GIVE_UP_NS (300 * NSEC_PER_SEC) /* far more than a slow machine needs */

struct fixture {
	char dir[64];
	struct config *config;
	struct loop *loop;
	struct enforce *enforce;
	struct cgroups *cgroups;
	struct execs *execs;
	struct loop_timer give_up, pause;
	bool gave_up, pause_over;
};

static struct fixture fx;

static const char fixture_config[] =
	"[moat]\n"
	"enforce = best-effort\n"
	"instance = unit-%d\n"
	"state_dir = %s/state\n"
	"socket = %s/state/moat.sock\n"
	"audit_log = %s/audit\n"
	"namespace_idle = 1\n"
	"session_idle = 2\n"
	"[service main]\n"
	"command = true\n"
	"[context default]\n"
	"env = LAYER=context\n"
	"env = FROM_CONTEXT=yes\n"
	"[context shared]\n"
	"pid = shared\n"
	"[context private]\n"
	"namespace = private\n"
	"directory = /tmp\n"
	"[context secure]\n"
	"namespace = secure\n"
	"[context brief]\n"
	"[context bare]\n"
	"capabilities = none\n"
	"[context loose]\n"
	"capabilities = cap_chown cap_kill\n"
	"no_new_privs = no\n";

/* moat-init is looked for beside the program that starts it: here that is the test. */
static void place_moat_init(void)
{
	char self[PATH_MAX], path[PATH_MAX + 16];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = '\0';
	snprintf(path, sizeof(path), "%s/moat-init", dirname(self));
	if (symlink("../../../moat-init", path) < 0)
		assert_int_equal(errno, EEXIST);
	assert_int_equal(access(path, X_OK), 0);
}

static inline int fixture_open(void **state)
{
	struct failure f = { 0 };
	char path[PATH_MAX];
	FILE *file;

	(void)state;
	log_open("unit", LOG_WARNING);
	place_moat_init();
	snprintf(fx.dir, sizeof(fx.dir), "/tmp/moat-unit-XXXXXX");
	assert_non_null(mkdtemp(fx.dir));
	snprintf(path, sizeof(path), "%s/state", fx.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/audit", fx.dir);
	close(creat(path, 0600));
	snprintf(path, sizeof(path), "%s/moat.conf", fx.dir);
	file = fopen(path, "we");
	assert_non_null(file);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	fprintf(file, fixture_config, (int)getpid(), fx.dir, fx.dir, fx.dir);
#pragma GCC diagnostic pop
	fclose(file);
	if (config_load(path, &fx.config, &f) < 0 || loop_new(&fx.loop) < 0 ||
	    enforce_open(fx.config, NULL, &fx.enforce, &f) < 0 ||
	    cgroups_open(fx.config, fx.loop, &fx.cgroups, &f) < 0 ||
	    execs_open(fx.config, fx.enforce, fx.cgroups, fx.loop, &fx.execs, &f) < 0) {
		print_error("%s\n", f.msg);
		return -1;
	}
	return 0;
}

static inline int fixture_close(void **state)
{
	char path[PATH_MAX];

	(void)state;
	execs_close(fx.execs);
	cgroups_close(fx.cgroups);
	enforce_close(fx.enforce, false);
	config_free(fx.config);
	loop_free(fx.loop);
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = { "moat.conf", "audit", "state" };

		snprintf(path, sizeof(path), "%s/%s", fx.dir, names[i]);
		remove(path);
	}
	return rmdir(fx.dir);
}

static void on_give_up(struct loop_timer *timer)
{
	(void)timer;
	fx.gave_up = true;
	loop_stop(fx.loop);
}

/* Runs the loop until somebody stops it; fails the test if nobody does. */
static inline void run_loop(void)
{
	fx.gave_up = false;
	assert_int_equal(loop_timer_set(fx.loop, &fx.give_up, GIVE_UP_NS, on_give_up), 0);
	assert_int_equal(loop_run(fx.loop), 0);
	loop_timer_cancel(fx.loop, &fx.give_up);
	assert_false(fx.gave_up);
}

static void on_pause_over(struct loop_timer *timer)
{
	(void)timer;
	fx.pause_over = true;
	loop_stop(fx.loop);
}

/* Lets the agent do its work for a while. */
static inline void run_for(unsigned ms)
{
	fx.pause_over = false;
	assert_int_equal(loop_timer_set(fx.loop, &fx.pause, ms * NSEC_PER_MSEC, on_pause_over), 0);
	while (!fx.pause_over) /* commands that end stop the loop, too */
		run_loop();
}

/* Lets the agent do its work until the condition holds; fails the test if that takes a minute. */
#define RUN_UNTIL(condition)                                                  \
	do {                                                                  \
		const uint64_t until_ns = now_ns() + 60 * NSEC_PER_SEC;       \
		bool holds;                                                   \
                                                                              \
		while (!(holds = (condition)) && now_ns() < until_ns)         \
			run_for(10);                                          \
		if (!holds)                                                   \
			print_error("not within a minute: %s\n", #condition); \
		assert_true(holds);                                           \
	} while (0)

/* What became of a command. out and err are terminated copies of the capture. */
struct outcome {
	struct exec_observer observer;
	struct exec *exec;
	int started, failed, ended;
	uint64_t seen[2], lost; /* bytes that were read, and gaps between them */
	struct exec_reader reader;
	bool holds; /* the command waits for the reader */
	bool lazy;  /* who reads when outcome_take() is called, and not when there is something */
	struct refusal error;
	struct exec_info info;
	char *out, *err;
	bool keep_running; /* do not stop the loop at the end */
};

static void outcome_started(struct exec_observer *o, struct exec *exec)
{
	struct outcome *r = container_of(o, struct outcome, observer);

	assert_ptr_equal(exec, r->exec);
	assert_int_equal(r->ended + r->failed, 0);
	r->started++;
}

static void outcome_failed(struct exec_observer *o, const struct refusal *error)
{
	struct outcome *r = container_of(o, struct outcome, observer);

	r->failed++;
	r->error = *error;
	if (!r->keep_running)
		loop_stop(fx.loop);
}

static inline void outcome_take(struct outcome *r)
{
	static char buf[65536];
	struct exec_piece piece;
	enum exec_read kind;

	while ((kind = exec_read(r->exec, &r->reader, buf, sizeof(buf), &piece)) !=
	       EXEC_READ_NOTHING) {
		if (kind == EXEC_READ_LOST) {
			r->lost += piece.lost;
			continue;
		}
		r->seen[piece.stream] += piece.n;
		exec_reader_take(r->exec, &r->reader, &piece, piece.n);
	}
}

static void outcome_output(struct exec_observer *o, struct exec *exec)
{
	struct outcome *r = container_of(o, struct outcome, observer);

	(void)exec;
	assert_int_equal(r->started, 1);
	assert_int_equal(r->ended, 0);
	if (!r->lazy)
		outcome_take(r);
}

static void outcome_read(struct outcome *r)
{
	exec_get_info(r->exec, &r->info);
	exec_get_output(r->exec, &r->info);
	free(r->out);
	free(r->err);
	r->out = strndup(r->info.output[0].data ? r->info.output[0].data : "",
			 r->info.output[0].kept);
	r->err = strndup(r->info.output[1].data ? r->info.output[1].data : "",
			 r->info.output[1].kept);
}

static void outcome_ended(struct exec_observer *o, struct exec *exec)
{
	struct outcome *r = container_of(o, struct outcome, observer);

	assert_ptr_equal(exec, r->exec);
	assert_int_equal(r->started, 1);
	r->ended++;
	outcome_read(r);
	if (!r->keep_running)
		loop_stop(fx.loop);
}

static inline void outcome_free(struct outcome *r)
{
	free(r->out);
	free(r->err);
}

#define OUTCOME CLEANUP(outcome_free) struct outcome

/* Starts a command and observes it; the caller runs the loop. */
static inline int start(struct outcome *r, const struct exec_request *request)
{
	r->observer = (struct exec_observer){
		.on_started = outcome_started,
		.on_failed = outcome_failed,
		.on_output = outcome_output,
		.on_ended = outcome_ended,
	};
	r->reader.known = true;
	r->observer.held = r->holds ? &r->reader : NULL;
	return exec_start(fx.execs, request, &r->observer, &r->exec, &r->error);
}

/* Starts a command that must be accepted, and waits for its end or failure. */
static inline void run_request(struct outcome *r, const struct exec_request *request)
{
	assert_int_equal(start(r, request), 0);
	run_loop();
	assert_int_equal(r->ended + r->failed, 1);
}

static inline void run_in(struct outcome *r, const char *context, char *const *argv)
{
	run_request(r, &(struct exec_request){ .context = context, .argv = argv });
}

static inline void run(struct outcome *r, char *const *argv)
{
	run_in(r, NULL, argv);
}

static inline void run_sh(struct outcome *r, const char *context, const char *script)
{
	run_in(r, context, ARGV("/bin/sh", "-c", script));
	if (r->failed)
		print_error("%s\n", r->error.message);
	assert_int_equal(r->ended, 1);
}

/* How many processes on this machine have `needle` as an argument. */
static inline unsigned count_processes(const char *needle)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned n = 0;

	assert_non_null(proc);
	while ((entry = readdir(proc))) {
		PTR_OWNED char *text = NULL;
		char path[300];
		size_t len;

		snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    read_file_at(AT_FDCWD, path, 65536, &text, &len) < 0)
			continue;
		for (size_t at = 0; at < len; at += strlen(text + at) + 1)
			if (strcmp(text + at, needle) == 0)
				n++;
	}
	closedir(proc);
	return n;
}

/* An argument that no other process on the machine has. */
static inline const char *unique(void)
{
	static char text[32];
	static unsigned n;

	snprintf(text, sizeof(text), "%u.%06u", 7000 + n++, (unsigned)getpid() % 1000000);
	return text;
}

/* A script in which every %s is the same unique duration; caller frees. */
static inline char *script_with(const char *format, const char *mark)
{
	char *text = strdup("");

	for (const char *p = format; *p; p++) {
		char *more;

		if (p[0] == '%' && p[1] == 's') {
			assert_true(asprintf(&more, "%s%s", text, mark) > 0);
			p++;
		} else {
			assert_true(asprintf(&more, "%s%c", text, *p) > 0);
		}
		free(text);
		text = more;
	}
	return text;
}

static inline void assert_all_gone(const char *mark)
{
	RUN_UNTIL(count_processes(mark) == 0);
}

#endif
