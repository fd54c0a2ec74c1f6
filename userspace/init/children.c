// SPDX-License-Identifier: Apache-2.0
/* The commands that run: a chained hash from pid to exec number in fixed memory. */
#include <signal.h>

#include "init/init.h"

#define BUCKETS 1024u /* a power of two */

struct child {
	uint64_t exec;
	pid_t pid;
	uint32_t next; /* index plus one in its bucket or in the free list; 0 ends it */
};

static struct child children[CHILDREN_MAX];
static uint32_t buckets[BUCKETS];
static uint32_t free_list;
static uint32_t n_used; /* slots ever used; those behind it are free without being in the list */

static uint32_t *bucket_of(pid_t pid)
{
	return &buckets[(uint32_t)pid & (BUCKETS - 1)];
}

bool children_full(void)
{
	return free_list == 0 && n_used == CHILDREN_MAX;
}

void children_add(pid_t pid, uint64_t exec)
{
	uint32_t *bucket = bucket_of(pid);
	uint32_t slot = free_list;

	if (slot)
		free_list = children[slot - 1].next;
	else
		slot = ++n_used;
	children[slot - 1] = (struct child){ .exec = exec, .pid = pid, .next = *bucket };
	*bucket = slot;
}

uint64_t children_exec(pid_t pid)
{
	uint32_t slot = *bucket_of(pid);

	while (slot && children[slot - 1].pid != pid)
		slot = children[slot - 1].next;
	return slot ? children[slot - 1].exec : 0;
}

uint64_t children_remove(pid_t pid)
{
	for (uint32_t *link = bucket_of(pid); *link; link = &children[*link - 1].next) {
		uint32_t slot = *link;
		struct child *c = &children[slot - 1];
		uint64_t exec = c->exec;

		if (c->pid != pid)
			continue;
		*link = c->next;
		*c = (struct child){ .next = free_list };
		free_list = slot;
		return exec;
	}
	return 0;
}

pid_t children_find(uint64_t exec)
{
	for (uint32_t i = 0; i < n_used; i++)
		if (children[i].exec == exec && children[i].pid > 0)
			return children[i].pid;
	return 0;
}

void children_kill_all(void)
{
	for (uint32_t i = 0; i < n_used; i++)
		if (children[i].pid > 0) {
			kill(-children[i].pid, SIGKILL);
			kill(children[i].pid, SIGKILL); /* may have no group yet */
		}
}
