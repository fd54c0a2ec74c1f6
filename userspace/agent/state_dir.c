/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/state_dir.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "agent/process/lock.h"
#include "base/log.h"

#define LOCK_NAME "lock"
#define HOLDER_SIZE 32
#define LOCK_WAIT (2 * NSEC_PER_SEC) /* for children of an agent that was killed, which has not told them yet */

static int open_dir(const char *path, struct failure *f)
{
	FD_OWNED int dir = -EBADF;
	struct stat st;
	int r = make_parents(path, 0755); /* as any other's would be: readable */

	if (r < 0 || (mkdir(path, 0700) < 0 && errno != EEXIST))
		return fail(f, r < 0 ? -r : errno, "cannot make %s", path);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0)
		return fail(f, errno, "cannot open %s", path);
	if (st.st_uid != geteuid() || st.st_mode & 022)
		return fail(f, EINVAL, "%s must belong to the agent's user and be writable by "
			    "nobody else", path);
	return take_fd(&dir);
}

/* Its pid, as it wrote that; "" where it has not yet. */
static void read_holder(int lock, char ret[HOLDER_SIZE])
{
	ssize_t n = pread(lock, ret, HOLDER_SIZE - 1, 0);

	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

/* Who is not to be seen may be dead, with children that were made a moment ago and still have its files; where it is in
 * another PID namespace the refusal comes later, that is all. */
static bool holder_lives(int lock)
{
	char text[HOLDER_SIZE];
	long pid;

	read_holder(lock, text);
	pid = strtol(text, NULL, 10);
	return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static int report_holder(int lock, const char *path, struct failure *f)
{
	char text[HOLDER_SIZE];

	read_holder(lock, text);
	fail(f, EINVAL, "another moatd%s%s%s runs with %s", *text ? ", process " : "", text,
	     *text ? "," : "", path);
	return -EBUSY;
}

int state_dir_lock(const char *path, int *ret_lock, struct failure *f)
{
	FD_OWNED int dir = open_dir(path, f);

	if (dir < 0)
		return dir;
	for (;;) {
		FD_OWNED int lock = openat(dir, LOCK_NAME,
					   O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		int r;

		if (lock < 0)
			return fail(f, errno, "cannot open %s/" LOCK_NAME, path);
		r = holder_lives(lock) ? lock_removable(lock) : lock_removable_in_time(lock, LOCK_WAIT);
		if (r == -EAGAIN)
			continue;
		if (r == -EBUSY)
			return report_holder(lock, path, f);
		if (r < 0)
			return fail(f, -r, "cannot lock %s", path);
		if (ftruncate(lock, 0) < 0 || dprintf(lock, "%d\n", (int)getpid()) < 0)
			return fail(f, errno, "cannot write %s/" LOCK_NAME, path);
		*ret_lock = take_fd(&lock);
		return 0;
	}
}

void state_dir_unlock(const char *path, int *lock)
{
	FD_OWNED int dir = -EBADF;

	if (*lock < 0)
		return;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0 && unlinkat(dir, LOCK_NAME, 0) < 0)
		log_warning("cannot remove %s/" LOCK_NAME ": %s", path, strerror(errno));
	(void)rmdir(path); /* fails where something of others is in it */
	close_fd(lock);
}
