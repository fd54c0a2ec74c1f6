/* SPDX-License-Identifier: Apache-2.0 */
/* Whose task, namespace or socket it is: what bpf/label.bpf.c and the programs behind it go by. */
#include "agent/enforce/internal.h"

#include <sys/pidfd.h>
#include <sys/stat.h>

/* From its fdinfo. */
pid_t enforce_pid_of(int pidfd)
{
	PTR_OWNED char *text = NULL;
	char path[64];
	const char *at;
	int r;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	r = read_file_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r < 0)
		return r;
	at = strstr(text, "\nPid:");
	r = at ? atoi(at + strlen("\nPid:")) : 0;
	return r > 0 ? r : -ESRCH;
}

/* Declares a namespace of a process ("pid", "mnt") to hold protected tasks (see bpf/maps.h). */
static int declare_namespace(struct enforce *e, pid_t pid, const char *kind, uint32_t whose, uint32_t *ret_inum)
{
	uint32_t inum;
	char path[64];
	struct stat st;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, kind);
	if (stat(path, &st) < 0)
		return -errno;
	inum = st.st_ino;
	r = bpf_map_update_elem(bpf_map__fd(e->bpf->maps.namespaces), &inum, &whose, BPF_ANY);
	if (r == 0)
		*ret_inum = inum;
	return r;
}

static void forget_namespace(struct enforce *e, uint32_t inum)
{
	if (inum && inum != e->own_pid_ns)
		bpf_map_delete_elem(bpf_map__fd(e->bpf->maps.namespaces), &inum);
}

static bool is_not_own(int map, const void *key, const void *data)
{
	const struct enforce *e = data;

	(void)map;
	return *(const uint32_t *)key != e->own_pid_ns;
}

/* What the last agent declared: its namespaces are gone by now. */
static void forget_stale_namespaces(struct enforce *e)
{
	(void)enforce_sweep(e->bpf->maps.namespaces, is_not_own, e);
	(void)enforce_sweep(e->bpf->maps.mounts, NULL, NULL);
	e->stale_namespaces = false;
}

int enforce_set_task(struct enforce *e, int pidfd, const struct moat_task *task)
{
	return bpf_map_update_elem(bpf_map__fd(e->bpf->maps.tasks), &pidfd, task, BPF_ANY);
}

int enforce_label_self(struct enforce *e, const struct config *config, struct failure *f)
{
	struct moat_task task = { .label = { .role = MOAT_ROLE_CONTROL } };
	FD_OWNED int pidfd = pidfd_open(getpid(), 0);
	int r;

	(void)config;
	if (pidfd < 0)
		return fail(f, errno, "pidfd_open");
	r = enforce_set_task(e, pidfd, &task);
	if (r < 0)
		return fail(f, -r, "cannot label moatd");
	r = declare_namespace(e, getpid(), "pid", MOAT_NAMESPACE_SHARED, &e->own_pid_ns);
	return r < 0 ? fail(f, -r, "cannot protect the PID namespace of moatd") : 0;
}

int enforce_label_init(struct enforce *e, int pidfd, bool one_context, struct enforce_namespaces *ret)
{
	struct moat_task task = { .label = { .role = MOAT_ROLE_INIT } };
	pid_t pid;
	int r;

	*ret = (struct enforce_namespaces){ 0 };
	if (!e->active)
		return 0;
	if (e->stale_namespaces)
		forget_stale_namespaces(e);
	pid = enforce_pid_of(pidfd);
	if (pid < 0)
		return pid;
	r = enforce_set_task(e, pidfd, &task);
	if (r == 0)
		r = declare_namespace(e, pid, "pid",
				      one_context ? MOAT_NAMESPACE_CONTEXT : MOAT_NAMESPACE_SHARED,
				      &ret->pid);
	return r < 0 ? r : declare_namespace(e, pid, "mnt", MOAT_NAMESPACE_SHARED, &ret->mnt);
}

void enforce_forget_init(struct enforce *e, const struct enforce_namespaces *namespaces)
{
	if (!e->active)
		return;
	forget_namespace(e, namespaces->pid);
	forget_namespace(e, namespaces->mnt);
	enforce_forget_mounts(e, namespaces->mnt);
}

int enforce_announce(struct enforce *e, int init_pidfd, const struct moat_label *label)
{
	struct moat_task task = { .label = { .role = MOAT_ROLE_INIT }, .next = *label };

	return e->active ? enforce_set_task(e, init_pidfd, &task) : 0;
}

int enforce_announce_service(struct enforce *e, uint32_t flags)
{
	struct moat_task task = {
		.label = { .role = MOAT_ROLE_CONTROL },
		.next = { .role = flags ? MOAT_ROLE_CONTROL : MOAT_ROLE_NONE, .flags = flags },
	};
	FD_OWNED int pidfd = -EBADF;

	if (!e->active)
		return 0;
	pidfd = pidfd_open(getpid(), 0);
	if (pidfd < 0)
		return -errno;
	return enforce_set_task(e, pidfd, &task);
}

int enforce_label_of(struct enforce *e, int pidfd, struct moat_label *ret_label)
{
	struct moat_task task = { 0 };
	int r;

	if (!e->active)
		return -ENOENT;
	r = bpf_map_lookup_elem(bpf_map__fd(e->bpf->maps.tasks), &pidfd, &task);
	if (r < 0)
		return r;
	if (task.label.role == MOAT_ROLE_NONE)
		return -ENOENT;
	*ret_label = task.label;
	return 0;
}

int enforce_guard_socket(struct enforce *e, int fd)
{
	struct moat_socket guard = { .guarded = 1 };

	if (!e->active)
		return 0;
	return bpf_map_update_elem(bpf_map__fd(e->bpf->maps.sockets), &fd, &guard, BPF_ANY);
}
