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

#define PING_GROUPS "/proc/sys/net/ipv4/ping_group_range"

void tables_allow_ping(void)
{
	PTR_OWNED char *now = NULL;
	int r = read_file_at(AT_FDCWD, PING_GROUPS, 64, &now, NULL);

	if (r == 0 && strncmp(now, "1\t0", 3) == 0) /* nobody: as the kernel has it, and not as somebody wants it */
		r = write_file_at(AT_FDCWD, PING_GROUPS, "0 2147483647");
	if (r < 0)
		log_debug("%s stays as it is: %s", PING_GROUPS, strerror(-r));
}
