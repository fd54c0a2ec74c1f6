/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/harden.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/signals.h"

#define OOM_FILE "/proc/self/oom_score_adj"
#define OOM_SCORE "-900"

/* As found by harden_self(). */
static struct {
	bool done;
	struct rlimit core, nofile;
	mode_t umask;
	char oom[16]; /* "" when it was not changed */
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

static void harden_oom(void)
{
	PTR_OWNED char *text = NULL;
	int r = read_file_at(AT_FDCWD, OOM_FILE, sizeof(before.oom) - 1, &text, NULL);

	if (r == 0)
		r = write_file_at(AT_FDCWD, OOM_FILE, OOM_SCORE);
	/* Without CAP_SYS_RESOURCE the score cannot be lowered; that is no reason to complain. */
	if (r == 0)
		snprintf(before.oom, sizeof(before.oom), "%s", text);
	else
		log_debug("oom_score_adj stays as it is: %s", strerror(-r));
}

void harden_self(void)
{
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		log_warning("cannot become undumpable: %s", strerror(errno));
	before.umask = umask(077);
	harden_limits();
	harden_oom();
}

int harden_undo_in_child(void)
{
	sigset_t none;

	reset_dispositions();
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		return -errno;
	if (!before.done)
		return 0;
	umask(before.umask);
	if (setrlimit(RLIMIT_CORE, &before.core) < 0 ||
	    setrlimit(RLIMIT_NOFILE, &before.nofile) < 0)
		return -errno;
	/* open(2) and write(2) are safe here. Memory shortage may end the child before the agent. */
	return before.oom[0] ? write_file_at(AT_FDCWD, OOM_FILE, before.oom) : 0;
}
