/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/namespace/user.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/process/clone.h"

/* Who the agent is: in a user namespace that has no map yet everybody is the overflow user. */
static unsigned user, group;

static int map(const char *file, unsigned id)
{
	char text[32];

	snprintf(text, sizeof(text), "%u %u 1", id, id);
	return write_file_at(AT_FDCWD, file, text);
}

/* Who is not root keeps them over execve(2) by the ambient set alone. */
static int keep_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2];

	if (syscall(SYS_capget, &head, sets) < 0)
		return -errno;
	for (int i = 0; i < 2; i++)
		sets[i].inheritable = sets[i].permitted;
	if (syscall(SYS_capset, &head, sets) < 0)
		return -errno;
	for (unsigned cap = 0; cap < 64; cap++)
		if (sets[cap / 32].permitted & 1u << cap % 32 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return -errno;
	return 0;
}

int user_namespace_enter(void)
{
	int r = write_file_at(AT_FDCWD, "/proc/self/setgroups", "deny");
	if (r == 0)
		r = map("/proc/self/uid_map", user);
	if (r == 0)
		r = map("/proc/self/gid_map", group);
	return r < 0 ? r : keep_capabilities();
}

static int try_mounts(void)
{
	int r = user_namespace_enter();

	if (r == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		r = -errno;
	if (r == 0 && fsopen("tmpfs", FSOPEN_CLOEXEC) < 0)
		r = -errno;
	return r;
}

enum init_world user_namespace_world(void)
{
	struct process child;
	siginfo_t info = { 0 };
	int r;

	user = geteuid();
	group = getegid();
	r = process_clone(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS, -1, &child);
	if (r == 0)
		_exit(try_mounts() < 0);
	if (r < 0)
		return INIT_WORLD_NONE;
	while (waitid(P_PIDFD, (id_t)child.pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
	close_fd(&child.pidfd);
	return info.si_code == CLD_EXITED && info.si_status == 0 ? INIT_WORLD_MOUNTS :
								   INIT_WORLD_NONE;
}
