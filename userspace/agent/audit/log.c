/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/audit/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/log.h"

#define LOG_FLAGS \
	(O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK)

struct audit_log {
	char *path, *old; /* old: FILE.1 */
	int fd;
	uint64_t size;
	bool gone; /* the path leads to another file than fd, or to none */
	struct loop *loop;
	struct loop_source on_change;
	int changes, watch; /* inotify(7); watch: that of fd, -1: none */
};

/* /proc/self/fd/N: the open file, whatever has its name now. */
struct fd_path {
	char text[32];
};

static struct fd_path path_of(int fd)
{
	struct fd_path path;

	snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
	return path;
}

/* Without a watch only SIGHUP has the file opened again. */
static void watch_file(struct audit_log *log)
{
	if (log->changes < 0)
		return;
	if (log->watch >= 0)
		(void)inotify_rm_watch(log->changes, log->watch);
	log->watch = inotify_add_watch(log->changes, path_of(log->fd).text,
				       IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB);
	if (log->watch < 0)
		log_warning("cannot watch audit_log: %s", strerror(errno));
}

static void use_file(struct audit_log *log, int *fd, uint64_t size)
{
	close_fd(&log->fd);
	log->fd = take_fd(fd);
	log->size = size;
	log->gone = false;
	watch_file(log);
}

/* A rotation that was cut short has left the file under both names: that of FILE.1 is one too many. */
static bool is_half_rotated(const struct audit_log *log, const struct stat *st)
{
	struct stat old;

	return st->st_nlink == 2 && lstat(log->old, &old) == 0 && old.st_ino == st->st_ino &&
	       old.st_dev == st->st_dev && unlink(log->old) == 0;
}

static int open_file(struct audit_log *log)
{
	FD_OWNED int fd = open(log->path, LOG_FLAGS, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOTSUP;
	if (st.st_uid != geteuid())
		return -EPERM;
	if (st.st_nlink > 1 && !is_half_rotated(log, &st))
		return -EMLINK;
	if ((st.st_mode & 07777) != 0600 && fchmod(fd, 0600) < 0)
		return -errno;
	use_file(log, &fd, (uint64_t)st.st_size);
	return 0;
}

void audit_log_reopen(struct audit_log *log)
{
	int r = open_file(log);

	log->gone = r < 0;
	if (r < 0)
		log_error("cannot open audit_log %s again: %s", log->path, strerror(-r));
}

static bool has_no_name(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 || st.st_nlink == 0;
}

static void on_change(struct loop_source *source, uint32_t events)
{
	struct audit_log *log = container_of(source, struct audit_log, on_change);
	union {
		struct inotify_event event;
		char bytes[1024]; /* watches of files, not of directories: events without names */
	} buffer;
	bool gone = false;
	ssize_t n;

	(void)events;
	while ((n = read(log->changes, &buffer, sizeof(buffer))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(buffer.bytes + at);

			at += (ssize_t)(sizeof(*e) + e->len);
			if (e->wd == log->watch)
				gone = gone || e->mask & (IN_MOVE_SELF | IN_DELETE_SELF | IN_IGNORED);
		}
	if (gone || has_no_name(log->fd))
		audit_log_reopen(log);
}

static int start_watching(struct audit_log *log, struct loop *loop)
{
	log->changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (log->changes < 0) {
		log_warning("cannot watch audit_log: %s", strerror(errno));
		return 0;
	}
	log->loop = loop;
	return loop_add(loop, &log->on_change, log->changes, EPOLLIN, on_change);
}

int audit_log_open(const char *path, struct loop *loop, struct audit_log **ret)
{
	struct audit_log *log = calloc(1, sizeof(*log));
	int r = 0;

	if (!log)
		return -ENOMEM;
	log->fd = log->changes = log->on_change.fd = -EBADF;
	log->watch = -1;
	log->path = strdup(path);
	if (!log->path || asprintf(&log->old, "%s.1", path) < 0) {
		log->old = NULL;
		r = -ENOMEM;
	}
	if (r == 0 && loop)
		r = start_watching(log, loop);
	if (r == 0)
		r = open_file(log);
	if (r < 0) {
		audit_log_close(log);
		return r;
	}
	*ret = log;
	return 0;
}

void audit_log_close(struct audit_log *log)
{
	if (!log)
		return;
	if (log->loop)
		loop_remove(log->loop, &log->on_change);
	close_fd(&log->changes);
	close_fd(&log->fd);
	free(log->path);
	free(log->old);
	free(log);
}

/* A name beside path that nobody can have made before us. 0 or -errno; the caller frees. */
static int name_beside(const char *path, char **ret)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	if (asprintf(ret, "%s.%016" PRIx64, path, random) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* Takes away what has the name FILE.1: the log before this one, or a directory in its way. */
static int clear_old(const struct audit_log *log)
{
	PTR_OWNED char *aside = NULL;
	int r;

	if (unlink(log->old) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR)
		return -errno;
	r = name_beside(log->old, &aside);
	if (r < 0)
		return r;
	return rename(log->old, aside) < 0 ? -errno : 0;
}

/*
 * The open file gets the second name FILE.1, and a new file is renamed over FILE: so that what protects
 * FILE is handed on to the new one (bpf/protect.bpf.c), and at no moment is there none.
 */
static int rotate(struct audit_log *log)
{
	PTR_OWNED char *fresh = NULL;
	FD_OWNED int fd = -EBADF;
	int r = clear_old(log);

	if (r == 0)
		r = name_beside(log->path, &fresh);
	if (r < 0)
		return r;
	fd = open(fresh, LOG_FLAGS | O_EXCL, 0600);
	if (fd < 0)
		return -errno;
	if (linkat(AT_FDCWD, path_of(log->fd).text, AT_FDCWD, log->old, AT_SYMLINK_FOLLOW) < 0 ||
	    rename(fresh, log->path) < 0) {
		r = -errno;
		(void)unlink(fresh);
		return r;
	}
	use_file(log, &fd, 0);
	return 0;
}

int audit_log_append(struct audit_log *log, const void *data, size_t n)
{
	int r = 0;

	if (log->gone)
		r = open_file(log);
	if (r == 0 && log->size >= AUDIT_LOG_MAX)
		r = rotate(log);
	if (r < 0)
		return r; /* what would be above the limit is not written */
	r = write_all(log->fd, data, n);
	if (r == 0)
		log->size += n;
	else if (ftruncate(log->fd, (off_t)log->size) < 0) /* no half a line */
		log_debug("audit_log: %s", strerror(errno));
	return r;
}
