/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signal other than SIGKILL for all of a cgroup. cgroup.procs has pids, and who is meant by one may be gone by then: so each
 * is held by a pidfd first, and looked for in the list once more; whoever has the pid then is the one that is held, and in the
 * cgroup. What is forked meanwhile is found by looking again.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>

#include "agent/cgroup/file.h"
#include "agent/cgroup/internal.h"

#define PROCS_TEXT_MAX (1024u * 1024)
#define HOLD_MAX 128u
#define PASSES_MAX 8

struct pids {
	pid_t *list;
	size_t n, size;
};

static int pids_add(struct pids *p, pid_t pid)
{
	if (p->n == p->size) {
		size_t size = p->size ? p->size * 2 : 64;
		pid_t *list = realloc(p->list, size * sizeof(*list));

		if (!list)
			return -ENOMEM;
		p->list = list;
		p->size = size;
	}
	p->list[p->n++] = pid;
	return 0;
}

static void pids_free(struct pids *p)
{
	free(p->list);
}

#define PIDS_OWNED CLEANUP(pids_free) struct pids

static int compare(const void *a, const void *b)
{
	const pid_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static bool has(const struct pids *p, pid_t pid)
{
	return p->n && bsearch(&pid, p->list, p->n, sizeof(pid), compare);
}

/* Those in dir and beneath it, sorted. */
static int add_procs(int dir, struct pids *ret);

static int add_child(int dir, const char *name, void *data)
{
	int child FD_OWNED = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (child < 0)
		return errno == ENOENT ? 0 : -errno;
	return add_procs(child, data);
}

static int add_procs(int dir, struct pids *ret)
{
	char *text PTR_OWNED = NULL;
	char *at, *end;
	size_t len;
	int r = read_file_at(dir, "cgroup.procs", PROCS_TEXT_MAX, &text, &len);

	if (r < 0)
		return r == -ENODEV || r == -ENOENT ? 0 : r; /* it was removed */
	for (at = text; r == 0; at = end) {
		long pid = strtol(at, &end, 10);

		if (end == at)
			break;
		if (pid > 0) /* 0: of a PID namespace that is none of ours */
			r = pids_add(ret, (pid_t)pid);
	}
	return r < 0 ? r : cgroup_for_each_child(dir, add_child, ret);
}

static int list_procs(const struct cgroup *cgroup, struct pids *ret)
{
	int r = add_procs(cgroup->dir, ret);

	if (r == 0 && ret->n)
		qsort(ret->list, ret->n, sizeof(*ret->list), compare);
	return r;
}

/* Signals n of them, if they are there still. */
static int signal_some(const struct cgroup *cgroup, const pid_t *pids, size_t n, int signal)
{
	PIDS_OWNED now = { 0 };
	int held[HOLD_MAX], r = 0;

	for (size_t i = 0; i < n; i++) {
		held[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
		if (held[i] < 0 && errno != ESRCH && errno != EINVAL)
			r = -errno;
	}
	if (r == 0)
		r = list_procs(cgroup, &now);
	for (size_t i = 0; i < n; i++) {
		if (r == 0 && held[i] >= 0 && has(&now, pids[i]) &&
		    syscall(SYS_pidfd_send_signal, held[i], signal, NULL, 0) < 0 && errno != ESRCH)
			r = -errno;
		if (held[i] >= 0)
			close(held[i]);
	}
	return r;
}

/* Those that were not there before. *ret_n: how many. */
static int signal_new(const struct cgroup *cgroup, const struct pids *now, const struct pids *before, int signal,
		      size_t *ret_n)
{
	pid_t some[HOLD_MAX];
	size_t n = 0;
	int r = 0;

	*ret_n = 0;
	for (size_t i = 0; i < now->n && r == 0; i++) {
		if (has(before, now->list[i]))
			continue;
		some[n++] = now->list[i];
		++*ret_n;
		if (n == HOLD_MAX) {
			r = signal_some(cgroup, some, n, signal);
			n = 0;
		}
	}
	return r == 0 && n ? signal_some(cgroup, some, n, signal) : r;
}

int cgroup_signal(const struct cgroup *cgroup, int signal)
{
	PIDS_OWNED before = { 0 };
	size_t n = 1;
	int r = 0;

	if (cgroup->dir < 0)
		return lineage_signal(&cgroup->lineage, signal);
	for (int i = 0; i < PASSES_MAX && n > 0 && r == 0; i++) {
		struct pids now = { 0 };

		r = list_procs(cgroup, &now);
		if (r == 0)
			r = signal_new(cgroup, &now, &before, signal, &n);
		pids_free(&before);
		before = now;
	}
	return r;
}

int cgroup_pids(const struct cgroup *cgroup, pid_t **ret_pids, size_t *ret_n)
{
	struct pids now = { 0 };
	int r;

	if (cgroup->dir < 0)
		return lineage_find(&cgroup->lineage, ret_pids, ret_n);
	r = add_procs(cgroup->dir, &now);
	if (r < 0) {
		pids_free(&now);
		return r;
	}
	*ret_pids = now.list;
	*ret_n = now.n;
	return 0;
}

int cgroup_count(const struct cgroup *cgroup, size_t *ret_n)
{
	PTR_OWNED pid_t *pids = NULL;

	return cgroup_pids(cgroup, &pids, ret_n);
}
