/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOAT_MOUNTINFO_H
#define MOAT_MOUNTINFO_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* One line of /proc/PID/mountinfo (proc_pid_mountinfo(5)); its strings point into the line. */
struct mountinfo {
	uint64_t id;
	char *root, *path; /* within its file system, and where it is mounted */
	const char *type;
	bool readonly;
};

/* Undoes, in place, how the kernel writes space, tab, newline and backslash in the paths: as three
 * octal digits behind a backslash. */
static inline void mountinfo_unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/* "36 35 98:0 /root /path rw,noatime optional… - type source super". Changes the line. 0 or -EBADMSG. */
static inline int mountinfo_parse(char *line, struct mountinfo *ret)
{
	char *field[6], *type, *rest = line;

	for (unsigned i = 0; i < 6; i++) {
		field[i] = strsep(&rest, " ");
		if (!rest)
			return -EBADMSG;
	}
	if (!strncmp(rest, "- ", 2))
		type = rest + 2;
	else if ((type = strstr(rest, " - ")))
		type += 3;
	else
		return -EBADMSG;
	type[strcspn(type, " ")] = '\0';
	mountinfo_unescape(field[3]);
	mountinfo_unescape(field[4]);
	*ret = (struct mountinfo){
		.id = strtoull(field[0], NULL, 10),
		.root = field[3],
		.path = field[4],
		.type = type,
		.readonly = !strncmp(field[5], "ro", 2) && (field[5][2] == ',' || !field[5][2]),
	};
	return 0;
}

#endif
