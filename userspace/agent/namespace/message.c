/* SPDX-License-Identifier: Apache-2.0 */
/* The messages to a moat-init; see init/protocol.h. */
#include <linux/capability.h>
#include <sys/socket.h>

#include "agent/namespace/internal.h"

/* One packet at a time, and wiped after each: it holds environments. */
static char packet[INIT_PACKET_MAX] __attribute__((aligned(16)));

#define SEND_FDS_MAX (5u + INIT_GIVEN_MAX)

/* --- Sending ------------------------------------------------------------------------------- */

static size_t put(size_t at, const char *s)
{
	size_t n = strlen(s) + 1;

	memcpy(packet + at, s, n);
	return at + n;
}

/* Bytes of all strings of a spawn; above INIT_STRINGS_MAX the sum may be short, but is still above. */
size_t namespace_strings_size(const struct namespace_spawn *s)
{
	size_t n = strlen(s->cwd) + 1;

	for (char *const *a = s->argv; *a && n <= INIT_STRINGS_MAX; a++)
		n += strlen(*a) + 1;
	for (char *const *e = s->env; *e && n <= INIT_STRINGS_MAX; e++)
		n += strlen(*e) + 1;
	return n;
}

/* As init_setup has it. */
static uint32_t filter_of(const struct namespace *ns)
{
	if (!(layers_active(ns->set->layers) & LAYER_SECCOMP) || ns->unfiltered || ns->template)
		return 0;
	return 1 + (ns->capabilities & 1ull << CAP_SYS_ADMIN ? SECCOMP_ADMIN : SECCOMP_DEFAULT);
}

static size_t build_spawn(const struct namespace *ns, const struct namespace_spawn *s)
{
	struct init_spawn *m = (void *)packet;
	size_t at = sizeof(*m);

	*m = (struct init_spawn){
		.type = INIT_SPAWN,
		.exec = s->exec,
		.capabilities = s->capabilities,
		.no_new_privs = s->no_new_privs,
		.in_cgroup = s->cgroup_fd >= 0,
		.null_stdin = s->stdio[0] < 0,
		.own_tmp = ns->own && s->own_tmp,
		.by_descriptor = s->program >= 0,
		.n_given = s->program >= 0 ? (s->given[0] >= 0) + (s->given[1] >= 0) : 0,
		.rows = s->rows,
		.cols = s->cols,
	};
	at = put(at, s->cwd);
	for (char *const *a = s->argv; *a; a++, m->argc++)
		at = put(at, *a);
	for (char *const *e = s->env; *e; e++, m->envc++)
		at = put(at, *e);
	m->strings_len = (uint32_t)(at - sizeof(*m));
	return at;
}

/* 0 or -errno of sendmsg(2). */
static int send_packet(int socket, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { packet, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	return sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int namespace_send_spawn(struct namespace *ns, const struct namespace_spawn *s)
{
	int out = s->stdio[1]; /* also what fills the place of a descriptor that is not there */
	const int fds[SEND_FDS_MAX] = { s->stdio[0] >= 0 ? s->stdio[0] : out,
					out,
					s->stdio[2],
					s->cgroup_fd >= 0 ? s->cgroup_fd : out,
					s->program,
					s->given[0],
					s->given[1] };
	size_t len, n;
	int r;

	r = enforce_announce(ns->enforce, ns->init.pidfd, &s->label);
	if (r < 0)
		return r;
	len = build_spawn(ns, s);
	n = ((const struct init_spawn *)(const void *)packet)->n_given;
	r = send_packet(ns->socket, len, fds, s->program >= 0 ? 5 + n : 4);
	explicit_bzero(packet, len);
	return r;
}

/* --- Setting up ---------------------------------------------------------------------------- */

/* Appends what is to be covered, or uncovered, to a message of at bytes. -E2BIG: there is no room. */
static int put_path(size_t *at, const char *path)
{
	if (*at + strlen(path) + 1 > sizeof(packet))
		return -E2BIG;
	*at = put(*at, path);
	return 0;
}

/*
 * Whether a context whose commands run there is shown what is hidden from the others: then nothing covers it. There
 * are others in the common secure one, if the kernel enforces: it tells them apart.
 */
static bool is_shown_in(const struct namespace *ns, const char *name)
{
	const struct config *config = ns->set->config;

	if (ns->template)
		return false; /* those that it becomes uncover it */
	if (ns->kind == CONTEXT_SECURE && !enforce_active(ns->enforce))
		return config_is_shown(ns->show, name);
	for (size_t i = 0; i < config->n_contexts; i++) {
		const struct config_context *c = &config->contexts[i];
		bool here = ns->kind == CONTEXT_SECURE ? c->shared_pid == ns->shared_pid :
							 i == 0; /* default */

		if (here && config_is_shown(c->show, name))
			return true;
	}
	return false;
}

int namespace_send_ask(struct namespace *ns, uint64_t exec)
{
	struct init_ask m = { .type = INIT_ASK, .exec = exec };

	return send(ns->socket, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

_Static_assert((unsigned)SECCOMP_FILTERS == INIT_FILTERS && SECCOMP_SECRET == INIT_SECRET,
	       "moat-init keeps all");

/* 0 or -E2BIG. */
static int put_filters(const struct namespace *ns, size_t *at, uint32_t ret_len[INIT_FILTERS])
{
	for (unsigned i = 0; i < INIT_FILTERS; i++) {
		size_t len;
		const void *bytes = layers_filter(ns->set->layers, i, &len);

		if (len > INIT_FILTER_MAX || len > sizeof(packet) - *at)
			return -E2BIG;
		if (len)
			memcpy(packet + *at, bytes, len);
		*at += len;
		ret_len[i] = (uint32_t)len;
	}
	return 0;
}

/* Of the commands there, and so of moat-init's. */
static uint64_t rights(const struct namespace *ns)
{
	return ns->capabilities & ~layers_withheld(ns->set->layers);
}

/* In which domains its commands are. */
static enum init_domain domain_of(const struct namespace *ns)
{
	if (ns->template || !layers_can_confine(ns->set->layers, ns->capabilities))
		return INIT_DOMAIN_NONE;
	return ns->kind == CONTEXT_SECURE ? INIT_DOMAIN_EACH : INIT_DOMAIN_COMMON;
}

int namespace_send_setup(struct namespace *ns)
{
	const struct hidden_files *hidden = &ns->set->hidden;
	struct init_setup *m = (void *)packet;
	int fds[] = { cgroups_view(ns->cgroups), layers_ruleset(ns->set->layers) }, r = 0;
	enum init_domain domain = domain_of(ns);
	size_t at = sizeof(*m);

	*m = (struct init_setup){ .type = INIT_SETUP,
				  .shared_pid = ns->shared_pid,
				  .capabilities = rights(ns),
				  .shm_size = ns->shm_size,
				  .own = ns->own,
				  .template = ns->template,
				  .domain = domain,
				  .filter = filter_of(ns),
				  .world = ns->set->world,
				  .may_lack = enforce_active(ns->enforce) &&
					      enforce_mode(ns->enforce) == MOAT_MODE_ENFORCE };
	for (char **p = hidden->own; p && *p && r == 0; p++, m->n_hidden++)
		r = put_path(&at, *p);
	for (size_t i = 0; hidden->names && hidden->names[i] && r == 0; i++)
		if (!is_shown_in(ns, hidden->names[i])) {
			r = put_path(&at, hidden->paths[i]);
			m->n_hidden++;
		}
	for (char **p = ns->set->devices; p && *p && r == 0; p++, m->n_devices++)
		r = put_path(&at, *p);
	for (char **p = ns->set->protected; p && *p && r == 0; p++, m->n_protected++)
		r = put_path(&at, *p);
	if (r < 0)
		return r;
	m->strings_len = (uint32_t)(at - sizeof(*m));
	memcpy(m->secret, layers_secret(ns->set->layers), sizeof(m->secret));
	r = put_filters(ns, &at, m->filter_len);
	if (r == 0)
		r = send_packet(ns->socket, at, fds, domain ? 2 : 1);
	explicit_bzero(m->secret, sizeof(m->secret));
	return r;
}

int namespace_send_clone(struct namespace *template, const struct namespace *ns, int socket)
{
	/* Only this one child of the template's is to be a moat-init. */
	static const struct moat_label init = { .role = MOAT_ROLE_INIT };
	const struct hidden_files *hidden = &ns->set->hidden;
	struct init_clone *m = (void *)packet;
	int fds[] = { socket, layers_ruleset(ns->set->layers) };
	enum init_domain domain = domain_of(ns);
	size_t at = sizeof(*m);
	int r = enforce_announce(template->enforce, template->init.pidfd, &init);

	if (r < 0)
		return r;
	*m = (struct init_clone){ .type = INIT_CLONE,
				  .shared_pid = ns->shared_pid,
				  .capabilities = rights(ns),
				  .shm_size = ns->shm_size,
				  .domain = domain,
				  .filter = filter_of(ns) };
	for (size_t i = 0; hidden->names && hidden->names[i] && r == 0; i++)
		if (config_is_shown(ns->show, hidden->names[i])) {
			r = put_path(&at, hidden->paths[i]);
			m->n_shown++;
		}
	if (r < 0)
		return r;
	m->strings_len = (uint32_t)(at - sizeof(*m));
	return send_packet(template->socket, at, fds, domain ? 2 : 1);
}
