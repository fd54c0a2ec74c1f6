/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#define LOOP_BATCH 64

struct loop {
	int epoll, timerfd;
	bool stop;
	struct loop_timer **heap; /* by deadline; heap[i]->index == i + 1 */
	size_t n_timers, heap_size;
	/*
	 * When the timerfd fires; UINT64_MAX: not armed. Never later than the first deadline, but
	 * possibly earlier: most timers are cancelled, and a spare wake-up is cheaper than a
	 * system call for each of those.
	 */
	uint64_t armed_ns;
	struct epoll_event batch[LOOP_BATCH]; /* what epoll_wait() returned last */
	int batch_next, batch_n;
};

int loop_new(struct loop **ret_loop)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return -ENOMEM;
	loop->armed_ns = UINT64_MAX;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	event.data.ptr = loop; /* the timerfd's mark: no source has this address */
	if (loop->epoll < 0 || loop->timerfd < 0 ||
	    epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->timerfd, &event) < 0) {
		r = -errno;
		loop_free(loop);
		return r;
	}
	*ret_loop = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	for (size_t i = 0; i < loop->n_timers; i++)
		loop->heap[i]->index = 0;
	close_fd(&loop->epoll);
	close_fd(&loop->timerfd);
	free(loop->heap);
	free(loop);
}

/* Sources */

int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events,
	     loop_io_fn on_event)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	source->fd = fd;
	source->on_event = on_event;
	return 0;
}

int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno : 0;
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
	/* on_event is NULL in a source that is zeroed and was never added: its fd 0 is not ours. */
	if (source->fd < 0 || !source->on_event)
		return;
	(void)epoll_ctl(loop->epoll, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -EBADF;
	source->on_event = NULL;
	for (int i = loop->batch_next; i < loop->batch_n; i++)
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
}

/* Timers */

static void heap_put(struct loop *loop, size_t i, struct loop_timer *timer)
{
	loop->heap[i] = timer;
	timer->index = i + 1;
}

static void heap_up(struct loop *loop, size_t i)
{
	struct loop_timer *timer = loop->heap[i];

	while (i > 0) {
		size_t parent = (i - 1) / 2;

		if (loop->heap[parent]->deadline_ns <= timer->deadline_ns)
			break;
		heap_put(loop, i, loop->heap[parent]);
		i = parent;
	}
	heap_put(loop, i, timer);
}

static void heap_down(struct loop *loop, size_t i)
{
	struct loop_timer *timer = loop->heap[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= loop->n_timers)
			break;
		if (child + 1 < loop->n_timers &&
		    loop->heap[child + 1]->deadline_ns < loop->heap[child]->deadline_ns)
			child++;
		if (timer->deadline_ns <= loop->heap[child]->deadline_ns)
			break;
		heap_put(loop, i, loop->heap[child]);
		i = child;
	}
	heap_put(loop, i, timer);
}

/* Arms the timerfd for the first deadline, if it would fire too late or not at all. */
static void timers_arm(struct loop *loop)
{
	struct itimerspec spec = { 0 };
	uint64_t first;

	if (loop->n_timers == 0)
		return;
	first = loop->heap[0]->deadline_ns;
	if (first >= loop->armed_ns)
		return;
	spec.it_value.tv_sec = (time_t)(first / NSEC_PER_SEC);
	spec.it_value.tv_nsec = (long)(first % NSEC_PER_SEC);
	/* Cannot fail: our own descriptor, a normalised time. */
	(void)timerfd_settime(loop->timerfd, TFD_TIMER_ABSTIME, &spec, NULL);
	loop->armed_ns = first;
}

int loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns,
		   loop_timer_fn on_expire)
{
	uint64_t now = now_ns();

	if (timer->index == 0 && loop->n_timers == loop->heap_size) {
		size_t size = loop->heap_size ? loop->heap_size * 2 : 16;
		struct loop_timer **heap = realloc(loop->heap, size * sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		loop->heap = heap;
		loop->heap_size = size;
	}
	loop_timer_cancel(loop, timer);
	/* Kept representable as a signed number of seconds. */
	timer->deadline_ns = delay_ns > INT64_MAX - now ? INT64_MAX : now + delay_ns;
	timer->on_expire = on_expire;
	heap_put(loop, loop->n_timers, timer);
	heap_up(loop, loop->n_timers++);
	timers_arm(loop);
	return 0;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	size_t i = timer->index;
	struct loop_timer *last;

	if (i == 0)
		return;
	i--;
	timer->index = 0;
	last = loop->heap[--loop->n_timers];
	if (last == timer)
		return;
	heap_put(loop, i, last);
	heap_up(loop, i);
	heap_down(loop, last->index - 1);
}

static void timers_run(struct loop *loop)
{
	uint64_t expirations, now = now_ns();

	(void)!read(loop->timerfd, &expirations, sizeof(expirations));
	loop->armed_ns = UINT64_MAX;
	/* A timer set again by a callback has a deadline after `now`: sources get their turn. */
	while (!loop->stop && loop->n_timers > 0 && loop->heap[0]->deadline_ns < now) {
		struct loop_timer *timer = loop->heap[0];

		loop_timer_cancel(loop, timer);
		timer->on_expire(timer);
	}
	timers_arm(loop);
}

/* Running */

int loop_run(struct loop *loop)
{
	loop->stop = false;
	while (!loop->stop) {
		int n = epoll_wait(loop->epoll, loop->batch, LOOP_BATCH, -1);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		loop->batch_n = n;
		for (loop->batch_next = 0; loop->batch_next < n && !loop->stop;) {
			struct epoll_event *event = &loop->batch[loop->batch_next++];
			struct loop_source *source = event->data.ptr;

			if (event->data.ptr == loop)
				timers_run(loop);
			else if (source)
				source->on_event(source, event->events);
		}
		loop->batch_n = 0;
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}
