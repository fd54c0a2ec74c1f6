/* SPDX-License-Identifier: Apache-2.0 */
/* Lists, pipelines, groups and subshells. */
#include <fcntl.h>

#include "run/internal.h"

static void run_command(struct run *r, const struct command *c, unsigned flags);

pid_t run_fork(struct run *r)
{
	pid_t pid = fork();

	if (pid < 0) {
		complain("cannot start another process: %s", strerror(errno));
		r->ended = true;
		r->status = RUN_FAILED;
	} else if (pid == 0) {
		r->n_jobs = 0;
		state_forget(r);
	}
	return pid;
}

static _Noreturn void leave(const struct run *r)
{
	_exit(r->status);
}

static void run_group(struct run *r, const struct command *c, unsigned flags)
{
	struct redirected *saved = NULL;

	if (redirect(r, c->redirections, flags & RUN_LAST ? NULL : &saved) < 0) {
		r->status = RUN_FAILED;
		r->ended = r->errexit &&
			   !(flags & RUN_TESTED); /* nobody else judges what a group came to */
	} else {
		run_list(r, c->body, flags);
	}
	redirect_undo(saved);
}

static void run_subshell(struct run *r, const struct command *c, unsigned flags)
{
	pid_t pid;

	if (flags & RUN_LAST) { /* nothing comes after it that its changes could be seen by */
		state_return(r);
		run_group(r, c, flags);
		return;
	}
	pid = run_fork(r);
	if (pid == 0) {
		run_group(r, c, flags | RUN_LAST);
		leave(r);
	}
	if (pid > 0)
		(void)job_wait(r, pid);
}

static void run_command(struct run *r, const struct command *c, unsigned flags)
{
	switch (c->kind) {
	case COMMAND_SIMPLE:
		run_simple(r, c, flags);
		break;
	case COMMAND_GROUP:
		run_group(r, c, flags);
		break;
	case COMMAND_SUBSHELL:
		run_subshell(r, c, flags);
		break;
	}
}

/* In the child of a member: input and output are pipes, where it has neighbours. */
static _Noreturn void run_member(struct run *r, const struct command *c, int in, const int out[2],
				 unsigned flags)
{
	if (in >= 0) {
		dup2(in, STDIN_FILENO);
		close(in);
	}
	if (c->next) {
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
	}
	run_command(r, c, (flags & RUN_TESTED) | RUN_LAST);
	leave(r);
}

/* Descriptors of ours are above those that redirections name. */
static int open_pipe(int ret[2])
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		ret[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, 10);
		close(ends[i]);
	}
	if (ret[0] >= 0 && ret[1] >= 0)
		return 0;
	close_fd(&ret[0]);
	close_fd(&ret[1]);
	return -1;
}

static void wait_members(struct run *r, const pid_t *pids, size_t n)
{
	int failed, status = jobs_wait(r, pids, n, &failed);

	if (r->signal)
		r->status = 128 + r->signal;
	else if (!r->ended)
		r->status = r->pipefail ? failed : status;
	else
		r->status = RUN_FAILED; /* not all of them could be started */
}

static void run_members(struct run *r, const struct command *first, unsigned flags)
{
	PTR_OWNED pid_t *pids = NULL;
	size_t n = 0;
	int in = -EBADF;

	for (const struct command *c = first; c; c = c->next)
		n++;
	pids = calloc(n, sizeof(*pids));
	if (!pids) {
		complain("%s", strerror(ENOMEM));
		r->ended = true;
		r->status = RUN_FAILED;
		return;
	}
	n = 0;
	for (const struct command *c = first; c; c = c->next) {
		int out[2] = { -EBADF, -EBADF };

		if (c->next && open_pipe(out) < 0) {
			complain("cannot make a pipe: %s", strerror(errno));
			r->ended = true;
			r->status = RUN_FAILED;
			break;
		}
		pids[n] = run_fork(r);
		if (pids[n] == 0)
			run_member(r, c, in, out, flags);
		close_fd(&in);
		close_fd(&out[1]);
		in = out[0];
		if (pids[n] < 0 || job_add(r, pids[n++]) < 0) {
			r->ended = true;
			r->status = RUN_FAILED;
			break;
		}
	}
	close_fd(&in);
	wait_members(r, pids, n);
}

static void run_pipeline(struct run *r, const struct command_pipeline *p, unsigned flags)
{
	if (p->negated)
		flags = RUN_TESTED;
	if (p->commands->next)
		run_members(r, p->commands, flags);
	else
		run_command(r, p->commands, flags);
	if (r->ended)
		return;
	if (p->negated)
		r->status = !r->status;
	else if (r->status && r->errexit && !(flags & RUN_TESTED) &&
		 (p->commands->next || p->commands->kind != COMMAND_GROUP)) /* what is in it has been judged */
		r->ended = true;
}

static void run_and_or(struct run *r, const struct command_pipeline *p, unsigned flags)
{
	for (; p && !r->ended; p = p->next) {
		unsigned own = p->next ? RUN_TESTED : flags;

		if (p->op && (p->op == '&') != (r->status == 0))
			continue;
		run_pipeline(r, p, own);
	}
}

static void run_background(struct run *r, const struct command_list *item)
{
	pid_t pid = run_fork(r);

	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

		if (null >= 0 && dup2(null, STDIN_FILENO) == STDIN_FILENO && null > STDIN_FILENO)
			close(null);
		run_and_or(r, item->pipelines, RUN_LAST);
		leave(r);
	}
	if (pid < 0)
		return;
	r->background = pid;
	r->status = 0;
	if (job_add(r, pid) < 0) {
		complain("more than %u commands run in the background", RUN_JOBS_MAX);
		r->ended = true;
		r->status = RUN_FAILED;
	}
}

void run_list(struct run *r, const struct command_list *list, unsigned flags)
{
	for (; list && !r->ended; list = list->next) {
		signals_look(r);
		if (r->ended)
			return;
		if (list->background)
			run_background(r, list);
		else
			run_and_or(r, list->pipelines,
				   list->next ? flags & ~(unsigned)RUN_LAST : flags);
	}
}
