/* SPDX-License-Identifier: Apache-2.0 */
/* Sends our stdin to a process, as it comes, from a process of its own: that waits for the command while the other one takes
 * what the command writes. */
#ifndef MOAT_CLI_FEED_H
#define MOAT_CLI_FEED_H

#include "cli/cli.h"

/* 0, or -1 with errno. It ends with its parent. keys: those of a terminal, of which Ctrl-] ends it, and stdin stays open. */
int feed_start(const struct cli *cli, const char *id, bool keys, pid_t *ret_pid);
/* 0 is permitted. */
void feed_stop(pid_t pid);

#endif
