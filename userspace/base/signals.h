/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOAT_SIGNALS_H
#define MOAT_SIGNALS_H

#include <signal.h>
#include <sys/syscall.h>

#include "base/base.h"

/*
 * Gives every signal its default disposition: what is ignored stays so across execve(2). Raw,
 * because the C library refuses for the two signals that it keeps for itself. Async-signal-safe.
 */
static inline void reset_dispositions(void)
{
	/* struct sigaction of the kernel; all zero is SIG_DFL without flags, whatever the layout */
	const uint64_t dfl[8] = { 0 };

	for (int sig = 1; sig <= 64; sig++) /* fails for SIGKILL and SIGSTOP alone */
		(void)syscall(SYS_rt_sigaction, sig, dfl, NULL, sizeof(uint64_t));
}

#endif
