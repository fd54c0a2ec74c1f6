/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>

#include "run/internal.h"

int builtin_say(const char *text)
{
	size_t n = strlen(text);
	char *line PTR_OWNED = malloc(n + 1);
	int r;

	if (!line)
		return RUN_FAILED;
	memcpy(line, text, n);
	line[n] = '\n';
	r = write_all(STDOUT_FILENO, line, n + 1);
	if (r < 0)
		complain("cannot write: %s", strerror(-r));
	return r < 0 ? 1 : 0;
}

static int builtin_export(struct run *r, char **argv)
{
	int status = 0;

	for (argv++; *argv; argv++) {
		const char *equals = strchrnul(*argv, '=');
		char *name PTR_OWNED = strndup(*argv, (size_t)(equals - *argv));

		if (!name || !command_name_valid(name, strlen(name))) {
			complain("export: %s: not the name of a variable", *argv);
			status = RUN_FAILED;
		} else if (variable_set(r, name, *equals ? equals + 1 : NULL, 1) < 0) {
			status = RUN_FAILED;
		}
	}
	return status;
}

static int builtin_unset(struct run *r, char **argv)
{
	for (argv++; *argv; argv++)
		if (strcmp(*argv, "-v") != 0 && strcmp(*argv, "--") != 0 &&
		    variable_unset(r, *argv) < 0)
			return RUN_FAILED;
	return 0;
}

/* A number of digits, at most INT_MAX; -1: none. */
static int number(const char *text)
{
	long value = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + *text - '0';
		if (value > INT_MAX)
			return -1;
	}
	return (int)value;
}

static int builtin_exit(struct run *r, char **argv)
{
	int status = argv[1] ? number(argv[1]) : r->status;

	r->ended = true;
	if (status >= 0)
		return status & 0xff;
	complain("exit: %s: not a number", argv[1]);
	return RUN_FAILED;
}

static int builtin_wait(struct run *r, char **argv)
{
	int status = 0;

	if (!argv[1])
		return job_wait_background(r, 0);
	for (argv++; *argv && !r->ended; argv++) {
		int pid = number(*argv);

		status = pid > 0 ? job_wait_background(r, pid) : RUN_FAILED;
		if (pid <= 0)
			complain("wait: %s: not a process", *argv);
	}
	return status;
}

/* "command -v NAME": what the name is. */
static int builtin_command(struct run *r, char **argv)
{
	char buf[PATH_MAX];
	int status = 0;

	if (!argv[1])
		return 0;
	if (strcmp(argv[1], "-v") != 0) { /* what a variable became; the rest has been refused */
		complain("command: %s: not an option", argv[1]);
		return RUN_FAILED;
	}
	for (argv += 2; *argv; argv++) {
		const char *found = command_builtin_find(*argv) ? *argv :
								  program_find(r, *argv, buf);

		if (!found || builtin_say(found) != 0)
			status = found ? 1 : RUN_NOT_FOUND;
	}
	return status;
}

/* The arguments were looked at when the string was read. */
static int builtin_set(struct run *r, char **argv)
{
	for (argv++; *argv; argv++) {
		bool on = (*argv)[0] == '-';

		for (const char *option = *argv + 1; *option; option++) {
			if (*option == 'e')
				r->errexit = on;
			else if (*option == 'u')
				r->nounset = on;
			else if (*option == 'x')
				r->trace = on;
			else if (*option == 'o' && argv[1] && strcmp(argv[1], "pipefail") == 0)
				r->pipefail = on;
		}
		if (strchr(*argv, 'o') && argv[1])
			argv++;
	}
	return 0;
}

static int builtin_deactivate(struct run *r, char **argv)
{
	(void)argv;
	if (variable_set(r, "PATH", variable_get(r, RUN_OLD_PATH), -1) < 0 ||
	    variable_unset(r, RUN_OLD_PATH) < 0 || variable_unset(r, "VIRTUAL_ENV") < 0)
		return RUN_FAILED;
	return 0;
}

static int builtin_true(struct run *r, char **argv)
{
	(void)r;
	(void)argv;
	return 0;
}

static int builtin_false(struct run *r, char **argv)
{
	(void)r;
	(void)argv;
	return 1;
}

int builtin_run(struct run *r, enum command_builtin builtin, char **argv)
{
	static int (*const table[COMMAND_B_COUNT])(struct run * r, char **argv) = {
		[COMMAND_B_COLON] = builtin_true,
		[COMMAND_B_TRUE] = builtin_true,
		[COMMAND_B_FALSE] = builtin_false,
		[COMMAND_B_CD] = builtin_cd,
		[COMMAND_B_PWD] = builtin_pwd,
		[COMMAND_B_EXPORT] = builtin_export,
		[COMMAND_B_UNSET] = builtin_unset,
		[COMMAND_B_EXIT] = builtin_exit,
		[COMMAND_B_WAIT] = builtin_wait,
		[COMMAND_B_COMMAND] = builtin_command,
		[COMMAND_B_SET] = builtin_set,
		[COMMAND_B_SOURCE] = builtin_source,
		[COMMAND_B_SOURCE_DOT] = builtin_source,
		[COMMAND_B_DEACTIVATE] = builtin_deactivate,
	};

	return table[builtin](r, argv);
}
