/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's log: one line each on stderr, "moatd: warning: text", with the kernel's <N> priority
 * prefix when $JOURNAL_STREAM names stderr. Control characters become '?'. Values of environment
 * variables and arguments of commands are never logged. Nothing waits for whoever reads the log: a line
 * that finds no room is lost, counted, and its loss told as soon as there is room again.
 */
#ifndef MOAT_LOG_H
#define MOAT_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* program: static string. Messages above max are not written. */
void log_open(const char *program, enum log_level max);
void log_at(enum log_level level, const char *fmt, ...) PRINTF(2, 3);

/* How many lines were lost. */
uint64_t log_drops(void);

#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

#endif
