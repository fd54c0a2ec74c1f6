/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/mman.h>

#include "run/internal.h"

/* What a descriptor was before, to be put back; a list, the last change first. */
struct redirected {
	struct redirected *next;
	int fd, was; /* -EBADF: it was closed */
};

static int save(struct redirected **list, int fd)
{
	struct redirected *s = malloc(sizeof(*s));

	if (!s)
		return -1;
	s->fd = fd;
	s->was = fcntl(fd, F_DUPFD_CLOEXEC, 10);
	if (s->was < 0 && errno != EBADF) {
		free(s);
		return -1;
	}
	s->next = *list;
	*list = s;
	return 0;
}

void redirect_undo(struct redirected *saved)
{
	while (saved) {
		struct redirected *s = saved;

		saved = s->next;
		if (s->was >= 0) {
			dup2(s->was, s->fd);
			close(s->was);
		} else {
			close(s->fd);
		}
		free(s);
	}
}

/* A file of memory with the text in it: no pipe that could fill up, no name. */
static int open_text(const char *text)
{
	FD_OWNED int fd = memfd_create("here-document", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : write_all(fd, text, strlen(text));

	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	errno = -r;
	return r < 0 ? -1 : take_fd(&fd);
}

/* Of a FIFO nobody else may ever open the other end: whoever waits for that can be ended. */
static int open_file(const struct run *r, const char *path, int flags)
{
	sigset_t before;
	int fd, err;

	sigprocmask(SIG_SETMASK, &r->original, &before);
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);
	err = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = err;
	return fd;
}

static int open_target(struct run *r, const struct command_redirection *redirection)
{
	static const int flags[] = {
		[COMMAND_READ] = O_RDONLY,
		[COMMAND_WRITE] = O_WRONLY | O_CREAT | O_TRUNC,
		[COMMAND_APPEND] = O_WRONLY | O_CREAT | O_APPEND,
		[COMMAND_READ_WRITE] = O_RDWR | O_CREAT,
	};
	struct command_world world = run_world(r);
	struct failure f = { 0 };
	char *target = NULL;
	int fd, result = command_expand_text(redirection->word, &world, &target, &f);

	if (result < 0) {
		complain("%s", f.err ? f.msg : strerror(-result));
		return -1;
	}
	if (redirection->kind == COMMAND_INPUT) {
		fd = open_text(target);
		if (fd < 0)
			complain("here-document: %s", strerror(errno));
	} else {
		fd = open_file(r, target, flags[redirection->kind]);
		if (fd < 0)
			complain("%s: %s", target, strerror(errno));
	}
	free(target);
	return fd;
}

/* fd becomes what source is; both may be the same. */
static int put(int source, int fd)
{
	if (source == fd)
		return fcntl(fd, F_SETFD, 0);
	return dup2(source, fd);
}

static int redirect_one(struct run *r, const struct command_redirection *redirection)
{
	int source;

	if (redirection->kind == COMMAND_CLOSE) {
		close(redirection->fd);
		return 0;
	}
	if (redirection->kind == COMMAND_COPY) {
		if (put(redirection->source, redirection->fd) < 0) {
			complain("%d: %s", redirection->source, strerror(errno));
			return -1;
		}
		return 0;
	}
	source = open_target(r, redirection);
	if (source < 0)
		return -1;
	if (put(source, redirection->fd) < 0) {
		complain("%d: %s", redirection->fd, strerror(errno));
		close(source);
		return -1;
	}
	if (source != redirection->fd)
		close(source);
	return 0;
}

int redirect(struct run *r, const struct command_redirection *first, struct redirected **ret_saved)
{
	for (; first; first = first->next) {
		if (ret_saved && save(ret_saved, first->fd) < 0) {
			complain("%d: %s", first->fd, strerror(errno));
			return -1;
		}
		if (redirect_one(r, first) < 0)
			return -1;
	}
	return 0;
}
