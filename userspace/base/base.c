/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/stat.h>

int fail(struct failure *f, int err, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (err <= 0)
		err = EINVAL;
	if (!f || f->err)
		return -err;

	va_start(ap, fmt);
	n = vsnprintf(f->msg, sizeof(f->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(f->msg) && err != EINVAL)
		snprintf(f->msg + n, sizeof(f->msg) - (size_t)n, ": %s", strerror(err));
	f->err = err;
	return -err;
}

uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t unix_ms(void)
{
	return clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
}

void free_wiped(void *p, size_t n)
{
	if (!p)
		return;
	explicit_bzero(p, n);
	free(p);
}

void *grow_wiped(void *p, size_t used, size_t capacity, size_t grown)
{
	void *copy = malloc(grown);

	if (!copy)
		return NULL;
	if (used)
		memcpy(copy, p, used);
	free_wiped(p, capacity);
	return copy;
}

void strv_free_wiped(char **v)
{
	if (!v)
		return;
	for (char **s = v; *s; s++)
		free_wiped(*s, strlen(*s));
	free(v);
}

void strv_free(char **v)
{
	if (!v)
		return;
	for (char **s = v; *s; s++)
		free(*s);
	free(v);
}

size_t strv_len(char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

int strv_copy(char *const *v, char ***ret_copy)
{
	size_t n = strv_len(v);
	char **copy = calloc(n + 1, sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		copy[i] = strdup(v[i]);
		if (!copy[i]) {
			strv_free_wiped(copy);
			return -ENOMEM;
		}
	}
	*ret_copy = copy;
	return 0;
}

int strv_append(char ***v, const char *s)
{
	size_t n = strv_len(*v);
	PTR_OWNED char *copy = strdup(s);
	char **grown;

	if (!copy)
		return -ENOMEM;
	/* realloc() may move the vector; it holds pointers only, nothing to wipe. */
	grown = realloc(*v, (n + 2) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	grown[n] = take_ptr(copy);
	grown[n + 1] = NULL;
	*v = grown;
	return 0;
}

int env_set(char ***env, const char *kv)
{
	size_t key;
	char *copy;

	if (!env_entry_valid(kv))
		return -EINVAL;
	key = strcspn(kv, "=") + 1; /* with the '=' */
	for (char **e = *env; e && *e; e++) {
		if (strncmp(*e, kv, key) != 0)
			continue;
		copy = strdup(kv);
		if (!copy)
			return -ENOMEM;
		free_wiped(*e, strlen(*e));
		*e = copy;
		return 0;
	}
	return strv_append(env, kv);
}

const char *env_get(char *const *env, const char *key)
{
	size_t n = strlen(key);

	for (; env && *env; env++)
		if (strncmp(*env, key, n) == 0 && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

void env_unset(char **env, const char *key)
{
	size_t n = strlen(key);

	for (; env && *env; env++) {
		if (strncmp(*env, key, n) != 0 || (*env)[n] != '=')
			continue;
		free_wiped(*env, strlen(*env));
		while ((env[0] = env[1]))
			env++;
		return;
	}
}

int write_all(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

/* Reads from fd to its end into *buf, which grows; owned by the caller also on failure. */
static int read_to_end(int fd, size_t max, char **buf, size_t *ret_len)
{
	size_t size = 0, len = 0;

	for (;;) {
		ssize_t n;

		if (len + 1 >= size) {
			char *grown = grow_wiped(*buf, len, size, size ? size * 2 : 1024);

			if (!grown)
				return -ENOMEM;
			*buf = grown;
			size = size ? size * 2 : 1024;
		}
		n = read(fd, *buf + len, size - len - 1);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
		if (n == 0)
			break;
	}
	(*buf)[len] = '\0';
	*ret_len = len;
	return 0;
}

int read_file_at(int dirfd, const char *path, size_t max, char **ret_text, size_t *ret_len)
{
	FD_OWNED int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	PTR_OWNED char *text = NULL;
	size_t len = 0;
	int r;

	if (fd < 0)
		return -errno;
	r = read_to_end(fd, max, &text, &len);
	if (r < 0)
		return r;
	*ret_text = take_ptr(text);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int make_parents(const char *path, mode_t mode)
{
	PTR_OWNED char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1; (p = strchr(p, '/')); *p++ = '/') {
		*p = '\0';
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

int lock_removable(int fd)
{
	struct stat st;

	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	return st.st_nlink == 0 ? -EAGAIN : 0;
}

int write_file_at(int dirfd, const char *path, const char *text)
{
	FD_OWNED int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = write(fd, text, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}
