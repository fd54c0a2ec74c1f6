/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decide, count, then log: by the time a record is written the verdict stands, and nothing that
 * happens to the record (full ring, no reader, rate limit) can change it.
 */
#ifndef MOAT_BPF_VERDICT_H
#define MOAT_BPF_VERDICT_H

#include "label.h"

/* Audit records per exec and second, however many tasks it has; what is above is folded into the next. */
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

static __always_inline struct moat_window *window_of(__u64 exec, __u64 now)
{
	struct moat_window fresh = { .start_ns = now };

	if (!bpf_map_lookup_elem(&windows, &exec))
		bpf_map_update_elem(&windows, &exec, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&windows, &exec);
}

/* True when this exec may write another record now; *ret_folded: denials to fold into it. */
static __always_inline bool record_allowed(__u64 exec, __u64 now, __u32 *ret_folded)
{
	struct moat_window *w = window_of(exec, now);

	if (!w)
		return false;
	if (now - w->start_ns >= WINDOW_NS) {
		w->start_ns = now;
		w->records = 0;
	}
	if (__sync_fetch_and_add(&w->records, 1) >= RECORDS_PER_WINDOW) {
		__sync_fetch_and_add(&w->folded, 1);
		return false;
	}
	*ret_folded = __sync_lock_test_and_set(&w->folded, 0);
	return true;
}

/* The running task as the subject of a record. */
static __always_inline void describe_current(struct moat_event *e)
{
	const struct moat_label *l = label_of(bpf_get_current_task_btf());

	e->context = l ? l->context : 0;
	e->exec = l ? l->exec : 0;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
}

static __always_inline void describe(struct moat_event *e, const struct moat_subject *subject)
{
	e->context = subject->label.context;
	e->exec = subject->label.exec;
	e->pid = subject->pid;
	__builtin_memcpy(e->comm, subject->comm, sizeof(e->comm));
}

/* subject: NULL for the running task. */
static __noinline void record(struct moat_event *e, const struct moat_subject *subject)
{
	e->time_ns = bpf_ktime_get_boot_ns();
	if (subject)
		describe(e, subject);
	else
		describe_current(e);
	if (!record_allowed(e->exec, e->time_ns, &e->folded))
		drop(false);
	else if (bpf_ringbuf_output(&events, e, sizeof(*e), 0))
		drop(true);
}

static __always_inline int allow(__u32 hook)
{
	struct moat_counter *c = bpf_map_lookup_elem(&counters, &hook);

	if (c)
		c->allowed++;
	return 0;
}

/*
 * The answer of a hook that refuses: -err, or 0 where the mode only records. Fails closed.
 * subject: who is refused; NULL for the running task.
 */
static __always_inline int deny_subject(const struct moat_subject *subject, __u32 hook, __s32 err,
					__u32 kind, __u64 object)
{
	struct moat_counter *c = bpf_map_lookup_elem(&counters, &hook);
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
	if (c && enforced)
		c->denied++;
	else if (c)
		c->would_deny++;
	record(&e, subject);
	return enforced ? verdict : 0;
}

static __always_inline int deny(__u32 hook, __s32 err, __u32 kind, __u64 object)
{
	return deny_subject(NULL, hook, err, kind, object);
}

#endif
