/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process/lineage.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>

#define STAT_MAX 4096
#define STATUS_MAX 65536
#define LEVELS_MAX 33 /* MAX_PID_NS_LEVEL and the first, of the kernel's pid_namespace.h */
#define ROUNDS_MAX 64
#define HOLD_MAX 128u
#define DEPTH_MAX 4096u

struct process_stat {
	pid_t pid, parent, session;
	char state;
	bool member;
	uint64_t start;
};

struct table {
	struct process_stat *list;
	size_t n, size;
};

static void table_free(struct table *t)
{
	free(t->list);
}

/* See proc(5): the name may hold anything. */
static int read_stat(pid_t pid, struct process_stat *ret)
{
	PTR_OWNED char *text = NULL;
	unsigned long long start;
	char path[32], *rest;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = read_file_at(AT_FDCWD, path, STAT_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	rest = strrchr(text, ')');
	*ret = (struct process_stat){ .pid = pid };
	if (!rest ||
	    sscanf(rest + 1,
		   " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		   &ret->state, &ret->parent, &ret->session, &start) != 4)
		return -EPROTO;
	ret->start = start;
	return 0;
}

static bool is_dead(const struct process_stat *p)
{
	return p->state == 'Z' || p->state == 'X';
}

static int add(struct table *t, pid_t pid)
{
	struct process_stat *list;

	if (t->n == t->size) {
		t->size = t->size ? t->size * 2 : 256;
		list = realloc(t->list, t->size * sizeof(*list));
		if (!list)
			return -ENOMEM;
		t->list = list;
	}
	if (read_stat(pid, &t->list[t->n]) == 0) /* else it has ended meanwhile */
		t->n++;
	return 0;
}

static int read_all(struct table *ret)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			r = add(ret, atoi(entry->d_name));
	closedir(dir);
	return r;
}

static const struct process_stat *of_pid(const struct table *t, pid_t pid)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->list[i].pid == pid)
			return &t->list[i];
	return NULL;
}

static bool is_member(const struct table *t, pid_t pid)
{
	const struct process_stat *p = of_pid(t, pid);

	return p && p->member;
}

/* The number of a session is nobody else's pid while it lasts. */
static void mark(struct table *t, const struct lineage *lineage)
{
	const struct process_stat *root = of_pid(t, lineage->root);
	bool reused = root && root->start != lineage->since, more = true;

	for (size_t i = 0; i < t->n && !reused; i++)
		t->list[i].member = t->list[i].pid == lineage->root ||
				    t->list[i].session == lineage->root;
	while (more) {
		more = false;
		for (size_t i = 0; i < t->n; i++)
			if (!t->list[i].member && is_member(t, t->list[i].parent))
				more = t->list[i].member = true;
	}
}

int lineage_of(pid_t pid, struct lineage *ret)
{
	struct process_stat stat;
	int r = read_stat(pid, &stat);

	if (r == 0)
		*ret = (struct lineage){ .root = pid, .since = stat.start };
	return r;
}

int lineage_find(const struct lineage *lineage, pid_t **ret_pids, size_t *ret_n)
{
	CLEANUP(table_free) struct table t = { 0 };
	pid_t *pids;
	int r;

	*ret_pids = NULL;
	*ret_n = 0;
	if (!lineage->root)
		return 0;
	r = read_all(&t);
	if (r < 0)
		return r;
	pids = calloc(t.n + 1, sizeof(*pids));
	if (!pids)
		return -ENOMEM;
	mark(&t, lineage);
	for (size_t i = 0; i < t.n; i++)
		if (t.list[i].member && !is_dead(&t.list[i]))
			pids[(*ret_n)++] = t.list[i].pid;
	*ret_pids = pids;
	return 0;
}

static bool has(const pid_t *pids, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

/* Each is held first and looked for once more: whoever has the pid then is the one that is held. */
static int signal_some(const struct lineage *lineage, const pid_t *pids, size_t n, int signal)
{
	PTR_OWNED pid_t *now = NULL;
	int held[HOLD_MAX], r;
	size_t n_now;

	for (size_t i = 0; i < n; i++)
		held[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
	r = lineage_find(lineage, &now, &n_now);
	for (size_t i = 0; i < n; i++) {
		if (r == 0 && held[i] >= 0 && pids[i] != getpid() && has(now, n_now, pids[i]) &&
		    syscall(SYS_pidfd_send_signal, held[i], signal, NULL, 0) < 0 && errno != ESRCH)
			r = -errno;
		close_fd(&held[i]);
	}
	return r;
}

int lineage_signal(const struct lineage *lineage, int signal)
{
	int r = 0, rounds = signal == SIGKILL ? ROUNDS_MAX : 1;
	size_t n = 2;

	while (r == 0 && n > 0 && rounds-- > 0) {
		PTR_OWNED pid_t *pids = NULL;

		r = lineage_find(lineage, &pids, &n);
		for (size_t at = 0; r == 0 && at < n; at += HOLD_MAX)
			r = signal_some(lineage, pids + at, n - at < HOLD_MAX ? n - at : HOLD_MAX,
					signal);
		if (n == 1 && pids && pids[0] == getpid())
			n = 0;
	}
	return r;
}

/* What it is called in the PID namespaces that it is in, the agent's first (NSpid in proc(5)). How many, or -errno. */
static int names_of(pid_t pid, pid_t ret[LEVELS_MAX])
{
	PTR_OWNED char *text = NULL;
	char path[32], *at, *end;
	int n = 0, r;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	r = read_file_at(AT_FDCWD, path, STATUS_MAX, &text, NULL);
	if (r < 0)
		return r;
	at = strstr(text, "\nNSpid:");
	if (!at)
		return -EPROTO;
	for (at += strlen("\nNSpid:"); n < LEVELS_MAX; at = end) {
		long number = strtol(at, &end, 10);

		if (end == at)
			break;
		ret[n++] = (pid_t)number;
	}
	return n;
}

int lineage_named(pid_t init, pid_t number, pid_t *ret_pid)
{
	PTR_OWNED pid_t *pids = NULL;
	pid_t names[LEVELS_MAX];
	struct lineage all;
	int level, r = lineage_of(init, &all);
	size_t n;

	if (r == 0)
		r = lineage_find(&all, &pids, &n);
	level = names_of(init, names);
	if (r < 0 || level < 0)
		return r < 0 ? r : level;
	for (size_t i = 0; i < n; i++)
		if (names_of(pids[i], names) >= level && names[level - 1] == number) {
			*ret_pid = pids[i];
			return 0;
		}
	return -ESRCH;
}

int lineage_beneath(pid_t pid, const pid_t *roots, size_t n)
{
	struct process_stat stat;
	int r;

	for (unsigned depth = 0; pid > 1; depth++, pid = stat.parent) {
		if (depth == DEPTH_MAX)
			return -ELOOP; /* who has made that many would be above the roots else */
		r = read_stat(pid, &stat);
		if (r < 0)
			return r;
		if (has(roots, n, stat.parent))
			return 1;
	}
	return 0;
}
