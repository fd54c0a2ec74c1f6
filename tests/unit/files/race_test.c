/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Somebody swaps a directory and a link that leads out of the root, as fast as can be, beside reads and writes. First
 * it is shown that a plain open(2) and a plain rename(2) are taken in by it.
 */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "run/files/internal.h"

#define READS 100000
#define WRITES 20000
#define NAIVE_MAX 2000000 /* until one escapes */

static char base[64];
static pid_t swapper;

static int at(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", base, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void put(const char *directory, const char *text)
{
	char path[128];
	FD_OWNED int fd = -EBADF;

	snprintf(path, sizeof(path), "%s/%s/file", base, directory);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

/* root/here is a directory with "inside" in its file, root/there a link to the directory of "outside". */
static int open_tree(void **state)
{
	char path[128], outside[128];

	(void)state;
	snprintf(base, sizeof(base), "/tmp/moat-race-XXXXXX");
	if (!mkdtemp(base))
		return -1;
	for (const char *const *name =
		     (const char *const[]){ "root", "root/here", "outside", NULL };
	     *name; name++) {
		snprintf(path, sizeof(path), "%s/%s", base, *name);
		if (mkdir(path, 0755) < 0)
			return -1;
	}
	snprintf(path, sizeof(path), "%s/root/there", base);
	snprintf(outside, sizeof(outside), "%s/outside", base);
	if (symlink(outside, path) < 0)
		return -1;
	put("root/here", "inside");
	put("outside", "outside");
	swapper = fork();
	if (swapper == 0) {
		FD_OWNED int root = at("root");

		for (;;)
			if (renameat2(root, "here", root, "there", RENAME_EXCHANGE) < 0)
				_exit(1);
	}
	return swapper < 0 ? -1 : 0;
}

static int close_tree(void **state)
{
	static const char *const names[] = { "root/here/file", "root/there/file",
					     "root/here",      "root/there",
					     "root",           "outside/file",
					     "outside" };
	char path[128];

	(void)state;
	kill(swapper, SIGKILL);
	waitpid(swapper, NULL, 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", base, names[i]);
		if (unlink(path) < 0)
			(void)rmdir(path);
	}
	return rmdir(base);
}

static bool is_outside(int fd)
{
	char text[16] = "";

	return read(fd, text, sizeof(text) - 1) > 0 && strcmp(text, "outside") == 0;
}

static void open_job(struct job *j)
{
	static char root[128];

	snprintf(root, sizeof(root), "%s/root", base);
	*j = (struct job){ .root = root, .request = { .mode = 0644 } };
	assert_int_equal(root_open(j), 0);
}

static void a_plain_open_is_led_out(void **state)
{
	int escaped = 0;

	(void)state;
	for (int i = 0; i < NAIVE_MAX && escaped < 10; i++) {
		FD_OWNED int fd = at("root/here/file");

		escaped += fd >= 0 && is_outside(fd);
	}
	assert_true(escaped == 10);
}

static void a_read_never_is(void **state)
{
	int inside = 0, refused = 0;
	struct job j;

	(void)state;
	open_job(&j);
	for (int i = 0; i < READS; i++) {
		struct stat st;
		FD_OWNED int fd = open_regular(&j, "here/file", &st);

		if (fd < 0) {
			assert_true(j.code == MOAT_E_OUTSIDE_WORKSPACE);
			refused++;
			continue;
		}
		assert_false(is_outside(fd));
		inside++;
	}
	close_fd(&j.root_fd);
	assert_true(inside > 0 && refused > 0); /* the race was run, and both have won */
}

static void one_write(struct job *j, int *inside, int *refused)
{
	PLACE_OWNED struct place p = { .dir = -EBADF };
	struct draft d;
	int r = place_open(j, "here/file", true, true, &p);

	if (r == 0)
		r = draft_open(j, &p, &d);
	if (r < 0) {
		assert_true(j->code == MOAT_E_OUTSIDE_WORKSPACE);
		(*refused)++;
		return;
	}
	assert_int_equal(write_content(j, d.fd, "inside", 6), 0);
	assert_int_equal(draft_commit(j, &p, &d), 0);
	draft_drop(&p, &d);
	(*inside)++;
}

static void a_write_never_is(void **state)
{
	int inside = 0, refused = 0;
	FD_OWNED int there = -EBADF;
	struct job j;

	(void)state;
	open_job(&j);
	for (int i = 0; i < WRITES; i++)
		one_write(&j, &inside, &refused);
	close_fd(&j.root_fd);
	assert_true(inside > 0 && refused > 0);
	there = at("outside/file");
	assert_true(there >= 0 && is_outside(there));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_open_is_led_out),
		cmocka_unit_test(a_read_never_is),
		cmocka_unit_test(a_write_never_is),
	};

	return cmocka_run_group_tests(tests, open_tree, close_tree);
}
