/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/descriptors.h"

#include <dirent.h>
#include <limits.h>
#include <sys/resource.h>

#include "agent/api/api.h"
#include "agent/exec/exec.h"

/* Files that are open for a moment only, and the pipes that wait for the next command. */
#define SPARE 24u
/* A start: pipe, /dev/null, its cgroup and that one's events, a pidfd, what looks for its sockets. */
#define FOR_SERVICE 8u
/* A launch: the socket's two ends, /dev/null, a pidfd, the program; of the template and those beneath it. */
#define FOR_NAMESPACES (4u * 6u)
#define SHARES 16u

/* Each has at least so many, and of what is left so many sixteenths, up to what it can use. */
static const struct {
	size_t member;
	unsigned cost, least, most, sixteenths;
} table[] = {
	{ offsetof(struct descriptors, connections), 1, 8, API_CONNECTIONS_MAX, 2 },
	/* both outputs, stdin, the state's socket, the cgroup and its events; that of its context twice, then or idle */
	{ offsetof(struct descriptors, execs), 8, 4, EXEC_RUNNING_MAX, 10 },
	/* the socket, a pidfd, the cgroup twice */
	{ offsetof(struct descriptors, contexts), 4, 4, UINT_MAX, 3 },
	{ offsetof(struct descriptors, pool), 2, 4, 256, 1 },
};

int descriptors_share(const struct config *config, unsigned used, unsigned limit,
		      struct descriptors *ret, struct failure *f)
{
	size_t needed = used + SPARE + FOR_SERVICE * config->n_services + FOR_NAMESPACES;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		needed += (size_t)table[i].cost * table[i].least;
	if (needed > limit)
		return fail(f, EMFILE, "%u descriptors are not enough for this configuration, which needs %zu: "
			    "raise the hard limit of open files (RLIMIT_NOFILE)", limit, needed);
	ret->limit = limit;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		unsigned more =
			(limit - (unsigned)needed) / SHARES * table[i].sixteenths / table[i].cost;
		unsigned room = table[i].most - table[i].least;

		*(unsigned *)((char *)ret + table[i].member) =
			table[i].least + (more < room ? more : room);
	}
	return 0;
}

int descriptors_count(unsigned *ret_used, unsigned *ret_limit)
{
	struct rlimit limit;
	unsigned n = 0;
	DIR *dir;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	dir = opendir("/proc/self/fd");
	if (!dir)
		return -errno;
	while (readdir(dir))
		n++;
	closedir(dir);
	*ret_used = n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
	*ret_limit = limit.rlim_cur < INT_MAX ? (unsigned)limit.rlim_cur : INT_MAX;
	return 0;
}
