/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may speak to the agent: root or the agent's own user, and never user code.
 *
 * With enforcement, the kernel label of the peer decides; the kernel has refused user code at
 * connect() already, so this is the second line. Its place is asked in any case: a peer is refused when its
 * cgroup is one that an agent, of whatever instance, has made for user code, or when it lives in another PID
 * namespace (as all commands do, unless a context says pid = shared). For another instance's user code has
 * no label here.
 *
 * What cannot be found out is refused, for want of memory or descriptors with a code that says so. Only -ENOENT of the label look-up means "no label", and only
 * if the process still exists afterwards: the kernel answers ENOENT for a dead one, too.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "agent/api/internal.h"
#include "agent/process/harden.h"
#include "agent/process/lineage.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif
#define CGROUP_TEXT_MAX (64u * 1024)

static int open_peer(int fd, pid_t pid, int *ret_pidfd)
{
	int pidfd = -EBADF;
	socklen_t len = sizeof(pidfd);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0) {
		*ret_pidfd = pidfd;
		return 0;
	}
	if (errno != ENOPROTOOPT)
		return -errno;
	/* Before 6.5. The pid cannot have become a process of the control plane unnoticed: user
	 * code never gets this far while moat enforces, and is promised to be kept off only then. */
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return -errno;
	*ret_pidfd = pidfd;
	return 0;
}

/* Who is not root may not signal it, but is told so of who is there alone. */
static int still_exists(int pidfd)
{
	return syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0 && errno != EPERM ? -errno : 0;
}

static int judge_label(struct api *api, int pidfd)
{
	struct moat_label label;
	int r = enforce_label_of(api->agent->enforce, pidfd, &label);

	if (r == -ENOENT)
		return still_exists(pidfd);
	if (r < 0)
		return r;
	return label.role == MOAT_ROLE_CONTROL || label.role == MOAT_ROLE_NONE ? 0 : -EPERM;
}

bool api_cgroup_is_user(const char *text, const char *instance_dir)
{
	const char *slash = strrchr(instance_dir, '/'), *at = text;
	size_t len;

	/* "/moat-INSTANCE/": found by its name, wherever the peer's root of cgroupfs is. */
	if (!slash || !slash[1])
		return true;
	len = strlen(slash);
	while ((at = strstr(at, slash))) {
		at += len;
		if (*at != '/' || strncmp(at, "/control/service-", 17) == 0)
			continue;
		/* Of "control" itself: the agent, and who came into the container after it. */
		if (strncmp(at, "/control", 8) != 0 || (at[8] != '\n' && at[8] != '\0'))
			return true;
	}
	return false;
}

bool api_cgroup_is_of_user_code(const char *text)
{
	static const char prefix[] = "/moat-", user[] = "/user";

	for (const char *at = text; (at = strstr(at, prefix));) {
		at += strlen(prefix);
		at += strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789-");
		if (strncmp(at, user, strlen(user)) == 0 && strchr("/\n", at[strlen(user)]))
			return true;
	}
	return false;
}

struct inits {
	pid_t *pids;
	size_t n, size;
};

static void add_init(struct namespace *ns, void *data)
{
	struct inits *inits = data;
	pid_t pid = namespace_pid(ns), *pids = inits->pids;

	if (!pid || !inits->size)
		return;
	if (inits->n == inits->size) {
		pids = realloc(pids, 2 * inits->size * sizeof(*pids));
		inits->size = pids ? 2 * inits->size : 0; /* 0: no memory */
	}
	if (!pids)
		return;
	inits->pids = pids;
	pids[inits->n++] = pid;
}

/*
 * Where there are no cgroups: all user code descends from a moat-init, also when its own parents have ended, and has the
 * mark, also when its moat-init has.
 */
static int judge_lineage(struct api *api, pid_t pid, int pidfd)
{
	struct inits inits = { .pids = calloc(64, sizeof(*inits.pids)), .size = 64 };
	int r = -ENOMEM;

	if (inits.pids)
		execs_for_each_namespace(api->agent->execs, add_init, &inits);
	if (inits.pids && inits.size)
		r = lineage_beneath(pid, inits.pids, inits.n);
	free(inits.pids);
	if (r == 0)
		r = harden_is_marked(pid);
	if (r == 0)
		r = still_exists(pidfd);
	return r > 0 ? -EPERM : r;
}

/* labelled: the kernel has said already that it is not user code of this instance's. */
static int judge_place(struct api *api, pid_t pid, int pidfd, bool labelled)
{
	char path[64];
	char *text PTR_OWNED = NULL;
	struct stat own, its;
	size_t len;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	r = read_file_at(AT_FDCWD, path, CGROUP_TEXT_MAX, &text, &len);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	if (stat(path, &its) < 0 || stat("/proc/self/ns/pid", &own) < 0)
		return -errno;
	/* What was read belongs to the peer if its pid was not free in between. */
	r = still_exists(pidfd);
	if (r < 0)
		return r;
	if (own.st_dev != its.st_dev || own.st_ino != its.st_ino)
		return -EPERM;
	if (api_cgroup_is_of_user_code(text))
		return -EPERM;
	/* Without cgroups each context has a PID namespace of its own. */
	if (labelled || !cgroups_are_there(api->agent->cgroups))
		return 0;
	return api_cgroup_is_user(text, cgroups_path(api->agent->cgroups)) ? -EPERM : 0;
}

static int judge(struct api *api, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int pidfd FD_OWNED = -EBADF;
	bool labelled;
	int r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	if (peer.uid != 0 && peer.uid != api->uid)
		return -EPERM;
	if (peer.pid <= 0)
		return -EPERM;
	r = open_peer(fd, peer.pid, &pidfd);
	if (r < 0)
		return r;
	labelled = enforce_active(api->agent->enforce);
	if (labelled)
		r = judge_label(api, pidfd);
	if (r == 0 && api->agent->config->dev) /* who cannot look at other users' namespaces */
		return judge_lineage(api, peer.pid, pidfd);
	return r < 0 ? r : judge_place(api, peer.pid, pidfd, labelled);
}

struct ucred api_peer_credentials(const struct api_request *r)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	(void)getsockopt(r->peer->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	return peer;
}

enum moat_error api_peer_judge(struct api *api, int fd)
{
	switch (judge(api, fd)) {
	case 0:
		return MOAT_OK;
	case -ENOMEM:
	case -ENOBUFS:
	case -EMFILE:
	case -ENFILE:
	case -EAGAIN:
		return MOAT_E_BUSY;
	default:
		return MOAT_E_FORBIDDEN;
	}
}

int api_peer_check(struct failure *f)
{
	char self[24] = "", expected[24];

	if (readlink("/proc/self", self, sizeof(self) - 1) < 0)
		return fail(f, errno, "/proc is not there, and no caller could be judged");
	snprintf(expected, sizeof(expected), "%d", (int)getpid());
	if (strcmp(self, expected) != 0)
		return fail(f, EINVAL, "/proc is of another PID namespace (it calls us %s, not %s): "
			    "no caller could be judged", self, expected);
	if (syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0) < 0 && errno != EBADF)
		return fail(f, errno, "pidfd_send_signal(2) is refused here, by a seccomp filter "
			    "perhaps: no caller could be judged");
	return 0;
}
