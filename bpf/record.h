/* SPDX-License-Identifier: GPL-2.0-only */
/* Writing a record down, for every kind of program. */
#ifndef MOAT_BPF_RECORD_H
#define MOAT_BPF_RECORD_H

#include "maps.h"

/* Audit records per exec, hook and second, however many tasks it has; what is above is folded into the next one, or
 * into one that the agent makes of the window when there is none within a second. */
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

static __always_inline struct moat_window *window_of(const struct moat_window_key *key, __u64 now)
{
	static const struct moat_window empty;

	if (!bpf_map_lookup_elem(&windows, key))
		bpf_map_update_elem(&windows, key, &empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&windows, key);
}

/* True when this is to be written now; follow and folded are set for it then. */
static __always_inline bool record_allowed(struct moat_event *e, bool look)
{
	struct moat_window_key key = { .exec = e->exec, .hook = e->hook, .look = look };
	struct moat_window *w = window_of(&key, e->time_ns);
	__u64 n, budget = look ? 0 : RECORDS_PER_WINDOW;

	if (!w)
		return false;
	if (e->time_ns - w->start_ns >= WINDOW_NS) {
		w->start_ns = e->time_ns;
		w->records = 0;
	}
	n = __sync_fetch_and_add(&w->records, 1);
	if (n < budget) {
		e->folded = __sync_lock_test_and_set(&w->folded, 0);
		e->follow = n + 1 == budget ? MOAT_FOLLOW_FOLDED : MOAT_FOLLOW_NONE;
		return true;
	}
	w->last = *e;
	__sync_fetch_and_add(&w->folded, 1);
	drop(false);
	e->follow = MOAT_FOLLOW_ONLY;
	return look && n == 0;
}

/* What its subject is stands in it already. */
static __always_inline void write_record(struct moat_event *e, bool look)
{
	if (record_allowed(e, look) && bpf_ringbuf_output(&events, e, sizeof(*e), 0))
		drop(true);
}

#endif
