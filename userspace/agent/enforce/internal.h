/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by enforce*.c only. */
#ifndef MOAT_ENFORCE_INTERNAL_H
#define MOAT_ENFORCE_INTERNAL_H

#include <fcntl.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "agent/enforce/enforce.h"
#include "base/list.h"
#include "moat.skel.h"

struct enforce {
	bool active; /* the LSM programs decide */
	char reason[512];
	bool guards; /* those of the cgroup do, see guard.c; never both */
	char guards_reason[512];
	int instance_cgroup, user_cgroup; /* borrowed, while they are started */
	struct moat_bpf *bpf;             /* owned; NULL when neither do */
	struct moat_settings settings;  /* as last written to the map */
	char *pin_dir;                  /* PIN_DIR/INSTANCE, owned; NULL: nothing is pinned */
	char *mounted;                  /* bpffs that we mounted ourselves, owned; NULL: none */
	char *lock_dir;                 /* PIN_DIR/INSTANCE_lock, owned; NULL: not locked */
	int lock;                       /* the directory, locked; -EBADF: not */
	bool adopted;                   /* maps of the last agent, by enforce_adopt() */
	bool stale_namespaces;          /* the namespaces map still names those of the last agent */
	uint64_t epoch;                 /* of the marks of this agent, see protect.c */
	int watches;                    /* inotify: those of protect.c, kept; -EBADF: none */
	struct list kept_mounts;        /* of the namespaces of moat-inits, see mounts.c */
	uint32_t own_pid_ns;            /* inode number of the agent's PID namespace */
	unsigned n_records;             /* handled in this turn of the loop */
	struct ring_buffer *ring;       /* owned */
	struct loop *loop;              /* borrowed; NULL before enforce_watch() */
	struct loop_source source;
	struct loop_timer unfold; /* set while `windows` may hold something, see records.c */
	bool unfolding;
	enforce_event_fn on_denial;
	void *on_denial_data;
};

/* Writes the whole task storage value of a process by pidfd. 0 or -errno. */
int enforce_set_task(struct enforce *e, int pidfd, const struct moat_task *task);

/* The pid of the process behind a pidfd in our namespace; > 0 or -errno. */
pid_t enforce_pid_of(int pidfd);

/*
 * Removes the entries of a map that is_stale tells by their key, or by what it reads of them from the
 * map; NULL: all. 0, or the first -errno of those that could not be removed.
 */
typedef bool (*enforce_stale_fn)(int map, const void *key, const void *data);
int enforce_sweep(const struct bpf_map *map, enforce_stale_fn is_stale, const void *data);

/* Those of a namespace that is gone; all, of an object that is closed. */
void enforce_forget_mounts(struct enforce *e, uint32_t mnt_ns);
void enforce_free_mounts(struct enforce *e);

/*
 * Steps of a start, from the tables in enforce.c and guard.c: 0, or -errno with the reason.
 */
int enforce_open_object(struct enforce *e, const struct config *config, struct failure *f);
int enforce_load(struct enforce *e, const struct config *config, struct failure *f);
int enforce_fill_settings(struct enforce *e, const struct config *config, struct failure *f);
/* What libbpf last had to say: why it failed. */
const char *enforce_libbpf_said(void);
/* The reverse, but for the pins. */
void enforce_unload(struct enforce *e);
/* Whether a program is one of those of guard.c. */
bool enforce_is_of_cgroup(const struct bpf_program *program);
/* Before the programs are loaded: chooses them, by the kernel's types. */
int enforce_suit_kernel(struct enforce *e, const struct config *config, struct failure *f);
/* Guards the ports of the services, and no others that an agent before guarded. */
int enforce_guard_ports(struct enforce *e, const struct config *config, struct failure *f);
/* Opens to user code the unix sockets that the configuration names, and no others. */
int enforce_open_sockets(struct enforce *e, const struct config *config, struct failure *f);

/* Gives user code the devices of the configuration, and none that an agent before gave it. */
int enforce_allow_devices(struct enforce *e, const struct config *config, struct failure *f);

/*
 * One agent for each instance: locks PIN_DIR/INSTANCE_lock until enforce_unpin(), or the death of the process. Mounts a bpffs
 * at /sys/fs/bpf if there is none. -EBUSY: another agent has it.
 */
int enforce_lock(struct enforce *e, const struct config *config, struct failure *f);

/*
 * Before the programs are loaded: takes over the maps that an agent of the same instance left
 * pinned when it died, with their labels, ports and counters. 0 also when there are none; -EPROTO
 * where they are of another layout, which must be removed by hand.
 */
int enforce_adopt(struct enforce *e, const struct config *config, struct failure *f);

/*
 * Pins programs, maps and links under PIN_DIR/INSTANCE. The pins of a dead agent of the same
 * instance are replaced: its programs go only after ours enforce.
 */
int enforce_pin(struct enforce *e, const struct config *config, struct failure *f);
/* Removes what enforce_pin() and enforce_lock() made. Harmless when there is nothing. */
void enforce_unpin(struct enforce *e);

/* Reads the records of the ring, and what was folded, until the loop ends. 0 or -errno. */
int enforce_read_records(struct enforce *e);
void enforce_stop_records(struct enforce *e);

/* Labels the agent itself CONTROL, and its PID namespace as one with protected tasks. */
int enforce_label_self(struct enforce *e, const struct config *config, struct failure *f);

/* Proves on a child that the programs decide: a CONTROL child may signal us, the same child
 * labelled USER may not. 0, or -errno with the reason. */
int enforce_self_test(struct enforce *e, const struct config *config, struct failure *f);

#endif
