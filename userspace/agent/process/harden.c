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
#define OOM_AGENT (-900)
#define OOM_SERVICE (-500)
#define OOM_USER 0

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
		log_debug("oom_score_adj stays as it is: %s", strerror(-r));
		return;
	}
	own = atoi(text);
	snprintf(score, sizeof(score), "%d", own < OOM_AGENT ? own : OOM_AGENT);
	r = write_file_at(AT_FDCWD, OOM_FILE, score);
	/* Without CAP_SYS_RESOURCE a score cannot be lowered; that is no reason to complain. Then
	 * ours is still the container's, as will be that of services. */
	if (r < 0)
		log_debug("oom_score_adj stays as it is: %s", strerror(-r));
	else
		snprintf(before.oom[HARDEN_SERVICE], sizeof(before.oom[0]), "%d",
			 own < OOM_SERVICE ? own : OOM_SERVICE);
	if (r == 0 || own < OOM_USER)
		snprintf(before.oom[HARDEN_INIT], sizeof(before.oom[0]), "%d",
			 own > OOM_USER ? own : OOM_USER);
}

void harden_self(void)
{
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		log_warning("cannot become undumpable: %s", strerror(errno));
	before.umask = umask(077);
	harden_limits();
	harden_oom();
}

/* User code has neither real-time nor raised priority by a limit that the container was started with;
 * bpf/task.bpf.c keeps it so. */
static int forbid_priority(void)
{
	static const struct rlimit none;

	return setrlimit(RLIMIT_RTPRIO, &none) < 0 || setrlimit(RLIMIT_NICE, &none) < 0 ? -errno : 0;
}

int harden_undo_in_child(enum harden_child child)
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
	if (r < 0 || !before.done)
		return r;
	umask(before.umask);
	if (setrlimit(RLIMIT_CORE, &before.core) < 0 ||
	    setrlimit(RLIMIT_NOFILE, &before.nofile) < 0)
		return -errno;
	return child == HARDEN_INIT ? forbid_priority() : 0;
}
