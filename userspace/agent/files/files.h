/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a context. The agent touches none: each request starts moat-run in the context, with its label, rights,
 * view and limits, and what comes of it is passed on as it comes (run/files/protocol.h).
 *
 *   STARTING --runs--> ASKED --(content is sent)--> answers --END--> on_end
 *        \------ refused, lost, stalled, an ERROR frame, no sense -----> on_failed
 */
#ifndef MOAT_FILES_H
#define MOAT_FILES_H

#include "agent/exec/exec.h"
#include "base/loop.h"
#include "run/files/protocol.h"

/* Without a byte in or out for so long it is ended; the start may take twice that. */
#define FILES_STALL_NS (25 * NSEC_PER_SEC)
#define FILES_TIME_MS (3600ull * 1000) /* for all of it */

struct files;

/* What is wanted. All borrowed. */
struct files_ask {
	const char *context;
	enum files_operation operation;
	unsigned flags;        /* FILES_… */
	const char *path, *to; /* absolute, or beneath the context's directory; to: of a rename */
	mode_t mode;
	uint64_t offset, length;
	uint32_t limit, count;
	const char *old_text, *new_text;
	uint32_t old_len, new_len;
	uint8_t hash[32];
};

/* Told by moat-run, and so maybe by user code: its numbers fit each other, but need not be true. */
struct files_told {
	struct files_entry entry;
	const char *name,
		*target; /* no NUL in them; "" where there is none. Until the callback returns */
	size_t name_len, target_len;
};

/* Who asked; embedded in what it is for. All are called from the loop, and none after on_end or on_failed. Only they
 * may cancel anything. */
struct files_observer {
	void (*on_entry)(struct files_observer *o, const struct files_told *told);
	void (*on_data)(struct files_observer *o, const void *data, size_t n);
	void (*on_room)(struct files_observer *o); /* files_send() takes something again */
	void (*on_end)(struct files_observer *o, const struct files_end *end);
	void (*on_failed)(struct files_observer *o, const struct refusal *e);
};

/* 0: *ret is borrowed, until on_end, on_failed or files_cancel(). -EINVAL with *e. */
int files_start(struct execs *execs, struct loop *loop, const struct files_ask *ask,
		struct files_observer *o, struct files **ret, struct refusal *e);
/* Makes the workspace of a context, and what is missing above it, if it has one: 1. 0: it has none, and o hears
 * nothing. */
int files_prepare(struct execs *execs, struct loop *loop, const char *context,
		  struct files_observer *o, struct files **ret, struct refusal *e);
/* Content of a file that is written: all n bytes, up to FILES_DATA_MAX, or none as long as on_room has not come.
 * Where the other side has closed its end all are taken, and the answer says why. */
size_t files_send(struct files *f, const void *data, size_t n);
/* Its end. Once; it may come at any time. */
void files_send_end(struct files *f);
/* What is read comes no more, until it is resumed. */
void files_pause(struct files *f, bool paused);
/* Nobody waits for it any more: it is ended, and a file that is not complete stays as it was. */
void files_cancel(struct files *f);

/*
 * parse.c: what moat-run sends. Fed piece by piece; calls back with what has arrived whole.
 */
struct files_parser {
	enum files_operation operation;
	uint32_t limit; /* of entries */
	bool sending;   /* content is still to be sent: an answer would be too early */

	char frame[sizeof(struct files_frame) + sizeof(struct files_entry) + 2 * FILES_PATH_MAX];
	size_t have;
	uint32_t data_left; /* of a FILES_DATA frame */
	uint64_t content_left;
	uint32_t entries;
	size_t names;
	bool ended;
};

struct files_parser_ops {
	void (*entry)(void *data, const struct files_told *told);
	void (*content)(void *data, const void *bytes, size_t n);
	/* Nothing may come after them. They may free the parser. */
	void (*end)(void *data, const struct files_end *end);
	void (*error)(void *data, const struct files_error *error);
};

void files_parser_open(struct files_parser *p, const struct files_ask *ask);
/* 0, also when it has ended; -EPROTO: that makes no sense, and nothing more is to be fed. */
int files_parser_feed(struct files_parser *p, const struct files_parser_ops *ops, void *data,
		      const void *bytes, size_t n);
/* Whether a code is one that moat-run may answer with. */
bool files_code_valid(uint32_t code);

#endif
