/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of kernel objects, compared as two words without a loop. Longer ones are cut: they equal none. */
#ifndef MOAT_BPF_NAME_H
#define MOAT_BPF_NAME_H

#include "kernel.h"

union name {
	char text[16]; /* zero-padded */
	__u64 words[2];
};

static __always_inline union name read_name(const void *from)
{
	union name name = {};

	bpf_probe_read_kernel_str(name.text, sizeof(name.text), from);
	return name;
}

static __always_inline bool is(const union name *a, union name b)
{
	return a->words[0] == b.words[0] && a->words[1] == b.words[1];
}

#endif
