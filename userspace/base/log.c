/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* By enum log_level; the priorities are those of syslog(3). */
static const struct {
	const char *name;
	int priority;
} levels[] = {
	[LOG_ERROR] = { "error", 3 },
	[LOG_WARNING] = { "warning", 4 },
	[LOG_INFO] = { "info", 6 },
	[LOG_DEBUG] = { "debug", 7 },
};

static const char *log_program = "moat";
static enum log_level log_max = LOG_INFO;
static bool log_priorities;

/* Where lines go: never waited for. */
static int log_fd = STDERR_FILENO;
static enum { LOG_TO_SOCKET, LOG_TO_OWN, LOG_TO_SHARED } log_kind = LOG_TO_SHARED;
static uint64_t log_lost, log_untold; /* lines; untold: not yet said */

/* $JOURNAL_STREAM is "device:inode" of the journal's stream; a redirected stderr is another. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

/*
 * O_NONBLOCK belongs to the open file, which others share (the terminal of a shell): so the pipe or terminal
 * behind stderr is opened once more for us. A file takes what it is given, a socket is asked not to wait.
 */
static void find_sink(void)
{
	struct stat st;
	int fd;

	if (log_kind == LOG_TO_OWN)
		close(log_fd);
	log_fd = STDERR_FILENO;
	log_kind = LOG_TO_SHARED;
	if (fstat(STDERR_FILENO, &st) < 0)
		return;
	if (S_ISSOCK(st.st_mode))
		log_kind = LOG_TO_SOCKET;
	if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return;
	log_fd = fd;
	log_kind = LOG_TO_OWN;
}

void log_open(const char *program, enum log_level max)
{
	log_program = program;
	log_max = max;
	log_priorities = stderr_is_journal();
	find_sink();
}

/* Lines are shorter than PIPE_BUF, so a pipe takes one whole or not at all. */
static bool put(const char *line, size_t n)
{
	struct pollfd writable = { .fd = log_fd, .events = POLLOUT };
	ssize_t put;

	if (log_kind == LOG_TO_SHARED && poll(&writable, 1, 0) != 1)
		return false;
	do
		put = log_kind == LOG_TO_SOCKET ?
			      send(log_fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL) :
			      write(log_fd, line, n);
	while (put < 0 && errno == EINTR);
	return put == (ssize_t)n;
}

static void put_or_count(const char *line, size_t n)
{
	char told[128];
	int len;

	if (log_untold) {
		len = snprintf(told, sizeof(told), "%s: warning: %llu lines of the log are lost: it "
			       "was not read\n", log_program, (unsigned long long)log_untold);
		if (put(told, (size_t)len))
			log_untold = 0;
	}
	if (log_untold || !put(line, n)) {
		log_untold++;
		log_lost++;
	}
}

uint64_t log_drops(void)
{
	return log_lost;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	char line[1024];
	size_t n = 0;
	va_list ap;

	if (level > log_max)
		return;
	if (log_priorities)
		n += (size_t)snprintf(line, sizeof(line), "<%d>", levels[level].priority);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "%s: %s: ", log_program,
			      levels[level].name);
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);

	n = strlen(line);
	hide_controls(line); /* a name that somebody else has chosen forges no line of its own */
	line[n++] = '\n';
	put_or_count(line, n);
	errno = saved;
}
