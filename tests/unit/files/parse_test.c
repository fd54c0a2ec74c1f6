/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent takes from a moat-run, and what it does not: both are words of an adversary. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "agent/files/files.h"

struct heard {
	unsigned entries, ends, errors;
	uint64_t content;
	char name[64];
	struct files_error error;
};

static void on_entry(void *data, const struct files_told *told)
{
	struct heard *h = data;

	h->entries++;
	snprintf(h->name, sizeof(h->name), "%.*s>%.*s", (int)told->name_len, told->name,
		 (int)told->target_len, told->target);
}

static void on_content(void *data, const void *bytes, size_t n)
{
	struct heard *h = data;

	assert_non_null(bytes);
	h->content += n;
}

static void on_end(void *data, const struct files_end *end)
{
	struct heard *h = data;

	(void)end;
	h->ends++;
}

static void on_error(void *data, const struct files_error *error)
{
	struct heard *h = data;

	h->errors++;
	h->error = *error;
}

static const struct files_parser_ops ops = { on_entry, on_content, on_end, on_error };

static char message[4 * FILES_DATA_MAX];
static size_t length;

static void add(const void *data, size_t n)
{
	memcpy(message + length, data, n);
	length += n;
}

static void add_frame(uint32_t type, const void *data, size_t n)
{
	const struct files_frame frame = { .type = type, .len = (uint32_t)n };

	add(&frame, sizeof(frame));
	if (data)
		add(data, n);
}

static void add_entry(const struct files_entry *like, const char *name, const char *target)
{
	char payload[512];
	struct files_entry e = *like;

	e.name_len = (uint32_t)strlen(name);
	e.target_len = (uint32_t)strlen(target);
	memcpy(payload, &e, sizeof(e));
	memcpy(payload + sizeof(e), name, e.name_len);
	memcpy(payload + sizeof(e) + e.name_len, target, e.target_len);
	add_frame(FILES_ENTRY, payload, sizeof(e) + e.name_len + e.target_len);
}

static void add_end(uint32_t created, uint32_t truncated)
{
	const struct files_end end = { .created = created, .truncated = truncated };

	add_frame(FILES_END, &end, sizeof(end));
}

static void begin(struct files_parser *p, enum files_operation operation)
{
	const struct files_ask ask = { .operation = operation, .limit = 3 };

	length = 0;
	files_parser_open(p, &ask);
}

/* In pieces of so many bytes. */
static int feed(struct files_parser *p, struct heard *h, size_t piece)
{
	int r = 0;

	for (size_t at = 0; at < length && r == 0 && !h->ends && !h->errors; at += piece)
		r = files_parser_feed(p, &ops, h, message + at,
				      length - at < piece ? length - at : piece);
	return r;
}

static const struct files_entry plain = { .size = 10, .length = 10, .mode = S_IFREG | 0644 };

static void answers_arrive_in_pieces_of_any_size(void **state)
{
	static const char content[] = "0123456789";

	(void)state;
	for (size_t piece = 1; piece < 200; piece++) {
		struct files_parser p;
		struct heard h = { 0 };

		begin(&p, FILES_READ);
		add_frame(FILES_KEEP, NULL, 0);
		add_entry(&plain, "", "");
		add_frame(FILES_DATA, content, 4);
		add_frame(FILES_DATA, content, 6);
		add_end(0, 0);
		assert_int_equal(feed(&p, &h, piece), 0);
		assert_int_equal(h.entries, 1);
		assert_int_equal(h.content, 10);
		assert_int_equal(h.ends, 1);
	}
}

static void a_list_has_names_and_targets(void **state)
{
	struct files_parser p;
	struct heard h = { 0 };

	(void)state;
	begin(&p, FILES_LIST);
	add_entry(&plain, "a", "");
	add_entry(&plain, "b/link", "../a");
	add_end(0, 1);
	assert_int_equal(feed(&p, &h, 7), 0);
	assert_int_equal(h.entries, 2);
	assert_string_equal(h.name, "b/link>../a");
	assert_int_equal(h.ends, 1);
}

static void an_archive_is_as_long_as_it_is(void **state)
{
	struct files_parser p;
	struct heard h = { 0 };

	(void)state;
	begin(&p, FILES_PACK);
	add_entry(&plain, "", "");
	for (int i = 0; i < 3; i++)
		add_frame(FILES_DATA, "0123456789", 10);
	add_end(0, 0);
	assert_int_equal(feed(&p, &h, 7), 0);
	assert_int_equal(h.content, 30);
	assert_int_equal(h.entries, 1);
	assert_int_equal(h.ends, 1);
	begin(&p, FILES_PACK); /* but begins with the directory */
	add_frame(FILES_DATA, "0123456789", 10);
	h = (struct heard){ 0 };
	assert_int_equal(feed(&p, &h, 7), -EPROTO);
}

static void an_error_comes_with_a_code_of_the_table_only(void **state)
{
	struct files_error error = { .code = MOAT_E_NO_SPACE, .err = ENOSPC };
	struct files_parser p;
	struct heard h = { 0 };

	(void)state;
	begin(&p, FILES_WRITE); /* also while content is sent */
	add_frame(FILES_ERROR, &error, sizeof(error));
	assert_int_equal(feed(&p, &h, 1), 0);
	assert_int_equal(h.errors, 1);
	assert_int_equal(h.error.code, MOAT_E_NO_SPACE);
	for (uint32_t code = 0; code < 1000; code++) {
		h = (struct heard){ 0 };
		begin(&p, FILES_WRITE);
		error.code = code;
		add_frame(FILES_ERROR, &error, sizeof(error));
		assert_int_equal(feed(&p, &h, sizeof(message)),
				 files_code_valid(code) ? 0 : -EPROTO);
		assert_int_equal(h.errors, files_code_valid(code));
	}
	assert_false(files_code_valid(MOAT_OK));
	assert_false(files_code_valid(MOAT_E_INTERNAL));
	assert_false(files_code_valid(MOAT_E_FORBIDDEN));
}

/* Writes one wrong answer. */
typedef void (*wrong_fn)(struct files_parser *p);

static void unknown_type(struct files_parser *p)
{
	begin(p, FILES_STAT);
	add_frame(77, NULL, 0);
}

static void keep_with_length(struct files_parser *p)
{
	begin(p, FILES_STAT);
	add_frame(FILES_KEEP, "x", 1);
}

static void huge_frame(struct files_parser *p)
{
	const struct files_frame frame = { .type = FILES_ENTRY, .len = UINT32_MAX };

	begin(p, FILES_STAT);
	add(&frame, sizeof(frame));
}

static void short_entry(struct files_parser *p)
{
	begin(p, FILES_STAT);
	add_frame(FILES_ENTRY, &plain, sizeof(plain) - 1);
}

static void name_beyond_frame(struct files_parser *p)
{
	struct files_entry e = plain;

	begin(p, FILES_LIST);
	e.name_len = 100;
	add_frame(FILES_ENTRY, &e, sizeof(e));
}

static void lengths_that_wrap(struct files_parser *p)
{
	struct files_entry e = plain;

	begin(p, FILES_LIST);
	e.name_len = 1;
	e.target_len = UINT32_MAX;
	add_frame(FILES_ENTRY, &e, sizeof(e));
}

static void nul_in_name(struct files_parser *p)
{
	struct files_entry e = plain;
	char payload[sizeof(e) + 3] = { 0 };

	begin(p, FILES_LIST);
	e.name_len = 3;
	memcpy(payload, &e, sizeof(e));
	memcpy(payload + sizeof(e), "a\0b", 3);
	add_frame(FILES_ENTRY, payload, sizeof(payload));
}

static void name_where_none_is(struct files_parser *p)
{
	begin(p, FILES_STAT);
	add_entry(&plain, "other", "");
}

static void list_without_name(struct files_parser *p)
{
	begin(p, FILES_LIST);
	add_entry(&plain, "", "");
}

static void too_many_entries(struct files_parser *p)
{
	begin(p, FILES_LIST);
	for (int i = 0; i < 4; i++)
		add_entry(&plain, "a", "");
}

static void second_entry(struct files_parser *p)
{
	begin(p, FILES_STAT);
	add_entry(&plain, "", "");
	add_entry(&plain, "", "");
}

static void end_without_entry(struct files_parser *p)
{
	begin(p, FILES_STAT);
	add_end(0, 0);
}

static void content_without_entry(struct files_parser *p)
{
	begin(p, FILES_READ);
	add_frame(FILES_DATA, "x", 1);
}

static void content_of_a_list(struct files_parser *p)
{
	begin(p, FILES_LIST);
	add_entry(&plain, "a", "");
	add_frame(FILES_DATA, "x", 1);
}

static void more_content(struct files_parser *p)
{
	begin(p, FILES_READ);
	add_entry(&plain, "", "");
	add_frame(FILES_DATA, "01234567890", 11);
}

static void less_content(struct files_parser *p)
{
	begin(p, FILES_READ);
	add_entry(&plain, "", "");
	add_frame(FILES_DATA, "0123", 4);
	add_end(0, 0);
}

static void empty_content(struct files_parser *p)
{
	begin(p, FILES_READ);
	add_entry(&plain, "", "");
	add_frame(FILES_DATA, NULL, 0);
}

static void range_beyond_size(struct files_parser *p)
{
	struct files_entry e = plain;

	begin(p, FILES_READ);
	e.offset = 5;
	e.length = UINT64_MAX - 4;
	add_entry(&e, "", "");
}

static void negative_size(struct files_parser *p)
{
	struct files_entry e = plain;

	begin(p, FILES_STAT);
	e.size = UINT64_MAX;
	add_entry(&e, "", "");
}

static void early_answer(struct files_parser *p)
{
	begin(p, FILES_WRITE);
	add_entry(&plain, "", "");
}

static void early_end(struct files_parser *p)
{
	begin(p, FILES_APPEND);
	add_end(1, 0);
}

static void wrong_flag(struct files_parser *p)
{
	begin(p, FILES_REMOVE);
	add_end(2, 0);
}

static void what_makes_no_sense_is_refused(void **state)
{
	static const wrong_fn wrong[] = {
		unknown_type,
		keep_with_length,
		huge_frame,
		short_entry,
		name_beyond_frame,
		lengths_that_wrap,
		nul_in_name,
		name_where_none_is,
		list_without_name,
		too_many_entries,
		second_entry,
		end_without_entry,
		content_without_entry,
		content_of_a_list,
		more_content,
		less_content,
		empty_content,
		range_beyond_size,
		negative_size,
		early_answer,
		early_end,
		wrong_flag,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		for (size_t piece = 1; piece < 300; piece += 37) {
			struct files_parser p;
			struct heard h = { 0 };

			wrong[i](&p);
			assert_int_equal(feed(&p, &h, piece), -EPROTO);
			assert_int_equal(h.ends + h.errors, 0);
		}
}

static void nothing_comes_after_the_end(void **state)
{
	struct files_parser p;
	struct heard h = { 0 };

	(void)state;
	begin(&p, FILES_REMOVE);
	add_end(0, 0);
	assert_int_equal(files_parser_feed(&p, &ops, &h, message, length), 0);
	assert_int_equal(files_parser_feed(&p, &ops, &h, message, length), -EPROTO);
	assert_int_equal(h.ends, 1);
}

/* Bytes at random, and right answers with some of them changed: never more than was asked for. */
static void noise_does_no_harm(void **state)
{
	(void)state;
	srand(20261130);
	for (int round = 0; round < 20000; round++) {
		struct files_parser p;
		struct heard h = { 0 };

		begin(&p, (enum files_operation)(rand() % FILES_OPERATION_COUNT));
		add_entry(&plain, p.operation == FILES_LIST ? "name" : "", "");
		if (p.operation == FILES_READ)
			add_frame(FILES_DATA, "0123456789", 10);
		add_end(0, 0);
		for (int i = rand() % 6; i > 0; i--)
			message[(size_t)rand() % length] = (char)rand();
		(void)feed(&p, &h, 1 + (size_t)rand() % 64);
		assert_true(h.entries <= 3 && h.ends + h.errors <= 1);
		assert_true(h.content <= INT64_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_arrive_in_pieces_of_any_size),
		cmocka_unit_test(a_list_has_names_and_targets),
		cmocka_unit_test(an_archive_is_as_long_as_it_is),
		cmocka_unit_test(an_error_comes_with_a_code_of_the_table_only),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(nothing_comes_after_the_end),
		cmocka_unit_test(noise_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
