/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's side of bpf/: see enforce.h. Loading and closing; pins are in pin.c, the
 * proof that it works in selftest.c. */
#include "agent/enforce/internal.h"

#include <stdarg.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <bpf/btf.h>

#include "base/log.h"

/* The last lines libbpf wrote: the reason of a failed load, for the person who reads the error. */
static char libbpf_said[256];

PRINTF(2, 0)
static int keep_libbpf_message(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char line[1024];

	if (level > LIBBPF_WARN)
		return 0;
	vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	if (!libbpf_said[0])
		snprintf(libbpf_said, sizeof(libbpf_said), "%.*s", (int)sizeof(libbpf_said) - 1,
			 line);
	log_debug("%s", line);
	return 0;
}

/*
 * Whether this kernel's task storage look-up can answer NULL for a labelled task (see bpf/label.h).
 * The lock in question is a per-CPU variable that only such kernels have; those that gained a
 * separate helper for programs that may recurse look up without it. Unknown: assume the worst.
 */
static bool needs_backup_labels(const struct btf *kernel)
{
	return !kernel ||
	       (btf__find_by_name_kind(kernel, "bpf_task_storage_get_recur", BTF_KIND_FUNC) <= 0 &&
		btf__find_by_name_kind(kernel, "bpf_task_storage_busy", BTF_KIND_VAR) >= 0);
}

static int own_netns_cookie(__u64 *ret_cookie)
{
	FD_OWNED int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*ret_cookie);

	if (fd < 0)
		return -errno;
	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, ret_cookie, &len) < 0 ? -errno : 0;
}

static int fill_settings(struct enforce *e, const struct config *config, struct failure *f)
{
	struct moat_settings settings = {
		.mode = config->enforce == ENFORCE_AUDIT ? MOAT_MODE_AUDIT : MOAT_MODE_ENFORCE,
		.backup_labels = e->settings.backup_labels,
	};
	uint32_t zero = 0;
	int r;

	r = own_netns_cookie(&settings.netns);
	if (r < 0)
		return fail(f, -r, "cannot tell the network namespace");
	r = bpf_map_update_elem(bpf_map__fd(e->bpf->maps.settings), &zero, &settings, BPF_ANY);
	if (r < 0)
		return fail(f, -r, "cannot write the settings map");
	e->settings = settings;
	return 0;
}

/* From its fdinfo. */
pid_t enforce_pid_of(int pidfd)
{
	PTR_OWNED char *text = NULL;
	char path[64];
	const char *at;
	int r;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	r = read_file_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r < 0)
		return r;
	at = strstr(text, "\nPid:");
	r = at ? atoi(at + strlen("\nPid:")) : 0;
	return r > 0 ? r : -ESRCH;
}

/* Declares a namespace of a process ("pid", "mnt") to hold protected tasks (see bpf/maps.h). */
static int declare_namespace(struct enforce *e, pid_t pid, const char *kind, uint32_t *ret_inum)
{
	uint32_t inum, one = 1;
	char path[64];
	struct stat st;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, kind);
	if (stat(path, &st) < 0)
		return -errno;
	inum = st.st_ino;
	r = bpf_map_update_elem(bpf_map__fd(e->bpf->maps.namespaces), &inum, &one, BPF_ANY);
	if (r == 0)
		*ret_inum = inum;
	return r;
}

static void forget_namespace(struct enforce *e, uint32_t inum)
{
	if (inum && inum != e->own_pid_ns)
		bpf_map_delete_elem(bpf_map__fd(e->bpf->maps.namespaces), &inum);
}

/* What the last agent declared: its namespaces are gone by now. */
static void forget_stale_namespaces(struct enforce *e)
{
	int fd = bpf_map__fd(e->bpf->maps.namespaces);
	uint32_t inum, next;
	int r = bpf_map_get_next_key(fd, NULL, &next);

	while (r == 0) {
		inum = next;
		r = bpf_map_get_next_key(fd, &inum, &next);
		forget_namespace(e, inum);
	}
	enforce_forget_stale_mounts(e);
	e->stale_namespaces = false;
}

int enforce_set_task(struct enforce *e, int pidfd, const struct moat_task *task)
{
	return bpf_map_update_elem(bpf_map__fd(e->bpf->maps.tasks), &pidfd, task, BPF_ANY);
}

static int label_self(struct enforce *e, struct failure *f)
{
	struct moat_task task = { .label = { .role = MOAT_ROLE_CONTROL } };
	FD_OWNED int pidfd = pidfd_open(getpid(), 0);
	int r;

	if (pidfd < 0)
		return fail(f, errno, "pidfd_open");
	r = enforce_set_task(e, pidfd, &task);
	if (r < 0)
		return fail(f, -r, "cannot label moatd");
	r = declare_namespace(e, getpid(), "pid", &e->own_pid_ns);
	return r < 0 ? fail(f, -r, "cannot protect the PID namespace of moatd") : 0;
}

/* See MOAT_OWNER_LOST. An agent of a version without it is believed to have lost some. */
static int note_no_loss(struct enforce *e, struct failure *f)
{
	struct moat_subject noted = { .pid = e->adopted };
	uint64_t key = MOAT_OWNER_LOST;
	int r = bpf_map_update_elem(bpf_map__fd(e->bpf->maps.file_owners), &key, &noted, BPF_NOEXIST);

	return r < 0 && r != -EEXIST ? fail(f, -r, "cannot write the file_owners map") : 0;
}

/* The number of arguments of a hook; 0: this kernel has no such hook. */
static unsigned hook_arguments(const struct btf *kernel, const char *hook)
{
	const struct btf_type *type;
	char name[64];
	int id;

	snprintf(name, sizeof(name), "bpf_lsm_%s", hook);
	id = kernel ? btf__find_by_name_kind(kernel, name, BTF_KIND_FUNC) : -ENOENT;
	type = id > 0 ? btf__type_by_id(kernel, id) : NULL;
	type = type ? btf__type_by_id(kernel, type->type) : NULL;
	return type ? btf_vlen(type) : 0;
}

/*
 * What differs between supported kernels, by their own account (BTF), never by version. A hook that is
 * there in a form that none of the programs is made for is a hole: then there is no start.
 */
static int suit_kernel(struct enforce *e, struct failure *f)
{
	struct btf *kernel = btf__load_vmlinux_btf();
	const struct {
		const char *hook;
		bool may_lack; /* what it guards is not there then, or asks another hook */
		unsigned arguments[2]; /* of each variant */
		struct bpf_program *programs[2];
	} hooks[] = {
		{ "inode_setattr", false, { 2, 3 },
		  { e->bpf->progs.moat_inode_setattr_6_1, e->bpf->progs.moat_inode_setattr } },
		{ "file_ioctl_compat", true, { 3 }, { e->bpf->progs.moat_file_ioctl_compat } },
		{ "inode_set_acl", true, { 4 }, { e->bpf->progs.moat_inode_set_acl } },
		{ "inode_remove_acl", true, { 3 }, { e->bpf->progs.moat_inode_remove_acl } },
		{ "inode_file_setattr", true, { 2 }, { e->bpf->progs.moat_inode_file_setattr } },
		{ "inode_get_acl", true, { 3 }, { e->bpf->progs.moat_inode_get_acl } },
		{ "inode_file_getattr", true, { 2 }, { e->bpf->progs.moat_inode_file_getattr } },
	};
	int r = 0;

	if (!kernel)
		return fail(f, errno, "cannot read the kernel's types (/sys/kernel/btf/vmlinux)");
	e->settings.backup_labels = needs_backup_labels(kernel);
	for (size_t i = 0; i < ARRAY_LEN(hooks) && r == 0; i++) {
		unsigned n = hook_arguments(kernel, hooks[i].hook);

		if (n == 0 && hooks[i].may_lack)
			continue;
		r = -ENOTSUP;
		for (size_t j = 0; j < ARRAY_LEN(hooks[i].programs); j++)
			if (hooks[i].arguments[j] == n)
				r = bpf_program__set_autoload(hooks[i].programs[j], true);
		if (r < 0)
			fail(f, -r, "the hook %s of this kernel has %u arguments, which this version of moat does not know",
			     hooks[i].hook, n);
	}
	btf__free(kernel);
	return r;
}

static int load(struct enforce *e, const struct config *config, struct failure *f)
{
	int r;

	libbpf_said[0] = '\0';
	libbpf_set_print(keep_libbpf_message);
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	e->bpf = moat_bpf__open();
	if (!e->bpf)
		return fail(f, errno, "cannot open the BPF object: %s", libbpf_said);
	r = suit_kernel(e, f);
	if (r == 0)
		r = enforce_adopt(e, config, f);
	if (r < 0)
		return r;
	if (e->adopted) { /* and with them files and sockets of user code, also if .bss is not the same */
		e->bpf->bss->owners_known = e->bpf->bss->own_superblocks = true;
		e->bpf->bss->ports_pending = e->bpf->bss->sockets_known = true;
		e->bpf->bss->datagrams_shared = true;
	}
	r = moat_bpf__load(e->bpf);
	if (r < 0)
		return fail(f, -r, "the kernel refused the BPF LSM programs (%s)", libbpf_said);
	return 0;
}

static int start(struct enforce *e, const struct config *config, struct failure *f)
{
	int r;

	r = load(e, config, f);
	if (r < 0)
		return r;
	r = fill_settings(e, config, f);
	if (r < 0)
		return r;
	r = enforce_guard_ports(e, config, f);
	if (r < 0)
		return r;
	r = enforce_open_sockets(e, config, f);
	if (r < 0)
		return r;
	r = enforce_allow_devices(e, config, f);
	if (r < 0)
		return r;
	r = note_no_loss(e, f);
	if (r < 0)
		return r;
	r = label_self(e, f);
	if (r < 0)
		return r;
	r = moat_bpf__attach(e->bpf);
	if (r == -E2BIG)
		return fail(f, EINVAL, "the kernel has no place left for another agent's programs: at a hook it has 38, "
			    "and each enforcing agent of this kernel takes one (moatd --check counts them)");
	if (r < 0)
		return fail(f, -r, "cannot attach the BPF LSM programs (%s)", libbpf_said);
	r = enforce_self_test(e, f);
	if (r < 0)
		return r;
	return enforce_pin(e, config, f);
}

static void unload(struct enforce *e)
{
	if (e->ring)
		ring_buffer__free(e->ring);
	e->ring = NULL;
	moat_bpf__destroy(e->bpf); /* closes links: programs without a pin are detached, 0.1 s each */
	e->bpf = NULL;
}

int enforce_open(const struct config *config, const char *obstacle, struct enforce **ret,
		 struct failure *f)
{
	struct enforce *e = calloc(1, sizeof(*e));
	struct failure why = { 0 };
	bool held;
	int r;

	if (!e)
		return fail(f, ENOMEM, "enforce");
	list_init(&e->kept_mounts);
	e->source.fd = e->watches = e->lock = -EBADF;
	r = obstacle ? fail(&why, EINVAL, "%s", obstacle) : enforce_lock(e, config, &why);
	held = r == -EBUSY;
	if (r == 0)
		r = start(e, config, &why);
	if (r < 0) {
		unload(e);
		enforce_unpin(e);
	}
	if (r < 0 && (held || config->enforce != ENFORCE_BEST_EFFORT)) {
		enforce_close(e, false);
		return fail(f, why.err, "%s", why.msg);
	}
	e->active = r >= 0;
	snprintf(e->reason, sizeof(e->reason), "%s", r < 0 ? why.msg : "");
	*ret = e;
	return 0;
}

void enforce_close(struct enforce *e, bool keep_pins)
{
	if (!e)
		return;
	if (e->loop)
		enforce_stop_records(e);
	/* In this order the last reference of a link is its pin, and what frees it is, from 6.5 on, the kernel's own worker
	 * (bpf_link_put() in kernel/bpf/syscall.c). In the other it would be a close, which waits a grace period for each. */
	unload(e);
	if (!keep_pins)
		enforce_unpin(e);
	enforce_free_mounts(e);
	close_fd(&e->watches);
	close_fd(&e->lock);
	free(e->lock_dir);
	free(e->pin_dir);
	free(e->mounted);
	free(e);
}

bool enforce_active(const struct enforce *e)
{
	return e->active;
}

const char *enforce_reason(const struct enforce *e)
{
	return e->reason;
}

enum moat_mode enforce_mode(const struct enforce *e)
{
	return e->active ? (enum moat_mode)e->settings.mode : MOAT_MODE_OFF;
}

int enforce_set_mode(struct enforce *e, enum moat_mode mode)
{
	struct moat_settings settings = e->settings;
	uint32_t zero = 0;
	int r;

	if (mode != MOAT_MODE_ENFORCE && mode != MOAT_MODE_AUDIT)
		return -EINVAL;
	if (!e->active)
		return -ENODEV;
	settings.mode = mode;
	r = bpf_map_update_elem(bpf_map__fd(e->bpf->maps.settings), &zero, &settings, BPF_ANY);
	if (r == 0)
		e->settings = settings;
	return r;
}

int enforce_label_init(struct enforce *e, int pidfd, struct enforce_namespaces *ret)
{
	struct moat_task task = { .label = { .role = MOAT_ROLE_INIT } };
	pid_t pid;
	int r;

	*ret = (struct enforce_namespaces){ 0 };
	if (!e->active)
		return 0;
	if (e->stale_namespaces)
		forget_stale_namespaces(e);
	pid = enforce_pid_of(pidfd);
	if (pid < 0)
		return pid;
	r = enforce_set_task(e, pidfd, &task);
	if (r == 0)
		r = declare_namespace(e, pid, "pid", &ret->pid);
	return r < 0 ? r : declare_namespace(e, pid, "mnt", &ret->mnt);
}

void enforce_forget_init(struct enforce *e, const struct enforce_namespaces *namespaces)
{
	if (!e->active)
		return;
	forget_namespace(e, namespaces->pid);
	forget_namespace(e, namespaces->mnt);
	enforce_forget_mounts(e, namespaces->mnt);
}

int enforce_announce(struct enforce *e, int init_pidfd, const struct moat_label *label)
{
	struct moat_task task = { .label = { .role = MOAT_ROLE_INIT }, .next = *label };

	return e->active ? enforce_set_task(e, init_pidfd, &task) : 0;
}

int enforce_announce_service(struct enforce *e, uint32_t flags)
{
	struct moat_task task = {
		.label = { .role = MOAT_ROLE_CONTROL },
		.next = { .role = flags ? MOAT_ROLE_CONTROL : MOAT_ROLE_NONE, .flags = flags },
	};
	FD_OWNED int pidfd = -EBADF;

	if (!e->active)
		return 0;
	pidfd = pidfd_open(getpid(), 0);
	if (pidfd < 0)
		return -errno;
	return enforce_set_task(e, pidfd, &task);
}

int enforce_label_of(struct enforce *e, int pidfd, struct moat_label *ret_label)
{
	struct moat_task task = { 0 };
	int r;

	if (!e->active)
		return -ENOENT;
	r = bpf_map_lookup_elem(bpf_map__fd(e->bpf->maps.tasks), &pidfd, &task);
	if (r < 0)
		return r;
	if (task.label.role == MOAT_ROLE_NONE)
		return -ENOENT;
	*ret_label = task.label;
	return 0;
}

int enforce_guard_socket(struct enforce *e, int fd)
{
	struct moat_socket guard = { .guarded = 1 };

	if (!e->active)
		return 0;
	return bpf_map_update_elem(bpf_map__fd(e->bpf->maps.sockets), &fd, &guard, BPF_ANY);
}

static int sum_counter(struct enforce *e, uint32_t hook, struct moat_counter *cpu, int n_cpus,
		       struct moat_counter *ret)
{
	int r = bpf_map_lookup_elem(bpf_map__fd(e->bpf->maps.counters), &hook, cpu);

	if (r < 0)
		return r;
	*ret = (struct moat_counter){ 0 };
	for (int i = 0; i < n_cpus; i++) {
		ret->allowed += cpu[i].allowed;
		ret->denied += cpu[i].denied;
		ret->would_deny += cpu[i].would_deny;
	}
	return 0;
}

static int sum_drops(struct enforce *e, int n_cpus, struct moat_drops *ret)
{
	PTR_OWNED struct moat_drops *cpu = calloc(n_cpus, sizeof(*cpu));
	uint32_t zero = 0;
	int r;

	if (!cpu)
		return -ENOMEM;
	r = bpf_map_lookup_elem(bpf_map__fd(e->bpf->maps.drops), &zero, cpu);
	if (r < 0)
		return r;
	*ret = (struct moat_drops){ 0 };
	for (int i = 0; i < n_cpus; i++) {
		ret->ring_full += cpu[i].ring_full;
		ret->folded += cpu[i].folded;
	}
	return 0;
}

int enforce_counters(struct enforce *e, struct moat_counter *ret_counters,
		     struct moat_drops *ret_drops)
{
	int n_cpus = libbpf_num_possible_cpus();
	PTR_OWNED struct moat_counter *cpu = NULL;

	if (!e->active) {
		memset(ret_counters, 0, MOAT_HOOK_COUNT * sizeof(*ret_counters));
		*ret_drops = (struct moat_drops){ 0 };
		return 0;
	}
	if (n_cpus < 0)
		return n_cpus;
	cpu = calloc(n_cpus, sizeof(*cpu));
	if (!cpu)
		return -ENOMEM;
	for (uint32_t hook = 0; hook < MOAT_HOOK_COUNT; hook++) {
		int r = sum_counter(e, hook, cpu, n_cpus, &ret_counters[hook]);

		if (r < 0)
			return r;
	}
	return sum_drops(e, n_cpus, ret_drops);
}

int enforce_watch(struct enforce *e, struct loop *loop, enforce_event_fn on_event, void *data)
{
	if (!e->active)
		return 0;
	e->on_denial = on_event;
	e->on_denial_data = data;
	e->loop = loop;
	return enforce_read_records(e);
}

static const struct {
	const char *name, *surface;
} hooks[] = {
#define HOOK_ROW(hook, surface, err) { #hook, surface },
	MOAT_HOOKS(HOOK_ROW)
#undef HOOK_ROW
};

const char *enforce_hook_name(enum moat_hook hook)
{
	return hook < MOAT_HOOK_COUNT ? hooks[hook].name : "unknown";
}

const char *enforce_hook_surface(enum moat_hook hook)
{
	return hook < MOAT_HOOK_COUNT ? hooks[hook].surface : "unknown";
}

const char *enforce_mode_name(enum moat_mode mode)
{
	static const char *const names[] = {
		[MOAT_MODE_OFF] = "off", [MOAT_MODE_AUDIT] = "audit", [MOAT_MODE_ENFORCE] = "enforce",
	};

	return mode < ARRAY_LEN(names) ? names[mode] : "unknown";
}
