/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moatd <-> moat-init, over one SOCK_SEQPACKET socketpair per namespace; one message per packet.
 *
 *   moatd                         moat-init (descriptor INIT_SOCKET_FD)
 *   INIT_SETUP + 1, 2 fds ->
 *                         <-      INIT_READY      or INIT_FAILED {step, errno} and it exits
 *   INIT_SPAWN + 4..7 fds ->
 *                         <-      INIT_TERMINAL {exec} + 1 fd       with rows, before the answer: our end of it
 *                         <-      INIT_SPAWNED {exec, pid}  or INIT_SPAWN_FAILED {exec, step, errno}
 *   INIT_ASK {exec}       ->
 *                         <-      INIT_CLONED {exec}        what came before it has been dealt with
 *   INIT_SIGNAL           ->                                     (no reply; a gone process is no error)
 *                         <-      INIT_EXITED {exec, status, rusage}      for each spawned command
 *   INIT_CLONE + 1, 2 fds ->                                     to the template, which runs no commands
 *                         <-      INIT_CLONE_DONE {pid} + pidfd  or INIT_CLONE_FAILED {step, errno}
 *   (socket closed)       ->      moat-init kills what is left and exits 0
 *
 * moatd announces the label of the next child to the kernel before it sends INIT_SPAWN, and the clone
 * uses it up: so it waits for the answer before it announces another, or, because what the child does
 * then takes as long as its paths make it, for INIT_CLONED, which it asks for where another command waits
 * (a message more is a wake-up more, and most commands come alone). Up to INIT_STARTS_MAX children are on their
 * way to execve at a time, and each is answered when it is there. One that was killed on its way is
 * INIT_SPAWNED, and INIT_EXITED with the signal follows.
 * INIT_CLONE makes another moat-init out of the template, a fork of it in namespaces of its own: the same is
 * true of its announcement. The descriptor is that one's socket, over which it sends INIT_READY or INIT_FAILED
 * by itself, also before INIT_CLONE_DONE. It is a child of moatd's.
 * Numbers are in host byte order: both ends are the same build on the same machine. Both ends check
 * sizes and counts all the same; a malformed packet ends moat-init, which fails closed.
 */
#ifndef MOAT_INIT_PROTOCOL_H
#define MOAT_INIT_PROTOCOL_H

#include <stdint.h>
#include <sys/resource.h>

#define INIT_SOCKET_FD 3
#define INIT_RULESET_FD 4 /* of Landlock, where there are domains */
/* Whole packet. Also the limit of argv plus environment, announced to API clients. */
#define INIT_PACKET_MAX (256u * 1024)
#define INIT_STRINGS_MAX (INIT_PACKET_MAX - 4096u)
#define INIT_STARTS_MAX 256u
#define INIT_GIVEN_FD 5
#define INIT_GIVEN_MAX 2u
#define INIT_TEXT_MAX 64u
/* The control plane's directory in the root of that cgroup namespace, which is covered. */
#define INIT_CGROUP_CONTROL "control"
#define INIT_DEVICES_MAX 64u
#define INIT_FILTERS 2u
#define INIT_SECRET 2
#define INIT_FILTER_MAX (1024u * 8) /* bytes: of so many instructions of struct sock_filter */

/* Where a set-up or a spawn failed; the names are what clients see in details.step. */
#define INIT_STEPS(X)                                                                             \
	X(NONE, "none")                                                                           \
	X(REQUEST, "request")                                                                     \
	X(MEMORY, "memory")                                                                       \
	X(PROPAGATION, "mount-propagation")                                                       \
	X(PROC, "mount-proc")                                                                     \
	X(MASK, "mask-paths")                                                                     \
	X(READONLY, "read-only-paths")                                                            \
	X(PROTECT, "protected-paths")                                                             \
	X(CGROUPFS, "cgroupfs")                                                                   \
	X(DEV, "dev")                                                                             \
	X(IPC, "ipc")                                                                             \
	X(SIGNALS, "signals")                                                                     \
	X(SUBREAPER, "subreaper")                                                                 \
	X(DOMAIN, "landlock")                                                                     \
	X(TERMINAL, "terminal")                                                                   \
	X(CLONE, "clone")                                                                         \
	X(SESSION, "session")                                                                     \
	X(STDIO, "stdio")                                                                         \
	X(DESCRIPTORS, "descriptors")                                                             \
	X(SURROUNDINGS, "surroundings")                                                           \
	X(DIRECTORY, "directory")                                                                 \
	X(NO_NEW_PRIVS, "no-new-privs")                                                           \
	X(FILTER, "seccomp")                                                                      \
	X(CAPABILITIES, "capabilities")                                                           \
	X(EXEC, "exec")                                                                           \
	X(INTERPRETER, "interpreter")

enum init_step {
#define INIT_STEP_ENUM(name, text) INIT_STEP_##name,
	INIT_STEPS(INIT_STEP_ENUM)
#undef INIT_STEP_ENUM
	INIT_STEP_COUNT,
};

static inline const char *init_step_name(uint32_t step)
{
	static const char *const names[] = {
#define INIT_STEP_NAME(name, text) text,
		INIT_STEPS(INIT_STEP_NAME)
#undef INIT_STEP_NAME
	};

	return step < INIT_STEP_COUNT ? names[step] : "unknown";
}

enum init_message {
	INIT_SETUP = 1,
	INIT_READY,
	INIT_FAILED,
	INIT_SPAWN,
	INIT_SPAWNED,
	INIT_SPAWN_FAILED,
	INIT_SIGNAL,
	INIT_EXITED,
	INIT_ASK,
	INIT_CLONED,
	INIT_TERMINAL,
	INIT_CLONE = 32,
	INIT_CLONE_DONE,
	INIT_CLONE_FAILED,
};

#define INIT_PROTECT_READONLY 'r'
#define INIT_PROTECT_IF_THERE 'i' /* the same of what need not be there */
#define INIT_PROTECT_PINNED 'p'

/* What moat-init may do, and so makes for its commands. */
enum init_world {
	INIT_WORLD_OWN, /* all that setup.c says */
	INIT_WORLD_MOUNTS, /* an ordinary user's, in a user namespace: covers and read-only mounts, no more */
	INIT_WORLD_NONE, /* an ordinary user's: nothing */
};

/* Which domain of Landlock commands are in. */
enum init_domain {
	INIT_DOMAIN_NONE,
	INIT_DOMAIN_EACH,   /* each one of its own */
	INIT_DOMAIN_COMMON, /* all one, for as long as no command kills what holds it (init/keeper.c) */
};

/*
 * INIT_SETUP, with a descriptor of the cgroup namespace to be in, and where there are domains another one of the ruleset
 * (landlock_create_ruleset(2)); followed by n_hidden NUL-terminated
 * absolute paths: directories and files that must not be seen inside (an empty read-only tmpfs, or
 * /dev/null, is mounted over each); and by n_devices names beneath /dev of devices that are to be in
 * /dev inside; and by n_protected paths behind a letter: INIT_PROTECT_READONLY, with all beneath it, or
 * INIT_PROTECT_PINNED, so that it is not moved; and, after strings_len bytes of these, by filters of system calls for struct sock_fprog, of
 * filter_len bytes each.
 */
struct init_setup {
	uint32_t type;
	uint32_t shared_pid; /* 1: not PID 1; becomes a child subreaper instead */
	uint32_t n_hidden;
	uint32_t strings_len;
	uint64_t capabilities; /* all that any INIT_SPAWN will ask for; the rest leaves the bounding
				* set here, once, instead of in each child */
	uint64_t shm_size; /* bytes: of /dev/shm, and of System V shared memory */
	uint32_t own; /* 1: each command in mount, IPC and UTS namespaces of its own, made from these, with
		       * /dev/pts, /dev/shm and INIT_OWN of its own */
	uint32_t template; /* 1: takes INIT_CLONE, and nothing else */
	uint32_t n_devices;
	uint32_t may_lack; /* 1: what is to be hidden and not there needs no cover, also when it comes;
			    * else it is a failure */
	uint32_t filter_len[INIT_FILTERS]; /* 0: there is none */
	uint64_t secret[INIT_SECRET]; /* by which filters know moat-init's clone3(2) */
	uint32_t domain;                   /* enum init_domain */
	uint32_t n_protected;
	uint32_t filter; /* 1 + which of the filters moat-init takes itself, and its commands from it; 0: none */
	uint32_t
		world; /* enum init_world; but in the first the descriptor of the cgroup namespace is a placeholder */
};

/* INIT_CLONE; followed by n_shown NUL-terminated absolute paths: covers of the template's that go. */
struct init_clone {
	uint32_t type;
	uint32_t shared_pid;   /* as of init_setup */
	uint64_t capabilities;
	uint64_t shm_size;
	uint32_t n_shown;
	uint32_t strings_len;
	uint32_t domain; /* enum init_domain; then the ruleset is a second descriptor */
	uint32_t filter; /* as of init_setup, whose filters they are */
};

/*
 * What a command with surroundings of its own finds in them: one tmpfs, and the rest beneath it.
 * /dev is the one directory that is moat's own in every view.
 */
#define INIT_OWN "/dev/own"
#define INIT_OWN_HOME INIT_OWN "/home"
#define INIT_OWN_TMP INIT_OWN "/tmp"
#define INIT_OWN_SHM INIT_OWN "/shm"

/*
 * INIT_SPAWN; followed by cwd, argv[0..argc), env[0..envc) as NUL-terminated strings.
 * Descriptors by SCM_RIGHTS: stdin, stdout, stderr, cgroup directory, and with by_descriptor a fifth:
 * the program, which is then executed in the place of argv[0], whatever any path leads to; then n_given
 * more, which it finds open from INIT_GIVEN_FD on.
 * When argv[0] has no '/', it is looked for in PATH of the given environment (or DEFAULT_PATH), inside
 * the namespace; there is no fallback to a shell.
 */
struct init_spawn {
	uint32_t type;
	uint32_t argc; /* at least 1 */
	uint32_t envc;
	uint32_t strings_len;
	uint64_t exec;
	uint64_t capabilities; /* bit per capability: bounding, permitted, effective, inheritable = 0 */
	uint32_t no_new_privs;
	uint32_t in_cgroup; /* 0: the fourth descriptor is a placeholder, do not move */
	uint32_t null_stdin; /* 1: the first descriptor is a placeholder, stdin is /dev/null inside */
	uint32_t own_tmp; /* 1: with a /tmp of its own, where surroundings are */
	uint32_t by_descriptor;
	uint32_t n_given; /* with by_descriptor only */
	uint16_t rows, cols; /* not 0: the first three are placeholders, a new terminal of this size is in their place */
	uint32_t pad;
};

struct init_signal {
	uint32_t type;
	int32_t signal;
	uint64_t exec;
	uint32_t group; /* 1: the process group of the command */
	uint32_t pad;
};

struct init_ask {
	uint32_t type;
	uint32_t pad;
	uint64_t exec; /* of the INIT_SPAWN before it */
};

/* INIT_READY, INIT_FAILED, INIT_CLONED, INIT_TERMINAL, INIT_SPAWNED, INIT_SPAWN_FAILED, INIT_EXITED, INIT_CLONE_DONE,
 * INIT_CLONE_FAILED. */
struct init_reply {
	uint32_t type;
	uint32_t step;  /* enum init_step */
	int32_t err;    /* positive errno */
	int32_t pid;    /* in moat-init's own PID namespace; INIT_CLONE_DONE: in the template's */
	int32_t status; /* wait(2) status, INIT_EXITED only */
	uint32_t pad;
	uint64_t exec;
	uint64_t user_usec, system_usec; /* of the command and what it waited for */
	uint64_t max_rss_kib;
	char text[INIT_TEXT_MAX]; /* INIT_SPAWN_FAILED at INTERPRETER: its name, cut, or "" */
};

#endif
