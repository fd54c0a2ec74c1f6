/* SPDX-License-Identifier: Apache-2.0 */
/* From a decoded request to a spawn on its way. */
#include <fcntl.h>
#include <limits.h>
#include <time.h>

#include "agent/exec/internal.h"
#include "agent/namespace/program.h"
#include "base/held.h"
#include "base/log.h"
#include "run/files/protocol.h"

static int refuse_value(struct refusal *e, const char *field, const char *message)
{
	refuse(e, MOAT_E_BAD_VALUE, "%s", message);
	snprintf(e->field, sizeof(e->field), "%s", field);
	return -EINVAL;
}

void exec_open_runner(struct execs *execs)
{
	struct failure f = { 0 };

	execs->runner = namespace_open_runner(&f);
	if (execs->runner < 0)
		log_warning("no command strings: %s", f.msg);
}

static int check_request(const struct exec_request *request, struct refusal *e)
{
	if (request->files)
		return 0;
	if (!request->command && (!request->argv || !request->argv[0] || !request->argv[0][0]))
		return refuse_value(e, "argv", "argv needs at least a command, which is not empty");
	for (char *const *kv = request->env; kv && *kv; kv++)
		if (!env_entry_valid(*kv))
			return refuse_value(e, "env", "the name of a variable is empty or has a '='");
	if (request->cwd && request->cwd[0] != '/')
		return refuse_value(e, "cwd", "cwd is not an absolute path");
	if (request->id && !exec_id_valid(request->id))
		return refuse_value(e, "id",
				    "id must be 1 to 64 of A-Z a-z 0-9 . _ - and not begin as x1");
	if (request->session && !exec_session_id_valid(request->session))
		return refuse_value(e, "session",
				    "session must be 1 to 128 bytes of UTF-8 without control characters");
	if (request->session && request->context)
		return refuse_value(e, "session", "session and context exclude each other");
	if (request->timeout_ms > EXEC_TIMEOUT_MAX_MS) {
		refuse_value(e, "timeoutMs", "timeoutMs is too large");
		e->limit = (long long)EXEC_TIMEOUT_MAX_MS;
		return -EINVAL;
	}
	return 0;
}

/* Its turn has come: pipes and a cgroup. */
static int prepare_spawn(struct namespace_spawn *spawn)
{
	struct exec *x = container_of(spawn, struct exec, spawn);
	struct failure f = { 0 };
	int r = 0;

	if (!x->cgroup)
		r = cgroup_get_exec(x->execs->cgroups, x->context->group, &x->cgroup, &f);
	if (r == 0 && x->out[1].fd < 0)
		r = exec_output_open(x);
	if (r == 0 && x->is_string)
		r = exec_string_open(x);
	if (r < 0)
		return r;
	spawn->stdio[0] = x->stdin_fd;
	spawn->stdio[1] = x->out[EXEC_STDOUT].child_end;
	spawn->stdio[2] = x->out[EXEC_STDERR].child_end;
	spawn->cgroup_fd = cgroup_fd(x->cgroup);
	spawn->given[0] = x->string.file;
	spawn->given[1] = x->string.end;
	enforce_name_exec(x->execs->enforce, spawn->cgroup_fd, &spawn->label);
	return 0;
}

static void fill_spawn(struct exec *x, const struct context *c)
{
	const struct config_context *values = &c->settings->values;

	x->spawn = (struct namespace_spawn){
		.exec = x->number,
		.label = {
			.role = MOAT_ROLE_USER,
			.flags = namespace_kind(x->ns) == CONTEXT_SECURE ? MOAT_LABEL_PER_EXEC : 0,
			.context = c->number,
			.exec = x->number,
		},
		.argv = x->string.words ? x->string.words : x->argv,
		.env = x->env,
		.cwd = x->cwd,
		.cgroup_fd = -EBADF,
		.program = (x->is_string && !x->string.words) || x->is_files ? x->execs->runner : -EBADF,
		.given = { -EBADF, -EBADF },
		.capabilities = values->capabilities,
		.no_new_privs = values->no_new_privs,
		.own_tmp = values->own_tmp,
		.rows = x->rows,
		.cols = x->cols,
		.terminal = -EBADF,
		.prepare = prepare_spawn,
		.on_spawned = exec_on_spawned,
	};
}

static struct exec *exec_new(struct execs *execs)
{
	struct exec *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->started_unix_ms = unix_ms();
	x->started_ns = now_ns();
	x->execs = execs;
	x->stdin_fd = -EBADF;
	exec_string_init(x);
	for (int i = 0; i < 2; i++)
		x->out[i].fd = x->out[i].child_end = x->out[i].source.fd = -EBADF;
	list_init(&x->observers);
	list_init(&x->input.writes);
	x->input.fd = x->input.source.fd = -EBADF;
	list_init(&x->link);
	list_init(&x->ended_link);
	list_init(&x->in_context);
	return x;
}

static int merge_env(struct exec *x, char *const *base, char *const *over, bool on_terminal)
{
	char **with_term = NULL;
	int r = on_terminal ? exec_terminal_env(base, &with_term) : 0;

	if (r == 0)
		r = context_env_build(with_term ? with_term : base, over, &x->env, &x->env_size);
	strv_free_wiped(with_term);
	return r;
}

/* Settings, the state where the command sees it, and its own. 0 or -ENOMEM. */
static int copy_env(struct exec *x, const struct exec_request *request, char *const *over, bool own)
{
	const struct context *c = x->context;
	char **base = NULL;
	size_t size = 0;
	int r;

	if (own || !c->state)
		return merge_env(x, c->settings->env[own], over, request->rows);
	r = context_state_env(c, &base, &size);
	if (r == 0)
		r = merge_env(x, base, over, request->rows);
	free_wiped(base, size);
	return r;
}

/* No word of a client's is in it. */
static int copy_files_request(struct exec *x, int stdin_fd)
{
	static char *const argv[] = { (char *)FILES_PROGRAM, NULL };
	int r = context_env_build(NULL, argv, &x->argv, &x->argv_size);

	if (r == 0)
		r = context_env_build(NULL, NULL, &x->env, &x->env_size);
	x->cwd = strdup("/");
	x->stdin_fd = fcntl(stdin_fd, F_DUPFD_CLOEXEC, 3);
	if (x->stdin_fd < 0)
		return -errno;
	return x->cwd ? r : -ENOMEM;
}

/* In a workspace PWD is in the environment, and has to be right; in that of a string's programs it always is. *ret: the
 * caller's to free, as its strings are not. */
static int with_pwd(const struct exec *x, const struct exec_request *request, char *pwd,
		    char ***ret)
{
	bool stale = request->cwd && x->context->settings->values.workspace;
	size_t n = strv_len(request->env);

	*ret = NULL;
	if (!x->string.words && (!stale || env_get(request->env, "PWD")))
		return 0;
	*ret = calloc(n + 2, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	if (n)
		memcpy(*ret, request->env, n * sizeof(**ret));
	(*ret)[n] = pwd;
	return 0;
}

static int build_env(struct exec *x, const struct exec_request *request, bool own)
{
	PTR_OWNED char **env = NULL;
	char pwd[sizeof("PWD=") + PATH_MAX];
	int r;

	snprintf(pwd, sizeof(pwd), "PWD=%s", x->cwd);
	r = with_pwd(x, request, pwd, &env);
	return r < 0 ? r : copy_env(x, request, env ? env : request->env, own);
}

#define WORDS_MAX 65536u /* bytes of a string that is looked at as words */

/* Whether moat-run would leave the name of the directory as it is, and the variables: it has the same PWD then. */
static bool is_plain(const struct exec *x, const struct exec_request *request)
{
	size_t n = strlen(x->cwd);

	return request->words && !request->rows && strlen(request->command) <= WORDS_MAX &&
	       !env_get(request->env, "PWD") && !strstr(x->cwd, "/./") && !strstr(x->cwd, "/../") &&
	       (n < 2 || strcmp(x->cwd + n - 2, "/.") != 0) &&
	       (n < 3 || strcmp(x->cwd + n - 3, "/..") != 0);
}

/* Where it starts. 0 or -ENOMEM. */
static int copy_directory(struct exec *x, const struct exec_request *request, bool own)
{
	const struct context *c = x->context;
	const char *directory = request->cwd;

	if (!directory && !own)
		directory = context_state_directory(c);
	x->in_state = !request->cwd && directory;
	x->cwd = strdup(directory ? directory : c->settings->directory[own]);
	return x->cwd ? 0 : -ENOMEM;
}

/* Copies all a command needs; on failure the caller frees x. 0 or -errno. */
static int copy_request(struct exec *x, const struct exec_request *request)
{
	static char *const string[] = { (char *)"moat-run", NULL };
	bool own = namespace_kind(x->ns) == CONTEXT_SECURE;
	int r;

	x->is_files = request->files;
	if (x->is_files)
		return copy_files_request(x, request->stdin_fd);
	x->is_string = request->command;
	x->string.interpreted = request->interpreter;
	r = context_env_build(NULL, x->is_string ? string : request->argv, &x->argv, &x->argv_size);
	if (r == 0)
		r = copy_directory(x, request, own);
	if (r == 0 && x->is_string && is_plain(x, request))
		r = exec_string_copy_words(x, request->words);
	if (r == 0)
		r = build_env(x, request, own);
	if (r < 0)
		return r;
	if (x->is_string)
		r = exec_string_copy(x, request->command, x->cwd, !own, !own && !x->own_env);
	if (r < 0)
		return r;
	if (request->stdin_open && !request->rows)
		return exec_input_open(x);
	return request->stdin_data ?
		       exec_stdin_open(x, request->stdin_data, request->stdin_len,
				       request->stdin_file) : 0;
}

static void enter(struct exec *x)
{
	struct execs *execs = x->execs;
	struct exec **bucket = &execs->buckets[x->number % EXEC_BUCKETS];

	x->next = *bucket;
	*bucket = x;
	list_append(&execs->all, &x->link);
	x->phase = EXEC_PHASE_STARTING;
	execs->n_active++;
	namespace_hold(x->ns);
	exec_enter_context(x);
	execs->stats.counts[namespace_kind(x->ns)][EXECS_STARTED]++;
	execs->stats.counts[namespace_kind(x->ns)][EXECS_RUNNING]++;
}

static int submit(struct exec *x, uint64_t timeout_ms, struct refusal *e)
{
	int r = 0;

	/* Without a timer the limit could not be kept. */
	if (timeout_ms) {
		x->deadline_ns = x->started_ns + timeout_ms * NSEC_PER_MSEC;
		r = loop_timer_set(x->execs->loop, &x->timer, timeout_ms * NSEC_PER_MSEC, exec_on_timer);
	}
	if (r == 0)
		r = namespace_spawn(x->ns, &x->spawn);
	if (r == -E2BIG && exec_string_leave_words(x))
		r = namespace_spawn(x->ns, &x->spawn);
	if (r == -E2BIG) {
		refuse(e, MOAT_E_ARGUMENTS_TOO_LARGE,
			      "arguments and environment are larger than %u bytes", INIT_STRINGS_MAX);
		e->limit = INIT_STRINGS_MAX;
		return -EINVAL;
	}
	if (r == -ESRCH)
		return refuse(e, MOAT_E_SHUTTING_DOWN, "the agent stops");
	if (r < 0)
		return exec_describe_errno(e, r);
	enter(x);
	return 0;
}

/* Whether there is room for one more. 0, or -EINVAL with *e. */
static int check_room(struct execs *execs, struct refusal *e)
{
	if (execs->closing)
		return refuse(e, MOAT_E_SHUTTING_DOWN, "the agent stops");
	if (execs->n_active >= execs->running_max) {
		refuse(e, MOAT_E_TOO_MANY_PROCESSES, "%u commands run already",
			      execs->running_max);
		e->limit = execs->running_max;
		return -EINVAL;
	}
	/* What runs keeps what is left: its output was promised. */
	if (held_scarce())
		execs_make_room(execs, 0, NULL);
	if (held_scarce()) {
		refuse(e, MOAT_E_BUSY, "%zu MiB are held for clients already; try again",
		       held_used() >> 20);
		e->limit = (long long)held_max();
		return -EINVAL;
	}
	return 0;
}

/* In a context; on failure nothing of it is left. */
static int start_in(struct execs *execs, struct context *c, const struct exec_request *request,
		    struct exec_observer *observer, struct exec **ret, struct refusal *e)
{
	bool own_env = request->env && request->env[0], apart;
	struct exec *x;
	int r;

	apart = request->isolation == EXEC_ISOLATED || (own_env && request->isolation == EXEC_ISOLATED_BY_ENV);
	if (request->isolation == EXEC_NOT_ISOLATED && c->settings->values.ns == CONTEXT_SECURE)
		return refuse_value(e, "isolated", "isolated cannot be false: the context's namespace is secure");
	x = exec_new(execs);
	if (!x)
		return exec_describe_errno(e, -ENOMEM);
	x->context = c;
	x->own_env = own_env;
	x->ns = namespaces_of(execs->namespaces, c->place, &c->settings->values, c->show, apart, c->own);
	x->number = ++execs->last_number;
	exec_id_make(execs, x->number, x->id);
	x->of_client = request->id;
	x->is_terminal = request->rows;
	x->rows = request->rows;
	x->cols = request->cols;
	x->output_limit = request->output_limit;
	x->kill_signal = request->kill_signal;
	x->kill_after_ns = request->kill_after_ms * NSEC_PER_MSEC;
	r = x->ns ? copy_request(x, request) : -ENOMEM;
	if (r < 0)
		r = exec_describe_errno(e, r);
	else
		r = exec_claim(x, request, e);
	if (r == 0) {
		fill_spawn(x, c);
		r = submit(x, request->timeout_ms, e);
	}
	if (r < 0) {
		exec_free(x);
		return r;
	}
	if (observer) {
		x->held = observer->held;
		exec_observe(x, observer);
	}
	*ret = x;
	return 0;
}

int exec_start(struct execs *execs, const struct exec_request *request,
	       struct exec_observer *observer, struct exec **ret_exec, struct refusal *e)
{
	struct context *c;
	bool created;
	int r;

	r = check_request(request, e);
	if (r == 0 && (request->command || request->files) && execs->runner < 0)
		r = refuse(
			e, MOAT_E_INTERNAL,
			"moat-run was not there when the agent started: no command strings, no files");
	if (r == 0)
		r = check_room(execs, e);
	if (r == 0)
		r = exec_context_of(execs, request, &c, &created, e);
	if (r < 0)
		return r;
	r = start_in(execs, c, request, observer, ret_exec, e);
	if (r == 0)
		(*ret_exec)->created = created;
	else if (created)
		exec_context_unmake(execs, c);
	return r;
}
