/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt: makes attempts against a process, a port or a socket and prints how the kernel answered,
 * one line each: "kill_term EPERM", "kill_term ok". See attempt/attempt.h and attempt/cases.h.
 *
 * Every case runs in a process of its own, so that none changes what the next one meets.
 */
#include "attempt/attempt.h"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "attempt/fresh.h"

#define CASE_TIMEOUT_MS 120000

struct technique {
	const char *name, *group;
	int (*fn)(struct target *t);
	int seen, unseen, own;
	unsigned flags;
	const char *text;
};

#define ROW(name, group, seen, unseen, own, flags, text) \
	{ #name, group, attempt_##name, seen, unseen, own, flags, text },
static const struct technique techniques[] = { CASES(ROW) };
#undef ROW
#define N_TECHNIQUES (sizeof(techniques) / sizeof(techniques[0]))

struct outcome {
	int result;
	char step[40]; /* "" unless what comes before the attempt failed */
};

static const char *errno_name(int err)
{
	const char *name = err ? strerrorname_np(err) : "ok";

	return name ? name : "?";
}

static void list(void)
{
	static const char *const names[] = { "never", "oracle", "control", "outside" };

	puts("name\tgroup\tseen\tunseen\town\tflags\ttext");
	for (size_t i = 0; i < N_TECHNIQUES; i++) {
		const struct technique *c = &techniques[i];

		printf("%s\t%s\t%s\t%s\t%s\t", c->name, c->group, errno_name(c->seen),
		       errno_name(c->unseen), errno_name(c->own));
		for (unsigned bit = 0; bit < 4; bit++)
			if (c->flags & 1u << bit)
				fputs(names[bit], stdout);
		printf("\t%s\n", c->text);
	}
}

/* Runs fn in the process that forked for it and passes its outcome to the one that waits. */
static void report(int fd, int (*fn)(struct target *), struct target *t)
{
	struct outcome o = { 0 };

	t->step = "";
	o.result = fn(t);
	snprintf(o.step, sizeof(o.step), "%s", t->step);
	if (write(fd, &o, sizeof(o)) != sizeof(o))
		_exit(1);
	_exit(0);
}

static bool outcome_read(int fd, struct outcome *ret)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, CASE_TIMEOUT_MS) == 1 && read(fd, ret, sizeof(*ret)) == sizeof(*ret);
}

/* The outcome of a process that forked for fn: what it said, or that it said nothing. */
static int outcome_of(int fd, struct target *t, const char *what)
{
	static struct outcome o; /* its step outlives the call */

	if (!outcome_read(fd, &o)) {
		t->step = what;
		return -EIO;
	}
	t->step = o.step;
	return o.result;
}

int in_child(int (*fn)(struct target *), struct target *t)
{
	int pipe_fds[2], r;
	pid_t child;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return setup(t, "pipe");
	child = fork();
	if (child == 0)
		report(pipe_fds[1], fn, t);
	close(pipe_fds[1]);
	r = outcome_of(pipe_fds[0], t, "child");
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	return answered(pipe_fds[0], r);
}

int in_orphan(int (*fn)(struct target *), struct target *t)
{
	int answer_fds[2], go_fds[2], r;
	pid_t parent;
	char go;

	if (pipe2(answer_fds, O_CLOEXEC) < 0 || pipe2(go_fds, O_CLOEXEC) < 0)
		return setup(t, "pipe");
	parent = fork();
	if (parent == 0) {
		if (fork() != 0)
			_exit(0);
		close(go_fds[1]);
		if (read(go_fds[0], &go, 1) == 0) /* closed: the parent has been reaped */
			report(answer_fds[1], fn, t);
		_exit(1);
	}
	close(answer_fds[1]);
	close(go_fds[0]);
	if (parent > 0)
		waitpid(parent, NULL, 0);
	close(go_fds[1]);
	r = outcome_of(answer_fds[0], t, "orphan");
	return answered(answer_fds[0], r);
}

int own_mounts(struct target *t)
{
	if (unshare(CLONE_NEWNS) < 0)
		return setup(t, "unshare(CLONE_NEWNS)");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return setup(t, "mount(MS_PRIVATE)");
	return 0;
}

int open_once(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : answered(fd, 0);
}

int mount_here(struct target *t, const char *type)
{
	int r = own_mounts(t);

	if (r < 0)
		return r;
	r = answer(mount(type, PLACE, type, 0, NULL));
	return r == -ENODEV ? -NOT_HERE : r;
}

socklen_t abstract_address(struct sockaddr_un *ret, const char *name, const char *suffix)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "%s%s", name, suffix);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(ret->sun_path + 1));
}

static void run(const struct technique *technique, struct target *given)
{
	struct fresh fresh;
	struct target t = *given;
	int r = 0;

	t.step = "";
	if (!t.fresh && strcmp(technique->group, "hidden") == 0) {
		t.tree = t.hidden;
		t.alias = t.hidden_alias;
	}
	if (t.fresh)
		r = fresh_open(technique->group, &t, &fresh);
	if (r == 0)
		r = in_child(technique->fn, &t);
	if (given->fresh)
		fresh_close(&fresh);
	if (r == -NOT_HERE)
		printf("%s NOT_HERE\n", technique->name);
	else if (t.step[0] != '\0')
		printf("%s SETUP %s %s\n", technique->name, t.step, errno_name(-r));
	else
		printf("%s %s\n", technique->name, errno_name(-r));
	fflush(stdout);
}

/* Runs each case that word selects: a name, "@group" or "all". false: there is none. */
static bool run_selected(const char *word, struct target *t)
{
	bool found = false;

	for (size_t i = 0; i < N_TECHNIQUES; i++) {
		const struct technique *c = &techniques[i];

		if (strcmp(word, "all") != 0 && strcmp(word, c->name) != 0 &&
		    (word[0] != '@' || strcmp(word + 1, c->group) != 0))
			continue;
		run(c, t);
		found = true;
	}
	return found;
}

static const struct option options[] = {
	{ "pid", required_argument, NULL, 'p' },    { "pgid", required_argument, NULL, 'g' },
	{ "tid", required_argument, NULL, 't' },    { "port", required_argument, NULL, 'P' },
	{ "socket", required_argument, NULL, 's' }, { "link", required_argument, NULL, 'l' },
	{ "pin", required_argument, NULL, 'b' },    { "fresh", no_argument, NULL, 'f' },
	{ "listener", required_argument, NULL, 'T' }, { "cgroup", required_argument, NULL, 'c' },
	{ "tree", required_argument, NULL, 'r' },     { "alias", required_argument, NULL, 'a' },
	{ "abstract", required_argument, NULL, 'A' }, { "disk", required_argument, NULL, 'd' },
	{ "hidden", required_argument, NULL, 'h' },  { "hidden-alias", required_argument, NULL, 'H' },
	{ "enforced", no_argument, NULL, 'e' },     { "list", no_argument, NULL, 'L' },
	{ 0 },
};

/* 0, 1: --list, -1: usage. */
static int parse(int argc, char **argv, struct target *t)
{
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p': t->pid = atoi(optarg); break;
		case 'g': t->pgid = atoi(optarg); break;
		case 't': t->tid = atoi(optarg); break;
		case 'P': t->port = (uint16_t)atoi(optarg); break;
		case 's': t->socket = optarg; break;
		case 'l': t->link = optarg; break;
		case 'b': t->pin = optarg; break;
		case 'T': t->listener = (uint16_t)atoi(optarg); break;
		case 'c': t->cgroup = optarg; break;
		case 'r': t->tree = optarg; break;
		case 'a': t->alias = optarg; break;
		case 'A': t->abstract = optarg; break;
		case 'h': t->hidden = optarg; break;
		case 'H': t->hidden_alias = optarg; break;
		case 'd': t->disk = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'f': t->fresh = true; break;
		case 'e': t->enforced = true; break;
		case 'L': return 1;
		default: return -1;
		}
	}
	/* `attempt kill_term 1234`, `attempt bind_tcp4 8080`, `attempt connect_path /run/x.sock` */
	for (int i = optind; i < argc; i++) {
		if (argv[i][0] == '/')
			t->socket = argv[i];
		else if (argv[i][0] >= '0' && argv[i][0] <= '9')
			t->port = (uint16_t)(t->pid = atoi(argv[i]));
	}
	t->pgid = t->pgid ? t->pgid : t->pid;
	t->tid = t->tid ? t->tid : t->pid;
	return optind < argc ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct target t = { .cgroup = "" };
	int r, status = 0;

	/* The image that attempt_kill_from_exec turns itself into. */
	if (argc == 3 && strcmp(argv[1], "--inner-kill") == 0)
		return kill(atoi(argv[2]), SIGTERM) < 0 ? errno : 0;
	r = parse(argc, argv, &t);
	if (r < 0) {
		fputs("usage: attempt --list\n"
		      "       attempt [--fresh] [--enforced] [--pid N] [--pgid N] [--tid N] [--port N]\n"
		      "               [--listener PORT] [--cgroup PATH]\n"
		      "               [--socket PATH] [--link PATH] [--pin PATH] [--tree DIRECTORY]\n"
		      "               [--alias PATH] [--abstract NAME] [--disk NUMBER] CASE|@GROUP|all…\n",
		      stderr);
		return 2;
	}
	if (r == 1) {
		list();
		return 0;
	}
	signal(SIGTERM, SIG_IGN); /* of attempt_kill_all, which hits all of the user's own */
	for (int i = optind; i < argc; i++) {
		if (argv[i][0] == '/' || (argv[i][0] >= '0' && argv[i][0] <= '9'))
			continue;
		if (!run_selected(argv[i], &t)) {
			fprintf(stderr, "attempt: no case %s\n", argv[i]);
			status = 2;
		}
	}
	return status;
}
