/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "cli/exec_request.h"

/* A pipe that poll(2) calls writable takes this much without blocking (POSIX: PIPE_BUF). */
#define WRITE_SIZE 4096u

struct session {
	struct cli *cli;
	struct moat_client *client;
	char id[72];      /* "" until the start event */
	int signals;      /* signalfd */
	bool interrupted; /* SIGINT was forwarded: the next one kills */
	int pending;      /* came before the id was known; 0: none */
	bool output_gone; /* nobody reads our output any more: the command was killed */
	int status;       /* -1 until the exit event */
};

/* On a connection of its own: the session's is busy with the stream. */
static void control(struct session *s, const char *method, const char *suffix, const char *body)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	struct moat_client *client CLIENT_OWNED = NULL;
	char path[128];

	snprintf(path, sizeof(path), "/v1/processes/%s%s", s->id, suffix);
	if (moat_connect(s->cli->socket, &client) == 0)
		(void)moat_call(client, method, path, body, body ? strlen(body) : 0, &response);
}

static void forward_signal(struct session *s, int signal)
{
	if (!s->id[0]) {
		/* Two before the start are one kill after it. */
		s->pending = s->pending ? SIGTERM : signal;
		return;
	}
	if (signal == SIGINT && !s->interrupted) {
		s->interrupted = true;
		control(s, "POST", "/signal", "{\"signal\":\"SIGINT\"}");
	} else {
		control(s, "DELETE", "", NULL);
	}
}

/* Waits for fd, with the user's signals answered meanwhile. */
static int wait_for(struct session *s, int fd, short events)
{
	struct pollfd p[] = { { .fd = fd, .events = events },
			      { .fd = s->signals, .events = POLLIN } };
	struct signalfd_siginfo info;

	if (poll(p, 2, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (p[1].revents && read(s->signals, &info, sizeof(info)) == sizeof(info))
		forward_signal(s, (int)info.ssi_signo);
	return p[0].revents ? 1 : 0;
}

static int on_wait(int fd, void *data)
{
	int r = wait_for(data, fd, POLLIN);

	return r < 0 ? r : 0;
}

static void write_output(struct session *s, int fd, const char *data, size_t n)
{
	while (n && !s->output_gone) {
		size_t part = n < WRITE_SIZE ? n : WRITE_SIZE;
		int r = wait_for(s, fd, POLLOUT);
		ssize_t written;

		if (r == 0)
			continue;
		written = r < 0 ? -1 : write(fd, data, part);
		if (written < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (written < 0) {
			/* As SIGPIPE would end it in a pipeline of a shell. */
			s->output_gone = true;
			control(s, "DELETE", "", NULL);
			return;
		}
		data += written;
		n -= (size_t)written;
	}
}

static int on_output(struct session *s, const json_t *event, int fd)
{
	char *bytes PTR_OWNED = NULL;
	const char *text;
	size_t n;
	int r = member_output(event, "data", "encoding", &text, &n, &bytes);

	if (r == 0)
		write_output(s, fd, text, n);
	return r;
}

/* What the command's result means for our own exit. */
static int result_status(const json_t *result)
{
	const char *name = member_text(result, "signal");
	int signal = *name ? parse_signal(name) : 0;

	if (json_is_true(json_object_get(result, "timedOut"))) {
		complain("the command took too long and was killed");
		return CLI_TIMED_OUT;
	}
	if (json_is_true(json_object_get(result, "oomKilled")))
		complain("the kernel killed processes of the command: out of memory, of which files in "
			 "memory take %lld MiB (see moat status)",
			 (long long)member_number(result, "filesInMemory") >> 20);
	if (signal)
		return signal > 0 ? 128 + signal : CLI_FAILED;
	return (int)member_number(result, "exitCode");
}

static int on_event(struct session *s, const char *line, size_t len)
{
	json_t *event JSON_OWNED = answer_decode(line, len);
	const char *type = member_text(event, "type");

	if (strcmp(type, "start") == 0) {
		snprintf(s->id, sizeof(s->id), "%s", member_text(event, "id"));
		if (s->pending)
			forward_signal(s, s->pending);
	} else if (strcmp(type, "stdout") == 0) {
		return on_output(s, event, STDOUT_FILENO);
	} else if (strcmp(type, "stderr") == 0) {
		return on_output(s, event, STDERR_FILENO);
	} else if (strcmp(type, "exit") == 0) {
		s->status = result_status(event);
	} else {
		return -EPROTO;
	}
	return 0;
}

static int run_stream(struct session *s, const char *body)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	const char *line;
	size_t len;
	int r = moat_stream(s->client, "POST", "/v1/exec", body, strlen(body), &response);

	if (r < 0)
		return agent_failed(r);
	if (r == 0)
		return agent_refused(&response);
	while ((r = moat_stream_next(s->client, &line, &len)) > 0) {
		r = on_event(s, line, len);
		if (r < 0)
			break;
	}
	if (s->status < 0) {
		if (r == 0 || r == -ECONNRESET)
			return complain("the connection ended before the command did; "
					"moat ps -a tells what became of %s",
					s->id[0] ? s->id : "it");
		return agent_failed(r);
	}
	return s->output_gone ? 128 + SIGPIPE : s->status;
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
	if (!printed_json(s->cli, root))
		puts(member_text(root, "id"));
	return o->detach ? 0 : result_status(root);
}

int cmd_exec(struct cli *cli, int argc, char **argv)
{
	struct exec_options options = { 0 };
	struct session s = { .cli = cli, .status = -1, .signals = -EBADF };
	char *body = NULL;
	sigset_t set;
	int status;

	if (!exec_options_parse(cli, argc, argv, &options, &status)) {
		json_decref(options.env);
		return status;
	}
	status = exec_options_body(&options, &body);
	json_decref(options.env);
	if (status == 0)
		status = agent_connect(cli, &s.client);
	if (status == 0 && !options.detach && !cli->json) {
		signal(SIGPIPE, SIG_IGN);
		sigemptyset(&set);
		sigaddset(&set, SIGINT);
		sigaddset(&set, SIGTERM);
		sigaddset(&set, SIGHUP);
		sigprocmask(SIG_BLOCK, &set, NULL);
		s.signals = signalfd(-1, &set, SFD_CLOEXEC);
		moat_set_wait(s.client, on_wait, &s);
		status = run_stream(&s, body);
		close_fd(&s.signals);
	} else if (status == 0) {
		status = run_call(&s, &options, body);
	}
	if (body)
		free_wiped(body, strlen(body));
	moat_disconnect(s.client);
	return status;
}
