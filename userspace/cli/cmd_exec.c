/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "cli/exec_request.h"
#include "cli/feed.h"
#include "cli/output_line.h"
#include "cli/terminal.h"

/* A pipe that poll(2) calls writable takes this much without blocking (POSIX: PIPE_BUF). */
#define WRITE_SIZE 4096u

/* A signal before the command has an id: so long its start is waited for, to kill it. */
#define GRACE_NS (200 * NSEC_PER_MSEC)
/* So long the agent may take to pass a signal on. */
#define CONTROL_NS (5 * NSEC_PER_SEC)
/* ... when the user has become impatient. */
#define SECOND_NS (1 * NSEC_PER_SEC)

struct session {
	struct cli *cli;
	struct moat_client *client;
	char id[72];      /* "" until the start event */
	int signals;      /* signalfd */
	bool interrupted; /* SIGINT was forwarded: the next one kills, but */
	bool interrupts;  /* each is the command's own */
	int signal;       /* the last one that came; 0: none */
	bool controlling; /* the agent is being told of it */
	bool again;       /* and another one came meanwhile */
	uint64_t deadline_ns; /* of what is being waited for; 0: none */
	bool ended;       /* the agent does not answer: the signal ends us */
	int write_error;  /* errno of our output, EPIPE: nobody reads it. The command was killed */
	int status;       /* -1 until the exit event */
	bool feeds;       /* stdin goes to the command, by a process of its own */
	pid_t feeder;     /* 0: none */
	bool tty;         /* what goes to it are the keys of our terminal */
	bool attached;    /* it was there before us, and stays when we go */
	bool detached;
};

static int on_wait(int fd, short events, void *data);
static void forward_signal(struct session *s);

/* On a connection of its own: the session's is busy with the stream. */
static void control(struct session *s, const char *method, const char *suffix, const char *body)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	struct moat_client *client CLIENT_OWNED = NULL;
	char path[128];
	int r = 0;

	snprintf(path, sizeof(path), "/v1/processes/%s%s", s->id, suffix);
	if (moat_connect(s->cli->socket, &client) < 0)
		return;
	moat_set_wait(client, on_wait, s);
	s->controlling = true;
	s->deadline_ns = now_ns() + CONTROL_NS;
	r = moat_call(client, method, path, body, body ? strlen(body) : 0, &response);
	s->controlling = false;
	s->deadline_ns = 0;
	s->ended = s->ended || r == -ETIMEDOUT;
	if (!s->ended && s->again) {
		s->again = false;
		forward_signal(s); /* which kills, if not the first is to be the command's as well */
	}
}

static void forward_signal(struct session *s)
{
	if (s->signal == SIGINT && (!s->interrupted || s->interrupts)) {
		s->interrupted = true;
		control(s, "POST", "/signal", "{\"signal\":\"SIGINT\"}");
	} else {
		control(s, "DELETE", "", NULL);
	}
}

static void on_answerable_signal(struct session *s, int signal)
{
	bool enough = s->again || (!s->id[0] && s->signal);

	s->signal = signal;
	if (enough) {
		s->ended = true;
	} else if (s->controlling) {
		s->again = true;
		s->deadline_ns = now_ns() + SECOND_NS;
	} else if (s->id[0]) {
		forward_signal(s);
	} else {
		s->deadline_ns = now_ns() + GRACE_NS;
	}
}

/* Before the command is there, and when it is being killed, it has nothing to interrupt. */
static void on_own_interrupt(struct session *s)
{
	if (!s->id[0] || (s->signal && s->signal != SIGINT))
		return;
	s->signal = SIGINT;
	if (s->controlling)
		s->again = true;
	else
		forward_signal(s);
}

static void resize(struct session *s)
{
	unsigned rows, cols;
	char body[64];

	if (!s->id[0] || s->controlling)
		return;
	terminal_size(&rows, &cols);
	snprintf(body, sizeof(body), "{\"rows\":%u,\"cols\":%u}", rows, cols);
	control(s, "POST", "/resize", body);
}

/* Of a terminal: its size, and the key that ends us alone. False: it is an ordinary one. */
static bool on_terminal_signal(struct session *s, int signal)
{
	if (signal == SIGWINCH)
		resize(s);
	else if (signal == SIGCHLD || s->attached)
		s->detached = s->attached;
	else
		return false;
	s->ended = s->ended || s->detached;
	return true;
}

static void on_signal(struct session *s, int signal)
{
	if (s->tty && on_terminal_signal(s, signal))
		return;
	if (s->interrupts && signal == SIGINT)
		on_own_interrupt(s);
	else
		on_answerable_signal(s, signal);
}

static int poll_timeout(const struct session *s)
{
	uint64_t now = now_ns();

	if (!s->deadline_ns)
		return -1;
	return s->deadline_ns > now ? (int)((s->deadline_ns - now) / NSEC_PER_MSEC + 1) : 0;
}

static void output_failed(struct session *s, int err)
{
	s->write_error = err;
	control(s, "DELETE", "", NULL);
}

/* Waits for fd, with the user's signals answered meanwhile, and the end of who reads our output
 * noticed. 1: ready; 0: try again; or -errno. */
static int wait_for(struct session *s, int fd, short events)
{
	bool watched = s->id[0] && !s->controlling && !s->write_error;
	struct pollfd p[] = { { .fd = fd, .events = events },
			      { .fd = s->signals, .events = POLLIN },
			      { .fd = watched ? STDOUT_FILENO : -1 } };
	struct signalfd_siginfo info;
	int n = poll(p, ARRAY_LEN(p), poll_timeout(s));

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (p[1].revents && read(s->signals, &info, sizeof(info)) == sizeof(info))
		on_signal(s, (int)info.ssi_signo);
	else if (n == 0 && s->deadline_ns && !s->controlling)
		s->ended = true;
	else if (n == 0)
		return -ETIMEDOUT;
	if (s->ended)
		return -ECANCELED;
	if (!p[0].revents && p[2].revents & (POLLERR | POLLHUP))
		output_failed(s, EPIPE);
	return p[0].revents ? 1 : 0;
}

static int on_wait(int fd, short events, void *data)
{
	int r = wait_for(data, fd, events);

	return r < 0 ? r : 0;
}

static int write_output(struct session *s, int fd, const char *data, size_t n)
{
	while (n && !s->write_error) {
		size_t part = n < WRITE_SIZE ? n : WRITE_SIZE;
		int r = wait_for(s, fd, POLLOUT);
		ssize_t written;

		if (r < 0)
			return r;
		if (r == 0)
			continue;
		written = write(fd, data, part);
		if (written < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (written < 0) {
			output_failed(s, errno);
			break;
		}
		data += written;
		n -= (size_t)written;
	}
	return 0;
}

static int on_output(struct session *s, const json_t *event, int fd)
{
	char *bytes PTR_OWNED = NULL;
	const char *text;
	size_t n;
	int r = member_output(event, "data", "encoding", &text, &n, &bytes);

	return r < 0 ? r : write_output(s, fd, text, n);
}

/* What the command's result means for our own exit. */
static int result_status(const json_t *result)
{
	const char *name = member_text(result, "signal");
	int signal = *name ? parse_signal(name) : 0;

	if (json_is_true(json_object_get(result, "timedOut"))) {
		complain("TIMED_OUT", "the command took too long and was killed");
		return CLI_TIMED_OUT;
	}
	if (json_is_true(json_object_get(result, "outputLimited")))
		complain("OUTPUT_LIMITED",
			 "the command wrote more than its limit, which is left out");
	if (json_is_true(json_object_get(result, "oomKilled")))
		complain("OOM_KILLED", "the kernel killed processes of the command: out of memory, of which files in "
			 "memory take %lld MiB (see moat status)",
			 (long long)member_number(result, "filesInMemory") >> 20);
	if (signal)
		return signal > 0 ? 128 + signal : CLI_FAILED;
	return (int)member_number(result, "exitCode");
}

static int on_start(struct session *s, const json_t *event)
{
	snprintf(s->id, sizeof(s->id), "%s", member_text(event, "id"));
	s->deadline_ns = 0;
	print_warnings(event);
	if (s->tty)
		terminal_raw();
	if (s->feeds && feed_start(s->cli, s->id, s->tty, &s->feeder) < 0)
		return complain("INPUT_FAILED", "cannot send stdin: %s", strerror(errno)), -ECANCELED;
	if (s->signal)
		forward_signal(s);
	return s->ended ? -ECANCELED : 0;
}

static int on_event(struct session *s, const char *line, size_t len)
{
	json_t *event JSON_OWNED = answer_decode(line, len);
	const char *type = member_text(event, "type");

	if (strcmp(type, "start") == 0)
		return on_start(s, event);
	if (strcmp(type, "stdout") == 0)
		return on_output(s, event, STDOUT_FILENO);
	if (strcmp(type, "stderr") == 0)
		return on_output(s, event, STDERR_FILENO);
	if (!event || !*type)
		return -EPROTO;
	if (strcmp(type, "gap") == 0)
		complain("OUTPUT_LOST", "%lld bytes of its output are lost",
			 (long long)member_number(event, "lost"));
	if (strcmp(type, "exit") != 0)
		return 0;
	s->status = result_status(event);
	return 0;
}

/* What is output is read by the quick way. */
static int on_line(struct session *s, const char *line, size_t len)
{
	char *bytes PTR_OWNED = malloc(len);
	bool is_stderr;
	size_t n;

	if (bytes && output_line_decode(line, len, bytes, &is_stderr, &n))
		return write_output(s, is_stderr ? STDERR_FILENO : STDOUT_FILENO, bytes, n);
	return on_event(s, line, len);
}

static int stream_status(const struct session *s, int r)
{
	terminal_restore();
	if (s->detached) {
		fprintf(stderr, "\nmoat: detached from %s, which goes on\n", s->id);
		return 0;
	}
	if (s->ended && s->signal) {
		complain("AGENT_SILENT", "the agent does not answer; moat ps -a tells what became of %s",
			 s->id[0] ? s->id : "the command");
		return 128 + s->signal;
	}
	/* As SIGPIPE would end it in a pipeline of a shell. */
	if (s->write_error == EPIPE)
		return 128 + SIGPIPE;
	if (s->write_error)
		return complain("OUTPUT_FAILED", "cannot write: %s", strerror(s->write_error));
	if (s->status >= 0)
		return s->status;
	if (r == 0 || r == -ECONNRESET)
		return complain("CONNECTION_LOST", "the connection ended before the command did; "
				"moat ps -a tells what became of %s", s->id[0] ? s->id : "it");
	return agent_failed(r);
}

static int run_stream(struct session *s, const char *method, const char *path, const char *body)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	const char *line;
	size_t len;
	int r = moat_stream(s->client, method, path, body, body ? strlen(body) : 0, &response);

	if (r < 0 && !s->ended)
		return agent_failed(r);
	if (r == 0)
		return agent_refused(&response);
	while (r > 0 && (r = moat_stream_next(s->client, &line, &len)) > 0) {
		r = on_line(s, line, len);
		if (r < 0)
			break;
		r = 1;
	}
	return stream_status(s, r);
}

/* --json and --detach: one answer, no live output. */
static int run_call(struct session *s, const struct exec_options *o, const char *body)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	json_t *root JSON_OWNED = NULL;
	int r = moat_call(s->client, "POST", "/v1/exec", body, strlen(body), &response);

	if (r < 0)
		return agent_failed(r);
	if (response.status >= 300)
		return agent_refused(&response);
	root = answer_decode(response.body, response.len);
	if (!root)
		return agent_failed(-EPROTO);
	if (!printed_json(s->cli, root)) {
		print_warnings(root);
		puts(member_text(root, "id"));
	}
	return o->detach ? 0 : result_status(root);
}

/* With the user's signals, keys and window passed on. */
static int run_session(struct session *s, const char *method, const char *path, const char *body)
{
	static const int passed[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCHLD };
	sigset_t set;
	int status;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < (s->tty ? ARRAY_LEN(passed) : 3); i++)
		sigaddset(&set, passed[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC);
	moat_set_wait(s->client, on_wait, s);
	status = run_stream(s, method, path, body);
	feed_stop(s->feeder);
	terminal_restore();
	close_fd(&s->signals);
	return status;
}

static int run_options(struct cli *cli, int argc, char **argv, bool run)
{
	struct exec_options options = { .run = run };
	struct session s = { .cli = cli, .status = -1, .signals = -EBADF };
	char *body = NULL;
	int status;

	if (!exec_options_parse(cli, argc, argv, &options, &status)) {
		json_decref(options.env);
		return status;
	}
	if (options.tty && (options.detach || cli->json || !isatty(STDIN_FILENO))) {
		json_decref(options.env);
		return usage_error(run ? "run" : "exec", "-t needs a terminal on stdin, and neither --detach nor --json");
	}
	options.input_live = options.input && !options.detach && !cli->json;
	status = exec_options_body(&options, &body);
	json_decref(options.env);
	if (status == 0)
		status = agent_connect(cli, &s.client);
	if (status == 0 && !options.detach && !cli->json) {
		s.tty = options.tty;
		s.interrupts = options.interrupts;
		s.feeds = options.input || options.tty;
		status = run_session(&s, "POST", "/v1/exec", body);
	} else if (status == 0) {
		status = run_call(&s, &options, body);
	}
	if (body)
		free_wiped(body, strlen(body));
	moat_disconnect(s.client);
	return status;
}

int cmd_exec(struct cli *cli, int argc, char **argv)
{
	return run_options(cli, argc, argv, false);
}

int cmd_run(struct cli *cli, int argc, char **argv)
{
	return run_options(cli, argc, argv, true);
}

const char help_attach[] =
	"usage: moat attach ID [--socket PATH]\n\n"
	"Shows what a command on a terminal (moat exec -t) writes, and sends it what is typed.\n"
	"Ctrl-] leaves it to itself again.\n";

int cmd_attach(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS, { 0 } };
	struct session s = { .cli = cli, .status = -1, .signals = -EBADF, .tty = true, .feeds = true, .attached = true };
	char path[160];
	int option, status;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		if (!option_common(cli, "attach", option, &status))
			return status;
	if (optind + 1 != argc)
		return usage_error("attach", "which command? moat ps lists them");
	if (strpbrk(argv[optind], "/?& \r\n") || strlen(argv[optind]) > 64)
		return usage_error("attach", "not an id: %s", argv[optind]);
	if (!isatty(STDIN_FILENO))
		return usage_error("attach", "stdin is no terminal; moat logs -f shows what it writes");
	snprintf(s.id, sizeof(s.id), "%s", argv[optind]);
	status = agent_connect(cli, &s.client);
	if (status)
		return status;
	resize(&s);
	snprintf(path, sizeof(path), "/v1/processes/%s/events", s.id);
	status = run_session(&s, "GET", path, NULL);
	moat_disconnect(s.client);
	return status;
}
