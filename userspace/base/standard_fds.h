/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOAT_STANDARD_FDS_H
#define MOAT_STANDARD_FDS_H

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/*
 * Opens /dev/null in place of each of the descriptors 0, 1 and 2 that is closed. The first thing in
 * every main(): the next descriptor that is opened takes such a number, and what the program, a
 * library or a command prints would be written to it, to a socket as requests.
 * 0 or -errno; then nothing may be opened, and the program has to end. It has said why, where
 * descriptor 2 is open.
 */
static inline int standard_fds_open(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int opened;

		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* Those below are open by now, so it gets the lowest number: this one. */
		opened = open("/dev/null", O_RDWR);
		if (opened != fd) {
			static const char text[] = "moat: descriptors 0, 1 or 2 are closed, and /dev/null "
						   "cannot be opened in their place\n";
			int r = opened < 0 ? -errno : -EBADF;

			(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
			return r;
		}
	}
	return 0;
}

#endif
