/* SPDX-License-Identifier: Apache-2.0 */
/* moat-run as the one who serves a request for files: see protocol.h. */
#ifndef MOAT_RUN_FILES_H
#define MOAT_RUN_FILES_H

/* Reads a request from standard input, answers on standard output. The exit status: 0, also where the answer is an
 * error; 1: whoever asked is gone, or no agent. */
int files_main(void);

#endif
