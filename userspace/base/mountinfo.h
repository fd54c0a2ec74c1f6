/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOAT_MOUNTINFO_H
#define MOAT_MOUNTINFO_H

/* Undoes, in place, how the kernel writes space, tab, newline and backslash in the paths of
 * /proc/PID/mountinfo: as three octal digits behind a backslash (proc_pid_mountinfo(5)). */
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

#endif
