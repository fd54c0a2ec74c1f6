/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decide, count, then log: by the time a record is written the verdict stands, and nothing that
 * happens to the record (full ring, no reader, rate limit) can change it.
 */
#ifndef MOAT_BPF_VERDICT_H
#define MOAT_BPF_VERDICT_H

#include "label.h"

/* Audit records per task and second; what is above is folded into the next record. */
#define RECORDS_PER_WINDOW 20
#define WINDOW_NS 1000000000ull

static __always_inline void drop(bool ring_full)
{
	__u32 zero = 0;
	struct moat_drops *d = bpf_map_lookup_elem(&drops, &zero);

	if (!d)
		return;
	if (ring_full)
		d->ring_full++;
	else
		d->folded++;
}

/* True when this task may write another record now; *ret_folded: denials to fold into it. */
static __always_inline bool record_allowed(struct moat_task *t, __u64 now, __u32 *ret_folded)
{
	if (!t)
		return true;
	if (now - t->window_ns >= WINDOW_NS) {
		t->window_ns = now;
		t->events = 0;
	}
	if (t->events >= RECORDS_PER_WINDOW) {
		t->folded++;
		return false;
	}
	t->events++;
	*ret_folded = t->folded;
	t->folded = 0;
	return true;
}

static __noinline void record(__u32 hook, __s32 err, __u32 kind, __u64 object, bool enforced)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct moat_task *t = bpf_task_storage_get(&tasks, task, 0, 0);
	__u64 now = bpf_ktime_get_boot_ns();
	struct moat_event *e;
	__u32 folded = 0;

	if (!record_allowed(t, now, &folded)) {
		drop(false);
		return;
	}
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		drop(true);
		return;
	}
	e->time_ns = now;
	e->context = t ? t->label.context : 0;
	e->exec = t ? t->label.exec : 0;
	e->object = object;
	e->hook = hook;
	e->err = err;
	e->enforced = enforced;
	e->folded = folded;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->object_kind = kind;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
}

static __always_inline int allow(__u32 hook)
{
	struct moat_counter *c = bpf_map_lookup_elem(&counters, &hook);

	if (c)
		c->allowed++;
	return 0;
}

/* The answer of a hook that refuses: -err, or 0 where the mode only records. Fails closed. */
static __always_inline int deny(__u32 hook, __s32 err, __u32 kind, __u64 object)
{
	struct moat_counter *c = bpf_map_lookup_elem(&counters, &hook);
	const struct moat_settings *s = moat_settings();
	bool enforced = !s || s->mode == MOAT_MODE_ENFORCE;
	int verdict = -err;

	/* keeps clang from computing the verdict out of `enforced`: since 6.12 the verifier must see
	 * that what an LSM program returns lies in [-4095, 0] */
	barrier_var(verdict);

	if (s && s->mode == MOAT_MODE_OFF)
		return 0;
	if (c && enforced)
		c->denied++;
	else if (c)
		c->would_deny++;
	record(hook, err, kind, object, enforced);
	return enforced ? verdict : 0;
}

#endif
