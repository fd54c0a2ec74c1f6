/* SPDX-License-Identifier: Apache-2.0 */
#include "attempt.h"

#include <fcntl.h>
#include <linux/ioprio.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define IOCTL_PIDFD_MNT_NAMESPACE _IO(0xFF, 3) /* since 6.11 */

/* A page that a stranger of one's own has at the same address, having been forked from here. */
static char page[4096] __attribute__((aligned(4096))) = "x";

int attempt_ptrace_attach(struct target *t)
{
	return answer(ptrace(PTRACE_ATTACH, t->pid, NULL, NULL));
}

int attempt_ptrace_seize(struct target *t)
{
	return answer(ptrace(PTRACE_SEIZE, t->pid, NULL, NULL));
}

static int traceme(struct target *t)
{
	(void)t;
	return answer(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

/* Makes whoever adopts orphans (under moat: moat-init) the tracer of user code. */
int attempt_ptrace_traceme(struct target *t)
{
	return in_orphan(traceme, t);
}

int attempt_ptrace_traceme_own(struct target *t)
{
	return in_child(traceme, t);
}

static int transfer(struct target *t, int number)
{
	char buffer[8] = "x";
	struct iovec local = { buffer, sizeof(buffer) }, remote = { page, sizeof(buffer) };

	return answer(syscall(number, t->pid, &local, 1ul, &remote, 1ul, 0ul));
}

int attempt_vm_readv(struct target *t)
{
	return transfer(t, SYS_process_vm_readv);
}

int attempt_vm_writev(struct target *t)
{
	return transfer(t, SYS_process_vm_writev);
}

int attempt_vm_madvise(struct target *t)
{
	struct iovec remote = { page, sizeof(page) };
	int pidfd = pidfd_open_(t->pid);

	if (pidfd < 0)
		return -errno;
	return answered(pidfd, answer(syscall(SYS_process_madvise, pidfd, &remote, 1ul, MADV_COLD, 0)));
}

int attempt_pidfd_getfd(struct target *t)
{
	int pidfd = pidfd_open_(t->pid);

	if (pidfd < 0)
		return -errno;
	return answered(pidfd, answer(syscall(SYS_pidfd_getfd, pidfd, 0, 0)));
}

int attempt_pidfd_namespace(struct target *t)
{
	int self = pidfd_open_(getpid());
	int known = ioctl(self, IOCTL_PIDFD_MNT_NAMESPACE, 0);
	int pidfd;

	close(self);
	if (known < 0)
		return -NOT_HERE;
	pidfd = pidfd_open_(t->pid);
	if (pidfd < 0)
		return -errno;
	return answered(pidfd, answer(ioctl(pidfd, IOCTL_PIDFD_MNT_NAMESPACE, 0)));
}

static int perf_event(pid_t pid, int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.disabled = 1,
	};

	return answer(syscall(SYS_perf_event_open, &attr, pid, cpu, -1, 0ul));
}

int attempt_perf_event(struct target *t)
{
	return perf_event(t->pid, -1);
}

/*
 * Events of the kernel's own, where one's own task meets them: they tell of others. Number 1 is no
 * such event but every function of the kernel, whose entries it has patched: that takes a minute in
 * an emulated machine.
 */
int attempt_perf_tracepoint(struct target *t)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr),
					.sample_type = PERF_SAMPLE_RAW, .disabled = 1 };
	int r = -NOT_HERE;

	(void)t;
	for (attr.config = 2; attr.config < 2048 && r != 0 && r != -EPERM; attr.config++) {
		r = answer(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0ul));
		if (r == -ENOENT || r == -EINVAL)
			r = -NOT_HERE;
	}
	return r;
}

int attempt_capget(struct target *t)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = t->pid };
	struct __user_cap_data_struct data[2];

	return answer(syscall(SYS_capget, &head, data));
}

/* Whatever runs there, the target included. */
int attempt_perf_event_cpu(struct target *t)
{
	(void)t;
	return perf_event(-1, 0);
}

int attempt_kcmp(struct target *t)
{
	return answer(syscall(SYS_kcmp, getpid(), t->pid, KCMP_VM, 0ul, 0ul));
}

int attempt_robust_list(struct target *t)
{
	void *head;
	size_t len;

	return answer(syscall(SYS_get_robust_list, t->pid, &head, &len));
}

int attempt_prlimit_set(struct target *t)
{
	struct rlimit limit = { 64, 64 };

	return answer(prlimit(t->pid, RLIMIT_NOFILE, &limit, NULL));
}

int attempt_prlimit_get(struct target *t)
{
	struct rlimit limit;

	return answer(prlimit(t->pid, RLIMIT_NOFILE, NULL, &limit));
}

int attempt_sched_setscheduler(struct target *t)
{
	struct sched_param param = { 0 };

	return answer(sched_setscheduler(t->pid, SCHED_IDLE, &param));
}

int attempt_sched_setparam(struct target *t)
{
	struct sched_param param = { 0 };

	return answer(sched_setparam(t->pid, &param));
}

struct attributes { /* struct sched_attr, which linux/sched/types.h cannot share with <sched.h> */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

int attempt_sched_setattr(struct target *t)
{
	struct attributes a = { .size = sizeof(a), .policy = SCHED_BATCH };

	return answer(syscall(SYS_sched_setattr, t->pid, &a, 0));
}

int attempt_sched_getattr(struct target *t)
{
	struct attributes a = { .size = sizeof(a) };

	return answer(syscall(SYS_sched_getattr, t->pid, &a, sizeof(a), 0));
}

int attempt_sched_setaffinity(struct target *t)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	return answer(sched_setaffinity(t->pid, sizeof(set), &set));
}

int attempt_sched_getscheduler(struct target *t)
{
	return answer(sched_getscheduler(t->pid));
}

int attempt_sched_getaffinity(struct target *t)
{
	cpu_set_t set;

	return answer(sched_getaffinity(t->pid, sizeof(set), &set));
}

int attempt_setpriority(struct target *t)
{
	return answer(setpriority(PRIO_PROCESS, (id_t)t->pid, 10));
}

int attempt_setpriority_group(struct target *t)
{
	return answer(setpriority(PRIO_PGRP, (id_t)t->pgid, 10));
}

int attempt_getpriority(struct target *t)
{
	errno = 0;
	(void)getpriority(PRIO_PROCESS, (id_t)t->pid);
	return -errno;
}

int attempt_ioprio_set(struct target *t)
{
	return answer(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, t->pid,
			      IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7)));
}

int attempt_ioprio_get(struct target *t)
{
	return answer(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, t->pid));
}

int attempt_getpgid(struct target *t)
{
	return answer(getpgid(t->pid));
}

int attempt_getsid(struct target *t)
{
	return answer(getsid(t->pid));
}

int attempt_setpgid(struct target *t)
{
	return answer(setpgid(t->pid, t->pid));
}

int attempt_setpgid_own(struct target *t)
{
	pid_t child = spawn_sleeper();
	int r = answer(setpgid(child, child));

	(void)t;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return r;
}

int attempt_move_pages(struct target *t)
{
	void *pages[] = { page };
	int nodes[] = { 0 }, status[1];

	return answer(syscall(SYS_move_pages, t->pid, 1ul, pages, nodes, status, 2 /* MPOL_MF_MOVE */));
}

int attempt_migrate_pages(struct target *t)
{
	unsigned long from = 1, to = 1;

	return answer(syscall(SYS_migrate_pages, t->pid, 8 * sizeof(from), &from, &to));
}

int attempt_setns_pidfd(struct target *t)
{
	int pidfd = pidfd_open_(t->pid);

	if (pidfd < 0)
		return -errno;
	return answered(pidfd, answer(setns(pidfd, CLONE_NEWNS)));
}

int attempt_setns_proc(struct target *t)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", t->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return answered(fd, answer(setns(fd, CLONE_NEWNS)));
}

int attempt_pidfd_open(struct target *t)
{
	return answer(pidfd_open_(t->pid));
}
