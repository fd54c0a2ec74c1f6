/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/state_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/log.h"

#define LOCK_NAME "lock"

/* The directories above it are made as any other's would be: readable. */
static int make_parents(const char *path)
{
	PTR_OWNED char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1; (p = strchr(p, '/')); *p++ = '/') {
		*p = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static int open_dir(const char *path, struct failure *f)
{
	FD_OWNED int dir = -EBADF;
	struct stat st;
	int r = make_parents(path);

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

static int report_holder(int lock, const char *path, struct failure *f)
{
	char text[32] = "";
	ssize_t n = pread(lock, text, sizeof(text) - 1, 0);

	text[n > 0 ? strcspn(text, "\n") : 0] = '\0';
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
		struct stat st;

		if (lock < 0)
			return fail(f, errno, "cannot open %s/" LOCK_NAME, path);
		if (flock(lock, LOCK_EX | LOCK_NB) < 0)
			return errno == EWOULDBLOCK ? report_holder(lock, path, f)
						    : fail(f, errno, "cannot lock %s", path);
		/* Its holder may have removed it between our opening and our locking. */
		if (fstat(lock, &st) < 0)
			return fail(f, errno, "cannot lock %s", path);
		if (st.st_nlink == 0)
			continue;
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
