/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process/lock.h"

#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "agent/process/clone.h"

static bool ends_until(int pidfd, uint64_t deadline_ns)
{
	struct pollfd child = { .fd = pidfd, .events = POLLIN };
	int n;

	do {
		uint64_t now = now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;

		n = ppoll(&child, 1,
			  &(struct timespec){ .tv_sec = (time_t)(left / NSEC_PER_SEC),
					      .tv_nsec = (long)(left % NSEC_PER_SEC) },
			  NULL);
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

/* A child waits: the lock is that of the open file, which it shares with us. */
int lock_in_time(int fd, uint64_t wait_ns)
{
	pid_t parent = getpid();
	struct process child;
	siginfo_t end = { 0 };
	int r = process_clone(0, -1, &child);

	if (r == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
			_exit(1);
		_exit(flock(fd, LOCK_EX) < 0);
	}
	if (r < 0)
		return r;
	if (!ends_until(child.pidfd, now_ns() + wait_ns))
		(void)pidfd_send_signal(child.pidfd, SIGKILL, NULL, 0);
	do
		r = waitid(P_PIDFD, (id_t)child.pidfd, &end, WEXITED);
	while (r < 0 && errno == EINTR);
	close_fd(&child.pidfd);
	return r == 0 && end.si_code == CLD_EXITED && end.si_status == 0 ? 0 : -EBUSY;
}

int lock_removable_in_time(int fd, uint64_t wait_ns)
{
	int r = lock_removable(fd);

	if (r == -EBUSY && wait_ns && lock_in_time(fd, wait_ns) == 0)
		r = lock_removable(fd); /* it is ours; is it still there? */
	return r;
}
