/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's side of bpf/: loading, pinning, labels, ports, counters, events. The one module that
 * uses libbpf. With enforce = best-effort on a kernel without BPF LSM the object exists but is
 * inactive: labelling calls then succeed and do nothing, and enforce_active() tells.
 */
#ifndef MOAT_ENFORCE_H
#define MOAT_ENFORCE_H

#include "agent/config.h"
#include "base/base.h"
#include "base/loop.h"
#include "moat/abi.h"

struct enforce;

/*
 * Loads, attaches and pins the programs, labels the calling process CONTROL, guards the ports of
 * every configured service and proves enforcement with a self-test denial. Call it before any
 * thread or child exists. On failure with ENFORCE_REQUIRE or ENFORCE_AUDIT nothing is left loaded
 * or pinned and f says what the kernel lacks; with ENFORCE_BEST_EFFORT returns 0, an inactive
 * object, and enforce_reason() says why.
 */
int enforce_open(const struct config *config, struct enforce **ret, struct failure *f);

/* Unpins unless keep_pins (enforcement then goes on without the agent), frees everything. */
void enforce_close(struct enforce *e, bool keep_pins);

bool enforce_active(const struct enforce *e);
/* Why enforcement is inactive; "" when active. Borrowed. */
const char *enforce_reason(const struct enforce *e);
enum moat_mode enforce_mode(const struct enforce *e);

/* Labels a freshly made, single-threaded process INIT and declares its PID namespace (by its inode
 * number, 0 when inactive) to hold protected tasks. 0 or -errno. */
int enforce_label_init(struct enforce *e, int pidfd, uint32_t *ret_pid_ns);
/* Takes the declaration back when that moat-init is gone: the kernel uses the numbers again. */
void enforce_forget_init(struct enforce *e, uint32_t pid_ns);

/* Announces the label of the next child of a moat-init. Must be followed by exactly one
 * INIT_SPAWN whose answer is awaited before the next announcement. 0 or -errno. */
int enforce_announce(struct enforce *e, int init_pidfd, const struct moat_label *label);

/* The label of a process. -ENOENT: it has none (or enforcement is inactive). */
int enforce_label_of(struct enforce *e, int pidfd, struct moat_label *ret_label);

/* Denies user code to connect or send to this unix socket. 0 or -errno. */
int enforce_guard_socket(struct enforce *e, int fd);

/* Sums over CPUs. ret_counters[MOAT_HOOK_COUNT]; all zero when inactive. 0 or -errno. */
int enforce_counters(struct enforce *e, struct moat_counter *ret_counters,
		     struct moat_drops *ret_drops);

/* Calls on_event for each denial from inside the loop; the event is valid during the call only. */
typedef void (*enforce_event_fn)(const struct moat_event *event, void *data);
int enforce_watch(struct enforce *e, struct loop *loop, enforce_event_fn on_event, void *data);

/* "task_kill", "signals": static strings; "unknown" when out of range. */
const char *enforce_hook_name(enum moat_hook hook);
const char *enforce_hook_surface(enum moat_hook hook);

#endif
