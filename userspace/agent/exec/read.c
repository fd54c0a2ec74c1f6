/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept of the output, and who reads it. Any number of readers come back for it whenever they can; one of them, whose
 * request started the command, may be waited for: then no more is taken out of the pipes than can be kept for him.
 */
#include "agent/exec/internal.h"
#include "base/held.h"

bool exec_take_memory(size_t n, void *arg)
{
	struct exec *x = arg;

	if (held_take(n))
		return true;
	execs_make_room(x->execs, n, x);
	return held_take(n);
}

uint64_t exec_written(const struct exec *x)
{
	return x->out[0].kept.total + x->out[1].kept.total;
}

size_t exec_room(struct exec *x, enum exec_stream stream, size_t want)
{
	struct capture *c = &x->out[stream].kept;
	size_t room;

	if (!x->held || x->killed)
		return want;
	capture_reserve(c, want, true, exec_take_memory, x);
	room = capture_room(c, x->held->offset[stream]);
	return room < want ? room : want;
}

void exec_keep(struct exec *x, enum exec_stream stream, const char *data, size_t n)
{
	struct capture *c = &x->out[stream].kept;

	records_add(&x->records, stream, exec_written(x), c->total,
		    (uint32_t)((now_ns() - x->started_ns) / NSEC_PER_MSEC));
	capture_add(c, data, n, exec_take_memory, x);
}

void exec_tell_output(struct exec *x)
{
	list_for_each_safe(pos, &x->observers) {
		struct exec_observer *o = list_entry(pos, struct exec_observer, link);

		if (o->on_output)
			o->on_output(o, x);
	}
}

/* --- Reading ------------------------------------------------------------------------------- */

static uint64_t end_of(const struct exec *x, ssize_t i)
{
	return (size_t)i + 1 < x->records.n ? records_get(&x->records, (size_t)i + 1)->at :
					      exec_written(x);
}

/* Goes on to `at`; by so much of the stream, or where that is not known (-1), of both. */
static void lose(struct exec_reader *r, struct exec_piece *piece, int stream, uint64_t n)
{
	r->at += n;
	piece->lost += n;
	if (stream >= 0) {
		r->offset[stream] += n;
		piece->lost_of[stream] += n;
	}
}

/* The records of what comes next are forgotten: on to the first one that is there. */
static void lose_records(const struct exec *x, struct exec_reader *r, struct exec_piece *piece)
{
	const struct record *first = records_get(&x->records, 0);
	uint64_t offset[2];

	offset[first->stream] = first->offset;
	offset[!first->stream] = first->at - first->offset;
	for (int i = 0; i < 2; i++)
		piece->lost_of[i] = offset[i] - r->offset[i];
	piece->known = r->known;
	piece->lost += first->at - r->at;
	*r = (struct exec_reader){ .at = first->at,
				   .offset = { offset[0], offset[1] },
				   .known = true };
}

static void locate(const struct record *record, struct exec_reader *r)
{
	uint64_t offset = record->offset + (r->at - record->at);

	r->offset[record->stream] = offset;
	r->offset[!record->stream] = r->at - offset;
	r->known = true;
}

/* Skips what is lost. Where the reader is then, if there is anything: the number of its record; else -ENOENT. */
static ssize_t skip_lost(const struct exec *x, struct exec_reader *r, struct exec_piece *piece)
{
	ssize_t i;

	piece->known = true;
	while (r->at < exec_written(x)) {
		const struct record *record;
		uint64_t offset, lost;
		const char *data;

		i = records_find(&x->records, r->at);
		if (i < 0) {
			lose_records(x, r, piece);
			continue;
		}
		record = records_get(&x->records, (size_t)i);
		locate(record, r);
		offset = r->offset[record->stream];
		(void)capture_get(&x->out[record->stream].kept, &offset, &data);
		lost = offset - r->offset[record->stream];
		if (lost == 0)
			return i;
		if (lost > end_of(x, i) - r->at)
			lost = end_of(x, i) - r->at;
		lose(r, piece, (int)record->stream, lost);
	}
	return -ENOENT;
}

enum exec_read exec_read(struct exec *x, struct exec_reader *r, char *buf, size_t max,
			 struct exec_piece *ret)
{
	const struct record *record;
	uint64_t offset, end;
	ssize_t i;

	*ret = (struct exec_piece){ 0 };
	i = skip_lost(x, r, ret);
	ret->at = r->at;
	if (ret->lost)
		return EXEC_READ_LOST;
	if (i < 0)
		return EXEC_READ_NOTHING;
	record = records_get(&x->records, (size_t)i);
	ret->stream = (enum exec_stream)record->stream;
	ret->ms = record->ms;
	while ((size_t)i + 1 < x->records.n &&
	       records_get(&x->records, (size_t)i + 1)->stream == record->stream)
		i++;
	end = end_of(x, i);
	offset = r->offset[ret->stream];
	while (ret->n < max && r->at + ret->n < end) {
		uint64_t at = offset;
		const char *data;
		size_t n = capture_get(&x->out[ret->stream].kept, &at, &data);

		if (n == 0 || at != offset)
			break;
		if (n > max - ret->n)
			n = max - ret->n;
		if (n > end - r->at - ret->n)
			n = (size_t)(end - r->at - ret->n);
		memcpy(buf + ret->n, data, n);
		ret->n += n;
		offset += n;
	}
	/* Behind it is another stream, a hole, or nothing any more. */
	ret->over = ret->n < max &&
		    (r->at + ret->n < exec_written(x) || (exec_state_of(x) == EXEC_ENDED && !x->left));
	return EXEC_READ_BYTES;
}

void exec_reader_take(struct exec *x, struct exec_reader *r, const struct exec_piece *piece,
		      size_t n)
{
	r->at += n;
	r->offset[piece->stream] += n;
	if (r == x->held)
		exec_output_resume(x);
}

size_t exec_read_stream(const struct exec *x, enum exec_stream stream, uint64_t *offset, char *buf, size_t max)
{
	const char *data;
	size_t n = capture_get(&x->out[stream].kept, offset, &data);

	n = n < max ? n : max;
	if (n)
		memcpy(buf, data, n);
	return n;
}

/* --- Who watches --------------------------------------------------------------------------- */

void exec_observe(struct exec *x, struct exec_observer *o)
{
	list_append(&x->observers, &o->link);
}

void exec_unobserve(struct exec *x, struct exec_observer *o)
{
	list_remove(&o->link);
	if (o->held && o->held == x->held)
		exec_unhold(x);
}

void exec_unhold(struct exec *x)
{
	x->held = NULL;
	exec_output_resume(x);
}

void exec_pin(struct exec *x)
{
	x->pins++;
}

void exec_unpin(struct exec *x)
{
	if (--x->pins == 0 && x->forgotten)
		exec_free(x);
}
