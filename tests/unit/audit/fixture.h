/* SPDX-License-Identifier: Apache-2.0 */
/* An audit module with a log that is not there yet. */
#ifndef MOAT_AUDIT_FIXTURE_H
#define MOAT_AUDIT_FIXTURE_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "agent/audit/audit.h"

static struct {
	struct audit *audit;
	struct loop *loop;
	uint64_t first, last;
	unsigned calls;
	char log[64], old[80];
} t;

static int setup(void **state)
{
	int fd;

	(void)state;
	memset(&t, 0, sizeof(t));
	snprintf(t.log, sizeof(t.log), "/tmp/moat-audit-test-XXXXXX");
	fd = mkstemp(t.log);
	if (fd < 0)
		return -1;
	close(fd);
	unlink(t.log);
	snprintf(t.old, sizeof(t.old), "%s.1", t.log);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	audit_close(t.audit);
	unlink(t.log);
	unlink(t.old);
	return 0;
}

static const char *name_of(uint64_t context, void *data)
{
	assert_ptr_equal(data, &t);
	return context == 2 ? "two" : NULL;
}

static int open_audit(const char *log)
{
	return audit_open(log, "unit", NULL, name_of, &t, &t.audit, NULL);
}

static void record(uint64_t object)
{
	struct moat_event event = {
		.time_ns = 1, .context = 2, .exec = 3, .object = object,
		.hook = MOAT_HOOK_socket_bind, .err = EADDRINUSE, .enforced = 1, .pid = 42,
		.object_kind = MOAT_OBJECT_PORT, .comm = "nc", .folded = 7,
	};

	audit_record(&event, t.audit);
}

#define AUDIT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
