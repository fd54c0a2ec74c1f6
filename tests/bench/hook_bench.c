/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measured side of tests/bench/hooks: one process that times system calls on request.
 *
 * It connects to an abstract unix socket, says which operations it knows (one line, names separated by
 * tabs) and then answers each request, a line, with a line:
 *
 *   run INDEX COUNT     nanoseconds that COUNT runs of an operation took
 *   mode PIN VALUE      sets settings.mode in the pinned map, answers what it was before: the agent
 *                       does not offer MOAT_MODE_OFF
 *   label PIN FROM TO   gives process TO the label of process FROM in the pinned map of tasks, or
 *                       none where FROM is 0; answers 0
 *
 * or with "error WHAT". It ends with the connection. The last two are for a process of this program
 * that moat does not judge and that is not itself measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "moat/abi.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define PATH_PARTS 5

static int control = -1; /* the connection to the driver */
static char program[4096];
static char stat_path[4096], file_path[4096], other_path[4096], deep_path[4096 + 8];
static char free_path[4096], beside_path[4096];
static struct sockaddr_in fixed, listening, receiving;
static int listener, sender, receiver;

static __attribute__((format(printf, 1, 2))) void answer(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vdprintf(control >= 0 ? control : STDERR_FILENO, format, args);
	va_end(args);
}

static _Noreturn void die(const char *what)
{
	answer("error %s: %s\n", what, strerror(errno));
	exit(2);
}

static int check(int result, const char *what)
{
	if (result < 0)
		die(what);
	return result;
}

/* --- The operations ------------------------------------------------------------------------ */

static void op_getppid(void)
{
	syscall(SYS_getppid);
}

static void wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status != 0) {
		errno = ECHILD;
		die("child");
	}
}

static void op_fork(void)
{
	pid_t pid = check(fork(), "fork");

	if (pid == 0)
		_exit(0);
	wait_for(pid);
}

static void op_fork_exec(void)
{
	char *const argv[] = { program, (char *)"exit", NULL };
	pid_t pid = check(fork(), "fork");

	if (pid == 0) {
		execv(program, argv);
		_exit(1);
	}
	wait_for(pid);
}

static void op_kill(void)
{
	check(kill(getpid(), 0), "kill");
}

static void bind_to(uint16_t port)
{
	struct sockaddr_in address = fixed;
	int fd = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

	address.sin_port = port;
	check(bind(fd, (struct sockaddr *)&address, sizeof(address)), "bind");
	close(fd);
}

static void op_bind_any(void)
{
	bind_to(0);
}

static void op_bind_fixed(void)
{
	bind_to(fixed.sin_port);
}

static void op_connect(void)
{
	const struct linger reset = { .l_onoff = 1 }; /* leaves no socket in TIME_WAIT */
	int fd = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"), peer;

	check(connect(fd, (struct sockaddr *)&listening, sizeof(listening)), "connect");
	peer = check(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4");
	check(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), "SO_LINGER");
	close(fd);
	close(peer);
}

static void op_send(void)
{
	char byte = 0;

	check((int)sendto(sender, &byte, 1, 0, (struct sockaddr *)&receiving, sizeof(receiving)),
	      "sendto");
	check((int)recv(receiver, &byte, 1, 0), "recv");
}

static void op_ioctl(void)
{
	int pending;

	check(ioctl(receiver, FIONREAD, &pending), "ioctl");
}

static void open_close(const char *path, int flags)
{
	close(check(open(path, flags | O_CLOEXEC, 0600), path));
}

static void op_open_proc(void)
{
	open_close("/proc/self/status", O_RDONLY);
}

static void stat_of(const char *path)
{
	struct stat st;

	check(stat(path, &st), path);
}

static void op_stat_proc(void)
{
	stat_of("/proc/self");
}

static void op_stat(void)
{
	stat_of(stat_path);
}

static void op_open_write(void)
{
	open_close(file_path, O_WRONLY);
}

/* On a file system where nothing is hidden; where moat's own files are; beside something that is hidden. */

static void op_read_free(void)
{
	open_close(free_path, O_RDONLY);
}

static void op_read(void)
{
	open_close(deep_path, O_RDONLY);
}

static void op_read_beside(void)
{
	open_close(beside_path, O_RDONLY);
}

static void op_create(void)
{
	open_close(other_path, O_WRONLY | O_CREAT | O_EXCL);
	check(unlink(other_path), "unlink");
}

static void op_rename(void)
{
	check(rename(file_path, other_path), "rename");
	check(rename(other_path, file_path), "rename");
}

static const struct operation {
	const char *name;
	void (*run)(void);
} operations[] = {
	{ "getppid (no hook)", op_getppid },
	{ "fork+exit+wait", op_fork },
	{ "fork+exec", op_fork_exec },
	{ "kill(self, 0)", op_kill },
	{ "socket+bind, port 0", op_bind_any },
	{ "socket+bind, a port", op_bind_fixed },
	{ "connect+accept", op_connect },
	{ "sendto+recv, UDP", op_send },
	{ "ioctl(FIONREAD)", op_ioctl },
	{ "open /proc/self/status", op_open_proc },
	{ "stat /proc/self", op_stat_proc },
	{ "stat, five parts", op_stat },
	{ "open(O_RDONLY), nothing hidden", op_read_free },
	{ "open(O_RDONLY), moat's own", op_read },
	{ "open(O_RDONLY), beside hidden", op_read_beside },
	{ "open(O_WRONLY)", op_open_write },
	{ "create+unlink", op_create },
	{ "rename, twice", op_rename },
};

/* --- What they need ------------------------------------------------------------------------ */

static int bound_socket(int type, struct sockaddr_in *ret_address)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int fd = check(socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket");

	check(bind(fd, (struct sockaddr *)&address, sizeof(address)), "bind");
	check(getsockname(fd, (struct sockaddr *)&address, &size), "getsockname");
	*ret_address = address;
	return fd;
}

static void prepare_sockets(void)
{
	struct sockaddr_in unused;

	listener = bound_socket(SOCK_STREAM, &listening);
	check(listen(listener, 8), "listen");
	receiver = bound_socket(SOCK_DGRAM, &receiving);
	sender = bound_socket(SOCK_DGRAM, &unused);
	close(bound_socket(SOCK_STREAM, &fixed)); /* free again, and the kernel picks no one else's */
}

/* Makes the path that is to be walked: of PATH_PARTS parts, the directory's included. */
static void prepare_files(const char *directory)
{
	size_t parts = 0, n;
	struct statfs fs;

	check(mkdir(directory, 0700), directory);
	check(statfs(directory, &fs), directory);
	if (fs.f_type != TMPFS_MAGIC) {
		errno = EINVAL;
		die("the directory is not on a tmpfs");
	}
	for (const char *p = directory; *p; p++)
		parts += *p == '/';
	n = (size_t)snprintf(stat_path, sizeof(stat_path), "%s", directory);
	for (; parts < PATH_PARTS; parts++) {
		n += (size_t)snprintf(stat_path + n, sizeof(stat_path) - n, "/part");
		check(mkdir(stat_path, 0700), stat_path);
	}
	snprintf(file_path, sizeof(file_path), "%s/file", directory);
	snprintf(other_path, sizeof(other_path), "%s/other", directory);
	snprintf(deep_path, sizeof(deep_path), "%s/file", stat_path);
	mkdir("/dev/shm", 01777); /* if it is not there */
	snprintf(free_path, sizeof(free_path), "/dev/shm/hook_bench.%d", getpid());
	snprintf(beside_path, sizeof(beside_path), "%s/../beside/%d", directory, getpid());
	open_close(file_path, O_WRONLY | O_CREAT);
	open_close(deep_path, O_WRONLY | O_CREAT);
	open_close(free_path, O_WRONLY | O_CREAT);
	open_close(beside_path, O_WRONLY | O_CREAT);
}

/* Such a procfs as moat-init mounts: another one is closed to user code, and costs less to walk. */
static void mount_proc(void)
{
	check(unshare(CLONE_NEWNS), "unshare");
	check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "making mounts private");
	check(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		    "hidepid=ptraceable"), "mounting /proc");
}

/* On the first CPU that it may use: no migration between the runs. */
static void stay_on_one_cpu(void)
{
	cpu_set_t allowed, one;
	int cpu = 0;

	check(sched_getaffinity(0, sizeof(allowed), &allowed), "sched_getaffinity");
	while (!CPU_ISSET(cpu, &allowed))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	check(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
}

/* --- Requests ------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void run(size_t index, unsigned long count)
{
	const struct operation *op = &operations[index];
	uint64_t start = now_ns();

	while (count--)
		op->run();
	answer("%llu\n", (unsigned long long)(now_ns() - start));
}

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int open_pin(const char *path)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uintptr_t)path;
	return check(bpf(BPF_OBJ_GET, &attr), path);
}

static int element(int command, int map, const void *key, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = (uintptr_t)key;
	attr.value = (uintptr_t)value;
	return bpf(command, &attr);
}

static void set_mode(const char *pin, uint32_t mode)
{
	int map = open_pin(pin);
	struct moat_settings settings;
	uint32_t zero = 0, before;

	check(element(BPF_MAP_LOOKUP_ELEM, map, &zero, &settings), "looking settings up");
	before = settings.mode;
	settings.mode = mode;
	check(element(BPF_MAP_UPDATE_ELEM, map, &zero, &settings), "updating settings");
	close(map);
	answer("%u\n", before);
}

static int pidfd_of(unsigned long pid)
{
	return check((int)syscall(SYS_pidfd_open, (pid_t)pid, 0), "pidfd_open");
}

static void copy_label(const char *pin, unsigned long from_pid, unsigned long to_pid)
{
	int map = open_pin(pin), to = pidfd_of(to_pid), from;
	struct moat_task task;

	if (from_pid) {
		from = pidfd_of(from_pid);
		check(element(BPF_MAP_LOOKUP_ELEM, map, &from, &task), "looking the label up");
		check(element(BPF_MAP_UPDATE_ELEM, map, &to, &task), "setting the label");
		close(from);
	} else {
		check(element(BPF_MAP_DELETE_ELEM, map, &to, NULL), "removing the label");
	}
	close(to);
	close(map);
	answer("0\n");
}

static void serve(void)
{
	FILE *requests = fdopen(control, "r");
	char line[512], pin[256];
	unsigned long a, b;

	if (!requests)
		die("fdopen");
	while (fgets(line, sizeof(line), requests)) {
		if (sscanf(line, "run %lu %lu", &a, &b) == 2 && a < LEN(operations)) {
			run(a, b);
		} else if (sscanf(line, "mode %255s %lu", pin, &a) == 2) {
			set_mode(pin, (uint32_t)a);
		} else if (sscanf(line, "label %255s %lu %lu", pin, &a, &b) == 3) {
			copy_label(pin, a, b);
		} else {
			errno = EINVAL;
			die("request");
		}
	}
}

/* An abstract socket by its name. */
static int connect_to(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	size_t n = strnlen(name, sizeof(address.sun_path) - 1);

	memcpy(address.sun_path + 1, name, n);
	check(connect(fd, (struct sockaddr *)&address,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)),
	      name);
	return fd;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "exit"))
		return 0;
	if (argc != 3 && !(argc == 4 && !strcmp(argv[3], "proc"))) {
		fputs("usage: hook_bench NAME DIRECTORY [proc] (started by tests/bench/hooks)\n",
		      stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	control = connect_to(argv[1]);
	check((int)readlink("/proc/self/exe", program, sizeof(program) - 1), "/proc/self/exe");
	stay_on_one_cpu();
	if (argc == 4)
		mount_proc();
	prepare_sockets();
	prepare_files(argv[2]);
	for (size_t i = 0; i < LEN(operations); i++)
		answer("%s%s", operations[i].name, i + 1 < LEN(operations) ? "\t" : "\n");
	serve();
	unlink(free_path);
	return 0;
}
