// SPDX-License-Identifier: Apache-2.0
/* What moat-init is itself, for its children inherit it: signals, session, capabilities, descriptors. */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/signals.h"
#include "init/init.h"

static int reset_signals(void)
{
	uint64_t all = ~0ull;

	reset_dispositions();
	/* Raw, because the C library never blocks the two signals it keeps for itself. */
	return syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all)) < 0 ? -errno : 0;
}

static int reset_capabilities(uint64_t bounding)
{
	cap_t caps;
	int r = 0;

	if (cap_get_secbits() != 0 && cap_set_secbits(0) < 0)
		return -errno;
	if (cap_reset_ambient() < 0)
		return -errno;
	for (cap_value_t cap = 0; cap < cap_max_bits() && cap < 64; cap++)
		if (!(bounding & (1ull << cap)) && cap_get_bound(cap) == 1 &&
		    cap_drop_bound(cap) < 0)
			return -errno;
	caps = cap_get_proc();
	if (!caps)
		return -errno;
	if (cap_clear_flag(caps, CAP_INHERITABLE) < 0 || cap_set_proc(caps) < 0)
		r = -errno;
	cap_free(caps);
	return r;
}

/* What setup_process() does that a fork of its process does not have yet. */
int setup_own_process(enum init_world world, bool shared_pid, uint64_t capabilities,
		      enum init_step *ret_step)
{
	*ret_step = INIT_STEP_SESSION;
	if (setsid() < 0)
		return -errno;
	*ret_step = INIT_STEP_SUBREAPER;
	if (shared_pid && prctl(PR_SET_CHILD_SUBREAPER, 1ul, 0ul, 0ul, 0ul) < 0)
		return -errno;
	*ret_step = INIT_STEP_CAPABILITIES;
	return world == INIT_WORLD_NONE ? 0 : reset_capabilities(capabilities);
}

int setup_process(enum init_world world, bool shared_pid, uint64_t capabilities,
		  enum init_step *ret_step)
{
	int r;

	*ret_step = INIT_STEP_SIGNALS;
	r = reset_signals();
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_SESSION;
	umask(022);
	if (chdir("/") < 0)
		return -errno;
	if (setsid() < 0 && errno != EPERM) /* EPERM: the leader of a group already */
		return -errno;
	/* What it takes to be filtered and confined without privileges; there are no capabilities to be had. */
	*ret_step = INIT_STEP_NO_NEW_PRIVS;
	if (world != INIT_WORLD_OWN && prctl(PR_SET_NO_NEW_PRIVS, 1ul, 0ul, 0ul, 0ul) < 0)
		return -errno;
	*ret_step = INIT_STEP_CAPABILITIES;
	r = world == INIT_WORLD_NONE ? 0 : reset_capabilities(capabilities);
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_SUBREAPER;
	if (shared_pid && prctl(PR_SET_CHILD_SUBREAPER, 1ul, 0ul, 0ul, 0ul) < 0)
		return -errno;
	return 0;
}

/* Descriptors 0 to 2, which were the agent's. */
static int forget_stdio(void)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);

	for (int fd = 0; fd < 3; fd++)
		if (null < 0 || dup2(null, fd) < 0)
			return -errno;
	return 0;
}

int setup_drop(uint64_t capabilities, bool own, bool domain, enum init_step *ret_step)
{
	cap_flag_value_t value;
	cap_t have, keep;
	int r = 0;

	*ret_step = INIT_STEP_STDIO;
	r = forget_stdio();
	if (r < 0)
		return r;
	*ret_step = INIT_STEP_CAPABILITIES;
	capabilities |= 1ull << CAP_KILL | 1ull << CAP_SETPCAP |
			(own || domain ? 1ull << CAP_SYS_ADMIN : 0) |
			(own ? 1ull << CAP_SYS_CHROOT : 0);
	have = cap_get_proc();
	keep = cap_init();
	if (!have || !keep)
		r = -ENOMEM;
	for (cap_value_t cap = 0; cap < 64 && r == 0; cap++) {
		if (!(capabilities & 1ull << cap) ||
		    cap_get_flag(have, cap, CAP_PERMITTED, &value) < 0 || value != CAP_SET)
			continue;
		if (cap_set_flag(keep, CAP_PERMITTED, 1, &cap, CAP_SET) < 0 ||
		    cap_set_flag(keep, CAP_EFFECTIVE, 1, &cap, CAP_SET) < 0)
			r = -errno;
	}
	if (r == 0 && cap_set_proc(keep) < 0)
		r = -errno;
	cap_free(have);
	cap_free(keep);
	return r;
}
