/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decide, count, then log: by the time a record is written the verdict stands, and nothing that
 * happens to the record (full ring, no reader, rate limit) can change it.
 */
#ifndef MOAT_BPF_VERDICT_H
#define MOAT_BPF_VERDICT_H

#include "label.h"

/* Writes it down, or counts what it could not write (record.bpf.c); always 0. subject: NULL for the running task. */
int record(struct moat_event *e, const struct moat_subject *subject, bool look);

static __always_inline int allow(__u32 hook)
{
	struct moat_counter *c = bpf_map_lookup_elem(&counters, &hook);

	if (c)
		c->allowed++;
	return 0;
}

static __always_inline void count_denial(__u32 hook, bool enforced)
{
	struct moat_counter *c = bpf_map_lookup_elem(&counters, &hook);

	if (c && enforced)
		c->denied++;
	else if (c)
		c->would_deny++;
}

/*
 * The answer of a hook that refuses: -err, or 0 where the mode only records. Fails closed.
 * subject: who is refused; NULL for the running task. look: it was only not shown.
 */
static __always_inline int deny_as(const struct moat_subject *subject, __u32 hook, __s32 err,
				   __u32 kind, __u64 object, bool look)
{
	const struct moat_settings *s = moat_settings();
	bool enforced = !s || s->mode == MOAT_MODE_ENFORCE;
	struct moat_event e = {
		.hook = hook, .err = err, .object_kind = kind, .object = object, .enforced = enforced,
	};
	int verdict = -err;

	/* keeps clang from computing the verdict out of `enforced`: since 6.12 the verifier must see
	 * that what an LSM program returns lies in [-4095, 0] */
	barrier_var(verdict);

	if (s && s->mode == MOAT_MODE_OFF)
		return 0;
	count_denial(hook, enforced);
	record(&e, subject, look);
	return enforced ? verdict : 0;
}

static __always_inline int deny_subject(const struct moat_subject *subject, __u32 hook, __s32 err,
					__u32 kind, __u64 object)
{
	return deny_as(subject, hook, err, kind, object, false);
}

static __always_inline int deny(__u32 hook, __s32 err, __u32 kind, __u64 object)
{
	return deny_as(NULL, hook, err, kind, object, false);
}

/*
 * A program that leaves it to `verdict`, in which `hook` is the hook's number; the arguments are those of
 * the hook, without its answer so far. What another module has refused stays refused.
 */
#define HOOK(name, verdict, arguments...) HOOK_PROGRAM("lsm/" #name, name, verdict, arguments)
/* Not loaded unless the agent chooses it (enforce/kernel.c). */
#define OPTIONAL_HOOK(name, verdict, arguments...)                                                 \
	HOOK_PROGRAM("?lsm/" #name, name, verdict, arguments)
#define HOOK_PROGRAM(section, name, verdict, arguments...)                                         \
	SEC(section)                                                                               \
	int BPF_PROG(moat_##name, arguments, int ret)                                              \
	{                                                                                          \
		const __u32 hook = MOAT_HOOK_##name;                                               \
                                                                                                   \
		return ret ? ret : (verdict);                                                      \
	}

#endif
