/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values of a configuration file, one function per kind. Each returns NULL, or why the value is
 * refused: a static text that never repeats the value, which may be a secret. Results are written
 * only on success.
 */
#ifndef MOAT_CONFIG_VALUE_H
#define MOAT_CONFIG_VALUE_H

#include "agent/config/config.h"

/* A name from a table, which ends with a NULL name; refusal is the text for everything else. */
struct config_choice {
	const char *name;
	int value;
};

const char *config_value_choice(const char *text, const struct config_choice *choices,
				const char *refusal, int *ret_value);
const char *config_value_bool(const char *text, bool *ret_value);
/* [a-z0-9][a-z0-9-]{0,31} */
bool config_value_is_name(const char *text);
/* The name of a context that may be given: as others, but not one of a session. */
const char *config_value_context_name(const char *text);
/* An absolute path without "." and ".." in it. Copies, with single slashes and none at the end;
 * what *path held is freed. */
const char *config_value_path(const char *text, char **path);
/* Appends one to a list, which has at most max. */
const char *config_value_add_path(const char *text, size_t max, char ***paths);
/* "8080", "8080/tcp", "5353/udp" */
const char *config_value_port(const char *text, struct config_port *ret_port);
/* "195:*", "10:232", or an absolute path, which the caller frees. */
const char *config_value_device(const char *text, struct config_device *ret_device);
/* The path of a unix socket, as config_value_path(), or the name of one without a file behind an @. */
const char *config_value_socket(const char *text, char **name);
/* Sets one KEY=VALUE in *env, which may be NULL. */
const char *config_value_env(const char *text, char ***env);
/* A limit in the unit of its kind, or "infinity" (CONFIG_NO_LIMIT): 512M, 100, 1.5. */
const char *config_value_limit(const char *text, enum config_limit kind, uint64_t *ret_limit);
/* Whole seconds, at most a day; 0, where none allows it: without end. */
const char *config_value_seconds(const char *text, bool none, uint64_t *ret_seconds);
/* Bytes, with K, M, G or T behind them for powers of 1024; at least 1M. */
const char *config_value_size(const char *text, uint64_t *ret_bytes);
/* "none", or a union of "container-default", "all" and names as in capabilities(7), less those behind a "-". */
const char *config_value_capabilities(const char *text, uint64_t *ret_mask);
/* The set that container engines leave to a container's root. */
uint64_t config_capabilities_default(void);

/*
 * Splits a command into words: blanks separate; '…' keeps everything; "…" keeps everything but \"
 * and \\; outside of quotes \ keeps the next character. Nothing is expanded. What a shell would take
 * for an operator (a bare word such as | or 2>&1), a comment, an assignment in front of the command,
 * or would expand ($NAME, `…`, ~, * ? [) is refused rather than given to the command: in quotes it is
 * passed on.
 */
const char *config_value_words(const char *text, char ***ret_argv);

#endif
