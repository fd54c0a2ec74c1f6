/* SPDX-License-Identifier: Apache-2.0 */
/* The filters, each in a child that has it: what is refused and with what, beside what is not. */
#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/layers/internal.h"

#include <cmocka.h>

struct call {
	long number, args[5];
	int refused[SECCOMP_CLASSES]; /* 0: not by the filter */
	int alone;                    /* errno without a filter; 0: it succeeds */
};

/* As it is answered, 0 or a positive errno; what it opens is closed. */
static int make(const struct call *c)
{
	long r = syscall(c->number, c->args[0], c->args[1], c->args[2], c->args[3], c->args[4]);

	if (r > 2 && r < 1024)
		close((int)r);
	return r < 0 ? errno : 0;
}

/* In a child, with the filter of a class (-1: with none). */
static int answer(int class, const struct call *c)
{
	struct filter filter = { 0 };
	int status;
	pid_t pid;

	if (class >= 0)
		assert_int_equal(seccomp_build((enum seccomp_class)class, &filter), 0);
	pid = fork();
	if (pid == 0) {
		struct sock_fprog program = { (unsigned short)(filter.len / sizeof(struct sock_filter)),
					      filter.bytes };

		if (class >= 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
				   syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0))
			_exit(255);
		_exit(make(c));
	}
	free(filter.bytes);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), 255);
	return WEXITSTATUS(status);
}

#define BOTH(err) { err, err }

static void what_is_refused_has_its_errno_and_what_is_beside_it_goes_on(void **state)
{
	static const int one = 1;
	const struct call calls[] = {
		{ SYS_clone3, { 0 }, { ENOSYS, 0 }, EINVAL },
		{ SYS_io_uring_setup, { 0 }, BOTH(ENOSYS), EFAULT },
		{ SYS_socket, { AF_PACKET, SOCK_RAW }, BOTH(EPERM), 0 },
		{ SYS_socket, { (long)(1ul << 32 | AF_PACKET), SOCK_RAW }, BOTH(EPERM), 0 },
		{ SYS_socket, { AF_INET, SOCK_PACKET }, BOTH(EPERM), 0 },
		{ SYS_socket, { AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP }, BOTH(EPERM), 0 },
		{ SYS_socket, { AF_INET6, SOCK_RAW, IPPROTO_RAW }, BOTH(EPERM), 0 },
		{ SYS_socket, { AF_NETLINK, SOCK_RAW, 15 }, BOTH(EPERM), 0 },
		{ SYS_socket, { AF_INET, SOCK_STREAM, 132 }, BOTH(EPERM), EPROTONOSUPPORT },
		{ SYS_socket, { AF_INET, SOCK_RAW, IPPROTO_ICMP }, BOTH(0), 0 },
		{ SYS_socket, { AF_INET, SOCK_DGRAM, 0 }, BOTH(0), 0 },
		{ SYS_socket, { AF_INET6, SOCK_STREAM, 0 }, BOTH(0), 0 },
		{ SYS_socket, { AF_UNIX, SOCK_SEQPACKET, 0 }, BOTH(0), 0 },
		{ SYS_socket, { AF_NETLINK, SOCK_RAW, 0 }, BOTH(0), 0 },
		{ SYS_setsockopt, { -1, IPPROTO_IP, IP_FREEBIND, (long)&one, 4 }, BOTH(EPERM), EBADF },
		{ SYS_setsockopt, { -1, SOL_SOCKET, SO_MARK, (long)&one, 4 }, BOTH(EPERM), EBADF },
		{ SYS_setsockopt, { -1, SOL_SOCKET, SO_REUSEADDR, (long)&one, 4 }, BOTH(0), EBADF },
		{ SYS_ioctl, { -1, TIOCSTI, (long)"x" }, BOTH(EPERM), EBADF },
		{ SYS_ioctl, { -1, TIOCGWINSZ, 0 }, BOTH(0), EBADF },
		{ SYS_bpf, { -1 }, BOTH(EPERM), EINVAL },
		{ SYS_keyctl, { -1 }, BOTH(EPERM), EOPNOTSUPP },
		{ SYS_open_by_handle_at, { -1, 0, 0 }, BOTH(EPERM), EFAULT },
		{ SYS_reboot, { 0 }, BOTH(EPERM), EINVAL },
		{ SYS_userfaultfd, { O_CLOEXEC }, BOTH(EPERM), 0 },
		{ SYS_userfaultfd, { O_CLOEXEC | 1 }, BOTH(0), 0 },
		{ SYS_unshare, { 0 }, BOTH(0), 0 },
		{ SYS_ptrace, { 0 }, BOTH(0), 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		int alone = answer(-1, &calls[i]);

		for (int class = 0; class < (int)SECCOMP_CLASSES; class++) {
			int wanted = calls[i].refused[class] ? calls[i].refused[class] : alone;
			int got = answer(class, &calls[i]);

			if (got != wanted)
				print_error("call %zu, class %d: %s\n", i, class, strerror(got));
			assert_int_equal(got, wanted);
		}
		/* What it is without: else nothing is shown. A kernel may lack the thing, or the tests the right. */
		if (alone != calls[i].alone && alone != ENOSYS && alone != EPERM && alone != EACCES &&
		    alone != EAFNOSUPPORT && alone != ESOCKTNOSUPPORT)
			fail_msg("call %zu without a filter: %s", i, strerror(alone));
	}
}

static void of_each_rule_the_table_says_what_it_answers_and_why(void **state)
{
	const char *name, *why;
	size_t n = 0;
	int err;

	(void)state;
	for (; seccomp_refused(n, &name, &err, &why); n++) {
		assert_true(*name && *why);
		assert_true(err == EPERM || err == ENOSYS);
	}
	assert_true(n > 50);
}

static void the_class_is_that_of_the_capabilities(void **state)
{
	(void)state;
	assert_int_equal(seccomp_class_of(0), SECCOMP_DEFAULT);
	assert_int_equal(seccomp_class_of(~(1ull << 21)), SECCOMP_DEFAULT);
	assert_int_equal(seccomp_class_of(1ull << 21), SECCOMP_ADMIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_refused_has_its_errno_and_what_is_beside_it_goes_on),
		cmocka_unit_test(of_each_rule_the_table_says_what_it_answers_and_why),
		cmocka_unit_test(the_class_is_that_of_the_capabilities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
