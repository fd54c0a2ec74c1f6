/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which namespaces there are, and when.
 *
 *   context          without env of the exec's own    with it, or isolated
 *   default          user                             secure
 *   namespace=user   context-NAME, while in use       secure
 *   namespace=private context-NAME, once used         secure
 *   namespace=secure secure                           secure
 *
 * With pid = shared the secure one is secure-shared, that of default user-shared, and a context's own stays in
 * the PID namespace of the agent. A context that may more than the common secure one has, or would see too much there
 * (is_secure_alone), has secure-of-NAME for it, while in use.
 */
#include <linux/capability.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "agent/namespace/internal.h"
#include "agent/namespace/user.h"
#include "base/log.h"

#define START_NS (30 * NSEC_PER_SEC)
#define LAUNCHES_MAX 4u
#define OTHERS_MIN 2u /* places that no private one takes */

/* --- Launches and ends --------------------------------------------------------------------- */

static struct namespace *first(struct list *list, size_t member)
{
	return list_empty(list) ? NULL : (struct namespace *)(void *)((char *)list->next - member);
}

/* The longest idle make room, as many as may be launched then; namespaces_gone() goes on. */
static void make_room(struct namespaces *set)
{
	size_t wanted = 0;
	struct namespace *ns;

	list_for_each(pos, &set->waiting)
		if (++wanted >= LAUNCHES_MAX - set->n_launching)
			break;
	while (set->n_ending < wanted && (ns = first(&set->idle, offsetof(struct namespace, idle)))) {
		list_remove(&ns->idle);
		namespace_event(ns, NAMESPACE_IDLE, NULL);
	}
}

void namespaces_pump(struct namespaces *set)
{
	struct namespace *ns, *template = set->template;

	while (!set->closing && template->state == NAMESPACE_READY && !template->cloning &&
	       set->n_launching < LAUNCHES_MAX &&
	       (ns = first(&set->waiting, offsetof(struct namespace, waiting)))) {
		if (set->n_living >= set->living_max) {
			make_room(set);
			return;
		}
		list_remove(&ns->waiting);
		ns->launching = ns->living = true;
		set->n_launching++;
		set->n_living++;
		namespace_launch_now(ns);
	}
}

void namespaces_launched(struct namespace *ns)
{
	ns->set->n_launching -= ns->launching;
	ns->launching = false;
	if (ns->state == NAMESPACE_DOWN)
		namespaces_gone(ns);
}

void namespaces_gone(struct namespace *ns)
{
	ns->set->n_living -= ns->living;
	ns->living = false;
	namespace_give_shm_back(ns);
	namespaces_pump(ns->set);
}

static void on_idle_timer(struct loop_timer *timer)
{
	struct namespaces *set = container_of(timer, struct namespaces, idle_timer);
	struct namespace *ns;

	while ((ns = first(&set->idle, offsetof(struct namespace, idle)))) {
		uint64_t end = ns->idle_ns + set->config->namespace_idle * NSEC_PER_SEC;
		uint64_t now = now_ns();

		if (now < end) {
			(void)loop_timer_set(set->loop, &set->idle_timer, end - now, on_idle_timer);
			return;
		}
		list_remove(&ns->idle);
		namespace_event(ns, NAMESPACE_IDLE, NULL);
	}
}

void namespaces_idle(struct namespace *ns)
{
	struct namespaces *set = ns->set;

	if (ns->ended) {
		namespace_event(ns, NAMESPACE_IDLE, NULL);
		return;
	}
	if (ns->lasting || ns->keep)
		return;
	ns->idle_ns = now_ns();
	list_remove(&ns->idle);
	list_append(&set->idle, &ns->idle);
	if (!set->idle_timer.index)
		(void)loop_timer_set(set->loop, &set->idle_timer,
				     set->config->namespace_idle * NSEC_PER_SEC, on_idle_timer);
}

void namespace_hold(struct namespace *ns)
{
	ns->n_held++;
	list_remove(&ns->idle);
}

void namespace_release(struct namespace *ns)
{
	if (--ns->n_held == 0 && ns->state == NAMESPACE_READY)
		namespaces_idle(ns);
	/* else it is idle when it is ready */
}

/* --- The set ------------------------------------------------------------------------------- */

static struct namespace *add(struct namespaces *set, const char *name,
			     enum context_namespace kind, bool shared_pid, uint64_t capabilities)
{
	struct namespace *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return NULL;
	*ns = (struct namespace){ .set = set,
				  .kind = kind,
				  .shared_pid = shared_pid,
				  .capabilities = capabilities,
				  .enforce = set->enforce,
				  .cgroups = set->cgroups,
				  .loop = set->loop,
				  .on_exit = set->on_exit,
				  .data = set->data,
				  .own = kind == CONTEXT_SECURE && set->world == INIT_WORLD_OWN,
				  .socket = -EBADF,
				  .init.pidfd = -EBADF };
	ns->on_socket.fd = ns->on_death.fd = -EBADF;
	list_init(&ns->link);
	list_init(&ns->waiting);
	list_init(&ns->idle);
	list_init(&ns->queue);
	list_init(&ns->starting);
	ns->name = strdup(name);
	if (!ns->name) {
		free(ns);
		return NULL;
	}
	list_append(&set->all, &ns->link);
	return ns;
}

/*
 * With these a command is not kept from what is beside it in its PID namespace, moat-init and other execs'
 * environments among it, where the kernel programs do not do that: then its secure execs are by themselves.
 */
#define SEES_OTHERS (1ull << CAP_SYS_PTRACE | 1ull << CAP_SYS_ADMIN | 1ull << CAP_PERFMON)

/* Nor is there a common one for who is to have no filter of system calls, or is shown what only a cover hides. */
static bool is_secure_alone(const struct namespaces *set, const struct config_context *c,
			    char *const *show)
{
	const struct namespace *common = set->secure[c->shared_pid];

	return (!enforce_active(set->enforce) &&
		(c->capabilities & SEES_OTHERS || c->no_seccomp || (show && *show))) ||
	       (common && (c->capabilities & ~common->capabilities));
}

static struct namespace *add_secure(struct namespaces *set, const char *name, bool shared_pid,
				    uint64_t capabilities)
{
	struct namespace *ns = add(set, name, CONTEXT_SECURE, shared_pid, capabilities);
	char cgroup_name[96];

	if (!ns)
		return NULL;
	snprintf(cgroup_name, sizeof(cgroup_name), "init-%s", name);
	if (cgroup_get(set->cgroups, cgroup_name, &ns->cgroup, NULL) == 0)
		return ns;
	namespace_free(ns);
	return NULL;
}

/* One for the secure execs of this context alone, made when they need it. NULL: out of memory. */
static struct namespace *add_secure_alone(struct namespaces *set, const char *place,
					  const struct config_context *c, char *const *show)
{
	char name[64];

	struct namespace *ns;

	snprintf(name, sizeof(name), "secure-of-%s", place);
	ns = add_secure(set, name, c->shared_pid, c->capabilities);
	if (!ns)
		return NULL;
	ns->unfiltered = c->no_seccomp;
	ns->show = show;
	return ns;
}

static struct namespace *add_plain(struct namespaces *set, const char *place,
				   const struct config_context *c, char *const *show)
{
	struct namespace *ns;
	char name[64];

	snprintf(name, sizeof(name), "context-%s", place);
	ns = add(set, name, CONTEXT_PRIVATE, c->shared_pid, c->capabilities);
	if (!ns)
		return NULL;
	ns->cloned = true;
	ns->unfiltered = c->no_seccomp;
	ns->show = show;
	ns->keep = c->ns == CONTEXT_PRIVATE;
	return ns;
}

/* What the secure ones may have that no context had at the start. */
static uint64_t secure_capabilities(const struct namespaces *set)
{
	return enforce_active(set->enforce) ? set->capabilities : set->capabilities & ~SEES_OTHERS;
}

/* The common one; that in the agent's PID namespace is there from the start only if a context needed it then. */
static struct namespace *common_secure(struct namespaces *set, bool shared_pid)
{
	if (!set->secure[shared_pid])
		set->secure[shared_pid] = add_secure(set, "secure-shared", shared_pid,
						     secure_capabilities(set));
	if (set->secure[shared_pid])
		set->secure[shared_pid]->lasting = true;
	return set->secure[shared_pid];
}

struct namespace *namespaces_of(struct namespaces *set, const char *place,
				const struct config_context *c, char *const *show, bool secure,
				struct namespace *own[2])
{
	secure = secure || c->ns == CONTEXT_SECURE;
	if (secure && !is_secure_alone(set, c, show))
		return common_secure(set, c->shared_pid);
	if (!secure && strcmp(place, CONFIG_DEFAULT_CONTEXT) == 0)
		return set->user;
	if (!own[secure])
		own[secure] = secure ? add_secure_alone(set, place, c, show) :
				add_plain(set, place, c, show);
	return own[secure];
}

const struct layers *namespaces_layers(const struct namespaces *set)
{
	return set->layers;
}

bool namespaces_can(const struct namespaces *set, const struct config_context *c)
{
	return !(c->capabilities & ~set->capabilities);
}

size_t namespaces_private_max(const struct namespaces *set)
{
	return set->living_max > OTHERS_MIN ? set->living_max - OTHERS_MIN : 0;
}

void namespace_end(struct namespace *ns)
{
	if (!ns || ns->set->closing)
		return;
	ns->ended = true;
	ns->show = NULL;
	if (ns->state == NAMESPACE_WAITING) {
		/* nothing that was to run in it does any more */
		list_remove(&ns->waiting);
		loop_timer_cancel(ns->loop, &ns->timer);
		ns->state = NAMESPACE_DOWN;
	} else {
		namespace_event(ns, NAMESPACE_IDLE, NULL); /* while it is launched: namespaces_idle() */
	}
}

void namespace_forget(struct namespace *ns)
{
	if (!ns || ns->set->closing)
		return;
	namespace_end(ns);
	ns->forgotten = true;
	/* Not here: the caller may be called by it. */
	if (ns->state == NAMESPACE_DOWN)
		namespace_free_soon(ns);
}

void namespaces_for_each(struct namespaces *set, void (*fn)(struct namespace *ns, void *data),
			 void *data)
{
	list_for_each_safe(pos, &set->all) {
		struct namespace *ns = list_entry(pos, struct namespace, link);

		if (ns->lasting || ns->init.pid)
			fn(ns, data);
	}
}

/* One of those that are always there: its launch has begun when this returns. */
static int start_one(struct namespaces *set, const char *name, enum context_namespace kind,
		     bool shared_pid, uint64_t capabilities, struct namespace **ret,
		     struct failure *f)
{
	struct namespace *ns = add(set, name, kind, shared_pid, capabilities);
	char cgroup_name[96];
	int r;

	if (!ns)
		return fail(f, ENOMEM, "cannot make namespace %s", name);
	*ret = ns;
	ns->lasting = true;
	ns->template = ret == &set->template;
	ns->unfiltered = ret == &set->user && set->config->contexts[0].no_seccomp;
	snprintf(cgroup_name, sizeof(cgroup_name), "init-%s", name);
	r = cgroup_get(set->cgroups, cgroup_name, &ns->cgroup, f);
	if (r == 0)
		namespace_event(ns, NAMESPACE_WANTED, NULL);
	return r;
}

static int start_all(struct namespaces *set, struct failure *f)
{
	const struct config_context *user = &set->config->contexts[0];
	uint64_t secure[2] = { 0 }; /* capabilities, by shared_pid */
	bool some_shared = false;
	int r;

	for (size_t i = 0; i < set->config->n_contexts; i++) {
		const struct config_context *c = &set->config->contexts[i];

		if (is_secure_alone(set, c, c->show))
			continue;
		secure[c->shared_pid] |= c->capabilities;
		some_shared |= c->shared_pid;
	}
	/* The template is in our PID namespace, or it could not have children that are ours. */
	r = start_one(set, "template", CONTEXT_PRIVATE, true, set->capabilities, &set->template, f);
	if (r == 0)
		r = start_one(set, user->shared_pid ? "user-shared" : "user", CONTEXT_USER,
			      user->shared_pid, user->capabilities, &set->user, f);
	if (r == 0)
		r = start_one(set, "secure", CONTEXT_SECURE, false, secure[false],
			      &set->secure[false], f);
	if (r == 0 && some_shared)
		r = start_one(set, "secure-shared", CONTEXT_SECURE, true, secure[true],
			      &set->secure[true], f);
	return r;
}

/* They set themselves up side by side. */
static int wait_for_all(struct namespaces *set, struct failure *f)
{
	uint64_t until = now_ns() + START_NS;
	FD_OWNED int stop = -EBADF;
	sigset_t signals;
	int r = 0;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	/* Not read: the signal is for whoever called us. */
	stop = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (stop < 0)
		return fail(f, errno, "cannot wait for namespaces");
	list_for_each(pos, &set->all)
		if (r == 0)
			r = namespace_wait_ready(list_entry(pos, struct namespace, link), stop,
						 until, f);
	return r;
}

int namespaces_open(const struct config *config, struct enforce *enforce, struct cgroups *cgroups,
		    struct loop *loop, namespace_exit_fn on_exit, void *data,
		    struct namespaces **ret, struct failure *f)
{
	struct namespaces *set = calloc(1, sizeof(*set));
	int r;

	if (!set)
		return fail(f, ENOMEM, "cannot make namespaces");
	*set = (struct namespaces){ .config = config, .enforce = enforce, .cgroups = cgroups,
				    .loop = loop, .on_exit = on_exit, .data = data };
	list_init(&set->all);
	list_init(&set->waiting);
	list_init(&set->idle);
	set->living_max = SIZE_MAX;
	for (size_t i = 0; i < config->n_contexts; i++)
		set->capabilities |= config->contexts[i].capabilities;
	set->world = config->dev ? user_namespace_world() : INIT_WORLD_OWN;
	r = layers_open(enforce, set->world, &set->layers, f);
	if (r == 0)
		r = hidden_files_find(config, &set->hidden, f);
	if (r == 0 && layers_active(set->layers) & LAYER_MOUNTS)
		r = protected_mounts(config, &set->protected, f);
	if (r == 0)
		r = namespace_find_devices(config, &set->devices, f);
	if (r == 0)
		r = start_all(set, f);
	if (r == 0)
		r = wait_for_all(set, f);
	if (r < 0) {
		namespaces_stop(set);
		namespaces_free(set);
		return r;
	}
	*ret = set;
	return 0;
}

void namespaces_limit(struct namespaces *set, size_t living)
{
	set->living_max = living;
}

void namespaces_stop(struct namespaces *set)
{
	if (!set)
		return;
	set->closing = true;
	/* All at once: none has to wait for the end of another. */
	list_for_each(pos, &set->all)
		namespace_kill(list_entry(pos, struct namespace, link));
	list_for_each(pos, &set->all)
		namespace_fail_all(list_entry(pos, struct namespace, link), ESRCH);
	list_for_each(pos, &set->all)
		namespace_wait_gone(list_entry(pos, struct namespace, link));
	loop_timer_cancel(set->loop, &set->idle_timer);
}

void namespaces_free(struct namespaces *set)
{
	if (!set)
		return;
	while (!list_empty(&set->all))
		namespace_free(list_entry(set->all.next, struct namespace, link));
	loop_timer_cancel(set->loop, &set->idle_timer);
	hidden_files_free(&set->hidden);
	strv_free(set->devices);
	strv_free(set->protected);
	layers_close(set->layers);
	free(set);
}
