/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
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

/* $JOURNAL_STREAM is "device:inode" of the journal's stream; a redirected stderr is another. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_open(const char *program, enum log_level max)
{
	log_program = program;
	log_max = max;
	log_priorities = stderr_is_journal();
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

	/* A name chosen by somebody else must not be able to forge a line of its own. */
	n = 0;
	for (; line[n]; n++)
		if ((unsigned char)line[n] < ' ' || line[n] == 0x7f)
			line[n] = '?';
	line[n++] = '\n';
	(void)write_all(STDERR_FILENO, line, n);
	errno = saved;
}
