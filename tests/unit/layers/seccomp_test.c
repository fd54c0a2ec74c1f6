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
	int refused; /* 0: by no filter */
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

static const uint64_t secret[SECCOMP_SECRET] = { 0x123456789abcdef0, 0xfedcba9876543210 };

/* In a child, with a filter (-1: with none). */
static int answer(int kind, const struct call *c)
{
	struct filter filter = { 0 };
	int status;
	pid_t pid;

	if (kind >= 0)
		assert_int_equal(seccomp_build((unsigned)kind, secret, &filter), 0);
	pid = fork();
	if (pid == 0) {
		struct sock_fprog program = {
			(unsigned short)(filter.len / sizeof(struct sock_filter)), filter.bytes
		};

		if (kind >= 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
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

static void clone3_is_left_to_who_knows_the_secret_and_to_who_may_all(void **state)
{
	const struct call without = { SYS_clone3, { 0 }, ENOSYS, EINVAL },
			  half = { SYS_clone3, { 0, 0, (long)secret[0], 1 }, ENOSYS, EINVAL },
			  whole = { SYS_clone3, { 0, 0, (long)secret[0], (long)secret[1] }, 0, EINVAL };

	(void)state;
	assert_int_equal(answer(-1, &without), EINVAL);
	assert_int_equal(answer(SECCOMP_DEFAULT, &without), ENOSYS);
	assert_int_equal(answer(SECCOMP_DEFAULT, &half), ENOSYS);
	assert_int_equal(answer(SECCOMP_DEFAULT, &whole), EINVAL);
	assert_int_equal(answer(SECCOMP_ADMIN, &without), EINVAL);
}

static void what_is_refused_has_its_errno_and_what_is_beside_it_goes_on(void **state)
{
	static const int one = 1;
	const struct call calls[] = {
		{ SYS_io_uring_setup, { 0 }, ENOSYS, EFAULT },
		{ SYS_socket, { AF_PACKET, SOCK_RAW }, EPERM, 0 },
		{ SYS_socket, { (long)(1ul << 32 | AF_PACKET), SOCK_RAW }, EPERM, 0 },
		{ SYS_socket, { AF_INET, SOCK_PACKET }, EPERM, 0 },
		{ SYS_socket, { AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP }, EPERM, 0 },
		{ SYS_socket, { AF_INET6, SOCK_RAW, IPPROTO_RAW }, EPERM, 0 },
		{ SYS_socket, { AF_NETLINK, SOCK_RAW, 15 }, EPERM, 0 },
		{ SYS_socket, { AF_INET, SOCK_STREAM, 132 }, EPERM, EPROTONOSUPPORT },
		{ SYS_socket, { AF_INET, SOCK_RAW, IPPROTO_ICMP }, 0, 0 },
		{ SYS_socket, { AF_INET, SOCK_DGRAM, 0 }, 0, 0 },
		{ SYS_socket, { AF_INET6, SOCK_STREAM, 0 }, 0, 0 },
		{ SYS_socket, { AF_UNIX, SOCK_SEQPACKET, 0 }, 0, 0 },
		{ SYS_socket, { AF_NETLINK, SOCK_RAW, 0 }, 0, 0 },
		{ SYS_setsockopt, { -1, IPPROTO_IP, IP_FREEBIND, (long)&one, 4 }, EPERM, EBADF },
		{ SYS_setsockopt, { -1, SOL_SOCKET, SO_MARK, (long)&one, 4 }, EPERM, EBADF },
		{ SYS_setsockopt, { -1, SOL_SOCKET, SO_REUSEADDR, (long)&one, 4 }, 0, EBADF },
		{ SYS_ioctl, { -1, TIOCSTI, (long)"x" }, EPERM, EBADF },
		{ SYS_ioctl, { -1, TIOCGWINSZ, 0 }, 0, EBADF },
		{ SYS_bpf, { -1 }, EPERM, EINVAL },
		{ SYS_keyctl, { -1 }, EPERM, EOPNOTSUPP },
		{ SYS_open_by_handle_at, { -1, 0, 0 }, EPERM, EFAULT },
		{ SYS_reboot, { 0 }, EPERM, EINVAL },
		{ SYS_userfaultfd, { O_CLOEXEC }, EPERM, 0 },
		{ SYS_userfaultfd, { O_CLOEXEC | 1 }, 0, 0 },
		{ SYS_unshare, { 0 }, 0, 0 },
		{ SYS_ptrace, { 0 }, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		int alone = answer(-1, &calls[i]);

		for (int kind = 0; kind < (int)SECCOMP_FILTERS; kind++) {
			int wanted = calls[i].refused ? calls[i].refused : alone, got = answer(kind, &calls[i]);

			if (got != wanted)
				print_error("call %zu, filter %d: %s\n", i, kind, strerror(got));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_refused_has_its_errno_and_what_is_beside_it_goes_on),
		cmocka_unit_test(of_each_rule_the_table_says_what_it_answers_and_why),
		cmocka_unit_test(clone3_is_left_to_who_knows_the_secret_and_to_who_may_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
