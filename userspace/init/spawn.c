// SPDX-License-Identifier: Apache-2.0
/*
 * From a request to a running program: clone3 with vfork semantics straight into the cgroup of the
 * exec. The child shares our memory, on a stack of its own, until execve: nothing is copied, and
 * a failure comes back as {step, errno} in a plain struct, without a pipe.
 *
 * The child can be killed between any two instructions, and we go on with the memory it leaves
 * behind. So it takes no lock that outlives it and allocates nothing: the one object of libcap it
 * uses (which has a lock) is made anew for each spawn.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "init/init.h"

#define STACK_SIZE (64u * 1024)
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

#if defined(MOAT_ASAN)
#define ON_CHILD_STACK __attribute__((noinline, no_sanitize("address")))
#else
#define ON_CHILD_STACK __attribute__((noinline))
#endif

/* What the child gets, and what it leaves: it writes step and err before it exits. */
struct child_state {
	const struct spawn_request *request;
	cap_t caps;
	uint64_t bounding_drop; /* capabilities to take out of the bounding set */
	enum init_step step;
	int err;
};

static char *stack;
static char candidate[PATH_MAX]; /* only the child writes it, and there is one at a time */
static uint64_t held;     /* capabilities we have to give */
static uint64_t bounding; /* what our bounding set has, and so each child's at first */

static int read_own_capabilities(void)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t value;

	if (!caps)
		return -errno;
	held = bounding = 0;
	for (cap_value_t cap = 0; cap < cap_max_bits() && cap < 64; cap++) {
		if (cap_get_flag(caps, cap, CAP_PERMITTED, &value) == 0 && value == CAP_SET)
			held |= 1ull << cap;
		if (cap_get_bound(cap) == 1)
			bounding |= 1ull << cap;
	}
	cap_free(caps);
	return 0;
}

int spawn_init(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int r = read_own_capabilities();

	if (r < 0)
		return r;

	/* The page below the stack stays inaccessible: an overflow ends the child, not our data. */
	stack = mmap(NULL, page + STACK_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1,
		     0);
	if (stack == MAP_FAILED)
		return -errno;
	stack += page;
	return mprotect(stack, STACK_SIZE, PROT_READ | PROT_WRITE) < 0 ? -errno : 0;
}

/*
 * clone3(2) cannot be called through a C wrapper when the child has a new stack: it would return
 * into frames that are not there. The child calls fn(arg) and never comes back from it.
 */
static long clone3_on_stack(struct clone_args *args, void (*fn)(void *), void *arg)
{
#if defined(__x86_64__)
	register void (*fn_reg)(void *) __asm__("r12") = fn;
	register void *arg_reg __asm__("r13") = arg;
	long ret = SYS_clone3;

	__asm__ volatile("syscall\n\t"
			 "testq %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xorl %%ebp, %%ebp\n\t"
			 "movq %%r13, %%rdi\n\t"
			 "callq *%%r12\n\t"
			 "hlt\n"
			 "1:"
			 : "+a"(ret)
			 : "D"(args), "S"(sizeof(*args)), "r"(fn_reg), "r"(arg_reg)
			 : "rcx", "r11", "memory", "cc");
	return ret;
#elif defined(__aarch64__)
	register void (*fn_reg)(void *) __asm__("x9") = fn;
	register void *arg_reg __asm__("x10") = arg;
	register long nr __asm__("x8") = SYS_clone3;
	register long x0 __asm__("x0") = (long)args;
	register long x1 __asm__("x1") = sizeof(*args);

	__asm__ volatile("svc #0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x29, xzr\n\t"
			 "mov x30, xzr\n\t"
			 "mov x0, x10\n\t"
			 "blr x9\n\t"
			 "brk #1\n"
			 "1:"
			 : "+r"(x0)
			 : "r"(nr), "r"(x1), "r"(fn_reg), "r"(arg_reg)
			 : "memory", "cc");
	return x0;
#else
#error "clone3_on_stack: no code for this architecture"
#endif
}

/* Tries one program; returns true when the search must end. *err is what the search would answer. */
ON_CHILD_STACK static bool try_exec(const char *path, const struct spawn_request *r, int *err)
{
	execve(path, r->argv, r->env);
	switch (errno) {
	case EACCES: /* remembered: "found, but not allowed" says more than "not found" */
		*err = EACCES;
		return false;
	case ENOENT:
	case ENOTDIR:
		return false;
	default:
		*err = errno;
		return true;
	}
}

/* The PATH of the command's own environment, as execvpe(3) has it, but without a shell at the end. */
ON_CHILD_STACK static int exec_search(const struct spawn_request *r)
{
	const char *path = DEFAULT_PATH, *name = r->argv[0];
	size_t name_len = strlen(name);
	int err = ENOENT;

	if (strchr(name, '/')) {
		execve(name, r->argv, r->env);
		return errno;
	}
	for (char **e = r->env; *e; e++)
		if (!strncmp(*e, "PATH=", 5)) {
			path = *e + 5;
			break;
		}
	for (;;) {
		size_t n = strcspn(path, ":");

		if (n + name_len + 2 <= sizeof(candidate)) {
			char *p = mempcpy(candidate, path, n);

			if (n) /* an empty element is the working directory */
				*p++ = '/';
			memcpy(p, name, name_len + 1);
			if (try_exec(candidate, r, &err))
				return err;
		}
		if (!path[n])
			return err;
		path += n + 1;
	}
}

/*
 * The sources are all above 3, so no dup2 can overwrite one of them. The /dev/null is that of the
 * namespace, on a read-only mount, opened anew: what a command does to the mode of the node fails,
 * what it does to the open file (flags, locks) concerns nobody else.
 */
ON_CHILD_STACK static int child_stdio(const struct spawn_request *r)
{
	int in = r->stdio[0] >= 0 ? r->stdio[0] : open("/dev/null", O_RDONLY | O_NOCTTY);

	if (in < 0 || dup2(in, 0) < 0 || dup2(r->stdio[1], 1) < 0 || dup2(r->stdio[2], 2) < 0)
		return errno;
	return 0;
}

/* Inheritable stays empty, so the ambient set does too (the kernel keeps it within both others). */
ON_CHILD_STACK static int child_capabilities(const struct child_state *s)
{
	for (int cap = 0; cap < 64; cap++)
		if ((s->bounding_drop & (1ull << cap)) && cap_drop_bound(cap) < 0)
			return errno;
	return cap_set_proc(s->caps) < 0 ? errno : 0;
}

ON_CHILD_STACK static int child_prepare(struct child_state *s)
{
	const struct spawn_request *r = s->request;
	uint64_t no_signals = 0;
	int err;

	s->step = INIT_STEP_SESSION;
	if (setsid() < 0)
		return errno;
	/* No handler was ever installed and none is ignored, so only the mask needs a reset. Raw: the
	 * C library would leave the two signals it keeps for itself as they are. */
	s->step = INIT_STEP_SIGNALS;
	if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, NULL, sizeof(no_signals)) < 0)
		return errno;
	s->step = INIT_STEP_STDIO;
	err = child_stdio(r);
	if (err)
		return err;
	s->step = INIT_STEP_DESCRIPTORS;
	if (syscall(SYS_close_range, 3u, ~0u, 0u) < 0)
		return errno;
	s->step = INIT_STEP_DIRECTORY;
	if (chdir(r->cwd) < 0)
		return errno;
	s->step = INIT_STEP_NO_NEW_PRIVS;
	if (r->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1ul, 0ul, 0ul, 0ul) < 0)
		return errno;
	s->step = INIT_STEP_CAPABILITIES;
	return child_capabilities(s);
}

ON_CHILD_STACK static void child_main(void *arg)
{
	struct child_state *s = arg;
	int err = child_prepare(s);

	if (!err) {
		s->step = INIT_STEP_EXEC;
		err = exec_search(s->request);
	}
	s->err = err;
	for (;;)
		syscall(SYS_exit_group, 127);
}

/* A fresh cap_t with the capabilities of mask permitted and effective. */
static int make_caps(uint64_t mask, cap_t *ret_caps)
{
	cap_value_t list[64];
	cap_t caps = cap_init();
	int n = 0;

	if (!caps)
		return -ENOMEM;
	for (cap_value_t cap = 0; cap < 64; cap++)
		if (mask & (1ull << cap))
			list[n++] = cap;
	if (n && (cap_set_flag(caps, CAP_PERMITTED, n, list, CAP_SET) < 0 ||
		  cap_set_flag(caps, CAP_EFFECTIVE, n, list, CAP_SET) < 0)) {
		cap_free(caps);
		return -EINVAL;
	}
	*ret_caps = caps;
	return 0;
}

int spawn_command(const struct spawn_request *request, pid_t *ret_pid, enum init_step *ret_step)
{
	struct child_state state = { .request = request };
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_VFORK | CLONE_CLEAR_SIGHAND,
		.exit_signal = SIGCHLD,
		.stack = (uint64_t)(uintptr_t)stack,
		.stack_size = STACK_SIZE,
	};
	/* A container may hold fewer capabilities than the default set names: give what there is. */
	uint64_t mask = request->capabilities & held;
	long pid;
	int r;

	state.bounding_drop = bounding & ~mask;
	r = make_caps(mask, &state.caps);
	if (r < 0) {
		*ret_step = INIT_STEP_CAPABILITIES;
		return r;
	}
	if (request->cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)request->cgroup_fd;
	}
	pid = clone3_on_stack(&args, child_main, &state);
	cap_free(state.caps);
	if (pid < 0) {
		*ret_step = INIT_STEP_CLONE;
		return (int)pid;
	}
	if (state.err) {
		*ret_step = state.step;
		return -state.err;
	}
	*ret_pid = (pid_t)pid;
	return 0;
}
