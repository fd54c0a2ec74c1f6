/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/audit/log.h"

#include <glob.h>
#include <signal.h>
#include <sys/resource.h>

#include "audit/fixture.h"

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
		AUDIT_TEST(what_the_log_cannot_take_is_counted),
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

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
