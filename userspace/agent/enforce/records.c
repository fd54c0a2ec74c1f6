/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of denials on their way out of the kernel. What its rate limit has folded comes with the next record
 * of the same exec and hook (bpf/verdict.h); where there is none within a second, one is made here of what the
 * window says, so that each denial is accounted for soon after, also when the exec has ended with it.
 */
#include "agent/enforce/internal.h"

#include <sys/epoll.h>
#include <time.h>

#define RECORDS_PER_TURN 256 /* of the event loop */
#define UNFOLD_AFTER_NS (NSEC_PER_SEC + NSEC_PER_SEC / 10)

/* The last of them stands for all. */
static void unfold_window(struct enforce *e, const struct moat_window *w)
{
	struct moat_event event = w->last;

	event.folded = (uint32_t)(w->folded - 1);
	event.object_kind = MOAT_OBJECT_NONE;
	event.object = 0;
	e->on_denial(&event, e->on_denial_data);
}

/* Takes windows out whose second is over. true: there are others with something in them. */
static bool unfold_windows(struct enforce *e)
{
	int map = bpf_map__fd(e->bpf->maps.windows);
	struct moat_window_key key, next;
	uint64_t now = clock_ns(CLOCK_BOOTTIME);
	bool more = false;
	int r = bpf_map_get_next_key(map, NULL, &next);

	while (r == 0) {
		struct moat_window w;

		key = next;
		r = bpf_map_get_next_key(map, &key, &next);
		if (bpf_map_lookup_elem(map, &key, &w) < 0)
			continue;
		if (now < w.start_ns + NSEC_PER_SEC)
			more = more || w.folded;
		else if (bpf_map_lookup_and_delete_elem(map, &key, &w) == 0 && w.folded)
			unfold_window(e, &w);
	}
	return more;
}

static void on_second(struct loop_timer *timer);

static void unfold_later(struct enforce *e)
{
	if (!e->unfolding && loop_timer_set(e->loop, &e->unfold, UNFOLD_AFTER_NS, on_second) == 0)
		e->unfolding = true; /* else the next record tries again */
}

static void on_second(struct loop_timer *timer)
{
	struct enforce *e = container_of(timer, struct enforce, unfold);

	e->unfolding = false;
	if (unfold_windows(e))
		unfold_later(e);
}

static int on_record(void *data, void *record, size_t size)
{
	const struct moat_event *event = record;
	struct enforce *e = data;

	if (size >= sizeof(*event)) {
		if (event->follow != MOAT_FOLLOW_NONE)
			unfold_later(e);
		if (event->follow != MOAT_FOLLOW_ONLY)
			e->on_denial(event, e->on_denial_data);
	}
	return ++e->n_records < RECORDS_PER_TURN ? 0 : -EAGAIN;
}

static void on_ring_ready(struct loop_source *source, uint32_t events)
{
	struct enforce *e = container_of(source, struct enforce, source);

	/* A flood of denials must not keep the loop from everything else: the descriptor stays ready. */
	(void)events;
	e->n_records = 0;
	ring_buffer__consume(e->ring);
}

int enforce_read_records(struct enforce *e)
{
	e->ring = ring_buffer__new(bpf_map__fd(e->bpf->maps.events), on_record, e, NULL);
	if (!e->ring)
		return -errno;
	unfold_later(e); /* what an agent before has left */
	return loop_add(e->loop, &e->source, ring_buffer__epoll_fd(e->ring), EPOLLIN, on_ring_ready);
}

void enforce_stop_records(struct enforce *e)
{
	loop_timer_cancel(e->loop, &e->unfold);
	loop_remove(e->loop, &e->source);
}
