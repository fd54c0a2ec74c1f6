/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's side of bpf/: loading, pinning, labels, ports, counters, events. The one module that
 * uses libbpf. With enforce = best-effort on a kernel without BPF LSM the object exists but is
 * inactive: labelling calls then succeed and do nothing, and enforce_active() tells.
 */
#ifndef MOAT_ENFORCE_H
#define MOAT_ENFORCE_H

#include "agent/config/config.h"
#include "base/base.h"
#include "base/loop.h"
#include "moat/abi.h"

struct enforce;

/*
 * Loads, attaches and pins the programs, labels the calling process CONTROL, guards the ports of
 * every configured service and proves enforcement with a self-test denial. Call it before any
 * thread or child exists. On failure with ENFORCE_REQUIRE or ENFORCE_AUDIT nothing is left loaded
 * or pinned and f says what the kernel lacks; with ENFORCE_BEST_EFFORT returns 0, an inactive
 * object, and enforce_reason() says why. Fails in any case where another agent of the instance runs.
 * obstacle: what is known to keep it from enforcing, so that nothing is tried; NULL: nothing is.
 */
int enforce_open(const struct config *config, const char *obstacle, struct enforce **ret,
		 struct failure *f);

/*
 * Removes what agents that are gone, by SIGKILL or with keep_pins, have pinned in pin_dir: with it their programs
 * stop deciding. removed is told each instance. 0 or -errno.
 */
int enforce_clean(const char *pin_dir, void (*removed)(const char *instance), struct failure *f);

/* Unpins unless keep_pins (enforcement then goes on without the agent), frees everything. */
void enforce_close(struct enforce *e, bool keep_pins);

/*
 * Where enforcement is inactive: has the ports of every configured service refused to all processes in the cgroup
 * `user`, or beneath it, by programs that are asked about the sockets made there, and proves it. instance: the
 * directory of that one, in which no process is to be. When the cgroups are there and before user code is. Nothing is
 * done where enforcement is active. That the kernel refuses these programs, too, is no failure:
 * enforce_guards_ports() tells.
 */
void enforce_guard_cgroup(struct enforce *e, const struct config *config, int instance, int user);
/* Whether the programs of the cgroup guard ports; they do not where enforcement is active. */
bool enforce_guards_ports(const struct enforce *e);
/* Why they do not, though enforcement is inactive; "" else. Borrowed. */
const char *enforce_guards_reason(const struct enforce *e);

/* Says whose command is in a cgroup, for records of what is refused there, or that moat-inits are (MOAT_ROLE_INIT), and takes
 * it back. */
void enforce_name_exec(struct enforce *e, int cgroup, const struct moat_label *label);
void enforce_forget_exec(struct enforce *e, int cgroup);

bool enforce_active(const struct enforce *e);
/* Why enforcement is inactive; "" when active. Borrowed. */
const char *enforce_reason(const struct enforce *e);
enum moat_mode enforce_mode(const struct enforce *e);
/* Switches between MOAT_MODE_ENFORCE and MOAT_MODE_AUDIT, for every verdict from now on; until the next
 * start of the agent. -EINVAL: another mode, -ENODEV: inactive, or -errno of the map. */
int enforce_set_mode(struct enforce *e, enum moat_mode mode);

/* Inode numbers of namespaces; 0: none. */
struct enforce_namespaces {
	uint32_t pid, mnt;
};

/* Labels a freshly made, single-threaded process INIT and declares its namespaces to hold protected
 * tasks (none when inactive). one_context: in its PID namespace are only tasks of one context, which may all
 * touch each other. 0 or -errno. */
int enforce_label_init(struct enforce *e, int pidfd, bool one_context, struct enforce_namespaces *ret);
/* Takes the declaration back when that moat-init is gone: the kernel uses the numbers again. */
void enforce_forget_init(struct enforce *e, const struct enforce_namespaces *namespaces);

/* Announces the label of the next child of a moat-init. Must be followed by exactly one
 * INIT_SPAWN whose answer is awaited before the next announcement. 0 or -errno. */
int enforce_announce(struct enforce *e, int init_pidfd, const struct moat_label *label);

/* Announces MOAT_LABEL_* flags for the label of the calling process's next child, which is a service. Where
 * that does not come to be: again, with 0. 0, also when inactive, or -errno. */
int enforce_announce_service(struct enforce *e, uint32_t flags);

/* The label of a process. -ENOENT: it has none (or enforcement is inactive). */
int enforce_label_of(struct enforce *e, int pidfd, struct moat_label *ret_label);

/* Denies user code to connect or send to this unix socket. 0 or -errno. */
int enforce_guard_socket(struct enforce *e, int fd);

/* A context sees a hidden file, or what is beneath. */
struct enforce_shown {
	uint64_t context;
	const char *path;
};

/* Lists of absolute paths, each NULL-terminated or NULL; of directories what is beneath is meant as well. */
struct enforce_files {
	char *const *own;     /* hidden from user code and from services */
	char *const *services; /* parts of these that are hidden from user code alone */
	char *const *hidden;  /* hidden from user code */
	char *const *protect; /* user code can read but not change them */
	char *const *optional; /* the same, and what is not there it does not make */
	const struct enforce_shown *shown; /* ends with context 0; NULL: none */
};

/*
 * From now on user code can do no more with these files, by whatever name; the program and the libraries that
 * the calling process runs are protected as well. Once, before there is user code. What an earlier agent
 * protected and this one does not is free again. 0, also when inactive, or -errno: a path that does not
 * exist, too many files with several names (262144).
 */
int enforce_protect(struct enforce *e, const struct enforce_files *files, struct failure *f);

/*
 * From now on user code takes none of the mounts that moat-init has made or found off or changes them, in the
 * namespace declared. When it is set up, before its first command. 0, also when inactive, or -errno.
 */
int enforce_keep_mounts(struct enforce *e, int pidfd, const struct enforce_namespaces *namespaces);

/* Sums over CPUs. ret_counters[MOAT_HOOK_COUNT]; all zero where no programs are. 0 or -errno. */
int enforce_counters(struct enforce *e, struct moat_counter *ret_counters,
		     struct moat_drops *ret_drops);

/* Calls on_event for each denial from inside the loop; the event is valid during the call only. */
typedef void (*enforce_event_fn)(const struct moat_event *event, void *data);
int enforce_watch(struct enforce *e, struct loop *loop, enforce_event_fn on_event, void *data);

/* "task_kill", "signals": static strings; "unknown" when out of range. */
const char *enforce_hook_name(enum moat_hook hook);
const char *enforce_hook_surface(enum moat_hook hook);
/* "enforce", "audit", "off" */
const char *enforce_mode_name(enum moat_mode mode);

#endif
