/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's one event loop: epoll, with timers kept in a binary heap behind a single timerfd.
 * Sources and timers are embedded in the structs they belong to; the loop owns no memory of theirs
 * and never closes their descriptors. Everything runs on one thread; nothing here blocks.
 */
#ifndef MOAT_LOOP_H
#define MOAT_LOOP_H

#include "base/base.h"

struct loop;
struct loop_source;
struct loop_timer;

/* events: EPOLL* bits that are ready. The callback may remove or free any source, also its own. */
typedef void (*loop_io_fn)(struct loop_source *source, uint32_t events);
typedef void (*loop_timer_fn)(struct loop_timer *timer);

struct loop_source {
	int fd; /* borrowed; -EBADF while not in the loop */
	loop_io_fn on_event;
};

struct loop_timer {
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	size_t index;         /* place in the heap plus one; 0: not set */
	loop_timer_fn on_expire;
};

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop);
static inline void loop_freep(struct loop **l) { loop_free(*l); }

/* Adds fd with EPOLL* events. 0 or -errno of epoll_ctl(2). */
int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events,
	     loop_io_fn on_event);
int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events);
/* Must be called before the descriptor is closed. Harmless when not added. A removed source gets
 * no further callback, not even for events already fetched. */
void loop_remove(struct loop *loop, struct loop_source *source);

/* (Re)arms a timer to expire once, delay_ns from now. 0 or -ENOMEM. */
int loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns,
		   loop_timer_fn on_expire);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

/* Runs until loop_stop(); returns 0, or -errno if epoll_wait itself failed. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
