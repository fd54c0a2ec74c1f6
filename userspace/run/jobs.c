/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children, and the signals that come while they run. All of them get what is sent to the process group; moat-run
 * keeps its own back until the command in the foreground has answered, and then ends as a shell would.
 */
#include <sys/wait.h>

#include "run/internal.h"

static int status_of(int wait_status)
{
	return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

int job_add(struct run *r, pid_t pid)
{
	size_t kept = 0;
	struct job *grown;

	if (r->n_jobs >= RUN_JOBS_MAX) { /* who does not wait does not want to know */
		for (size_t i = 0; i < r->n_jobs; i++)
			if (!r->jobs[i].done)
				r->jobs[kept++] = r->jobs[i];
		r->n_jobs = kept;
	}
	if (r->n_jobs >= RUN_JOBS_MAX)
		return -EAGAIN;
	if (r->n_jobs == r->jobs_size) {
		size_t size = r->jobs_size ? r->jobs_size * 2 : 16;

		grown = realloc(r->jobs, size * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		r->jobs = grown;
		r->jobs_size = size;
	}
	r->jobs[r->n_jobs++] = (struct job){ .pid = pid };
	return 0;
}

static struct job *find(struct run *r, pid_t pid)
{
	for (size_t i = 0; i < r->n_jobs; i++)
		if (r->jobs[i].pid == pid)
			return &r->jobs[i];
	return NULL;
}

static struct job describe(pid_t pid, int wait_status)
{
	return (struct job){
		.pid = pid,
		.status = status_of(wait_status),
		.died = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0,
		.done = true,
	};
}

static void note(struct run *r, pid_t pid, int wait_status)
{
	struct job *job = find(r, pid);

	if (job)
		*job = describe(pid, wait_status);
}

static bool take(const sigset_t *pending, int signal)
{
	static const struct timespec now = { 0 };
	sigset_t one;

	if (!sigismember(pending, signal))
		return false;
	sigemptyset(&one);
	sigaddset(&one, signal);
	return sigtimedwait(&one, NULL, &now) == signal;
}

/* died: the signal that ended the command in the foreground. What it outlives, as an editor does SIGINT, was its own. */
static void look(struct run *r, int died)
{
	static const int ends[] = { SIGHUP, SIGQUIT, SIGTERM };
	sigset_t pending;

	if (sigpending(&pending) < 0)
		return;
	if (take(&pending, SIGINT) && died == SIGINT)
		r->signal = SIGINT;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (take(&pending, ends[i]))
			r->signal = ends[i];
	if (r->signal) {
		r->ended = true;
		r->status = 128 + r->signal;
	}
}

void signals_look(struct run *r)
{
	look(r, SIGINT);
}

/* Until it has ended; *ret. Nobody waits for it elsewhere. */
static void wait_for(struct run *r, pid_t pid, struct job *ret)
{
	struct job *job = find(r, pid);

	*ret = job ? *job : (struct job){ .pid = pid };
	while (!ret->done) {
		int wait_status;
		pid_t ended = waitpid(-1, &wait_status, 0);

		if (ended < 0) {
			ret->status = RUN_NOT_FOUND;
			return;
		}
		note(r, ended, wait_status);
		if (ended == pid)
			*ret = describe(pid, wait_status);
	}
}

int job_wait(struct run *r, pid_t pid)
{
	struct job ended;

	wait_for(r, pid, &ended);
	r->status = ended.status;
	look(r, ended.died);
	return r->status;
}

int jobs_wait(struct run *r, const pid_t *pids, size_t n, int *ret_failed)
{
	struct job ended = { 0 };
	int died = 0;

	*ret_failed = 0;
	for (size_t i = 0; i < n; i++) {
		wait_for(r, pids[i], &ended);
		*ret_failed = ended.status ? ended.status : *ret_failed;
		died = ended.died == SIGINT ? SIGINT : died;
	}
	/* They were jobs only here. */
	for (size_t i = 0; i < n; i++) {
		struct job *job = find(r, pids[i]);

		if (job)
			*job = r->jobs[--r->n_jobs];
	}
	look(r, died);
	return ended.status;
}

/* The number of a signal that ends us, or 0 when a child may have ended. */
static int wait_signal(struct run *r)
{
	int signal = sigwaitinfo(&r->blocked, NULL);

	return signal == SIGCHLD || signal < 0 ? 0 : signal;
}

static bool any_running(const struct run *r)
{
	for (size_t i = 0; i < r->n_jobs; i++)
		if (!r->jobs[i].done)
			return true;
	return false;
}

int job_wait_background(struct run *r, pid_t pid)
{
	struct job *job = pid ? find(r, pid) : NULL;

	if (pid && !job)
		return RUN_NOT_FOUND;
	for (;;) {
		int wait_status, signal;
		pid_t ended;

		while ((ended = waitpid(-1, &wait_status, WNOHANG)) > 0)
			note(r, ended, wait_status);
		if (job ? job->done : !any_running(r))
			break;
		if (ended < 0)
			return RUN_NOT_FOUND;
		signal = wait_signal(r);
		if (signal) {
			r->ended = true;
			return 128 + signal;
		}
	}
	if (!job) {
		r->n_jobs = 0;
		return 0;
	}
	return job->status;
}
