/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process/tables.h"

#include <fcntl.h>

#include "base/log.h"

/* The most that each takes (Documentation/admin-guide/sysctl). */
static const struct {
	const char *file, *most;
} tables[] = {
	{ "/proc/sys/fs/file-max", "9223372036854775807" },
	{ "/proc/sys/fs/inotify/max_user_instances", "2147483647" },
	{ "/proc/sys/fs/inotify/max_user_watches", "2147483647" },
	{ "/proc/sys/kernel/pty/max", "1048576" },
};

void tables_raise(void)
{
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		int r = write_file_at(AT_FDCWD, tables[i].file, tables[i].most);

		/* In most containers all of /proc/sys is read-only. */
		if (r < 0)
			log_debug("%s stays as it is: %s", tables[i].file, strerror(-r));
	}
}
