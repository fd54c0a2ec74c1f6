/* SPDX-License-Identifier: Apache-2.0 */
/* Ways into a terminal. Whose it is, the kernel programs know: tests/integration/test_terminals.py. */
#include "attempt.h"

#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <utmp.h>

/* Makes one's own terminal the controlling one of a session of one's own, in which request is then made. */
static int in_terminal(struct target *t, unsigned long request, const void *argument)
{
	int master, slave;

	if (openpty(&master, &slave, NULL, NULL, NULL) < 0)
		return setup(t, "openpty");
	setsid();
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return setup(t, "ioctl(TIOCSCTTY)");
	return answer(ioctl(slave, request, argument)); /* closing the master would end us by SIGHUP */
}

int attempt_terminal_type(struct target *t)
{
	return in_terminal(t, TIOCSTI, "x");
}

int attempt_terminal_discipline(struct target *t)
{
	return in_terminal(t, TIOCSETD, &(int){ 0 });
}

/* By its name, in the session and outside of it; what is set, resized and written stays one's own. */
int attempt_terminal_own(struct target *t)
{
	struct winsize size = { 24, 80, 0, 0 };
	struct termios settings;
	int master, slave, again, r = 0;
	char name[32];

	if (openpty(&master, &slave, name, NULL, NULL) < 0)
		return setup(t, "openpty");
	again = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (again < 0 || tcgetattr(again, &settings) < 0 || tcsetattr(again, TCSANOW, &settings) < 0 ||
	    ioctl(again, TIOCSWINSZ, &size) < 0 || write(again, "x", 1) != 1)
		r = -errno;
	close(master);
	close(slave);
	return answered(again, r);
}

static int take(struct target *t)
{
	setsid();
	return answer(ioctl(t->channel, TIOCSCTTY, 1));
}

/* From another session of one's own. */
int attempt_terminal_take_own(struct target *t)
{
	int master, slave;

	if (openpty(&master, &slave, NULL, NULL, NULL) < 0)
		return setup(t, "openpty");
	setsid();
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return setup(t, "ioctl(TIOCSCTTY)");
	t->channel = slave;
	return in_child(take, t);
}
