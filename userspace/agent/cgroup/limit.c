/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much user code may take, so that the control plane always has the rest. The kernel's files:
 * Documentation/admin-guide/cgroup-v2.rst.
 */
#include <fcntl.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include "agent/cgroup/tree.h"
#include "base/log.h"

#define MIB (1024ull * 1024)
#define RESERVE_MIN (64 * MIB)
#define RESERVE_MAX (1024 * MIB)
#define CLIENTS_MIN (4 * MIB)
#define CLIENTS_MAX (256 * MIB)
#define PIDS_DEFAULT_MAX 32768u
#define CONTROL_WEIGHT "1000" /* cpu.weight; that of user code stays 100 */
#define CPU_PERIOD_US 100000u

static const char *const files[] = {
	[LIMIT_MEMORY] = "memory.max", [LIMIT_PIDS] = "pids.max", [LIMIT_CPU] = "cpu.max",
};

static bool is_limit(uint64_t value)
{
	return value != 0 && value != CONFIG_NO_LIMIT;
}

static int set_limit(int dir, enum config_limit limit, uint64_t value)
{
	char text[64];
	int r;

	if (limit == LIMIT_CPU)
		snprintf(text, sizeof(text), "%llu %u",
			 (unsigned long long)(value * CPU_PERIOD_US / 1000), CPU_PERIOD_US);
	else
		snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	r = write_file_at(dir, files[limit], text);
	if (r < 0 || limit != LIMIT_MEMORY)
		return r;
	/* Or the limit would be that of memory and all of swap. Kernels without swap: no file. */
	r = write_file_at(dir, "memory.swap.max", "0");
	return r == -ENOENT ? 0 : r;
}

int cgroup_limits_set(const struct cgroup_tree *tree, int dir, const char *of, bool best_effort,
		      const uint64_t limits[LIMIT_COUNT], uint64_t ret_set[LIMIT_COUNT],
		      struct failure *f)
{
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++) {
		struct failure why = { 0 };
		int r = 0;

		ret_set[i] = CONFIG_NO_LIMIT;
		if (!is_limit(limits[i]))
			continue;
		if (!tree->have[i])
			r = fail(&why, EINVAL, "the %s of %s cannot be limited: %s",
				 config_limit_name(i), of, tree->missing[i]);
		else if ((r = set_limit(dir, i, limits[i])) < 0)
			fail(&why, -r, "the %s of %s cannot be limited",
			     config_limit_name(i), of);
		else
			ret_set[i] = limits[i];
		if (r < 0 && !best_effort)
			return fail(f, EINVAL, "%s", why.msg);
		if (r < 0)
			log_warning("%s", why.msg);
	}
	return 0;
}

/* Defaults */

/* The number in a file of dir; CONFIG_NO_LIMIT for "max" and for what cannot be read. */
static uint64_t read_number(int dir, const char *file)
{
	PTR_OWNED char *text = NULL;

	if (read_file_at(dir, file, 4096, &text, NULL) < 0 || text[0] < '0' || text[0] > '9')
		return CONFIG_NO_LIMIT;
	return strtoull(text, NULL, 10);
}

static uint64_t lower(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The lowest value of a file in BASE and in the cgroups around it, as far as they can be seen. */
static uint64_t lowest_around(const struct cgroup_tree *tree, const char *file)
{
	FD_OWNED int dir = openat(tree->base.shown >= 0 ? tree->base.shown :
							      tree->base.dir,
				  ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint64_t lowest = CONFIG_NO_LIMIT;
	struct statfs fs;

	while (dir >= 0 && fstatfs(dir, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC) {
		int parent;

		/* Present everywhere but in the root, where the mount point is behind "..". */
		if (faccessat(dir, "cgroup.type", F_OK, 0) < 0)
			break;
		lowest = lower(lowest, read_number(dir, file));
		parent = openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close_fd(&dir);
		dir = parent;
	}
	return lowest;
}

static uint64_t memory_total(const struct cgroup_tree *tree)
{
	PTR_OWNED char *text = NULL;
	uint64_t total = CONFIG_NO_LIMIT;
	unsigned long long kib;

	if (read_file_at(AT_FDCWD, "/proc/meminfo", 65536, &text, NULL) == 0 &&
	    sscanf(text, "MemTotal: %llu kB", &kib) == 1)
		total = kib * 1024;
	return lower(total, lowest_around(tree, "memory.max"));
}

/* An eighth, within bounds; of very little memory at most a half. In whole MiB: the kernel would round
 * what user code gets to pages. */
static uint64_t default_reserve(uint64_t total)
{
	uint64_t reserve = total / 8;

	if (reserve < RESERVE_MIN)
		reserve = RESERVE_MIN;
	return lower(lower(reserve, RESERVE_MAX), total / 2) & ~(MIB - 1);
}

/* Half of what the machine, or the container, can have. */
static uint64_t default_pids(const struct cgroup_tree *tree)
{
	uint64_t most = lower(read_number(AT_FDCWD, "/proc/sys/kernel/pid_max"),
			      read_number(AT_FDCWD, "/proc/sys/kernel/threads-max"));

	most = lower(most, lowest_around(tree, "pids.max"));
	return lower(most / 2 + 1, PIDS_DEFAULT_MAX);
}

/* memory.min counts only as far as every cgroup above has it: so the instance gets it, too. */
static int protect_control(struct cgroup_tree *t, uint64_t reserve)
{
	char text[32];
	int r;

	snprintf(text, sizeof(text), "%llu", (unsigned long long)reserve);
	r = write_file_at(t->dir, "memory.min", text);
	if (r == 0)
		r = write_file_at(t->control, "memory.min", text);
	if (r == 0)
		t->reserve = reserve;
	return r;
}

/* Defaults that cannot be had are a warning: one for all controllers missing for one reason. */
static void warn_missing(const struct cgroup_tree *t)
{
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++) {
		char names[64] = "";

		for (enum config_limit j = 0; j < LIMIT_COUNT && !t->have[i]; j++) {
			if (t->have[j] || strcmp(t->missing[i], t->missing[j]) != 0)
				continue;
			if (j < i)
				break; /* said already */
			snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
				 *names ? ", " : "", config_limit_name(j));
		}
		if (*names)
			log_warning("user code is not limited in %s: %s", names, t->missing[i]);
	}
}

static int divide_memory(struct cgroup_tree *t, const struct config *config, uint64_t *user_max,
			 struct failure *f)
{
	uint64_t total = memory_total(t), reserve = config->memory_reserve;
	bool named = is_limit(reserve);
	int r;

	if (reserve == 0)
		reserve = default_reserve(total);
	/* Of what is kept for the control plane, or would be by default, the services have the rest. */
	t->for_clients = lower(lower(reserve, default_reserve(total)) / 4, CLIENTS_MAX);
	if (t->for_clients < CLIENTS_MIN)
		t->for_clients = CLIENTS_MIN;
	if (reserve == CONFIG_NO_LIMIT)
		reserve = 0;
	if (reserve >= total)
		return fail(f, EINVAL, "memory_reserve leaves nothing of %llu MiB to user code",
			    (unsigned long long)(total / MIB));
	if (*user_max == 0)
		*user_max = total - reserve;
	t->user_memory = lower(*user_max, total - reserve);
	if (reserve == 0)
		return 0;
	r = t->have[LIMIT_MEMORY] ? protect_control(t, reserve) : -ENOTSUP;
	if (r == 0 || (r == -ENOTSUP && !named))
		return 0;
	if (named && config->enforce != ENFORCE_BEST_EFFORT)
		return fail(f, r == -ENOTSUP ? EINVAL : -r, "memory_reserve cannot be kept: %s",
			    r == -ENOTSUP ? t->missing[LIMIT_MEMORY] : "memory.min");
	log_warning("no memory is reserved for the control plane: %s",
		    r == -ENOTSUP ? t->missing[LIMIT_MEMORY] : strerror(-r));
	return 0;
}

int cgroup_memory_divide(struct cgroup_tree *t, const struct config *config, struct failure *f)
{
	uint64_t all = 0;

	return divide_memory(t, config, &all, f);
}

int cgroup_limits_divide(struct cgroup_tree *t, const struct config *config, struct failure *f)
{
	uint64_t limits[LIMIT_COUNT];
	int r;

	memcpy(limits, config->user_limits, sizeof(limits));
	warn_missing(t);
	r = divide_memory(t, config, &limits[LIMIT_MEMORY], f);
	if (r < 0)
		return r;
	if (limits[LIMIT_PIDS] == 0)
		limits[LIMIT_PIDS] = default_pids(t);
	/* What is missing has been said, and is no error unless the configuration names it. */
	for (enum config_limit i = 0; i < LIMIT_COUNT; i++)
		if (!t->have[i] && config->user_limits[i] == 0)
			limits[i] = 0;
	r = t->have[LIMIT_CPU] ? write_file_at(t->control, "cpu.weight", CONTROL_WEIGHT) : 0;
	if (r < 0)
		log_warning("the control plane has no more of the CPU than user code: %s",
			    strerror(-r));
	return cgroup_limits_set(t, t->user, "user code",
				 config->enforce == ENFORCE_BEST_EFFORT, limits, t->user_max, f);
}
