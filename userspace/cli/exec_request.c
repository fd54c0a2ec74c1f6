/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "cli/exec_request.h"
#include "cli/terminal.h"

/* In JSON; controls have six bytes there. */
static size_t json_length(const char *data, size_t n)
{
	size_t len = n;

	for (size_t i = 0; i < n; i++)
		len += (unsigned char)data[i] < ' ' ? 5 : data[i] == '"' || data[i] == '\\';
	return len;
}

const char help_exec[] =
	"usage: moat exec [options] [--] COMMAND [ARGUMENT…]\n\n"
	"Runs a command under moat, with its output live, and exits with its status: 128+N\n"
	"when signal N ended it, 124 when it took too long, 127 when it does not exist, 126\n"
	"when it cannot be executed, 125 when moat itself fails. No shell is involved.\n\n"
	"  -c, --context NAME    run in this context (default: default)\n"
	"      --id ID           call it ID, one to 64 of A-Z a-z 0-9 . _ -: what is sent again with\n"
	"                        the same id and options is not run again\n"
	"      --session ID      run in the context of this session, which is made if need be\n"
	"  -e, --env NAME=VALUE  give it a variable; it then runs apart from all others\n"
	"  -E, --env-from NAME   the same, with the value moat itself has\n"
	"      --env-file FILE   the same, for each NAME=VALUE line of FILE (# begins a comment)\n"
	"  -C, --directory DIR   start in DIR\n"
	"      --secure          run apart from all others also without variables\n"
	"      --no-isolation    run among the others of the context also with variables, which\n"
	"                        they can then read: for configuration, not for secrets\n"
	"      --timeout TIME    kill it and all its children after TIME: 500ms, 30s, 5m, 2h\n"
	"      --output-limit BYTES   kill it as well when it has written more than BYTES\n"
	"      --kill-signal SIGNAL   begin with this signal to all of it when the time is over,\n"
	"      --kill-after TIME      and kill it so much later (5s)\n"
	"  -i, --stdin           send it what is on stdin, as it comes (with --detach and --json\n"
	"                        read to its end first, at most 1 MiB)\n"
	"      --stdin-file FILE its stdin is a copy of FILE, made now, that it opens by the name\n"
	"                        /proc/self/fd/0: for keys, which then lie in no directory\n"
	"      --interrupts      each Ctrl-C is the command's, a second one does not kill it\n"
	"  -t, --tty             on a terminal of its own, with the keys and the size of ours\n"
	"  -d, --detach          do not wait; print its id\n"
	"      --json            print the result as JSON, when it has ended\n"
	"      --socket PATH     the socket of moatd\n\n"
	"The arguments of moat can be seen in ps by whoever may see moat. Give secrets with -E\n"
	"or --env-file, not with -e.\n\n"
	"Ctrl-C sends the command SIGINT; a second one kills it with all its children, as\n"
	"does SIGTERM.\n";

const char help_run[] =
	"usage: moat run [options] [--] STRING\n\n"
	"Runs a command string under moat, as one would type it into a shell, and exits with\n"
	"its status. There is no shell: moat itself reads the string and starts what is in it.\n"
	"What is not part of the language is refused before anything runs. See moat-run(7).\n\n"
	"  moat run 'cd app && npm test 2>&1 | tail -5 > log'\n\n"
	"      --shell=fallback  what goes beyond the language is given to bash, or sh, whole\n"
	"      --shell=never     it is refused, whatever the context says\n\n"
	"The other options are those of moat exec; see moat exec --help.\n";

static const char *own_name = "exec"; /* of the command, for what is said about its usage */

enum {
	OPTION_SECURE = OPTION_COMMAND,
	OPTION_TIMEOUT,
	OPTION_OUTPUT_LIMIT,
	OPTION_NO_ISOLATION,
	OPTION_SESSION,
	OPTION_ID,
	OPTION_KILL_SIGNAL,
	OPTION_KILL_AFTER,
	OPTION_SHELL,
	OPTION_STDIN_FILE,
	OPTION_INTERRUPTS,
};

static int parse_option(struct exec_options *o, int option)
{
	switch (option) {
	case 'c':
		o->context = optarg;
		return 0;
	case 'C':
		o->directory = optarg;
		return 0;
	case OPTION_SESSION:
		o->session = optarg;
		return 0;
	case OPTION_ID:
		o->id = optarg;
		return 0;
	case OPTION_SHELL:
		o->shell = optarg;
		return 0;
	case OPTION_SECURE:
		o->secure = true;
		return 0;
	case OPTION_NO_ISOLATION:
		o->no_isolation = true;
		return 0;
	case 'i':
		o->input = true;
		return 0;
	case OPTION_STDIN_FILE:
		o->file = optarg;
		return 0;
	case OPTION_INTERRUPTS:
		o->interrupts = true;
		return 0;
	case 't':
		o->tty = true;
		return 0;
	case 'd':
		o->detach = true;
		return 0;
	case OPTION_OUTPUT_LIMIT:
		if (parse_bytes(optarg, &o->output_limit) < 0)
			return usage_error(own_name, "not a number of bytes: %s", optarg);
		return 0;
	case OPTION_KILL_SIGNAL:
		o->kill_signal = parse_signal(optarg);
		return o->kill_signal < 0 ? usage_error(own_name, "not a signal: %s", optarg) : 0;
	case OPTION_KILL_AFTER:
		if (parse_duration(optarg, &o->kill_after_ms) < 0)
			return usage_error(own_name, "not a time: %s (500ms, 30s, 5m, 2h)", optarg);
		return 0;
	case OPTION_TIMEOUT:
		if (parse_duration(optarg, &o->timeout_ms) < 0)
			return usage_error(own_name, "not a time: %s (500ms, 30s, 5m, 2h)", optarg);
		return 0;
	default:
		return option_env(own_name, option, o->env);
	}
}

bool exec_options_parse(struct cli *cli, int argc, char **argv, struct exec_options *ret,
			int *ret_status)
{
	static const struct option options[] = {
		COMMON_OPTIONS,
		{ "context", required_argument, NULL, 'c' },
		ENV_OPTIONS,
		{ "session", required_argument, NULL, OPTION_SESSION },
		{ "id", required_argument, NULL, OPTION_ID },
		{ "directory", required_argument, NULL, 'C' },
		{ "secure", no_argument, NULL, OPTION_SECURE },
		{ "shell", required_argument, NULL, OPTION_SHELL },
		{ "no-isolation", no_argument, NULL, OPTION_NO_ISOLATION },
		{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
		{ "output-limit", required_argument, NULL, OPTION_OUTPUT_LIMIT },
		{ "kill-signal", required_argument, NULL, OPTION_KILL_SIGNAL },
		{ "kill-after", required_argument, NULL, OPTION_KILL_AFTER },
		{ "tty", no_argument, NULL, 't' },
		{ "stdin", no_argument, NULL, 'i' },
		{ "stdin-file", required_argument, NULL, OPTION_STDIN_FILE },
		{ "interrupts", no_argument, NULL, OPTION_INTERRUPTS },
		{ "detach", no_argument, NULL, 'd' },
		{ 0 },
	};
	int option, r;

	own_name = ret->run ? "run" : "exec";
	ret->env = json_object();
	while ((option = getopt_long(argc, argv, "+hc:e:E:C:itd", options, NULL)) != -1) {
		r = parse_option(ret, option);
		if (r < 0 && option_common(cli, own_name, option, ret_status))
			continue;
		if (r == 0)
			continue;
		if (r > 0)
			*ret_status = r;
		return false;
	}
	if (ret->shell && !ret->run) {
		*ret_status = usage_error(own_name, "--shell is for moat run");
		return false;
	}
	if (ret->secure && ret->no_isolation) {
		*ret_status = usage_error(own_name, "--secure and --no-isolation exclude each other");
		return false;
	}
	if (ret->file && (ret->input || ret->tty)) {
		*ret_status = usage_error(own_name, "--stdin-file stands beside neither -i nor -t");
		return false;
	}
	ret->argv = argv + optind;
	if (!*ret->argv || (ret->run && ret->argv[1])) {
		*ret_status = usage_error(own_name, *ret->argv ? "one string: quote it for the shell that you type it into" :
								 "which command?");
		return false;
	}
	return true;
}

/* What fd has as a JSON string; as base64 where it is not UTF-8, or shorter so. name: for words. */
static int add_stdin(json_t *body, int fd, const char *name)
{
	char *data = malloc(EXEC_STDIN_MAX + 1);
	json_t *text = NULL;
	size_t len = 0;
	ssize_t n = 1;

	while (data && len <= EXEC_STDIN_MAX) {
		n = read(fd, data + len, EXEC_STDIN_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (!data || n < 0 || len > EXEC_STDIN_MAX) {
		free_wiped(data, EXEC_STDIN_MAX + 1);
		return !data || n < 0 ? complain("INPUT_FAILED", "cannot read %s: %s", name, strerror(errno)) :
					complain("INPUT_FAILED", "%s is longer than %u bytes", name, EXEC_STDIN_MAX);
	}
	if (utf8_valid(data, len) && !memchr(data, 0, len) &&
	    json_length(data, len) <= base64_length(len)) {
		text = json_stringn(data, len);
	} else {
		char *base64 = malloc(base64_length(len) + 1);

		if (base64) {
			base64_encode(data, len, base64);
			text = json_stringn(base64, base64_length(len));
			free_wiped(base64, base64_length(len));
		}
		json_object_set_new(body, "stdinEncoding", json_string("base64"));
	}
	free_wiped(data, EXEC_STDIN_MAX + 1);
	return json_object_set_new(body, "stdin", text) < 0 ? complain("OUT_OF_MEMORY", "out of memory") : 0;
}

/* A regular file, and by its own name: whoever may write to the directory must not choose another. */
static int add_file(json_t *body, const char *path)
{
	FD_OWNED int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	int status;

	if (fd < 0 || fstat(fd, &st) < 0)
		return complain("INPUT_FAILED", "cannot open %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return complain("INPUT_FAILED", "%s is not a regular file", path);
	status = add_stdin(body, fd, path);
	return status ? status :
	       json_object_set_new(body, "stdinAs", json_string("file")) < 0 ?
			complain("OUT_OF_MEMORY", "out of memory") : 0;
}

static int add_argv(json_t *body, char **argv)
{
	json_t *list = json_array();

	json_object_set_new(body, "argv", list);
	for (; *argv; argv++) {
		if (json_array_append_new(list, bytes_to_json(*argv, strlen(*argv))) < 0)
			return complain("OUT_OF_MEMORY", "out of memory");
	}
	return 0;
}

/* What is no UTF-8 must not be left out: it would be done elsewhere. */
static int add_text(json_t *body, const char *key, const char *text)
{
	if (!text)
		return 0;
	if (!utf8_valid(text, strlen(text)))
		return usage_error(own_name, "%s must be UTF-8", key);
	return json_object_set_new(body, key, json_string(text)) < 0 ?
		       complain("OUT_OF_MEMORY", "out of memory") : 0;
}

static int add_string(json_t *body, const char *text)
{
	if (!utf8_valid(text, strlen(text)))
		return complain("USAGE", "the string is not UTF-8");
	return json_object_set_new(body, "command", json_string(text)) < 0 ? complain("OUT_OF_MEMORY", "out of memory") : 0;
}

int exec_options_body(const struct exec_options *o, char **ret_body)
{
	json_t *body JSON_OWNED = json_object();
	int status = o->run ? add_string(body, o->argv[0]) : add_argv(body, o->argv);

	if (status)
		return status;
	status = add_text(body, "context", o->context);
	if (status == 0)
		status = add_text(body, "session", o->session);
	if (status == 0)
		status = add_text(body, "cwd", o->directory);
	if (status == 0)
		status = add_text(body, "id", o->id);
	if (status == 0)
		status = add_text(body, "shell", o->shell);
	if (status)
		return status;
	if (json_object_size(o->env))
		json_object_set(body, "env", o->env);
	if (o->secure || o->no_isolation)
		json_object_set_new(body, "isolated", json_boolean(o->secure));
	if (o->timeout_ms)
		json_object_set_new(body, "timeoutMs", json_integer((json_int_t)o->timeout_ms));
	if (o->output_limit)
		json_object_set_new(body, "outputLimit", json_integer((json_int_t)o->output_limit));
	if (o->kill_signal)
		json_object_set_new(body, "killSignal", json_integer(o->kill_signal));
	if (o->kill_after_ms)
		json_object_set_new(body, "killAfterMs", json_integer((json_int_t)o->kill_after_ms));
	if (o->detach)
		json_object_set_new(body, "wait", json_false());
	else /* who reads us decides how fast, as in any pipeline */
		json_object_set_new(body, "slowMs", json_integer(EXEC_SLOW_MS));
	if (!o->detach) /* who kills us means the command */
		json_object_set_new(body, "onDisconnect", json_string("kill"));
	if (o->tty) {
		unsigned rows, cols;

		terminal_size(&rows, &cols);
		json_object_set_new(body, "tty", json_true());
		json_object_set_new(body, "rows", json_integer(rows));
		json_object_set_new(body, "cols", json_integer(cols));
	} else if (o->input_live) {
		json_object_set_new(body, "stdinOpen", json_true());
	} else if (o->input) {
		status = add_stdin(body, STDIN_FILENO, "stdin");
	} else if (o->file) {
		status = add_file(body, o->file);
	}
	if (status)
		return status;
	*ret_body = json_dumps(body, JSON_COMPACT);
	return *ret_body ? 0 : complain("OUT_OF_MEMORY", "out of memory");
}
