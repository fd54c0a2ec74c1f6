/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Denials on their way out of the kernel: the last AUDIT_KEPT of them in memory for /v1/events,
 * followers, and the log file. Nothing here can delay or change a verdict: the kernel has already
 * answered.
 */
#ifndef MOAT_AUDIT_H
#define MOAT_AUDIT_H

#include "base/base.h"
#include "base/list.h"
#include "moat/abi.h"

#define AUDIT_KEPT 1024u
#define AUDIT_LOG_MAX (64u * 1024 * 1024) /* then it is renamed to FILE.1, over an older one */

struct audit;

struct audit_follower {
	struct list link;
	/* sequence: from 1 up, without gaps; valid during the call only. */
	void (*on_event)(struct audit_follower *f, uint64_t sequence,
			 const struct moat_event *event);
};

/* log_file: one JSON object a line is appended to it (created with mode 0600); NULL: no file. */
int audit_open(const char *log_file, struct audit **ret, struct failure *f);
void audit_close(struct audit *audit);
/* An enforce_event_fn; data is the struct audit. */
void audit_record(const struct moat_event *event, void *data);
/* Calls fn for each kept event with a sequence above since, oldest first. */
void audit_replay(struct audit *audit, uint64_t since,
		  void (*fn)(uint64_t sequence, const struct moat_event *event, void *data),
		  void *data);
void audit_follow(struct audit *audit, struct audit_follower *f);
void audit_unfollow(struct audit_follower *f);

#endif
