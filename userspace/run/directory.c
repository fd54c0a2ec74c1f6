/* SPDX-License-Identifier: Apache-2.0 */
/* The working directory as its user went there: links on the way stay in its name, and ".." leads back over them. */
#include <limits.h>
#include <sys/stat.h>

#include "run/internal.h"

static void set_pwd(struct run *r, char *owned)
{
	free(r->pwd);
	r->pwd = owned;
}

void directory_open(struct run *r)
{
	const char *pwd = variable_get(r, "PWD");
	struct stat here, there;

	if (pwd && pwd[0] == '/' && !strstr(pwd, "/./") && !strstr(pwd, "/../") &&
	    stat(pwd, &there) == 0 && stat(".", &here) == 0 && here.st_dev == there.st_dev &&
	    here.st_ino == there.st_ino)
		set_pwd(r, strdup(pwd));
	else
		set_pwd(r, getcwd(NULL, 0));
	if (r->pwd)
		(void)variable_set(r, "PWD", r->pwd, 1);
}

/*
 * The absolute path without "." and ".."; what is before a ".." has to be a directory. NULL: it is not, or there
 * is no room, with errno.
 */
static char *resolve(const struct run *r, const char *path)
{
	size_t base = path[0] == '/' || !r->pwd ? 0 : strlen(r->pwd), n = 0;
	char *out = malloc(base + strlen(path) + 3);
	struct stat st;

	if (!out)
		return NULL;
	if (base) {
		memcpy(out, r->pwd, base);
		n = base == 1 ? 0 : base;
	}
	while (*path) {
		size_t m = strcspn(path, "/");

		if (m == 2 && memcmp(path, "..", 2) == 0) {
			out[n] = '\0';
			if (n && (stat(out, &st) < 0 || !S_ISDIR(st.st_mode))) {
				errno = errno ? errno : ENOTDIR;
				free(out);
				return NULL;
			}
			while (n && out[--n] != '/')
				;
		} else if (m && !(m == 1 && path[0] == '.')) {
			out[n++] = '/';
			memcpy(out + n, path, m);
			n += m;
		}
		path += m;
		path += *path == '/';
	}
	if (n == 0)
		out[n++] = '/';
	out[n] = '\0';
	return out;
}

static int cd_failed(const char *directory)
{
	complain("cd: %s: %s", directory, strerror(errno));
	return RUN_FAILED;
}

static int change(struct run *r, const char *directory, bool physical)
{
	char *target PTR_OWNED = NULL;
	char *old PTR_OWNED = r->pwd ? strdup(r->pwd) : NULL;

	errno = 0;
	if (!physical && (r->pwd || directory[0] == '/'))
		target = resolve(r, directory);
	else
		target = strdup(directory);
	if (!target || chdir(target) < 0)
		return cd_failed(directory);
	if (physical || target[0] != '/')
		set_pwd(r, getcwd(NULL, 0));
	else
		set_pwd(r, take_ptr(target));
	r->moved = true;
	if (old && variable_set(r, "OLDPWD", old, 1) < 0)
		return RUN_FAILED;
	return r->pwd ? variable_set(r, "PWD", r->pwd, 1) < 0 ? RUN_FAILED : 0 : 0;
}

static bool is_option(const char *text)
{
	return text && text[0] == '-' && text[1] != '\0';
}

int builtin_cd(struct run *r, char **argv)
{
	const char *directory;
	bool physical = false, back;
	int status;

	for (argv++; is_option(*argv); argv++) {
		if (strcmp(*argv, "--") == 0) {
			argv++;
			break;
		}
		if ((*argv)[strspn(*argv + 1, "LP") + 1]) {
			complain("cd: %s: no such option", *argv);
			return RUN_FAILED;
		}
		physical = (*argv)[strlen(*argv) - 1] == 'P';
	}
	if (argv[0] && argv[1]) {
		complain("cd: more than one directory");
		return RUN_FAILED;
	}
	back = argv[0] && strcmp(argv[0], "-") == 0;
	directory = back ? variable_get(r, "OLDPWD") : argv[0] ? argv[0] : variable_get(r, "HOME");
	if (!directory) {
		complain("cd: %s is not set", back ? "OLDPWD" : "HOME");
		return RUN_FAILED;
	}
	if (!*directory)
		directory = ".";
	status = change(r, directory, physical);
	if (status == 0 && back && r->pwd)
		status = builtin_say(r->pwd);
	return status;
}

int builtin_pwd(struct run *r, char **argv)
{
	bool physical = false;
	char *here PTR_OWNED = NULL;
	const char *text;

	for (argv++; is_option(*argv); argv++)
		physical = (*argv)[strlen(*argv) - 1] == 'P';
	text = physical || !r->pwd ? (here = getcwd(NULL, 0)) : r->pwd;
	if (!text) {
		complain("pwd: %s", strerror(errno));
		return 1;
	}
	return builtin_say(text);
}

/*
 * What the file of a virtual environment does, without executing it: VIRTUAL_ENV, its programs first in PATH, no
 * PYTHONHOME. That it is one is told by its pyvenv.cfg.
 */
int builtin_source(struct run *r, char **argv)
{
	static const char end[] = "bin/activate";
	const char *path = variable_get(r, "PATH");
	char *file PTR_OWNED = argv[1] ? resolve(r, argv[1]) : NULL;
	char *config PTR_OWNED = NULL;
	char *search PTR_OWNED = NULL;
	size_t n = file ? strlen(file) : 0, m = sizeof(end) - 1;

	if (!file || n <= m || strcmp(file + n - m, end) != 0 || access(file, R_OK) < 0) {
		complain("%s: %s", argv[1] ? argv[1] : "source",
			 errno ? strerror(errno) : "not found");
		return 1;
	}
	file[n - m - 1] = '\0';
	if (asprintf(&config, "%s/pyvenv.cfg", file) < 0 ||
	    asprintf(&search, "%s/bin%s%s", file, path ? ":" : "", path ? path : "") < 0)
		return RUN_FAILED;
	if (access(config, F_OK) < 0) {
		complain("%s: not of a virtual environment (it has no pyvenv.cfg)", argv[1]);
		return 1;
	}
	if (!variable_get(r, RUN_OLD_PATH) &&
	    variable_set(r, RUN_OLD_PATH, path ? path : "", 0) < 0)
		return RUN_FAILED;
	if (variable_unset(r, "PYTHONHOME") < 0 || variable_set(r, "VIRTUAL_ENV", file, 1) < 0 ||
	    variable_set(r, "PATH", search, 1) < 0)
		return RUN_FAILED;
	return 0;
}
