/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/audit/audit.h"
#include "agent/audit/log.h"

#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <jansson.h>

static struct {
	struct audit *audit;
	struct loop *loop;
	uint64_t first, last;
	unsigned calls;
	char log[64], old[80];
} t;

static int setup(void **state)
{
	int fd;

	(void)state;
	memset(&t, 0, sizeof(t));
	snprintf(t.log, sizeof(t.log), "/tmp/moat-audit-test-XXXXXX");
	fd = mkstemp(t.log);
	if (fd < 0)
		return -1;
	close(fd);
	unlink(t.log);
	snprintf(t.old, sizeof(t.old), "%s.1", t.log);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	audit_close(t.audit);
	unlink(t.log);
	unlink(t.old);
	return 0;
}

static const char *name_of(uint64_t context, void *data)
{
	assert_ptr_equal(data, &t);
	return context == 2 ? "two" : NULL;
}

static int open_audit(const char *log)
{
	return audit_open(log, "unit", NULL, name_of, &t, &t.audit, NULL);
}

static void record(uint64_t object)
{
	struct moat_event event = {
		.time_ns = 1, .context = 2, .exec = 3, .object = object,
		.hook = MOAT_HOOK_socket_bind, .err = EADDRINUSE, .enforced = 1, .pid = 42,
		.object_kind = MOAT_OBJECT_PORT, .comm = "nc", .folded = 7,
	};

	audit_record(&event, t.audit);
}

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

static void what_the_log_cannot_take_is_counted(void **state)
{
	struct rlimit limit, small;

	(void)state;
	assert_int_equal(open_audit(t.log), 0);
	record(1);
	assert_int_equal(audit_log_drops(t.audit), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = (struct rlimit){ .rlim_cur = 1, .rlim_max = limit.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	record(2);
	record(3);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	record(4);
	assert_int_equal(audit_log_drops(t.audit), 2);
}

static void every_object_kind_of_the_abi_has_a_name(void **state)
{
	(void)state;
	for (uint32_t kind = MOAT_OBJECT_NONE; kind <= MOAT_OBJECT_KEY; kind++)
		assert_string_not_equal(audit_object_name(kind), "unknown");
	assert_string_equal(audit_object_name(MOAT_OBJECT_KEY + 1), "unknown");
}

static void a_full_log_is_renamed_and_begun_anew(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(open_audit(t.log), 0);
	assert_int_equal(truncate(t.log, AUDIT_LOG_MAX - 1), 0); /* sparse */
	audit_close(t.audit);
	assert_int_equal(open_audit(t.log), 0);
	record(1);
	record(2);
	assert_int_equal(stat(t.old, &st), 0);
	assert_true(st.st_size >= AUDIT_LOG_MAX);
	assert_int_equal(stat(t.log, &st), 0);
	assert_true(st.st_size > 0 && st.st_size < 4096);
}

/* A context could make both names where it may write: rotation leans on neither. */
static void what_has_the_names_of_rotation_is_not_in_its_way(void **state)
{
	char fresh[96], pattern[96];
	struct stat st;
	glob_t moved;

	(void)state;
	assert_int_equal(open_audit(t.log), 0);
	assert_int_equal(truncate(t.log, AUDIT_LOG_MAX), 0); /* sparse */
	audit_close(t.audit);
	assert_int_equal(open_audit(t.log), 0);
	snprintf(fresh, sizeof(fresh), "%s.new", t.log);
	assert_int_equal(mkdir(t.old, 0700), 0);
	assert_int_equal(mkdir(fresh, 0700), 0);
	record(1);
	record(2);
	assert_int_equal(audit_log_drops(t.audit), 0);
	assert_int_equal(stat(t.log, &st), 0);
	assert_true(st.st_size > 0 && st.st_size < 4096);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(stat(t.old, &st), 0);
	assert_true(S_ISREG(st.st_mode) && st.st_size >= AUDIT_LOG_MAX);
	snprintf(pattern, sizeof(pattern), "%s.*", t.old);
	assert_int_equal(glob(pattern, 0, NULL, &moved), 0);
	assert_int_equal(moved.gl_pathc, 1);
	assert_int_equal(rmdir(moved.gl_pathv[0]), 0);
	globfree(&moved);
	assert_int_equal(rmdir(fresh), 0);
}

/* Records in the file at path. */
static unsigned lines_in(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned lines = 0;
	int c;

	assert_non_null(file);
	while ((c = getc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

static void stop_loop(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(t.loop);
}

/* Lets the loop see what has happened. */
static void turn(void)
{
	struct loop_timer timer = { 0 };

	assert_int_equal(loop_timer_set(t.loop, &timer, NSEC_PER_MSEC, stop_loop), 0);
	assert_int_equal(loop_run(t.loop), 0);
}

static int watched_setup(void **state)
{
	int r = setup(state);

	if (r == 0)
		r = loop_new(&t.loop);
	return r == 0 ? audit_open(t.log, "unit", t.loop, name_of, &t, &t.audit, NULL) : r;
}

static int watched_teardown(void **state)
{
	int r = teardown(state);

	loop_free(t.loop);
	return r;
}

static void a_log_that_is_moved_or_removed_is_begun_anew(void **state)
{
	struct stat st;

	(void)state;
	record(1);
	assert_int_equal(rename(t.log, t.old), 0);
	turn();
	record(2);
	record(3);
	assert_int_equal(lines_in(t.old), 1);
	assert_int_equal(lines_in(t.log), 2);
	assert_int_equal(unlink(t.log), 0);
	turn();
	record(4);
	assert_int_equal(lines_in(t.log), 1);
	assert_int_equal(stat(t.log, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(audit_log_drops(t.audit), 0);
}

static void a_log_that_cannot_be_opened_again_counts_what_is_lost(void **state)
{
	(void)state;
	record(1);
	assert_int_equal(unlink(t.log), 0);
	assert_int_equal(mkfifo(t.log, 0600), 0);
	turn();
	record(2);
	assert_int_equal(audit_log_drops(t.audit), 1);
	assert_int_equal(unlink(t.log), 0);
	record(3); /* tries again by itself */
	assert_int_equal(lines_in(t.log), 1);
	assert_int_equal(audit_log_drops(t.audit), 1);
	assert_int_equal(rename(t.log, t.old), 0);
	audit_reopen_log(t.audit); /* as on SIGHUP, without a turn of the loop */
	record(4);
	assert_int_equal(lines_in(t.log), 1);
}

static void a_log_that_is_no_plain_file_is_refused(void **state)
{
	struct failure f = { 0 };

	(void)state;
	assert_int_equal(symlink("/etc/passwd", t.log), 0);
	assert_int_equal(audit_open(t.log, "unit", NULL, NULL, NULL, &t.audit, &f), -ELOOP);
	assert_non_null(strstr(f.msg, t.log));
	assert_int_equal(audit_open("/dev/null", "unit", NULL, NULL, NULL, &t.audit, NULL), -ENOTSUP);
	assert_int_equal(audit_open("/nonexistent/log", "unit", NULL, NULL, NULL, &t.audit, NULL), -ENOENT);
	assert_null(t.audit);
	assert_int_equal(unlink(t.log), 0);
	assert_int_equal(mkfifo(t.log, 0600), 0);
	assert_int_equal(open_audit(t.log), -ENXIO); /* nobody reads: and nobody waits for that */
	assert_null(t.audit);
}

static void a_log_with_another_name_or_owner_is_refused(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(open_audit(t.log), 0);
	record(1);
	audit_close(take_ptr(t.audit));
	assert_int_equal(link(t.log, "/tmp/moat-audit-test-link"), 0);
	assert_int_equal(open_audit(t.log), -EINVAL);
	assert_int_equal(unlink("/tmp/moat-audit-test-link"), 0);
	assert_int_equal(link(t.log, t.old), 0); /* a rotation that was cut short */
	assert_int_equal(chmod(t.log, 0644), 0);
	assert_int_equal(open_audit(t.log), 0);
	assert_int_equal(stat(t.log, &st), 0);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(st.st_mode & 07777, 0600);
	audit_close(take_ptr(t.audit));
	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(t.log, 65534, 65534), 0);
	assert_int_equal(open_audit(t.log), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define AUDIT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		AUDIT_TEST(the_last_events_are_kept_in_order),
		AUDIT_TEST(what_is_recorded_of_contexts_has_names_and_no_values),
		AUDIT_TEST(of_a_command_the_names_of_its_variables_are_recorded_and_no_values),
		AUDIT_TEST(followers_may_leave_while_they_are_told),
		AUDIT_TEST(the_log_has_one_json_object_a_line),
		AUDIT_TEST(a_switch_of_the_mode_is_a_record_of_its_own_type),
		AUDIT_TEST(what_the_log_cannot_take_is_counted),
		AUDIT_TEST(every_object_kind_of_the_abi_has_a_name),
		AUDIT_TEST(a_full_log_is_renamed_and_begun_anew),
		AUDIT_TEST(what_has_the_names_of_rotation_is_not_in_its_way),
		cmocka_unit_test_setup_teardown(a_log_that_is_moved_or_removed_is_begun_anew,
						watched_setup, watched_teardown),
		cmocka_unit_test_setup_teardown(
			a_log_that_cannot_be_opened_again_counts_what_is_lost, watched_setup,
			watched_teardown),
		AUDIT_TEST(a_log_with_another_name_or_owner_is_refused),
		AUDIT_TEST(a_log_that_is_no_plain_file_is_refused),
	};

	return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
