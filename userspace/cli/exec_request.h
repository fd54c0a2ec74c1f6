/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `moat exec` and `moat run` as the body of POST /v1/exec (exec_request.c). */
#ifndef MOAT_CLI_EXEC_REQUEST_H
#define MOAT_CLI_EXEC_REQUEST_H

#include "cli/cli.h"

#define EXEC_SLOW_MS (7 * 24 * 3600 * 1000) /* the most that the agent takes */
#define EXEC_STDIN_MAX (1024u * 1024) /* a request may be twice as large: room for base64 */

struct exec_options {
	json_t *env; /* object; owned */
	const char *context, *session, *directory, *id, *shell;
	const char *file; /* its standard input, to be opened; NULL: none */
	bool secure, no_isolation, input, detach, tty;
	bool interrupts; /* each SIGINT is its own: none kills it */
	bool input_live; /* set before the body is made: stdin is sent as it comes */
	uint64_t timeout_ms; /* 0: none */
	uint64_t output_limit;  /* the same, in bytes */
	uint64_t kill_after_ms; /* the same */
	int kill_signal;
	char **argv;         /* borrowed */
	bool run;            /* set before they are parsed: argv is one command string */
};

/* Parses the arguments. False when the command must return *ret_status. */
bool exec_options_parse(struct cli *cli, int argc, char **argv, struct exec_options *ret,
			int *ret_status);
/* The body, to be wiped and freed by the caller; reads stdin when that was asked for.
 * 0 or an exit status. */
int exec_options_body(const struct exec_options *options, char **ret_body);

#endif
