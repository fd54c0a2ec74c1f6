/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket and its connections. moat accepts by itself, so that a peer is judged before one byte
 * of it is parsed, and so that a shortage of descriptors delays accept instead of spinning.
 * libmicrohttpd (no threads, own epoll descriptor) parses HTTP inside the agent's loop.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agent/api/internal.h"
#include "base/log.h"

#define ACCEPT_BURST 64
#define RUN_BURST 8
#define RETRY_NS (100 * NSEC_PER_MSEC)
#define BACKLOG 4096
/* Above 32 KiB libmicrohttpd maps this memory, so that what passed through it is gone on unmap. */
#define CONNECTION_MEMORY (40u * 1024)

static void peer_free(struct api_peer *peer)
{
	struct api *api = peer->api;

	loop_timer_cancel(api->agent->loop, &peer->timer);
	list_remove(&peer->idle);
	api->n_peers--;
	api->n_refused -= peer->refused != MOAT_OK;
	free(peer);
}

static void on_deadline(struct loop_timer *timer)
{
	struct api_peer *peer = container_of(timer, struct api_peer, timer);
	struct loop *loop = peer->api->agent->loop;
	uint64_t now = now_ns();

	/* libmicrohttpd sees the hang-up and closes the connection. */
	if (!peer->busy && peer->deadline_ns <= now)
		shutdown(peer->fd, SHUT_RDWR);
	else if (loop_timer_set(loop, timer, peer->busy ? API_REQUEST_NS :
				peer->deadline_ns - now, on_deadline) < 0)
		shutdown(peer->fd, SHUT_RDWR);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct api *api = cls;

	(void)connection;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = take_ptr(api->accepting);
	} else if (*context) {
		peer_free(*context);
		*context = NULL;
	}
}

static int peer_new(struct api *api, int fd, enum moat_error refused, struct api_peer **ret)
{
	struct api_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return -ENOMEM;
	peer->api = api;
	peer->fd = fd;
	peer->deadline_ns = now_ns() + API_REQUEST_NS;
	list_init(&peer->idle);
	if (loop_timer_set(api->agent->loop, &peer->timer, API_REQUEST_NS, on_deadline) < 0) {
		free(peer);
		return -ENOMEM;
	}
	peer->refused = refused;
	api->n_peers++;
	api->n_refused += refused != MOAT_OK;
	list_append(&api->idle, &peer->idle);
	*ret = peer;
	return 0;
}

/* Consumes fd, also in case of errors. */
static void serve_connection(struct api *api, int fd)
{
	static const struct sockaddr_un nobody = { .sun_family = AF_UNIX };
	enum moat_error refused = api_peer_judge(api, fd);

	/* User code gets a proper answer, but cannot use up the connections of others. */
	if ((refused && api->n_refused >= api->refused_max) ||
	    peer_new(api, fd, refused, &api->accepting) < 0) {
		close(fd);
		return;
	}
	/* Closes fd when it fails. */
	MHD_add_connection(api->daemon, fd, (const struct sockaddr *)&nobody,
			   sizeof(nobody.sun_family));
	if (api->accepting)
		peer_free(take_ptr(api->accepting));
}

static void listen_pause(struct api *api)
{
	if (!api->listening)
		return;
	loop_remove(api->agent->loop, &api->listen);
	api->listening = false;
}

static void on_listen(struct loop_source *source, uint32_t events);
static void on_retry(struct loop_timer *timer);

/* Without the memory for it, later: else nobody would be heard any more. */
static void listen_resume(struct api *api)
{
	if (api->listening || api->held)
		return;
	if (loop_add(api->agent->loop, &api->listen, api->listen_fd, EPOLLIN, on_listen) == 0)
		api->listening = true;
	else
		(void)loop_timer_set(api->agent->loop, &api->retry, RETRY_NS, on_retry);
}

static void on_retry(struct loop_timer *timer)
{
	listen_resume(container_of(timer, struct api, retry));
}

/* With all connections taken, the one that has been idle longest makes room. */
static bool make_room(struct api *api)
{
	struct api_peer *peer;

	if (api->n_peers < api->peers_max)
		return true;
	if (!list_empty(&api->idle)) {
		peer = list_entry(api->idle.next, struct api_peer, idle);
		shutdown(peer->fd, SHUT_RDWR);
		api_run(api);
	}
	return api->n_peers < api->peers_max;
}

static void on_listen(struct loop_source *source, uint32_t events)
{
	struct api *api = container_of(source, struct api, listen);

	(void)events;
	for (int i = 0; i < ACCEPT_BURST; i++) {
		int fd;

		if (!make_room(api)) {
			listen_pause(api); /* api_run() resumes */
			return;
		}
		fd = accept4(api->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			serve_connection(api, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			log_warning("cannot accept a connection: %s", strerror(errno));
			listen_pause(api);
			if (loop_timer_set(api->agent->loop, &api->retry, RETRY_NS, on_retry) < 0)
				listen_resume(api);
		}
		if (errno != EINTR && errno != ECONNABORTED)
			break;
	}
	api_run(api);
}

/* Edge-triggered: each write is one event, and nothing needs to be read. */
static void on_wake(struct loop_source *source, uint32_t events)
{
	(void)events;
	api_run(container_of(source, struct api, wake));
}

void api_wake(struct api *api)
{
	static const uint64_t one = 1;

	(void)!write(api->wake_fd, &one, sizeof(one));
}

void api_run(struct api *api)
{
	MHD_UNSIGNED_LONG_LONG ms = 1;

	for (int i = 0; i < RUN_BURST; i++) {
		MHD_run(api->daemon);
		if (MHD_get_timeout(api->daemon, &ms) != MHD_YES || ms > 0)
			break;
		ms = 0;
	}
	/* Deadlines are moat's own; the only timeout left is "at once". Others get their turn. */
	if (ms == 0)
		api_wake(api);
	if (!api->listening && !api->retry.index && api->n_peers < api->peers_max)
		listen_resume(api);
}

static void on_mhd(struct loop_source *source, uint32_t events)
{
	(void)events;
	api_run(container_of(source, struct api, mhd));
}

static void on_panic(void *cls, const char *file, unsigned line, const char *reason)
{
	(void)cls;
	log_error("libmicrohttpd: %s:%u: %s", file, line, reason ? reason : "");
	abort();
}

/* Paths and headers are matched as they are sent: no escapes, so no second spelling of a name. */
static size_t no_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
	(void)cls;
	(void)connection;
	return strlen(text);
}

static int daemon_start(struct api *api, struct failure *f)
{
	const union MHD_DaemonInfo *info;

	MHD_set_panic_func(on_panic, NULL);
	api->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_TURBO,
		0, NULL, NULL, api_on_request, api,
		MHD_OPTION_NOTIFY_COMPLETED, api_on_completed, api,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, api,
		MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL,
		MHD_OPTION_CONNECTION_LIMIT, api->peers_max + 1,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_END);
	if (!api->daemon)
		return fail(f, ENOMEM, "cannot start the HTTP server");
	info = MHD_get_daemon_info(api->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || info->epoll_fd < 0)
		return fail(f, ENOTSUP, "libmicrohttpd was built without epoll");
	return loop_add(api->agent->loop, &api->mhd, info->epoll_fd, EPOLLIN, on_mhd);
}

static int wake_open(struct api *api, struct failure *f)
{
	int r;

	api->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (api->wake_fd < 0)
		return fail(f, errno, "cannot make an eventfd");
	r = loop_add(api->agent->loop, &api->wake, api->wake_fd, EPOLLIN | EPOLLET, on_wake);
	return r < 0 ? fail(f, -r, "cannot start the HTTP server") : 0;
}

/* A socket file that nobody listens on is left over from a dead agent; a live one is an error. */
static int remove_stale(const struct sockaddr_un *address, struct failure *f)
{
	int fd FD_OWNED = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0)
		return fail(f, errno, "cannot make a socket");
	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : fail(f, errno, "cannot look at %s", address->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return fail(f, EEXIST, "%s is not a socket", address->sun_path);
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
		return fail(f, EADDRINUSE, "another moatd listens on %s", address->sun_path);
	if (unlink(address->sun_path) < 0)
		return fail(f, errno, "cannot remove %s", address->sun_path);
	return 0;
}

/* The directory of the socket; made (0700) unless it is there. */
static int make_directory(const char *path, struct failure *f)
{
	char dir[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return fail(f, errno, "cannot make the directory %s", dir);
	return 0;
}

static int listen_open(struct api *api, const char *path, struct failure *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t mask;
	int r, err;

	if (strlen(path) >= sizeof(address.sun_path))
		return fail(f, ENAMETOOLONG, "cannot listen on %s", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	r = make_directory(path, f);
	if (r == 0)
		r = remove_stale(&address, f);
	if (r < 0)
		return r;
	api->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (api->listen_fd < 0)
		return fail(f, errno, "cannot make a socket");
	mask = umask(0177);
	r = bind(api->listen_fd, (const struct sockaddr *)&address, sizeof(address));
	err = errno;
	umask(mask);
	if (r < 0)
		return fail(f, err, "cannot bind %s", path);
	api->path = strdup(path);
	if (!api->path)
		return fail(f, ENOMEM, "cannot listen on %s", path);
	/* Guarded before the first connection can be made. */
	r = enforce_guard_socket(api->agent->enforce, api->listen_fd);
	if (r < 0)
		return fail(f, -r, "cannot guard %s", path);
	if (listen(api->listen_fd, BACKLOG) < 0)
		return fail(f, errno, "cannot listen on %s", path);
	listen_resume(api);
	return api->listening ? 0 : fail(f, ENOMEM, "cannot listen on %s", path);
}

static unsigned lower(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

int api_open(struct agent *agent, unsigned connections, struct api **ret, struct failure *f)
{
	struct api *api = calloc(1, sizeof(*api));
	int r;

	if (!api)
		return fail(f, ENOMEM, "cannot open the API");
	json_setup();
	api->agent = agent;
	api->uid = geteuid();
	api->peers_max = lower(connections, API_CONNECTIONS_MAX);
	api->busy_max = api->peers_max - lower(API_FREE_MAX, (api->peers_max + 3) / 4);
	api->refused_max = lower(API_REFUSED_MAX, (api->peers_max + 3) / 4);
	api->listen_fd = api->wake_fd = -EBADF;
	api->listen.fd = api->mhd.fd = api->wake.fd = -EBADF;
	list_init(&api->requests);
	list_init(&api->idle);
	r = api_peer_check(f);
	if (r == 0)
		r = daemon_start(api, f);
	if (r == 0)
		r = wake_open(api, f);
	if (r == 0)
		r = listen_open(api, agent->config->socket, f);
	if (r < 0) {
		api_close(api);
		return r;
	}
	*ret = api;
	return 0;
}

void api_hold(struct api *api, bool hold)
{
	api->held = hold;
	if (hold)
		listen_pause(api);
	else
		listen_resume(api);
}

void api_drain(struct api *api)
{
	api->draining = true;
	/* Followers of events would never end by themselves. */
	list_for_each_safe(pos, &api->requests) {
		struct api_request *r = list_entry(pos, struct api_request, link);

		if (r->follower) {
			api_events_detach(r);
			api_resume(r);
		}
	}
}

void api_close(struct api *api)
{
	struct loop *loop;

	if (!api)
		return;
	loop = api->agent->loop;
	listen_pause(api);
	loop_timer_cancel(loop, &api->retry);
	if (api->path)
		unlink(api->path);
	close_fd(&api->listen_fd);
	/* Clients that wait are told; a stream ends without its last event, which says the same. */
	list_for_each_safe(pos, &api->requests) {
		struct api_request *r = list_entry(pos, struct api_request, link);

		api_detach(r);
		r->gone = r->streaming;
		if (!r->streaming && !r->status) {
			r->failed = true;
			refuse(&r->error, MOAT_E_SHUTTING_DOWN, "the agent stops");
		}
		api_resume(r);
	}
	if (api->daemon) {
		api->listening = true; /* nothing may resume it from here */
		api_run(api);
		MHD_stop_daemon(api->daemon);
	}
	loop_remove(loop, &api->mhd);
	loop_remove(loop, &api->wake);
	close_fd(&api->wake_fd);
	free(api->path);
	free(api);
}
