/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to run one command, by moat and by other means, in one run: every round runs each
 * method, in an order shuffled anew, so that drift hits all alike. Each turn runs it twice, and the
 * second run counts: what the method before it has left behind (cold caches, a mount namespace that
 * the kernel still takes down) is not its own cost. Reported are median, p99 and the ratio of the
 * medians to posix_spawn.
 * A method whose program is missing, or which cannot run here, is a visible skip.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FIRST_CONTEXTS 256u
#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static const char *socket_path = "/run/moat/moat.sock";
static const char *moat_program = "moat";
static const char *command = "/bin/true";
static char init_pid[16]; /* of the user namespace's moat-init */
static int api_socket = -1;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "spawn_bench: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- Plain processes ----------------------------------------------------------------------- */

/* Runs argv as a program that starts others would: both outputs through pipes, to their end, then
 * the status. 0, or -1 when it could not be started or did not exit with 0. */
static int run_process(char *const *argv)
{
	char *const env[] = { (char *)"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", NULL };
	posix_spawn_file_actions_t actions;
	int out[2], err[2], status, r;
	char buffer[4096];
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		die("pipe2");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_adddup2(&actions, err[1], 2);
	r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	close(err[1]);
	while (r == 0 && read(out[0], buffer, sizeof(buffer)) > 0)
		;
	while (r == 0 && read(err[0], buffer, sizeof(buffer)) > 0)
		;
	close(out[0]);
	close(err[0]);
	if (r != 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

#define ARGV(...) ((char **)(const char *[]){ __VA_ARGS__, NULL })

static int by_posix_spawn(void)
{
	return run_process(ARGV(command));
}

static int by_cli(void)
{
	return run_process(ARGV(moat_program, "--socket", socket_path, "exec", "--", command));
}

static int by_cli_secure(void)
{
	return run_process(
		ARGV(moat_program, "--socket", socket_path, "exec", "-e", "K=V", "--", command));
}

static int by_nsenter(void)
{
	if (!init_pid[0])
		return -1;
	return run_process(ARGV("nsenter", "--target", init_pid, "--pid", "--mount", "--", command));
}

static int by_unshare(void)
{
	return run_process(ARGV("unshare", "--pid", "--fork", "--mount", "--mount-proc", command));
}

static int by_bwrap(void)
{
	return run_process(ARGV("bwrap", "--bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
				"--unshare-pid", command));
}

/* --- The API: as much HTTP/1.1 as it takes ------------------------------------------------- */

static int api_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static size_t build_request(char *out, size_t size, const char *method, const char *path,
			    const char *body)
{
	return (size_t)snprintf(out, size,
				"%s %s HTTP/1.1\r\nHost: moat\r\nContent-Type: application/json\r\n"
				"Content-Length: %zu\r\n\r\n%s",
				method, path, strlen(body), body);
}

/* Whether buffer[0..n) is a whole response; *ret_body points into it. */
static bool response_complete(char *buffer, size_t n, const char **ret_body)
{
	char *end, *length;

	buffer[n] = '\0';
	end = strstr(buffer, "\r\n\r\n");
	length = strcasestr(buffer, "\r\nContent-Length:");
	if (!end || !length || length > end)
		return false;
	*ret_body = end + 4;
	return n >= (size_t)(end + 4 - buffer) + strtoul(length + 17, NULL, 10);
}

/* One request and its whole response on a kept-alive connection; the body, or NULL. */
static const char *api_call(const char *method, const char *path, const char *body)
{
	static char buffer[65536];
	size_t n = build_request(buffer, sizeof(buffer), method, path, body);
	const char *answer = NULL;

	if (api_socket < 0)
		api_socket = api_connect();
	if (api_socket < 0 || write(api_socket, buffer, n) != (ssize_t)n)
		return NULL;
	for (n = 0; !answer;) {
		ssize_t got = read(api_socket, buffer + n, sizeof(buffer) - 1 - n);

		if (got <= 0)
			return NULL;
		n += (size_t)got;
		if (!response_complete(buffer, n, &answer))
			answer = NULL;
	}
	return answer;
}

static bool succeeded(const char *answer)
{
	return answer && strstr(answer, "\"exitCode\":0");
}

static int api_exec(const char *extra)
{
	char body[512];

	snprintf(body, sizeof(body), "{\"argv\":[\"%s\"]%s}", command, extra);
	return succeeded(api_call("POST", "/v1/exec", body)) ? 0 : -1;
}

static int by_api(void)
{
	return api_exec("");
}

static int by_api_secure(void)
{
	return api_exec(",\"env\":{\"K\":\"V\"}");
}

static int api_exec_in(const char *context)
{
	char extra[64];

	snprintf(extra, sizeof(extra), ",\"context\":\"%s\"", context);
	return api_exec(extra);
}

/* Of contexts that tests/bench/run configures: each is used again when its namespaces are long gone. */
static int by_api_first(void)
{
	static unsigned turn;
	char name[16];

	snprintf(name, sizeof(name), "c%u", turn++ % FIRST_CONTEXTS);
	return api_exec_in(name);
}

static int by_api_later(void)
{
	return api_exec_in("again");
}

/* --- Latency ------------------------------------------------------------------------------- */

static struct method {
	const char *name;
	int (*run)(void);
	bool skipped;
	uint64_t *times;
	size_t n;
} methods[] = {
	{ .name = "posix_spawn", .run = by_posix_spawn },
	{ .name = "moat API", .run = by_api },
	{ .name = "moat API, secure", .run = by_api_secure },
	{ .name = "moat API, of a context", .run = by_api_later },
	{ .name = "moat API, first of a context", .run = by_api_first },
	{ .name = "moat exec", .run = by_cli },
	{ .name = "moat exec -e K=V", .run = by_cli_secure },
	{ .name = "nsenter", .run = by_nsenter },
	{ .name = "unshare", .run = by_unshare },
	{ .name = "bwrap", .run = by_bwrap },
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void shuffle(size_t *order, size_t n)
{
	static uint64_t seed = 88172645463325252u; /* fixed: runs are repeatable */

	for (size_t i = n; i > 1; i--) {
		size_t j, kept;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		j = seed % i;
		kept = order[i - 1];
		order[i - 1] = order[j];
		order[j] = kept;
	}
}

static void take_turn(struct method *m, bool counts)
{
	uint64_t start;
	bool failed = m->run() < 0;

	start = now_ns();
	failed = failed || m->run() < 0;
	start = now_ns() - start;
	if (failed && counts) /* it worked before: that is an error */
		die(m->name);
	if (failed)
		m->skipped = true;
	else if (counts)
		m->times[m->n++] = start;
}

static void run_rounds(size_t rounds, size_t warm_up)
{
	size_t order[LEN(methods)];

	for (size_t i = 0; i < LEN(methods); i++) {
		order[i] = i;
		methods[i].times = calloc(rounds, sizeof(uint64_t));
		if (!methods[i].times)
			die("calloc");
	}
	for (size_t round = 0; round < warm_up + rounds; round++) {
		shuffle(order, LEN(order));
		for (size_t i = 0; i < LEN(order); i++)
			if (!methods[order[i]].skipped)
				take_turn(&methods[order[i]], round >= warm_up);
	}
	for (size_t i = 0; i < LEN(methods); i++)
		if (methods[i].n)
			qsort(methods[i].times, methods[i].n, sizeof(uint64_t), compare);
}

static double median_us(const struct method *m)
{
	return (double)m->times[m->n / 2] / 1000;
}

static double p99_us(const struct method *m)
{
	return (double)m->times[m->n * 99 / 100] / 1000;
}

/* --- Throughput ---------------------------------------------------------------------------- */

struct connection {
	int fd;
	size_t n;
	char buffer[4096];
};

struct load {
	int epoll;
	size_t width, total, sent, done, lost, request_len;
	char request[512];
	struct connection *all;
};

static void load_send(struct load *l, struct connection *c)
{
	if (l->sent >= l->total)
		return;
	if (write(c->fd, l->request, l->request_len) != (ssize_t)l->request_len)
		die("write");
	l->sent++;
}

static void load_receive(struct load *l, struct connection *c)
{
	ssize_t got = read(c->fd, c->buffer + c->n, sizeof(c->buffer) - 1 - c->n);
	const char *answer;

	if (got <= 0)
		die("the connection ended");
	c->n += (size_t)got;
	if (!response_complete(c->buffer, c->n, &answer))
		return;
	l->lost += !succeeded(answer);
	c->n = 0;
	l->done++;
	load_send(l, c);
}

static void load_open(struct load *l)
{
	char body[256];

	snprintf(body, sizeof(body), "{\"argv\":[\"%s\"]}", command);
	l->request_len =
		build_request(l->request, sizeof(l->request), "POST", "/v1/exec", body);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->all = calloc(l->width, sizeof(*l->all));
	if (l->epoll < 0 || !l->all)
		die("load");
	for (size_t i = 0; i < l->width; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &l->all[i] };

		l->all[i].fd = api_connect();
		if (l->all[i].fd < 0 ||
		    epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->all[i].fd, &event) < 0)
			die("connect");
	}
}

/* Runs `total` commands over `width` connections, each with one request at a time. Commands per
 * second, or a negative number when one was lost. */
static double throughput(size_t width, size_t total)
{
	struct load l = { .width = width, .total = total };
	struct epoll_event events[64];
	uint64_t start;

	load_open(&l);
	start = now_ns();
	for (size_t i = 0; i < width; i++)
		load_send(&l, &l.all[i]);
	while (l.done < total) {
		int n = epoll_wait(l.epoll, events, LEN(events), 60000);

		if (n <= 0)
			break;
		for (int i = 0; i < n; i++)
			load_receive(&l, events[i].data.ptr);
	}
	start = now_ns() - start;
	for (size_t i = 0; i < width; i++)
		close(l.all[i].fd);
	close(l.epoll);
	free(l.all);
	return l.done < total || l.lost ? -1 : (double)total * 1e9 / (double)start;
}

static const size_t widths[] = { 1, 16, 1000 };
static double rates[LEN(widths)];

static void run_throughput(size_t total)
{
	for (size_t i = 0; i < LEN(widths); i++) {
		throughput(widths[i], widths[i]); /* warms the pools of the agent */
		rates[i] = throughput(widths[i], total);
	}
}

/* --- Reports ------------------------------------------------------------------------------- */

static void print_table(void)
{
	double base = median_us(&methods[0]);

	printf("%-18s %12s %12s %14s\n", command, "median us", "p99 us", "x posix_spawn");
	for (size_t i = 0; i < LEN(methods); i++) {
		const struct method *m = &methods[i];

		if (m->skipped)
			printf("%-18s skipped: it does not run here\n", m->name);
		else
			printf("%-18s %12.1f %12.1f %14.2f\n", m->name, median_us(m), p99_us(m),
			       median_us(m) / base);
	}
	if (!rates[0])
		return;
	printf("\n%-18s %12s %29s\n", "API, concurrent", "per second", "x the rate at 16");
	for (size_t i = 0; i < LEN(widths); i++) {
		if (rates[i] < 0)
			printf("%-18zu commands were lost\n", widths[i]);
		else
			printf("%-18zu %12.0f %29.2f\n", widths[i], rates[i], rates[i] / rates[1]);
	}
}

static void print_json(size_t rounds)
{
	printf("{\"command\":\"%s\",\"rounds\":%zu,\"latency\":[", command, rounds);
	for (size_t i = 0; i < LEN(methods); i++) {
		const struct method *m = &methods[i];

		printf("%s{\"name\":\"%s\",\"skipped\":%s", i ? "," : "", m->name,
		       m->skipped ? "true" : "false");
		if (!m->skipped)
			printf(",\"medianUs\":%.2f,\"p99Us\":%.2f,\"ratio\":%.4f", median_us(m),
			       p99_us(m), median_us(m) / median_us(&methods[0]));
		printf("}");
	}
	printf("],\"throughput\":[");
	for (size_t i = 0; rates[0] && i < LEN(widths); i++)
		printf("%s{\"concurrent\":%zu,\"perSecond\":%.1f}", i ? "," : "", widths[i],
		       rates[i]);
	printf("]}\n");
}

/* The pid of the moat-init of namespace "user", from /v1/status: {"name":"user", … "pid":N}. */
static void find_init_pid(void)
{
	const char *answer = api_call("GET", "/v1/status", ""), *at;

	at = answer ? strstr(answer, "\"name\":\"user\"") : NULL;
	at = at ? strstr(at, "\"pid\":") : NULL;
	if (at)
		snprintf(init_pid, sizeof(init_pid), "%ld", strtol(at + 6, NULL, 10));
}

static const char usage[] =
	"usage: spawn_bench [-n ROUNDS] [-t COMMANDS] [--socket PATH] [--moat PROGRAM]\n"
	"                   [--command PROGRAM] [--json]\n"
	"  -n  rounds of the latency table (1000)\n"
	"  -t  commands per throughput measurement (4000; 0: none)\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "moat", required_argument, NULL, 'm' },
		{ "command", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	size_t rounds = 1000, total = 4000;
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "n:t:", options, NULL)) >= 0) {
		switch (c) {
		case 'n': rounds = strtoul(optarg, NULL, 10); break;
		case 't': total = strtoul(optarg, NULL, 10); break;
		case 's': socket_path = optarg; break;
		case 'm': moat_program = optarg; break;
		case 'c': command = optarg; break;
		case 'j': json = true; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (optind < argc || rounds == 0) {
		fputs(usage, stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	find_init_pid();
	run_rounds(rounds, 20);
	if (methods[0].skipped || methods[1].skipped) {
		fprintf(stderr, "spawn_bench: %s does not run %s\n",
			methods[0].skipped ? "posix_spawn" : "the API", command);
		return 1;
	}
	if (total)
		run_throughput(total);
	if (json)
		print_json(rounds);
	else
		print_table();
	for (size_t i = 0; i < LEN(widths); i++)
		if (rates[i] < 0)
			return 1;
	return 0;
}
