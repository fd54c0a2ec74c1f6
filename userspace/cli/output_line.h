/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOAT_CLI_OUTPUT_LINE_H
#define MOAT_CLI_OUTPUT_LINE_H

#include "base/base.h"

/*
 * A line of a stream that is output, in the form in which the agent writes it: of a gigabyte a general reader of JSON
 * takes most of the time. Decodes into buf, which has room for len bytes. False: it is another line, or in another
 * form of JSON, and answer_decode() is to read it; buf may have been written to.
 */
bool output_line_decode(const char *line, size_t len, char *buf, bool *ret_stderr, size_t *ret_n);

#endif
