/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A string that is given whole to a shell, because whoever sent it asked for that: bash, or sh where there is none, as
 * an ordinary child. It reads the string as a file in memory; before it ends it runs this program once more, by
 * a trap, which writes down where it is and what it exports. Of that the difference is what the string has changed.
 * All of it is in the hands of the string: what comes back is no more to be trusted than anything of it.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "run/internal.h"
#include "run/protocol.h"

extern char **environ;

/* Closed by the first line of the script: only digits are descriptors to every shell. */
#define SCRIPT_FD 9
/* Those of the trap are above what scripts use. */
#define TRAP_FD_MIN 20
#define REPORT_MAX (4u * 1024 * 1024)

static const struct {
	const char *name;
	enum run_says says;
} shells[] = { { "bash", RUN_SAYS_BASH }, { "sh", RUN_SAYS_SH } };

/* Those of every shell, which change by themselves, and those that cannot be set. */
static bool is_own(const char *name)
{
	static const char *const names[] = { "PWD",       "OLDPWD",       "SHLVL", "_",
					     "PPID",      "UID",          "EUID",  "BASHOPTS",
					     "SHELLOPTS", "BASH_VERSINFO" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* --- The trap ------------------------------------------------------------------------------ */

static int add(char **text, size_t *n, enum run_entry kind, const char *entry)
{
	size_t m = strlen(entry) + 1;
	char *grown = realloc(*text, *n + 1 + m);

	if (!grown)
		return -ENOMEM;
	*text = grown;
	grown[(*n)++] = (char)kind;
	memcpy(grown + *n, entry, m);
	*n += m;
	return 0;
}

int interpreter_report(const char *descriptor)
{
	struct run_packet head = { .magic = RUN_MAGIC, .says = RUN_SAYS_STATE };
	struct run r = { .state_fd = -EBADF };
	char *text = NULL;
	size_t n = sizeof(head);
	int fd = atoi(descriptor), result = variables_open(&r, environ);

	directory_open(&r);
	text = calloc(1, n);
	if (!text || result < 0)
		return RUN_FAILED;
	if (r.pwd)
		result = add(&text, &n, RUN_DIRECTORY, r.pwd);
	for (char **kv = environ; *kv && result == 0; kv++)
		if (command_name_valid(*kv, strcspn(*kv, "=")))
			result = add(&text, &n, RUN_EXPORTED, *kv);
	if (result < 0)
		return RUN_FAILED;
	head.len = (uint32_t)(n - sizeof(head));
	memcpy(text, &head, sizeof(head));
	return ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0 || write_all(fd, text, n) < 0 ?
		       RUN_FAILED :
		       0;
}

/* --- What it reports ----------------------------------------------------------------------- */

static bool is_reported(const char *entries, size_t n, const char *name)
{
	size_t len = strlen(name);

	for (size_t at = 0; at < n; at += strlen(entries + at) + 1)
		if (strncmp(entries + at + 1, name, len) == 0 && entries[at + 1 + len] == '=')
			return true;
	return false;
}

static int take_variable(struct run *r, const char *entry)
{
	const char *equals = strchr(entry, '='), *before;
	char *name PTR_OWNED = equals ? strndup(entry, (size_t)(equals - entry)) : NULL;

	if (!name || !command_name_valid(name, strlen(name)) || is_own(name))
		return 0;
	before = variable_get(r, name);
	if (before && variable_is_exported(r, name) && strcmp(before, equals + 1) == 0)
		return 0;
	return variable_set(r, name, equals + 1, 1);
}

static int take_entries(struct run *r, const char *entries, size_t n)
{
	int result = 0;

	for (size_t i = 0; i < r->n_variables && result == 0; i++) {
		const struct variable *v = &r->variables[i];

		if (!v->exported || !v->value || is_own(v->name) ||
		    is_reported(entries, n, v->name))
			continue;
		result = variable_unset(r, v->name);
		i--; /* another has taken its place */
	}
	for (size_t at = 0; at < n && result == 0; at += strlen(entries + at) + 1) {
		const char *text = entries + at + 1;

		if (entries[at] == RUN_EXPORTED) {
			result = take_variable(r, text);
		} else if (entries[at] == RUN_DIRECTORY && text[0] == '/' &&
			   (!r->pwd || strcmp(r->pwd, text) != 0)) {
			free(r->pwd);
			r->pwd = strdup(text);
			r->moved = true;
		}
	}
	return result;
}

/* False: nothing was reported, or what came is no report. */
static bool take_report(struct run *r, int fd)
{
	struct run_packet head;
	struct stat st;
	char *text;
	size_t n;
	bool taken;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(head) || st.st_size > REPORT_MAX)
		return false;
	n = (size_t)st.st_size;
	text = malloc(n);
	if (!text)
		return false;
	taken = pread(fd, text, n, 0) == (ssize_t)n;
	memcpy(&head, text, sizeof(head));
	taken = taken && head.magic == RUN_MAGIC && head.len == n - sizeof(head) &&
		(head.len == 0 || text[n - 1] == '\0') &&
		take_entries(r, text + sizeof(head), head.len) == 0;
	free_wiped(text, n);
	return taken;
}

/* --- The shell ----------------------------------------------------------------------------- */

/* 'text', with what is a quote in it outside of the quotes. */
static int write_quoted(FILE *out, const char *text)
{
	fputc('\'', out);
	for (; *text; text++)
		if (*text == '\'')
			fputs("'\\''", out);
		else
			fputc(*text, out);
	return fputc('\'', out);
}

/* Variables that are not exported, then the string as it is, from the same line on: its lines keep their numbers. */
static int write_script(const struct run *r, const char *string, size_t len)
{
	int fd = memfd_create("string", MFD_CLOEXEC);
	FILE *out = fd < 0 ? NULL : fdopen(dup(fd), "w");

	if (!out) {
		close_fd(&fd);
		return -errno;
	}
	for (size_t i = 0; i < r->n_variables; i++) {
		const struct variable *v = &r->variables[i];

		if (v->exported || !v->value || is_own(v->name))
			continue;
		fprintf(out, "%s=", v->name);
		write_quoted(out, v->value);
		fputs("; ", out);
	}
	fprintf(out, "exec %d<&-; ", SCRIPT_FD);
	fwrite(string, 1, len, out);
	if (fclose(out) != 0) {
		close_fd(&fd);
		return -EIO;
	}
	return fd;
}

/* Never returns on success. report: -EBADF: nobody wants it. */
static void execute(struct run *r, const char *shell, const char *path, int script, int report)
{
	char text[160], **environment = variables_environment(r);
	int self = report < 0 ? -1 : open("/proc/self/exe", O_PATH);
	int high = self < 0 ? -1 : fcntl(self, F_DUPFD, TRAP_FD_MIN);
	int state = report < 0 ? -1 : fcntl(report, F_DUPFD, TRAP_FD_MIN);
	char *argv[] = { (char *)shell, (char *)"-c", text, (char *)shell, NULL };

	if (self >= 0)
		close(self);
	if (!environment || dup2(script, SCRIPT_FD) < 0 || lseek(SCRIPT_FD, 0, SEEK_SET) < 0)
		return;
	if (state >= 0 && high >= 0)
		snprintf(text, sizeof(text),
			 "trap '/proc/self/fd/%d --report %d 2>/dev/null' EXIT; . /proc/self/fd/%d",
			 high, state, SCRIPT_FD);
	else
		snprintf(text, sizeof(text), ". /proc/self/fd/%d", SCRIPT_FD);
	sigprocmask(SIG_SETMASK, &r->original, NULL);
	execve(path, argv, environment);
}

static void say(struct run *r, enum run_says says)
{
	struct run_packet head = { .magic = RUN_MAGIC, .says = says };

	if (r->state_fd >= 0)
		(void)send(r->state_fd, &head, sizeof(head), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void run_shell(struct run *r, size_t shell, const char *path, int script, bool returns)
{
	FD_OWNED int report = returns ? memfd_create("report", MFD_CLOEXEC) : -EBADF;
	pid_t pid = returns ? fork() : 0;

	if (pid == 0) {
		execute(r, shells[shell].name, path, script, report);
		complain("%s: %s", path, strerror(errno));
		_exit(RUN_NOT_EXECUTABLE);
	}
	if (pid < 0) {
		complain("cannot start another process: %s", strerror(errno));
		r->status = RUN_FAILED;
		return;
	}
	r->status = job_wait(r, pid);
	if (!take_report(r, report))
		state_forget(r); /* and the answer says so */
}

void interpreter_run(struct run *r, const char *string, size_t len, bool returns)
{
	FD_OWNED int script = -EBADF;
	char buf[PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
		const char *path = program_find(r, shells[i].name, buf);

		if (!path)
			continue;
		script = write_script(r, string, len);
		if (script < 0) {
			complain("%s", strerror(-script));
			r->status = RUN_FAILED;
			return;
		}
		say(r, shells[i].says);
		run_shell(r, i, path, script, returns);
		return;
	}
	complain(
		"neither bash nor sh is there, and the string goes beyond the language of moat-run(7)");
	r->status = RUN_NOT_FOUND;
}
