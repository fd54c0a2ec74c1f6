/* SPDX-License-Identifier: Apache-2.0 */
/* Programs: by their path, or looked for in PATH; never by a shell. */
#include <limits.h>
#include <sys/stat.h>

#include "run/internal.h"

/* The next element of PATH with the name behind it, in buf of PATH_MAX bytes; false: too long. */
static bool next_candidate(const char **path, const char *name, char *buf)
{
	const char *end = strchrnul(*path, ':');
	size_t n = (size_t)(end - *path), m = strlen(name);
	bool fits = n + 1 + m < PATH_MAX;

	if (fits) {
		memcpy(buf, *path, n);
		if (n) /* an empty element is the working directory */
			buf[n++] = '/';
		memcpy(buf + n, name, m + 1);
	}
	*path = *end ? end + 1 : NULL;
	return fits;
}

static const char *path_of(const struct run *r)
{
	const char *path = variable_get(r, "PATH");

	return path ? path : DEFAULT_PATH;
}

const char *program_find(const struct run *r, const char *name, char *buf)
{
	const char *path = path_of(r);
	struct stat st;

	if (strchr(name, '/'))
		return access(name, X_OK) == 0 ? name : NULL;
	while (path && *name)
		if (next_candidate(&path, name, buf) && stat(buf, &st) == 0 &&
		    S_ISREG(st.st_mode) && access(buf, X_OK) == 0)
			return buf;
	return NULL;
}

static int explain(const char *name, int err)
{
	if (err == ENOENT || err == ENOTDIR) {
		complain("%s: not found", name);
		return RUN_NOT_FOUND;
	}
	if (err == ENOEXEC)
		complain("%s: no program: it does not begin with #! and the path of an interpreter",
			 name);
	else
		complain("%s: %s", name, strerror(err));
	return RUN_NOT_EXECUTABLE;
}

int program_execute(struct run *r, char **argv)
{
	const char *name = argv[0], *path = path_of(r);
	char **environment = variables_environment(r), buf[PATH_MAX];
	int err = ENOENT;

	if (!environment)
		return explain(name, ENOMEM);
	sigprocmask(SIG_SETMASK, &r->original, NULL);
	if (strchr(name, '/')) {
		execve(name, argv, environment);
		err = errno;
	} else if (command_is_foreign(name)) {
		complain("%s: a builtin of shells that is not part of the language", name);
		return RUN_NOT_FOUND;
	} else {
		while (path && *name) {
			if (!next_candidate(&path, name, buf))
				continue;
			execve(buf, argv, environment);
			if (errno == EACCES)
				err = EACCES; /* says more than that it is not there */
			else if (errno != ENOENT && errno != ENOTDIR) {
				err = errno;
				break;
			}
		}
	}
	sigprocmask(SIG_BLOCK, &r->blocked, NULL);
	return explain(name, err);
}
