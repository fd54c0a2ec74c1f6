/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every file of userspace/ starts with: the conventions of the project as code.
 *
 *  - Functions return 0 or -errno; results go through ret_… parameters, written only on success.
 *  - Text for a person goes into a caller-owned struct failure.
 *  - Owned descriptors and pointers carry a cleanup attribute; an unset descriptor is -EBADF.
 *  - Unbounded string functions do not compile.
 */
#ifndef MOAT_BASE_H
#define MOAT_BASE_H

#ifndef _GNU_SOURCE
#error "compile with -D_GNU_SOURCE"
#endif

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define NSEC_PER_SEC 1000000000ull
#define NSEC_PER_MSEC 1000000ull

/* Why something failed, in words for a person. Owned by the caller; msg is always terminated. */
struct failure {
	int err; /* positive errno, 0 when nothing failed */
	char msg[512];
};

/*
 * fail() - fill *f (which may be NULL) and return -err, so that callers can write
 * `return fail(f, errno, "cannot open %s", path);`. The text of err is appended after ": "
 * unless err is EINVAL, where the message alone says what is wrong. Keeps the first message
 * if f->err is already set (the deepest cause is the best one).
 */
int fail(struct failure *f, int err, const char *fmt, ...) PRINTF(3, 4);

static inline void close_fd(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
	*fd = -EBADF;
}

/* Moves a descriptor out of a variable that a cleanup attribute owns. */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -EBADF;
	return taken;
}

static inline void free_ptr(void *pp)
{
	void **p = pp;

	free(*p);
	*p = NULL;
}

#define take_ptr(p)                            \
	({                                     \
		__auto_type taken_ptr_ = (p);  \
		(p) = NULL;                    \
		taken_ptr_;                    \
	})

#define FD_OWNED CLEANUP(close_fd)
#define PTR_OWNED CLEANUP(free_ptr)

/* A process: never a bare pid. pid is for people, pidfd for the kernel. */
struct process {
	pid_t pid;
	int pidfd;
};

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);
/* Nanoseconds of any clock of clock_gettime(2); milliseconds since 1970, by a clock that may be set. */
uint64_t clock_ns(clockid_t clock);
uint64_t unix_ms(void);

/* free() that first overwrites the n bytes; p may be NULL. */
void free_wiped(void *p, size_t n);
/*
 * realloc() that leaves no copy behind: of the capacity bytes at p, which may be NULL, `used` are
 * taken along and all are overwritten. NULL: no memory, and p is as it was.
 */
void *grow_wiped(void *p, size_t used, size_t capacity, size_t grown);

/* Overwrites and frees a NULL-terminated string vector; v may be NULL. */
void strv_free_wiped(char **v);
void strv_free(char **v);
size_t strv_len(char *const *v);
/* A deep copy; 0 or -ENOMEM. */
int strv_copy(char *const *v, char ***ret_copy);
/* Appends a copy of s; *v may be NULL. 0 or -ENOMEM. */
int strv_append(char ***v, const char *s);
/* Sets KEY=VALUE (kv has the '=') replacing an entry of the same key. 0, -ENOMEM, -EINVAL. */
int env_set(char ***env, const char *kv);
/* The one rule for the name of a variable of n bytes: the kernel knows no other. */
static inline bool env_name_valid(const char *name, size_t n)
{
	return n > 0 && !memchr(name, '=', n);
}
/* KEY=VALUE, whatever the two are. */
static inline bool env_entry_valid(const char *kv)
{
	const char *equals = strchr(kv, '=');

	return equals && env_name_valid(kv, (size_t)(equals - kv));
}
/* Where programs are searched by who has no PATH. */
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* The value of key in env, or NULL. */
const char *env_get(char *const *env, const char *key);
/* Takes it out, if it is there. */
void env_unset(char **env, const char *key);

/* True for valid UTF-8 without NUL restrictions (RFC 3629: no surrogates, no overlongs). */
bool utf8_valid(const void *data, size_t n);
/* Of text that somebody else has chosen, '?' for each byte of what would command a terminal or end a line, and of
 * what is no UTF-8: there 0x80 to 0x9f are controls as well. */
void hide_controls(char *text);

/* Writes all n bytes, through EINTR; 0 or -errno. */
int write_all(int fd, const void *data, size_t n);

/* Reads a small file whole, NUL-terminated; -EFBIG above max bytes. Caller frees *ret_text. */
int read_file_at(int dirfd, const char *path, size_t max, char **ret_text, size_t *ret_len);
/* Makes the directories above the last part of an absolute path, as far as they are missing. 0 or -errno. */
int make_parents(const char *path, mode_t mode);
/*
 * flock(2)s a file or directory that its holder removes in the end. 0; -EBUSY: somebody has the lock;
 * -EAGAIN: it was removed between being opened and locked, so open it again; or another -errno.
 */
int lock_removable(int fd);
/* Writes text to an existing file (procfs, cgroupfs) with one write(2). 0 or -errno. */
int write_file_at(int dirfd, const char *path, const char *text);

#pragma GCC poison system popen strcpy strcat sprintf vsprintf gets strtok

#endif
