/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guards the control plane where the kernel takes no BPF LSM programs: what each layer needs is made here once, at
 * start, and handed to every moat-init, which applies it to what it starts. With the kernel programs there is
 * none of it: they refuse more, and at the first use of a thing instead of at each start of a command.
 */
#ifndef MOAT_LAYERS_H
#define MOAT_LAYERS_H

#include "agent/enforce/enforce.h"

struct layers;

/* The layers that this kernel offers besides the kernel programs; a set of bits. */
enum layer {
	LAYER_SECCOMP = 1,
};

/* Classes of capabilities: what a filter leaves to whom. */
enum seccomp_class {
	SECCOMP_DEFAULT, /* without CAP_SYS_ADMIN */
	SECCOMP_ADMIN,
	SECCOMP_CLASSES,
};

/* Makes what the layers need; nothing where e enforces. 0 or -errno. */
int layers_open(struct enforce *e, struct layers **ret, struct failure *f);
/* NULL is permitted. */
void layers_close(struct layers *layers);

/* Bits of enum layer: what is applied. */
unsigned layers_active(const struct layers *layers);
/* Why a layer is not; "" when it is active or the kernel programs take its place. Borrowed. */
const char *layers_reason(const struct layers *layers, enum layer layer);

/* --- seccomp.c ----------------------------------------------------------------------------------- */

enum seccomp_class seccomp_class_of(uint64_t capabilities);
/* The filter of a class, an array of struct sock_filter; *ret_len is its size in bytes, 0 where there is none. Borrowed. */
const void *layers_filter(const struct layers *layers, enum seccomp_class class, size_t *ret_len);
/* What filters refuse, one after the other: its name, its errno, and why. false at the end of the table. */
bool seccomp_refused(size_t index, const char **ret_name, int *ret_err, const char **ret_why);

#endif
