/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guards the control plane where the kernel takes no BPF LSM programs: what each layer needs is made here once, at
 * start, and handed to every moat-init, which applies it to what it starts. With the kernel programs there is
 * none of it: they refuse more, and at the first use of a thing instead of at each start of a command.
 */
#ifndef MOAT_LAYERS_H
#define MOAT_LAYERS_H

#include "agent/enforce/enforce.h"
#include "init/protocol.h"

struct layers;

/* The layers that this kernel offers besides the kernel programs; a set of bits. */
enum layer {
	LAYER_SECCOMP = 1,
	LAYER_LANDLOCK = 2,        /* nobody outside of a context is traced */
	LAYER_LANDLOCK_SCOPES = 4, /* nor signalled, nor reached at an abstract unix socket */
	LAYER_MOUNTS = 8,          /* protected paths are mounted read-only */
	LAYER_PORTS = 16,          /* listed ports are guarded by programs of user code's cgroup */
	LAYER_PROC = 32,           /* a procfs of its own that hides who cannot be traced */
};

/*
 * The filters of system calls. For the kernel to take one in takes a tenth of a start, so moat-init does it once, and commands
 * inherit it. What moat-init needs itself and they are not to have, clone3(2), is told apart by a secret in two of the
 * arguments that the kernel does not look at.
 */
enum seccomp_filter {
	SECCOMP_DEFAULT, /* for commands without CAP_SYS_ADMIN */
	SECCOMP_ADMIN,   /* for all others */
	SECCOMP_FILTERS,
};

#define SECCOMP_SECRET 2 /* of so many numbers */

/* Makes what the layers need; nothing where e enforces. world: what moat-init may do. 0 or -errno. */
int layers_open(struct enforce *e, enum init_world world, struct layers **ret, struct failure *f);
/* NULL is permitted. */
void layers_close(struct layers *layers);

/* Bits of enum layer: what is applied. */
unsigned layers_active(const struct layers *layers);

/* --- seccomp.c ----------------------------------------------------------------------------------- */

/* A filter, an array of struct sock_filter; *ret_len is its size in bytes, 0 where there is none. Borrowed. */
const void *layers_filter(const struct layers *layers, enum seccomp_filter filter, size_t *ret_len);
/* What moat-init gives clone3(2) as its third and fourth argument. Borrowed. */
const uint64_t *layers_secret(const struct layers *layers);
/* What filters refuse, one after the other: its name, its errno, and why. false at the end of the table. */
bool seccomp_refused(size_t index, const char **ret_name, int *ret_err, const char **ret_why);

/* Landlock */

/* The ruleset of which domains are made, -EBADF where there is none. Borrowed. */
int layers_ruleset(const struct layers *layers);
/* Whether commands with these capabilities can be in a domain of it, and do what they could without. */
bool layers_can_confine(const struct layers *layers, uint64_t capabilities);
/* What stays out of the bounding set of user code: with CAP_PERFMON it would read the memory of others, domain or not. */
uint64_t layers_withheld(const struct layers *layers);

#endif
