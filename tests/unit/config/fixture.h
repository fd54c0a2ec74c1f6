/* SPDX-License-Identifier: Apache-2.0 */
/* A file that the tests write and load. Include it first. */
#ifndef MOAT_CONFIG_FIXTURE_H
#define MOAT_CONFIG_FIXTURE_H

#include "agent/config/config.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char path[] = "/tmp/moat-config-test-XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

/* Loads n bytes as a file. */
static int load(const char *text, size_t n, struct config **ret_config, struct failure *f)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
	return config_load(path, ret_config, f);
}

/* Expects the refusal "FILE:LINE: reason". */
static void refused_bytes(const char *text, size_t n, unsigned line, const char *reason)
{
	struct config *config = (struct config *)&config;
	struct failure f = { 0 };
	char expected[600];

	snprintf(expected, sizeof(expected), "%s:%u: %s", path, line, reason);
	assert_int_equal(load(text, n, &config, &f), -EINVAL);
	assert_ptr_equal(config, &config);
	assert_string_equal(f.msg, expected);
	assert_int_equal(f.err, EINVAL);
}

static void refused(const char *text, unsigned line, const char *reason)
{
	refused_bytes(text, strlen(text), line, reason);
}

static inline struct config *accepted(const char *text)
{
	struct config *config = NULL;
	struct failure f = { 0 };
	int r = load(text, strlen(text), &config, &f);

	if (r < 0)
		fail_msg("%s", f.msg);
	return config;
}

#define SERVICE "[service a]\ncommand = x\n"

#endif
