/* SPDX-License-Identifier: Apache-2.0 */
/* Simple commands: words become fields, the first of them says what runs. */
#include "run/internal.h"

/* An expansion that cannot be made ends the string. */
static void expansion_failed(struct run *r, int result, const struct failure *f)
{
	complain("%s", f->err ? f->msg : strerror(-result));
	r->ended = true;
	r->status = RUN_FAILED;
}

/* In the order they are written: each sees those before it. exported: as of variable_set(). */
static int assign(struct run *r, const struct command_assignment *a, int exported)
{
	for (; a; a = a->next) {
		struct command_world world = run_world(r);
		struct failure f = { 0 };
		char *value PTR_OWNED = NULL;
		int result = command_expand_text(a->value, &world, &value, &f);

		if (result == 0)
			result = variable_set(r, a->name, value, exported);
		if (result < 0) {
			expansion_failed(r, result, &f);
			return result;
		}
	}
	return 0;
}

static void run_assignments(struct run *r, const struct command *c)
{
	struct redirected *saved = NULL;

	if (redirect(r, c->redirections, &saved) < 0)
		r->status = RUN_FAILED;
	else if (assign(r, c->assignments, -1) == 0)
		r->status = 0;
	redirect_undo(saved);
}

static void print_trace(const struct run *r, char **fields)
{
	if (!r->trace)
		return;
	(void)write_all(STDERR_FILENO, "+", 1);
	for (; *fields; fields++) {
		(void)write_all(STDERR_FILENO, " ", 1);
		(void)write_all(STDERR_FILENO, *fields, strlen(*fields));
	}
	(void)write_all(STDERR_FILENO, "\n", 1);
}

static size_t count(const struct command_assignment *a)
{
	size_t n = 0;

	for (; a; a = a->next)
		n++;
	return n;
}

/* Assignments before a builtin are gone after it. */
static void run_builtin(struct run *r, const struct command *c, enum command_builtin builtin,
			char **fields)
{
	struct variable *before PTR_OWNED = calloc(count(c->assignments) + 1, sizeof(*before));
	struct redirected *saved = NULL;
	size_t n = 0;
	int result = before ? 0 : -ENOMEM;

	for (const struct command_assignment *a = c->assignments; a && result == 0; a = a->next)
		result = variable_save(r, a->name, &before[n++]);
	if (result < 0) {
		complain("%s", strerror(-result));
		r->status = RUN_FAILED;
	} else if (redirect(r, c->redirections, &saved) < 0) {
		r->status = RUN_FAILED;
	} else if (assign(r, c->assignments, 1) == 0) {
		r->status = builtin_run(r, builtin, fields);
	}
	redirect_undo(saved);
	while (n-- > 0)
		variable_restore(r, &before[n]);
}

/* In the place of this process, which ends when that fails. */
static void execute(struct run *r, const struct command *c, char **fields)
{
	if (redirect(r, c->redirections, NULL) < 0)
		r->status = RUN_FAILED;
	else if (assign(r, c->assignments, 1) == 0)
		r->status = program_execute(r, fields);
}

static void run_program(struct run *r, const struct command *c, char **fields, unsigned flags)
{
	pid_t pid;

	if (flags & RUN_LAST) {
		state_return(r);
		execute(r, c, fields);
		return;
	}
	pid = run_fork(r);
	if (pid == 0) {
		execute(r, c, fields);
		_exit(r->status);
	}
	if (pid > 0)
		(void)job_wait(r, pid);
}

/* The builtin that the fields name, behind "command" where that only stands before. */
static enum command_builtin find_builtin(const struct run *r, char ***fields)
{
	enum command_builtin builtin = command_builtin_find((*fields)[0]);

	while (builtin == COMMAND_B_COMMAND && (*fields)[1] && (*fields)[1][0] != '-') {
		(*fields)++;
		builtin = command_builtin_find((*fields)[0]);
	}
	if (builtin == COMMAND_B_DEACTIVATE && !variable_get(r, RUN_OLD_PATH))
		return COMMAND_B_NONE;
	return builtin;
}

void run_simple(struct run *r, const struct command *c, unsigned flags)
{
	struct command_world world = run_world(r);
	enum command_builtin builtin;
	struct failure f = { 0 };
	char **fields = NULL, **named;
	int result = command_expand(c->words, &world, &fields, &f);

	if (result < 0) {
		expansion_failed(r, result, &f);
		return;
	}
	if (!fields[0]) {
		run_assignments(r, c);
	} else {
		print_trace(r, fields);
		named = fields;
		builtin = find_builtin(r, &named);
		if (builtin)
			run_builtin(r, c, builtin, named);
		else
			run_program(r, c, named, flags);
	}
	strv_free(fields);
}
