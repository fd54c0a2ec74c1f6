/* SPDX-License-Identifier: Apache-2.0 */
/* Why a command could not be started, in words and codes. */
#include "agent/exec/internal.h"

int exec_describe_errno(struct refusal *e, int err)
{
	enum moat_error want = refusal_of_want(-err);

	if (want)
		refuse(e, want, "no resources for another command: %s", strerror(-err));
	else
		refuse(e, MOAT_E_INTERNAL, "cannot prepare the command: %s", strerror(-err));
	e->err = -err;
	return -EINVAL;
}

/* Nothing has run, and the same may well run later. */
static void describe_want(struct refusal *e, const struct exec *x, enum moat_error code, int err)
{
	uint64_t files = x->cgroup ? cgroup_files(x->cgroup) : 0;

	if (code == MOAT_E_OUT_OF_MEMORY && files > 0)
		refuse(e, code,
		       "the command could not be started: %s; files in memory take %llu MiB of context %s",
		       strerror(err), (unsigned long long)(files >> 20), x->context->name);
	else
		refuse(e, code, "the command could not be started: %s", strerror(err));
}

/* MAX_ARG_STRLEN, with the NUL (linux/binfmts.h). */
static long argument_max(void)
{
	return 32 * sysconf(_SC_PAGESIZE);
}

static void describe_interpreter(struct refusal *e, const struct exec *x)
{
	size_t n = strcspn(x->spawn.missing, "\r");

	refuse(e, MOAT_E_COMMAND_NOT_FOUND, "%.128s: its interpreter %.*s%sis not there%s", x->argv[0],
	       (int)n, x->spawn.missing, n ? " " : "",
	       x->spawn.missing[n] == '\r' ?
		       ": the line ends in a carriage return, as on Windows" : "");
}

void exec_describe_failure(struct refusal *e, const struct exec *x, int err, enum init_step step)
{
	enum moat_error want = refusal_of_want(err);

	if (want && step > INIT_STEP_REQUEST)
		describe_want(e, x, want, err);
	else if (step == INIT_STEP_INTERPRETER)
		describe_interpreter(e, x);
	else if (step == INIT_STEP_EXEC && (err == ENOENT || err == ENOTDIR))
		refuse(e, MOAT_E_COMMAND_NOT_FOUND, "%.128s: command not found", x->argv[0]);
	else if (step == INIT_STEP_EXEC && err == E2BIG)
		refuse(e, MOAT_E_ARGUMENTS_TOO_LARGE,
			      "an argument or variable is larger than %ld bytes", argument_max());
	else if (step == INIT_STEP_EXEC)
		refuse(e, MOAT_E_COMMAND_NOT_EXECUTABLE, "%.128s: %s", x->argv[0],
			      strerror(err));
	else if (step == INIT_STEP_DIRECTORY && x->in_state)
		refuse(e, MOAT_E_BAD_DIRECTORY,
		       "%.128s, where an earlier command of the context went: %s; give cwd, or reset its state",
		       x->cwd, strerror(err));
	else if (step == INIT_STEP_DIRECTORY)
		refuse(e, MOAT_E_BAD_DIRECTORY, "%.128s: %s", x->cwd, strerror(err));
	else if (step == INIT_STEP_REQUEST)
		exec_describe_errno(e, -err);
	else if (step == INIT_STEP_NONE && x->execs->closing)
		refuse(e, MOAT_E_SHUTTING_DOWN, "the agent stops");
	else if (step == INIT_STEP_NONE && err == ESRCH)
		refuse(e, MOAT_E_NAMESPACE_LOST, "namespace %s was lost", namespace_name(x->ns));
	else if (step == INIT_STEP_NONE)
		refuse(e, MOAT_E_NAMESPACE_LOST, "namespace %s could not be made: %s",
		       namespace_name(x->ns), strerror(err));
	else
		refuse(e, MOAT_E_SPAWN_FAILED, "cannot start the command (%s): %s",
			      init_step_name(step), strerror(err));
	if (e->code == MOAT_E_ARGUMENTS_TOO_LARGE)
		e->limit = argument_max();
	e->err = err;
	e->step = init_step_name(step);
}
