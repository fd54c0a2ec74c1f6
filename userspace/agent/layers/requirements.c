// SPDX-License-Identifier: Apache-2.0
#include "agent/layers/requirements.h"

#include <linux/capability.h>

#include "agent/layers/internal.h"
#include "agent/process/landlock.h"

#define ADMIN (1ull << CAP_SYS_ADMIN)

/*
 * Without the kernel programs: the layers that all have to be there, and whose capabilities undo them, or only where
 * system calls are not filtered; then what is left without, or for these, and who has that neither.
 *
 * With CAP_SYS_ADMIN a cgroup2 is mounted, in which the control plane's are killed, frozen, limited and entered;
 * unfiltered it takes the cgroup's programs off, and CAP_DAC_READ_SEARCH opens the cgroups by their handles.
 */
static const struct {
	struct requirement is;
	unsigned layers; /* 0: nothing but the kernel programs */
	uint64_t undone_by, unfiltered;
	const char *by;
	enum guard without;
	uint64_t never;
} rows[] = {
	{ { "A1", "signals", "no signal of user code's reaches the control plane" },
	  LAYER_LANDLOCK_SCOPES,
	  ADMIN,
	  0,
	  "landlock",
	  GUARD_PRIVATE_PID,
	  ADMIN },
	{ { "A2", "control", "user code neither traces, schedules nor limits it" },
	  0,
	  0,
	  0,
	  "",
	  GUARD_PRIVATE_PID,
	  ADMIN },
	{ { "A3", "ports", "its ports are not taken, also while it is down" },
	  LAYER_PORTS,
	  ADMIN,
	  1ull << CAP_DAC_READ_SEARCH,
	  "cgroup",
	  GUARD_NONE,
	  0 },
	{ { "A4", "proc", "it is not in /proc" },
	  LAYER_LANDLOCK | LAYER_PROC,
	  ADMIN,
	  0,
	  "landlock",
	  GUARD_PRIVATE_PID,
	  0 },
	{ { "A5", "reach", "nothing connects to it, unless it is opened" },
	  0,
	  0,
	  0,
	  "",
	  GUARD_NONE,
	  0 },
	{ { "A6", "moat", "moat, the kernel and what is protected are not changed" },
	  LAYER_MOUNTS | LAYER_SECCOMP,
	  ADMIN,
	  0,
	  "mounts, seccomp",
	  GUARD_NONE,
	  0 },
	{ { "A7", "programs", "the kernel programs are in force" }, 0, 0, 0, "", GUARD_NONE, 0 },
	{ { "A8", "open", "what is in force is open to bpftool" }, 0, 0, 0, "", GUARD_NONE, 0 },
	{ { "A9", "audit", "each denial is counted and recorded" }, 0, 0, 0, "", GUARD_NONE, 0 },
	{ { "C3", "credentials", "what one secure command is given, that one alone reads" },
	  LAYER_LANDLOCK,
	  ADMIN,
	  0,
	  "landlock",
	  GUARD_NONE,
	  0 },
};

const char *guard_name(enum guard guard)
{
	static const char *const names[GUARD_COUNT] = {
		[GUARD_NONE] = "not guarded",
		[GUARD_PRIVATE_PID] = "only with a private PID namespace",
		[GUARD_FULL] = "guarded",
	};

	return names[guard];
}

const struct requirement *requirement_at(size_t index)
{
	return index < ARRAY_LEN(rows) ? &rows[index].is : NULL;
}

enum guard requirement_guard(size_t index, bool lsm, unsigned layers, uint64_t capabilities, const char **ret_by)
{
	unsigned needed = rows[index].layers;
	uint64_t undone_by = rows[index].undone_by | (layers & LAYER_SECCOMP ? 0 : rows[index].unfiltered);
	bool pid;

	*ret_by = lsm ? "lsm" : rows[index].by;
	if (lsm || (needed && (layers & needed) == needed && !(capabilities & undone_by)))
		return GUARD_FULL;
	pid = rows[index].without == GUARD_PRIVATE_PID && !(capabilities & rows[index].never);
	*ret_by = pid ? "namespaces" : "";
	return pid ? GUARD_PRIVATE_PID : GUARD_NONE;
}

bool requirement_holds(size_t index, bool lsm, unsigned layers, const struct config_context *values)
{
	const char *by;
	enum guard guard;

	if (values->no_seccomp)
		layers &= ~LAYER_SECCOMP;
	guard = requirement_guard(index, lsm, layers, values->capabilities, &by);
	return guard == GUARD_FULL || (guard == GUARD_PRIVATE_PID && !values->shared_pid);
}

const struct requirement *requirement_missing(const struct config *config, bool lsm, unsigned layers,
					      const struct config_context *values)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (config->required & 1u << i && !requirement_holds(i, lsm, layers, values))
			return &rows[i].is;
	return NULL;
}

unsigned layers_offered(void)
{
	int abi = landlock_abi();

	return LAYER_MOUNTS | LAYER_PROC | (seccomp_probe() == 0 ? LAYER_SECCOMP : 0) |
	       (abi >= LANDLOCK_USED ? LAYER_LANDLOCK : 0) |
	       (abi >= LANDLOCK_SCOPES ? LAYER_LANDLOCK_SCOPES : 0);
}

_Static_assert(ARRAY_LEN(rows) == CONFIG_REQUIREMENTS, "config_requirements() has each");
