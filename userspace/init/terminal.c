// SPDX-License-Identifier: Apache-2.0
/*
 * A terminal for a command, out of the devpts of the namespace that it will be in. Nothing is found by a path that user code
 * can change: the root of devpts was opened before any command ran, with surroundings of its own it is the one that no command
 * has seen yet, what is mounted on ptmx is refused, and the other end is opened by the first one.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "init/init.h"

static int root = -EBADF;

int terminal_setup(void)
{
	root = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root < 0 ? -errno : 0;
}

static int open_master(void)
{
	struct open_how how = { .flags = O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	bool own = own_active();

	if (!own)
		how.resolve |= RESOLVE_NO_XDEV;
	return (int)syscall(SYS_openat2, own ? AT_FDCWD : root, own ? "pts/ptmx" : "ptmx", &how, sizeof(how));
}

int terminal_open(unsigned short rows, unsigned short cols, int *ret_master, int *ret_slave)
{
	struct winsize size = { .ws_row = rows, .ws_col = cols };
	int master FD_OWNED = open_master();
	int slave FD_OWNED = -EBADF;
	int unlocked = 0;

	if (master < 0)
		return -errno;
	if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
		return -errno;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	*ret_master = take_fd(&master);
	*ret_slave = take_fd(&slave);
	return 0;
}
