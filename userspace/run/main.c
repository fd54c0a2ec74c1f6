/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <sys/prctl.h>

#include "run/files/files.h"
#include "run/files/protocol.h"
#include "run/internal.h"

extern char **environ;

void complain(const char *fmt, ...)
{
	char text[512] = "moat: ";
	size_t n = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - n - 1, fmt, ap);
	va_end(ap);
	n = strlen(text);
	text[n++] = '\n';
	(void)write_all(STDERR_FILENO, text, n);
}

/* The agent has read the string before; who calls moat-run by hand learns what is wrong with it. */
static int refused(const struct command_error *e)
{
	complain("%s: %s (line %u, column %u: %s)", e->name, e->text, e->line, e->column,
		 e->excerpt);
	complain("%s", e->hint);
	return RUN_FAILED;
}

/* Reads all that there is to know. 0, or the status that this ends with. */
static int begin(struct run *r, struct input *in, struct command_tree **ret_tree)
{
	struct command_error error;
	int result = command_parse(in->string, in->string_len, ret_tree, &error);

	if (result == -EINVAL)
		return refused(&error);
	if (result == 0)
		result = variables_open(r, environ);
	if (result == 0)
		result = variables_add(r, in->entries, in->entries_len);
	if (result < 0) {
		complain("%s", strerror(-result));
		return RUN_FAILED;
	}
	directory_open(r);
	r->state_fd = in->state_fd;
	return 0;
}

int main(int argc, char **argv)
{
	struct command_tree *tree = NULL;
	struct run r = { .state_fd = -EBADF };
	struct input in = { .state_fd = -EBADF };
	int status;

	if (argc == 1 && strcmp(argv[0], FILES_PROGRAM) == 0)
		_exit(files_main());
	prctl(PR_SET_NAME, "moat-run");
	if (argc > 2 || (argc < 2 && input_read(&in) < 0)) {
		complain("usage: moat-run STRING");
		return RUN_FAILED;
	}
	if (argc == 2) {
		in.string = argv[1];
		in.string_len = strlen(argv[1]);
	}
	status = begin(&r, &in, &tree);
	if (status)
		return status;
	input_wipe(&in);
	sigemptyset(&r.blocked);
	sigaddset(&r.blocked, SIGINT);
	sigaddset(&r.blocked, SIGQUIT);
	sigaddset(&r.blocked, SIGTERM);
	sigaddset(&r.blocked, SIGHUP);
	sigaddset(&r.blocked, SIGCHLD);
	sigprocmask(SIG_BLOCK, &r.blocked, &r.original);
	run_list(&r, tree->list, RUN_LAST);
	state_return(&r);
	_exit(r.status);
}
