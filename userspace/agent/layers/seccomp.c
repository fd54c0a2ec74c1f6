// SPDX-License-Identifier: Apache-2.0
/*
 * System calls that user code has no use for, by which it would get at the control plane past every other layer. A
 * list of what is refused and not of what is allowed: a program that asks for something new is to find it. What a missing
 * capability refuses already stands here as well where user code may have it, as the kernel programs do.
 *
 * A filter sees numbers, no memory: nothing here judges an address, a path or a message.
 */
#include <asm/ioctls.h>
#include <linux/fanotify.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <linux/userfaultfd.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "agent/layers/internal.h"

#define FILTER_MAX (4096 * sizeof(uint64_t)) /* BPF_MAXINSNS */
#define INT 0xffffffffu /* of arguments that the kernel takes as an int */
#define ARGS_MAX 3

struct rule {
	const char *name;
	int call, err;
	bool admin; /* left to who has CAP_SYS_ADMIN */
	struct scmp_arg_cmp args[ARGS_MAX + 1]; /* all hold; ends with op 0 */
	const char *why;
};

#define IS(n, value) SCMP_CMP64(n, SCMP_CMP_MASKED_EQ, INT, (value))
#define HAS(n, mask, value) SCMP_CMP64(n, SCMP_CMP_MASKED_EQ, (mask), (value))
#define CALL(name, err, why) { #name, SCMP_SYS(name), err, false, { { 0 } }, why }
#define WHEN(name, err, why, ...) { #name, SCMP_SYS(name), err, false, { __VA_ARGS__ }, why }
#define FAMILY(family, why) WHEN(socket, EPERM, why, IS(0, family))
#define OPTION(level, option, why) WHEN(setsockopt, EPERM, why, IS(1, level), IS(2, option))

/* By number where the headers of an older kernel or of the C library lack them. */
#define FAMILY_SMC 43
#define FAMILY_XDP 44
#define PROTOCOL_SCTP 132
#define SOCKET_TYPE 0xfu
#define OPT_BINDTOIFINDEX 62
#define OPT_RCVMARK 75
#define OPT6_2292RTHDR 5
#define OPT6_2292PKTOPTIONS 6
#define FAULTS_OF_USER_MODE 1u

static const char control_tree[] = "starting a child in another cgroup, past every limit of its own";
static const char ring[] = "a ring does by itself what is refused here";
static const char packets[] = "listens in on all packets, or forges them";
static const char in_kernel[] = "binds and connects inside the kernel, where nothing asks whose a port is";
static const char raw_socket[] = "forges packets of any connection; ping's are left";
static const char forge[] = "speaks from addresses that are not its own, or past the routes";
static const char terminal[] = "types into terminals, changes how they work for others";
static const char kernel[] = "changes the kernel or stops the machine";
static const char machine[] = "changes what all programs of the machine have in common";
static const char keys[] = "the keys of the control plane, which runs as the same user";
static const char handles[] = "opens files past every mount and every cover";
static const char holding[] = "holds up whoever opens a file or meets the fault";
static const char events[] = "tells of processes and devices of the whole machine";

static const struct rule rules[] = {
	{ "clone3", SCMP_SYS(clone3), ENOSYS, true, { { 0 } }, control_tree }, /* unless it is moat-init's */
	CALL(io_uring_setup, ENOSYS, ring),
	FAMILY(AF_PACKET, packets),
	WHEN(socket, EPERM, packets, IS(0, AF_INET), HAS(1, SOCKET_TYPE, SOCK_PACKET)), /* the same by an old name */
	FAMILY(FAMILY_XDP, packets),
	FAMILY(AF_VSOCK, "reaches the machine beneath a virtual one"),
	FAMILY(FAMILY_SMC, in_kernel),
	FAMILY(AF_RDS, in_kernel),
	FAMILY(AF_TIPC, in_kernel),
	FAMILY(AF_RXRPC, in_kernel),
	WHEN(socket, EPERM, in_kernel, IS(0, AF_INET), IS(2, PROTOCOL_SCTP)),
	WHEN(socket, EPERM, in_kernel, IS(0, AF_INET6), IS(2, PROTOCOL_SCTP)),
	WHEN(socket, EPERM, raw_socket, IS(0, AF_INET), HAS(1, SOCKET_TYPE, SOCK_RAW),
	     SCMP_CMP64(2, SCMP_CMP_NE, IPPROTO_ICMP)),
	WHEN(socket, EPERM, raw_socket, IS(0, AF_INET6), HAS(1, SOCKET_TYPE, SOCK_RAW),
	     SCMP_CMP64(2, SCMP_CMP_NE, IPPROTO_ICMPV6)),
	WHEN(socket, EPERM, events, IS(0, AF_NETLINK), IS(2, NETLINK_CONNECTOR)),
	WHEN(socket, EPERM, events, IS(0, AF_NETLINK), IS(2, NETLINK_KOBJECT_UEVENT)),
	OPTION(IPPROTO_IP, IP_HDRINCL, raw_socket),
	OPTION(IPPROTO_IPV6, IPV6_HDRINCL, raw_socket),
	OPTION(IPPROTO_IP, IP_TRANSPARENT, forge),
	OPTION(IPPROTO_IPV6, IPV6_TRANSPARENT, forge),
	OPTION(IPPROTO_IP, IP_FREEBIND, forge),
	OPTION(IPPROTO_IPV6, IPV6_FREEBIND, forge),
	OPTION(IPPROTO_IP, IP_RECVORIGDSTADDR, forge),
	OPTION(IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, forge),
	OPTION(IPPROTO_IP, IP_OPTIONS, forge),
	OPTION(IPPROTO_IPV6, IPV6_RTHDR, forge),
	OPTION(IPPROTO_IPV6, OPT6_2292RTHDR, forge),
	OPTION(IPPROTO_IPV6, OPT6_2292PKTOPTIONS, forge),
	OPTION(SOL_SOCKET, SO_MARK, forge),
	OPTION(SOL_SOCKET, OPT_RCVMARK, forge),
	OPTION(SOL_SOCKET, SO_BINDTODEVICE, forge),
	OPTION(SOL_SOCKET, OPT_BINDTOIFINDEX, forge),
	WHEN(ioctl, EPERM, terminal, IS(1, TIOCSTI)),
	WHEN(ioctl, EPERM, terminal, IS(1, TIOCSETD)),
	WHEN(ioctl, EPERM, terminal, IS(1, TIOCLINUX)),
	CALL(bpf, EPERM, kernel),
	WHEN(perf_event_open, EPERM, "counts what every program of a processor does", IS(1, INT)),
	CALL(init_module, EPERM, kernel),
	CALL(finit_module, EPERM, kernel),
	CALL(delete_module, EPERM, kernel),
	CALL(kexec_load, EPERM, kernel),
	CALL(kexec_file_load, EPERM, kernel),
	CALL(reboot, EPERM, kernel),
	CALL(iopl, EPERM, kernel),
	CALL(ioperm, EPERM, kernel),
	CALL(syslog, EPERM, "the kernel's log names processes and addresses of all"),
	CALL(swapon, EPERM, machine),
	CALL(swapoff, EPERM, machine),
	CALL(acct, EPERM, machine),
	CALL(settimeofday, EPERM, machine),
	CALL(clock_settime, EPERM, machine),
	CALL(quotactl, EPERM, machine),
	CALL(quotactl_fd, EPERM, machine),
	CALL(add_key, EPERM, keys),
	CALL(request_key, EPERM, keys),
	CALL(keyctl, EPERM, keys),
	CALL(open_by_handle_at, EPERM, handles),
	WHEN(fanotify_init, EPERM, holding, HAS(0, FAN_CLASS_CONTENT, FAN_CLASS_CONTENT)),
	WHEN(fanotify_init, EPERM, holding, HAS(0, FAN_CLASS_PRE_CONTENT, FAN_CLASS_PRE_CONTENT)),
	WHEN(fanotify_init, EPERM, handles, HAS(0, FAN_REPORT_FID | FAN_REPORT_DIR_FID, 0)),
	WHEN(userfaultfd, EPERM, holding, HAS(0, FAULTS_OF_USER_MODE, 0)),
};

bool seccomp_refused(size_t index, const char **ret_name, int *ret_err, const char **ret_why)
{
	if (index >= ARRAY_LEN(rules))
		return false;
	*ret_name = rules[index].name;
	*ret_err = rules[index].err;
	*ret_why = rules[index].why;
	return true;
}

int seccomp_probe(void)
{
	uint32_t action = SECCOMP_RET_ERRNO;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? -errno : 0;
}

/*
 * Also for the calls of 32-bit programs, where there are any. socketcall(2) takes its arguments in memory: there the library
 * makes of "this kind of socket" every socket. What is of no architecture known here is not there.
 */
static int set_up(scmp_filter_ctx *ctx)
{
	uint32_t native = seccomp_arch_native();
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));

	if (r == 0 && native == SCMP_ARCH_X86_64)
		r = seccomp_arch_add(ctx, SCMP_ARCH_X86);
	if (r == 0 && native == SCMP_ARCH_AARCH64)
		r = seccomp_arch_add(ctx, SCMP_ARCH_ARM);
	/* A tree by number: the length of the list is of no matter then. */
	return r == 0 ? seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2) : r;
}

/* The library writes filters to descriptors (in 2.5; from 2.6 on also to memory). */
static int export(scmp_filter_ctx *ctx, struct filter *ret)
{
	FD_OWNED int file = memfd_create("moat-filter", MFD_CLOEXEC);
	PTR_OWNED char *bytes = malloc(FILTER_MAX);
	ssize_t n;
	int r;

	if (file < 0)
		return -errno;
	if (!bytes)
		return -ENOMEM;
	r = seccomp_export_bpf(ctx, file);
	if (r < 0)
		return r;
	n = pread(file, bytes, FILTER_MAX, 0);
	if (n <= 0)
		return n < 0 ? -errno : -EIO;
	*ret = (struct filter){ .bytes = take_ptr(bytes), .len = (size_t)n };
	return 0;
}

static int add(scmp_filter_ctx *ctx, const struct rule *rule)
{
	unsigned n = 0;

	while (rule->args[n].op)
		n++;
	return seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO((uint16_t)rule->err), rule->call, n, rule->args);
}

/* Where one of its numbers is missing. */
static int add_with_secret(scmp_filter_ctx *ctx, const struct rule *rule, const uint64_t secret[SECCOMP_SECRET])
{
	struct rule one = *rule;
	int r = 0;

	for (unsigned i = 0; i < SECCOMP_SECRET && r == 0; i++) {
		one.args[0] = SCMP_CMP64(2 + i, SCMP_CMP_NE, secret[i]);
		r = add(ctx, &one);
	}
	return r;
}

int seccomp_build(enum seccomp_filter filter, const uint64_t secret[SECCOMP_SECRET], struct filter *ret)
{
	scmp_filter_ctx *ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = ctx ? set_up(ctx) : -ENOMEM;

	for (size_t i = 0; i < ARRAY_LEN(rules) && r == 0; i++) {
		if (!rules[i].admin)
			r = add(ctx, &rules[i]);
		else if (filter == SECCOMP_DEFAULT)
			r = add_with_secret(ctx, &rules[i], secret);
	}
	if (r == 0)
		r = export(ctx, ret);
	seccomp_release(ctx);
	return r;
}
