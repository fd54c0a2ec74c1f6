// SPDX-License-Identifier: Apache-2.0
/*
 * Landlock keeps those in a domain from those outside of it. The ruleset that makes the domains forbids nothing of the
 * file system if it can: a ruleset with rights to files is asked for each open, and lets nobody mount.
 *
 * It is made once and a domain of it many times: each landlock_restrict_self(2) makes one more, which knows nothing of
 * the others. Sixteen may lie in each other; moat takes one, so a program that confines itself has fifteen left.
 */
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>

#include "agent/process/landlock.h"

/* By number, where the headers are older than the kernel. */
#define GET_ERRATA (1u << 1)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ull << 0)
#define SCOPE_SIGNAL (1ull << 1)

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

/* From which ABI on there is what, and what the kernel has mended since (a bit of the errata). */
static const struct {
	int abi;
	unsigned erratum;
	const char *gives;
} table[] = {
	{ 1, 0,
	  "would keep user code from tracing others and from their /proc, but also from renames to other directories" },
	{ LANDLOCK_USED, 0,
	  "keeps user code from tracing others and from their /proc; not who may mount, because he could not in a domain" },
	{ LANDLOCK_SCOPES, 0,
	  "keeps user code from tracing others and from their /proc, from signals to them and from abstract sockets" },
	{ LANDLOCK_SCOPES, 2,
	  "threads of one process signal each other although one confines itself" },
};

bool landlock_abi_at(size_t index, int *ret_abi, unsigned *ret_erratum, const char **ret_gives)
{
	if (index >= ARRAY_LEN(table))
		return false;
	*ret_abi = table[index].abi;
	*ret_erratum = table[index].erratum;
	*ret_gives = table[index].gives;
	return true;
}

void landlock_describe(int abi, unsigned errata, char *text, size_t size)
{
	const char *gives = "";
	int n;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].abi <= abi && !table[i].erratum)
			gives = table[i].gives;
	n = snprintf(text, size, "%s", gives);
	for (size_t i = 0; i < ARRAY_LEN(table) && n >= 0 && (size_t)n < size; i++)
		if (table[i].abi <= abi && table[i].erratum &&
		    errata & 1u << (table[i].erratum - 1))
			n += snprintf(text + n, size - (size_t)n, "; %s", table[i].gives);
}

int landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi < 0 ? -errno : (int)abi;
}

unsigned landlock_errata(void)
{
	long errata = syscall(SYS_landlock_create_ruleset, NULL, 0, GET_ERRATA);

	return errata < 0 ? 0 : (unsigned)errata;
}

/* Of what a ruleset has to handle before there are scopes: whatever nobody does, allowed everywhere. */
static int allow_everywhere(int ruleset, uint64_t access)
{
	FD_OWNED int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct landlock_path_beneath_attr beneath = { .allowed_access = access, .parent_fd = root };

	if (root < 0 ||
	    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		return -errno;
	return 0;
}

int landlock_make_ruleset(int abi, int *ret_ruleset)
{
	bool scopes = abi >= LANDLOCK_SCOPES;
	/* The later fields are not known to an earlier kernel. */
	struct ruleset_attr attr = { .scoped = SCOPE_SIGNAL | SCOPE_ABSTRACT_UNIX_SOCKET };
	size_t size = scopes ? sizeof(attr) : sizeof(attr.fs);
	FD_OWNED int ruleset = -EBADF;
	int r = 0;

	if (abi < LANDLOCK_USED)
		return -EOPNOTSUPP;
	if (!scopes)
		attr = (struct ruleset_attr){ .fs = LANDLOCK_ACCESS_FS_MAKE_BLOCK |
						    LANDLOCK_ACCESS_FS_REFER };
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (ruleset < 0)
		return -errno;
	if (!scopes)
		r = allow_everywhere(ruleset, attr.fs);
	if (r == 0)
		*ret_ruleset = take_fd(&ruleset);
	return r;
}
