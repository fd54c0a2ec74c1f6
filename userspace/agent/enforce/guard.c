/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports where the kernel takes no LSM programs: the other half of the same BPF object, bpf/cgroup.bpf.c, attached to
 * the cgroup of all user code. Either half is loaded without the other. Beside the LSM's it would find nothing that
 * these let through, and cost every socket and every start something, so it is one of them.
 *
 * An agent after one that died makes the cgroup anew, with nobody in it: that the programs of the dead one are gone
 * with the old cgroup leaves no gap. What they have counted is taken over.
 */
#include <arpa/inet.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent/enforce/internal.h"
#include "agent/process/clone.h"

#define TEST_CGROUP "self-test"
#define TEST_PORT 1 /* where the configuration has none */

/* Maps that these programs use; of the others none is made. */
static int choose(struct enforce *e, const struct config *config, struct failure *f)
{
	const struct bpf_map *needed[] = { e->bpf->maps.settings, e->bpf->maps.ports,
					   e->bpf->maps.execs,    e->bpf->maps.counters,
					   e->bpf->maps.drops,    e->bpf->maps.windows,
					   e->bpf->maps.events };
	struct bpf_object_skeleton *s = e->bpf->skeleton;
	int r = 0;

	(void)config;
	for (int i = 0; i < s->prog_cnt && r == 0; i++)
		r = bpf_program__set_autoload(*s->progs[i].prog,
					      enforce_is_of_cgroup(*s->progs[i].prog));
	for (int i = 0; i < s->map_cnt && r == 0; i++) {
		bool make = bpf_map__is_internal(*s->maps[i].map);

		for (size_t j = 0; j < ARRAY_LEN(needed); j++)
			make = make || needed[j] == *s->maps[i].map;
		r = bpf_map__set_autocreate(*s->maps[i].map, make);
	}
	return r < 0 ? fail(f, -r, "cannot choose the programs of the cgroup") : 0;
}

static int attach(struct enforce *e, const struct config *config, struct failure *f)
{
	struct bpf_object_skeleton *s = e->bpf->skeleton;
	struct stat st;

	(void)config;
	if (fstat(e->instance_cgroup, &st) < 0)
		return fail(f, errno, "cannot tell the number of the instance's cgroup");
	e->bpf->bss->instance_cgroup = st.st_ino;
	(void)enforce_sweep(e->bpf->maps.execs, NULL, NULL); /* those of the last agent */
	for (int i = 0; i < s->prog_cnt; i++) {
		bool above = *s->progs[i].prog == e->bpf->progs.moat_cgroup_astray;

		if (!enforce_is_of_cgroup(*s->progs[i].prog))
			continue;
		*s->progs[i].link = bpf_program__attach_cgroup(
			*s->progs[i].prog, above ? e->instance_cgroup : e->user_cgroup);
		if (!*s->progs[i].link)
			return fail(f, errno, "cannot attach programs to user code's cgroup (%s)",
				    enforce_libbpf_said());
	}
	return 0;
}

/* A cgroup's number is that of its directory. What is not noted is judged all the same. */
static void name_exec(struct enforce *e, int cgroup, const struct moat_label *label)
{
	struct stat st;
	uint64_t id;

	if (fstat(cgroup, &st) < 0)
		return;
	id = st.st_ino;
	(void)bpf_map_update_elem(bpf_map__fd(e->bpf->maps.execs), &id, label, BPF_ANY);
}

/* The self-test: a child in a cgroup of user code's asks for the guarded port, and for any one. */

static int try_to_bind(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	FD_OWNED int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return errno;
	return 0;
}

/* Exit status: the errno that the guarded port brings, or 255 where it is not that port's. */
static _Noreturn void child(uint16_t port)
{
	int r = try_to_bind(port);

	_exit(try_to_bind(0) == 0 ? r : 255);
}

/* What the child was answered, or -errno. */
static int ask_child(int cgroup, uint16_t port)
{
	struct process process = { .pidfd = -EBADF };
	siginfo_t info = { 0 };
	int r = process_clone(0, cgroup, &process);

	if (r == 0)
		child(port);
	if (r < 0)
		return r;
	while (waitid(P_PIDFD, (id_t)process.pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
	close_fd(&process.pidfd);
	return info.si_code == CLD_EXITED ? info.si_status : -ECHILD;
}

static uint64_t refusals(struct enforce *e)
{
	struct moat_counter counters[MOAT_HOOK_COUNT];
	struct moat_drops drops;

	if (enforce_counters(e, counters, &drops) < 0)
		return 0;
	return counters[MOAT_HOOK_cgroup_bind4].denied;
}

static int judge(struct enforce *e, uint16_t port, struct failure *f)
{
	const struct moat_label label = { .role = MOAT_ROLE_USER,
					  .context = MOAT_CONTEXT_SELF_TEST };
	FD_OWNED int cgroup = -EBADF;
	uint64_t before = refusals(e);
	int r;

	if (mkdirat(e->user_cgroup, TEST_CGROUP, 0755) < 0 && errno != EEXIST)
		return fail(f, errno, "self-test: cannot make a cgroup");
	cgroup = openat(e->user_cgroup, TEST_CGROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = cgroup < 0 ? -errno : 0;
	if (r == 0) {
		name_exec(e, cgroup, &label);
		r = ask_child(cgroup, port);
	}
	close_fd(&cgroup);
	(void)unlinkat(e->user_cgroup, TEST_CGROUP,
		       AT_REMOVEDIR); /* else it goes with the others */
	if (r < 0)
		return fail(f, -r, "self-test: cannot start a child in user code's cgroup");
	if (r != EADDRINUSE || refusals(e) <= before)
		return fail(f, EPROTO,
			    "self-test: the programs are attached to user code's cgroup but do not "
			    "decide; got %d",
			    r);
	return 0;
}

static int self_test(struct enforce *e, const struct config *config, struct failure *f)
{
	int map = bpf_map__fd(e->bpf->maps.ports), r;
	struct moat_port_key key = { .netns = e->settings.netns, .port = TEST_PORT };
	struct moat_port port = { 0 };
	bool configured = bpf_map_lookup_elem(map, &key, &port) == 0;

	(void)config;
	if (!configured && bpf_map_update_elem(map, &key, &port, BPF_ANY) < 0)
		return fail(f, errno, "self-test: cannot guard port %u", key.port);
	r = judge(e, key.port, f);
	if (!configured)
		(void)bpf_map_delete_elem(map, &key);
	return r;
}

static int start(struct enforce *e, const struct config *config, struct failure *f)
{
	static int (*const steps[])(struct enforce *, const struct config *, struct failure *) = {
		enforce_lock,          enforce_open_object, choose, enforce_adopt, enforce_load,
		enforce_fill_settings, enforce_guard_ports, attach, self_test,     enforce_pin,
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(steps) && r >= 0; i++)
		r = steps[i](e, config, f);
	return r;
}

void enforce_guard_cgroup(struct enforce *e, const struct config *config, int instance, int user)
{
	struct failure why = { 0 };
	int r;

	if (e->active)
		return;
	e->adopted = false;
	e->instance_cgroup = instance;
	e->user_cgroup = user;
	r = instance < 0 ? fail(&why, EINVAL, "there is no cgroup") : start(e, config, &why);
	e->instance_cgroup = e->user_cgroup = -EBADF;
	if (r < 0) {
		enforce_unload(e);
		enforce_unpin(e);
	}
	e->guards = r >= 0;
	snprintf(e->guards_reason, sizeof(e->guards_reason), "%s", r < 0 ? why.msg : "");
}

bool enforce_guards_ports(const struct enforce *e)
{
	return e->guards;
}

const char *enforce_guards_reason(const struct enforce *e)
{
	return e->guards_reason;
}

void enforce_name_exec(struct enforce *e, int cgroup, const struct moat_label *label)
{
	if (e->guards)
		name_exec(e, cgroup, label);
}

void enforce_forget_exec(struct enforce *e, int cgroup)
{
	struct stat st;
	uint64_t id;

	if (!e->guards || fstat(cgroup, &st) < 0)
		return;
	id = st.st_ino;
	(void)bpf_map_delete_elem(bpf_map__fd(e->bpf->maps.execs), &id);
}
