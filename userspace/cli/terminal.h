/* SPDX-License-Identifier: Apache-2.0 */
/* Our own terminal while a command has one: keys go to the command as they are. */
#ifndef MOAT_CLI_TERMINAL_H
#define MOAT_CLI_TERMINAL_H

#include "cli/cli.h"

/* Whether stdin is one whose state can be changed; then it is restored when this process ends. */
bool terminal_raw(void);
void terminal_restore(void);
/* Its size; 24 and 80 where it has none. */
void terminal_size(unsigned *ret_rows, unsigned *ret_cols);

#endif
