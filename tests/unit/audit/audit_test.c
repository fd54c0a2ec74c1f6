/* SPDX-License-Identifier: Apache-2.0 */
#include "audit/fixture.h"

#include <jansson.h>

static void on_replay(const struct audit_entry *entry, void *data)
{
	assert_ptr_equal(data, &t);
	assert_int_equal(entry->type, AUDIT_DENIAL);
	assert_int_equal(entry->denial.object, entry->sequence + 1000);
	assert_true(t.last == 0 || entry->sequence == t.last + 1); /* no gap, oldest first */
	t.first = t.first ? t.first : entry->sequence;
	t.last = entry->sequence;
	t.calls++;
}

static void replay(uint64_t since)
{
	t.first = t.last = t.calls = 0;
	audit_replay(t.audit, since, on_replay, &t);
}

static void write_entry(const struct audit_entry *entry, void *data)
{
	audit_write(t.audit, entry, data);
}

static void what_is_recorded_of_contexts_has_names_and_no_values(void **state)
{
	CLEANUP(jbuf_free) struct jbuf b = { 0 };
	char name[AUDIT_NAME_MAX + 2];
	json_t *entry;

	(void)state;
	assert_int_equal(open_audit(NULL), 0);
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	audit_record_secret_name(t.audit, "default", name);
	audit_replay(t.audit, 0, write_entry, &b);
	entry = json_loadb(b.data, b.len, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(entry, "type")), "secret-name");
	assert_string_equal(json_string_value(json_object_get(entry, "context")), "default");
	assert_int_equal(json_string_length(json_object_get(entry, "variable")), AUDIT_NAME_MAX);
	assert_int_equal(json_object_size(entry), 6);
	json_decref(entry);
	jbuf_free(&b);
	b = (struct jbuf){ 0 };
	/* More than are kept: each frees what it takes the place of. */
	for (unsigned i = 0; i < AUDIT_KEPT + 1; i++)
		audit_record_session_expired(t.audit, "session-a");
	audit_replay(t.audit, AUDIT_KEPT + 1, write_entry, &b);
	entry = json_loadb(b.data, b.len, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(entry, "type")), "session-expired");
	assert_string_equal(json_string_value(json_object_get(entry, "context")), "session-a");
	assert_null(json_object_get(entry, "variable"));
	json_decref(entry);
}

static json_t *entry_of(struct jbuf *b, uint64_t sequence)
{
	jbuf_free(b);
	*b = (struct jbuf){ 0 };
	audit_replay(t.audit, sequence - 1, write_entry, b);
	return json_loadb(b->data, b->len, JSON_DISABLE_EOF_CHECK, NULL);
}

static void of_a_command_the_names_of_its_variables_are_recorded_and_no_values(void **state)
{
	CLEANUP(jbuf_free) struct jbuf b = { 0 };
	struct audit_exec exec = {
		.id = (char *)"x1-a", .context = (char *)"default", .pid = 7, .uid = 8
	};
	char names[AUDIT_NAMES_MAX + 2][AUDIT_NAME_MAX + 32],
		*variables[AUDIT_NAMES_MAX + 2] = { 0 }, program[AUDIT_NAME_MAX + 2];
	json_t *entry;

	(void)state;
	assert_int_equal(open_audit(NULL), 0);
	memset(program, 'p', sizeof(program));
	program[sizeof(program) - 1] = '\0';
	for (size_t i = 0; i < AUDIT_NAMES_MAX + 1; i++) {
		memset(names[i], 'n', sizeof(names[i]));
		memcpy(names[i] + AUDIT_NAME_MAX + i % 2, "=hunter2", 9);
		variables[i] = names[i];
	}
	exec.program = program;
	exec.names = variables;
	audit_record_exec(t.audit, AUDIT_EXEC_BEGIN, &exec);
	entry = entry_of(&b, 1);
	assert_null(memmem(b.data, b.len, "hunter2", 7));
	assert_string_equal(json_string_value(json_object_get(entry, "type")), "exec-begin");
	assert_int_equal(json_string_length(json_object_get(entry, "program")), AUDIT_NAME_MAX);
	assert_int_equal(json_array_size(json_object_get(entry, "variables")), AUDIT_NAMES_MAX);
	assert_int_equal(json_string_length(json_array_get(json_object_get(entry, "variables"), 1)),
			 AUDIT_NAME_MAX);
	assert_int_equal(json_integer_value(json_object_get(entry, "omitted")), 1);
	json_decref(entry);
	for (unsigned i = 0; i < AUDIT_KEPT + 1; i++) { /* each frees what it takes the place of */
		exec.exit_code = i % 2 ? 3 : -1;
		audit_record_exec(t.audit, AUDIT_EXEC_END, &exec);
	}
	entry = entry_of(&b, AUDIT_KEPT + 1);
	assert_string_equal(json_string_value(json_object_get(entry, "type")), "exec-end");
	assert_int_equal(json_integer_value(json_object_get(entry, "exitCode")), 3);
	json_decref(entry);
	entry = entry_of(&b, AUDIT_KEPT + 2);
	assert_true(json_is_null(json_object_get(entry, "exitCode")));
	json_decref(entry);
}

static void the_last_events_are_kept_in_order(void **state)
{
	(void)state;
	assert_int_equal(open_audit(NULL), 0);
	replay(0);
	assert_int_equal(t.calls, 0);
	assert_int_equal(audit_newest(t.audit), 0);
	for (uint64_t i = 1; i <= AUDIT_KEPT + 100; i++) {
		record(i + 1000);
		if (i == 3) {
			replay(1);
			assert_int_equal(t.calls, 2);
			assert_int_equal(t.first, 2);
		}
	}
	replay(0);
	assert_int_equal(t.calls, AUDIT_KEPT);
	assert_int_equal(t.first, 101);
	assert_int_equal(t.last, AUDIT_KEPT + 100);
	assert_int_equal(audit_newest(t.audit), AUDIT_KEPT + 100);
	replay(AUDIT_KEPT + 99);
	assert_int_equal(t.calls, 1);
	replay(AUDIT_KEPT + 100);
	assert_int_equal(t.calls, 0);
	replay(UINT64_MAX);
	assert_int_equal(t.calls, 0);
}

struct counting {
	struct audit_follower follower;
	struct counting *leaves_with; /* leaves, and takes this one along */
	unsigned calls;
	uint64_t sequence;
};

static void on_entry(struct audit_follower *f, const struct audit_entry *entry)
{
	struct counting *c = container_of(f, struct counting, follower);

	c->calls++;
	c->sequence = entry->sequence;
	if (c->leaves_with) {
		audit_unfollow(&c->follower);
		audit_unfollow(&c->leaves_with->follower);
	}
}

static void followers_may_leave_while_they_are_told(void **state)
{
	struct counting a = { .follower.on_entry = on_entry }, b = a, c = a, d = a;

	(void)state;
	assert_int_equal(open_audit(NULL), 0);
	audit_follow(t.audit, &a.follower);
	audit_follow(t.audit, &b.follower);
	audit_follow(t.audit, &c.follower);
	audit_follow(t.audit, &d.follower);
	record(1);
	b.leaves_with = &c; /* the next one to be told */
	record(2);
	record(3);
	assert_int_equal(a.calls, 3);
	assert_int_equal(b.calls, 2);
	assert_int_equal(c.calls, 1);
	assert_int_equal(d.calls, 3);
	assert_int_equal(d.sequence, 3);
	audit_unfollow(&a.follower);
	audit_unfollow(&d.follower);
}

static const json_t *at(const json_t *line, const char *within, const char *key)
{
	return json_object_get(within ? json_object_get(line, within) : line, key);
}

static const char *text_at(const json_t *line, const char *within, const char *key)
{
	return json_string_value(at(line, within, key));
}

static long long number_at(const json_t *line, const char *within, const char *key)
{
	assert_true(json_is_integer(at(line, within, key)));
	return json_integer_value(at(line, within, key));
}

static void the_log_has_one_json_object_a_line(void **state)
{
	PTR_OWNED char *text = NULL;
	struct moat_event odd = { .hook = 9999, .object_kind = 77 };
	struct stat st;
	json_t *line;
	char *second;

	(void)state;
	assert_int_equal(open_audit(t.log), 0);
	record(8080);
	memcpy(odd.comm, "\"},\\\n\xff\x01 56789abcd", 16); /* not terminated */
	audit_record(&odd, t.audit);
	assert_int_equal(stat(t.log, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(read_file_at(AT_FDCWD, t.log, 4096, &text, NULL), 0);
	second = strchr(text, '\n');
	assert_non_null(second);
	*second++ = '\0';
	line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(line);
	assert_string_equal(text_at(line, NULL, "type"), "denial");
	assert_string_equal(text_at(line, NULL, "instance"), "unit");
	assert_string_equal(text_at(line, NULL, "hook"), "socket_bind");
	assert_string_equal(text_at(line, NULL, "surface"), "ports");
	assert_string_equal(text_at(line, NULL, "verdict"), "denied");
	assert_string_equal(text_at(line, NULL, "errno"), "EADDRINUSE");
	assert_int_equal(strlen(text_at(line, NULL, "time")), strlen("2026-01-31T12:00:00.123Z"));
	assert_string_equal(text_at(line, "subject", "comm"), "nc");
	assert_string_equal(text_at(line, "subject", "contextName"), "two");
	assert_int_equal(number_at(line, "subject", "pid"), 42);
	assert_int_equal(number_at(line, "subject", "context"), 2);
	assert_int_equal(number_at(line, "subject", "exec"), 3);
	assert_string_equal(text_at(line, "object", "kind"), "port");
	assert_int_equal(number_at(line, "object", "value"), 8080);
	assert_int_equal(number_at(line, NULL, "seq"), 1);
	assert_int_equal(number_at(line, NULL, "folded"), 7);
	json_decref(line);
	/* A hostile name breaks neither the line nor the JSON; what is no UTF-8 becomes U+FFFD. */
	line = json_loads(second, 0, NULL);
	assert_non_null(line);
	assert_string_equal(text_at(line, "subject", "comm"), "\"},\\\n\xef\xbf\xbd\x01 56789abc");
	assert_string_equal(text_at(line, NULL, "verdict"), "would-deny");
	assert_true(json_is_null(json_object_get(json_object_get(line, "subject"), "contextName")));
	json_decref(line);
}

static void a_switch_of_the_mode_is_a_record_of_its_own_type(void **state)
{
	const struct audit_mode mode = { .pid = 42, .uid = 7, .from = MOAT_MODE_ENFORCE,
					 .to = MOAT_MODE_AUDIT };
	struct counting follower = { .follower.on_entry = on_entry };
	PTR_OWNED char *text = NULL;
	json_t *line;

	(void)state;
	assert_int_equal(open_audit(t.log), 0);
	record(1);
	audit_follow(t.audit, &follower.follower);
	audit_record_mode(t.audit, &mode);
	audit_unfollow(&follower.follower);
	assert_int_equal(follower.sequence, 2);
	assert_int_equal(read_file_at(AT_FDCWD, t.log, 4096, &text, NULL), 0);
	line = json_loads(strchr(text, '\n'), JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(line);
	assert_int_equal(number_at(line, NULL, "seq"), 2);
	assert_string_equal(text_at(line, NULL, "type"), "mode");
	assert_string_equal(text_at(line, NULL, "instance"), "unit");
	assert_string_equal(text_at(line, NULL, "from"), "enforce");
	assert_string_equal(text_at(line, NULL, "to"), "audit");
	assert_int_equal(number_at(line, "caller", "pid"), 42);
	assert_int_equal(number_at(line, "caller", "uid"), 7);
	assert_null(json_object_get(line, "hook"));
	json_decref(line);
}

static void every_object_kind_of_the_abi_has_a_name(void **state)
{
	(void)state;
	for (uint32_t kind = MOAT_OBJECT_NONE; kind <= MOAT_OBJECT_KEY; kind++)
		assert_string_not_equal(audit_object_name(kind), "unknown");
	assert_string_equal(audit_object_name(MOAT_OBJECT_KEY + 1), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		AUDIT_TEST(the_last_events_are_kept_in_order),
		AUDIT_TEST(what_is_recorded_of_contexts_has_names_and_no_values),
		AUDIT_TEST(of_a_command_the_names_of_its_variables_are_recorded_and_no_values),
		AUDIT_TEST(followers_may_leave_while_they_are_told),
		AUDIT_TEST(the_log_has_one_json_object_a_line),
		AUDIT_TEST(a_switch_of_the_mode_is_a_record_of_its_own_type),
		AUDIT_TEST(every_object_kind_of_the_abi_has_a_name),
	};

	return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
