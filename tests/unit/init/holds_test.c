/* SPDX-License-Identifier: Apache-2.0 */
/* What moat-init holds, keeps to itself, and gives its commands. */
#include "init/fixture.h"

/* Whether needle is anywhere in the writable memory of a process. */
static bool memory_has(pid_t pid, const char *needle)
{
	char path[64], line[512];
	bool found = false;
	FILE *maps;
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(mem >= 0);
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		char mode[8];

		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[1] != 'w')
			continue;
		if (to - from > 256ul << 20) /* the shadow memory of a sanitizer */
			continue;
		for (; from < to; from += 4096) {
			static char page[4096 + 64]; /* a little of the next one */
			ssize_t n = pread(mem, page, sizeof(page), (off_t)from);

			found = found || (n > 0 && memmem(page, (size_t)n, needle, strlen(needle)));
		}
	}
	fclose(maps);
	close(mem);
	return found;
}

static void environment_is_wiped_after_each_spawn(void **state)
{
	PTR_OWNED char *big = malloc(100000);

	(void)state;
	memset(big, 'b', 100000);
	memcpy(big, "BIG=", 4);
	memcpy(big + 50000, "hunter2-and-a-half", 18);
	big[99999] = '\0';
	spawn(1, "/", ARGV("/bin/true"), ARGV("TOKEN=hunter2-and-a-half"), -1);
	expect(INIT_SPAWNED, 1);
	expect(INIT_EXITED, 1);
	assert_true(memory_has(getpid(), "hunter2-and-a-half")); /* the search works */
	assert_false(memory_has(peer.init.pid, "hunter2-and-a-half"));
	spawn(2, "/", ARGV("/bin/true"), ARGV(big), -1);
	expect(INIT_SPAWNED, 2);
	expect(INIT_EXITED, 2);
	assert_false(memory_has(peer.init.pid, "hunter2-and-a-half"));
	spawn(3, "/", ARGV("/nowhere"), ARGV("TOKEN=hunter2-and-a-half"), -1);
	expect(INIT_SPAWN_FAILED, 3);
	assert_false(memory_has(peer.init.pid, "hunter2-and-a-half"));
}

static void what_runs_is_a_sealed_copy(void **state)
{
	FD_OWNED int exe = -EBADF;
	struct statvfs fs;
	char path[64];
	int seals;

	(void)state;
	snprintf(path, sizeof(path), "/proc/%d/exe", peer.init.pid);
	exe = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(exe >= 0);
	seals = fcntl(exe, F_GET_SEALS);
	if (!(seals & F_SEAL_WRITE)) { /* vm.memfd_noexec = 2: a file of a read-only mount */
		assert_int_equal(fstatvfs(exe, &fs), 0);
		assert_true(fs.f_flag & ST_RDONLY);
		return;
	}
	assert_int_equal(seals & (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
			 F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}

static void it_is_small_and_holds_nothing_of_the_agent(void **state)
{
	PTR_OWNED char *text = NULL;
	char path[64];
	unsigned long private_kib = 0;
	const char *at;

	(void)state;
	spawn(1, "/", ARGV("/bin/sh", "-c", "ls -l /proc/self/fd | wc -l"), ARGV(NULL), -1);
	expect(INIT_SPAWNED, 1);
	expect(INIT_EXITED, 1);
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", peer.init.pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, 65536, &text, NULL), 0);
	/* Not Private_*: pages of the program itself count there while it is mapped only once. */
	at = strstr(text, "Anonymous:");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "Anonymous: %lu", &private_kib), 1);
#ifndef MOAT_ASAN
	assert_true(private_kib > 0 && private_kib < 512);
#endif
	/* Standard ones, socket, signals, and the root of its devpts. */
	for (int fd = 0; fd < 64; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", peer.init.pid, fd);
		assert_int_equal(faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW), fd <= 5 ? 0 : -1);
	}
}

static unsigned long long status_mask(const char *key)
{
	PTR_OWNED char *text = NULL;
	unsigned long long mask = 0;
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", peer.init.pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, 65536, &text, NULL), 0);
	at = strstr(text, key);
	assert_non_null(at);
	assert_int_equal(sscanf(at + strlen(key), " %llx", &mask), 1);
	return mask;
}

static void it_keeps_the_capabilities_of_its_commands_and_few_more(void **state)
{
	const unsigned long long given = 1ull << CAP_CHOWN | 1ull << CAP_NET_RAW;

	(void)state;
	for (uint32_t own = 0; own < 2; own++) {
		unsigned long long kept = given | 1ull << CAP_KILL | 1ull << CAP_SETPCAP;

		if (own)
			kept |= 1ull << CAP_SYS_ADMIN | 1ull << CAP_SYS_CHROOT;
		open_peer(false);
		set_up_with(0, given, own);
		assert_int_equal(status_mask("CapPrm:"), kept);
		assert_int_equal(status_mask("CapEff:"), kept);
		assert_int_equal(status_mask("CapInh:"), 0);
		assert_int_equal(status_mask("CapBnd:"), given);
		spawn(1, "/", ARGV("/bin/sh", "-c", "grep -q 'CapPrm:.*2001$' /proc/self/status"),
		      ARGV("PATH=/bin"), -1);
		expect(INIT_SPAWNED, 1);
		assert_int_equal(expect(INIT_EXITED, 1).status, 0);
		assert_int_equal(close_peer(), 0);
	}
}

static void commands_with_surroundings_of_their_own_share_none(void **state)
{
	(void)state;
	open_peer(false);
	set_up_with(0, ~0ull, 1);
	for (uint64_t exec = 1; exec <= 300; exec++) { /* more than it holds on to */
		spawn(exec, INIT_OWN_HOME,
		      ARGV("/bin/sh", "-c", "for p in . /dev/shm/ /dev/own/tmp; do"
					   "  [ -z \"$(ls -A $p)\" ] && : > $p/left || exit 1; done"),
		      ARGV("PATH=/bin:/usr/bin"), -1);
		expect(INIT_SPAWNED, exec);
		assert_int_equal(expect(INIT_EXITED, exec).status, 0);
	}
}

static void a_tmp_of_its_own_is_empty_and_can_be_written(void **state)
{
	FD_OWNED int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	size_t n;

	(void)state;
	open_peer(false);
	set_up_with(0, ~0ull, 1);
	n = build(1, "/", ARGV("/bin/sh", "-c", "[ -z \"$(ls -A /tmp)\" ] && : > /tmp/x"),
		  ARGV("PATH=/bin:/usr/bin"));
	((struct init_spawn *)sent)->own_tmp = 1;
	send_raw(sent, n, (int[]){ null, null, null, null }, 4);
	expect(INIT_SPAWNED, 1);
	assert_int_equal(expect(INIT_EXITED, 1).status, 0);
}

static void it_answers_for_a_clone_when_asked(void **state)
{
	struct init_ask ask = { .type = INIT_ASK, .exec = 1 };

	(void)state;
	spawn(1, "/", ARGV("/bin/sleep", "0.2"), ARGV(NULL), -1);
	send_raw(&ask, sizeof(ask), NULL, 0);
	for (int i = 0; i < 2; i++) { /* in either order */
		struct init_reply reply;

		assert_true(receive(&reply));
		assert_true(reply.type == INIT_CLONED || reply.type == INIT_SPAWNED);
		assert_int_equal(reply.exec, 1);
	}
	expect(INIT_EXITED, 1);
}

/* The name of a test runs that one alone. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_PEER(environment_is_wiped_after_each_spawn),
		WITH_PEER(what_runs_is_a_sealed_copy),
		WITH_PEER(it_is_small_and_holds_nothing_of_the_agent),
		WITH_PEER(it_answers_for_a_clone_when_asked),
		ALONE(a_tmp_of_its_own_is_empty_and_can_be_written),
		ALONE(it_keeps_the_capabilities_of_its_commands_and_few_more),
		ALONE(commands_with_surroundings_of_their_own_share_none),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, open_group, close_group);
}
