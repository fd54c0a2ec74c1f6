/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process/harden.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/signals.h"

#define OOM_FILE "/proc/self/oom_score_adj"
#define FILTER_FILE "/proc/self/coredump_filter"
#define OOM_AGENT (-900)
#define OOM_SERVICE (-500)
#define OOM_USER 0
#define LIMITS_MAX 4096
#define MARK (1u << 30) /* any but infinity */
#define USER_LIMIT_OF_INFINITY (1u << 20) /* no share of infinity would leave anything */

/* As found by harden_self(). */
static struct {
	bool done;
	struct rlimit core, nofile;
	mode_t umask;
	char oom[HARDEN_CHILDREN][16]; /* what is to be written; "": nothing */
} before;

static void harden_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &before.core) < 0 ||
	    getrlimit(RLIMIT_NOFILE, &before.nofile) < 0) {
		log_warning("cannot read resource limits: %s", strerror(errno));
		return;
	}
	/* Soft limits only: the children get theirs back. */
	limit = before.core;
	limit.rlim_cur = 0;
	if (setrlimit(RLIMIT_CORE, &limit) < 0)
		log_warning("cannot forbid core files: %s", strerror(errno));
	limit = before.nofile;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_warning("cannot raise the limit of open files: %s", strerror(errno));
	before.done = true;
}

/*
 * The score the agent was started with is that of the container, which may be lower than ours (an
 * engine spares a container that way) or higher: the order of the three stays what it is.
 */
static void harden_oom(void)
{
	PTR_OWNED char *text = NULL;
	int r = read_file_at(AT_FDCWD, OOM_FILE, 16, &text, NULL), own;
	char score[16];

	if (r < 0) {
		log_warning("oom_score_adj stays as it is: %s", strerror(-r));
		return;
	}
	own = atoi(text);
	snprintf(score, sizeof(score), "%d", own < OOM_AGENT ? own : OOM_AGENT);
	r = write_file_at(AT_FDCWD, OOM_FILE, score);
	/* Without CAP_SYS_RESOURCE a score cannot be lowered. Then ours is still the container's, as
	 * will be that of services; status has it from the probe "oom-order". */
	if (r < 0 && geteuid() != 0)
		log_debug("oom_score_adj cannot be lowered: %s", strerror(-r));
	else if (r < 0)
		log_warning("where memory ends user code and the control plane are killed alike: "
			    "oom_score_adj cannot be lowered: %s", strerror(-r));
	else
		snprintf(before.oom[HARDEN_SERVICE], sizeof(before.oom[0]), "%d",
			 own < OOM_SERVICE ? own : OOM_SERVICE);
	if (r == 0 || own < OOM_USER)
		snprintf(before.oom[HARDEN_INIT], sizeof(before.oom[0]), "%d",
			 own > OOM_USER ? own : OOM_USER);
}

void harden_self(void)
{
	/* The files of an undumpable process in /proc are root's: whoever is not root could not read his own. */
	if (geteuid() == 0 && prctl(PR_SET_DUMPABLE, 0) < 0)
		log_warning("cannot become undumpable: %s", strerror(errno));
	before.umask = umask(077);
	harden_limits();
	harden_oom();
}

/*
 * What user code gets, whatever the container was started with, and never more than that. Neither
 * real-time nor raised priority: bpf/task.bpf.c keeps it so. Pending signals and message queues are
 * counted per user over the whole user namespace, where the control plane is the same user: with
 * half of what it may have, user code cannot take the other half.
 */
static const struct {
	int resource;
	rlim_t soft, hard; /* where it is not a part of what was found */
	unsigned part;
} user_limits[] = {
	{ RLIMIT_NOFILE, 16384, 65536, 0 },
	{ RLIMIT_MEMLOCK, 8u << 20, 8u << 20, 0 },
	{ RLIMIT_SIGPENDING, 0, 0, 2 },
	{ RLIMIT_MSGQUEUE, 0, 0, 2 },
	{ RLIMIT_RTPRIO, 0, 0, 0 },
	{ RLIMIT_NICE, 0, 0, 0 },
};

/* Whether user code is marked, and the agent's own hard limit then. */
static struct {
	bool set;
	rlim_t own;
} mark;

/* See proc(5). 0 or -errno. */
static int marked_limit_of(pid_t pid, rlim_t *ret)
{
	static const char name[] = "Max file locks";
	PTR_OWNED char *text = NULL;
	char path[32], *at, word[24];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	r = read_file_at(AT_FDCWD, path, LIMITS_MAX, &text, NULL);
	if (r < 0)
		return r;
	at = strstr(text, name);
	if (!at || sscanf(at + strlen(name), " %*s %23s", word) != 1)
		return -EPROTO;
	*ret = strcmp(word, "unlimited") == 0 ? RLIM_INFINITY : strtoull(word, NULL, 10);
	return 0;
}

void harden_mark_user_code(void)
{
	rlim_t own = 0;

	mark.set = marked_limit_of(getpid(), &own) == 0 && own > 0;
	mark.own = own;
}

int harden_is_marked(pid_t pid)
{
	rlim_t limit = 0;
	int r = mark.set ? marked_limit_of(pid, &limit) : 0;

	return r < 0 || !mark.set ? r : limit < mark.own;
}

static int mark_child(void)
{
	rlim_t below = mark.own == RLIM_INFINITY ? MARK : mark.own - 1;
	const struct rlimit limit = { below, below };

	return mark.set && setrlimit(RLIMIT_LOCKS, &limit) < 0 ? -errno : 0;
}

static int limit_user_code(void)
{
	for (size_t i = 0; i < ARRAY_LEN(user_limits); i++) {
		rlim_t soft = user_limits[i].soft, hard = user_limits[i].hard;
		struct rlimit limit;

		if (getrlimit(user_limits[i].resource, &limit) < 0)
			return -errno;
		if (user_limits[i].part)
			soft = hard = limit.rlim_max == RLIM_INFINITY ?
					      USER_LIMIT_OF_INFINITY :
					      limit.rlim_max / user_limits[i].part;
		limit.rlim_max = hard < limit.rlim_max ? hard : limit.rlim_max;
		limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
		if (setrlimit(user_limits[i].resource, &limit) < 0)
			return -errno;
	}
	return mark_child();
}

/*
 * A core file holds what a process holds: its environment too, for whoever can read the file. 1 is
 * the one limit with which the kernel neither writes a file (it takes less than a page for none)
 * nor starts the program of a core_pattern with '|' (fs/coredump.c: 0 would not keep it from that).
 * The filter, which is inherited by fork and execve as the limit is, stands behind it: where a core
 * is made all the same (a process lowered its limit to 0, core_pattern names a socket) no memory is
 * in it. The registers are, and they do hold secrets: so the filter alone would not do.
 */
static int forbid_core(void)
{
	static const struct rlimit none = { HARDEN_NO_CORE, HARDEN_NO_CORE };
	int r = write_file_at(AT_FDCWD, FILTER_FILE, "0");

	/* A kernel that writes no cores; a /proc that nobody can write. */
	if (r < 0 && r != -ENOENT && r != -EROFS)
		return r;
	return setrlimit(RLIMIT_CORE, &none) < 0 ? -errno : 0;
}

int harden_undo_in_child(enum harden_child child, bool core)
{
	sigset_t none;
	int r;

	reset_dispositions();
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		return -errno;
	/* Before the limits: the agent may hold more descriptors than the child is allowed, so that
	 * it could open no other. open(2) and write(2) are safe here. */
	r = before.oom[child][0] ? write_file_at(AT_FDCWD, OOM_FILE, before.oom[child]) : 0;
	if (r == 0 && !core)
		r = forbid_core();
	if (r < 0)
		return r;
	if (before.done) {
		umask(before.umask);
		if ((core && setrlimit(RLIMIT_CORE, &before.core) < 0) ||
		    setrlimit(RLIMIT_NOFILE, &before.nofile) < 0)
			return -errno;
	}
	return child == HARDEN_INIT ? limit_user_code() : 0;
}
