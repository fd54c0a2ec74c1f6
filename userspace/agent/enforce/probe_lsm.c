/* SPDX-License-Identifier: Apache-2.0 */
/* What enforcement needs of the kernel. */
#include "agent/enforce/probes.h"

#include <fcntl.h>
#include <stdarg.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = list; *at;) {
		size_t len = strcspn(at, ",\n");

		if (len == n && !strncmp(at, word, n))
			return true;
		at += len + (at[len] != '\0');
	}
	return false;
}

bool probe_lsm_list(struct probe_result *p)
{
	FD_OWNED int root = detached_mount("securityfs", NULL, NULL);
	PTR_OWNED char *list = NULL;
	int r = -ENOENT;

	if (root >= 0)
		r = read_file_at(root, "lsm", 4096, &list, NULL);
	if (r < 0)
		r = read_file_at(AT_FDCWD, "/sys/kernel/security/lsm", 4096, &list, NULL);
	if (r < 0) {
		FOUND(p, "cannot read the list of active LSMs (securityfs): %s", strerror(-r));
		return false;
	}
	list[strcspn(list, "\n")] = '\0';
	if (has_word(list, "bpf")) {
		FOUND(p, "%s", list);
		return true;
	}
	FOUND(p, "active: %.120s; boot with lsm=%.80s,bpf", list, list);
	return false;
}

static int silence(enum libbpf_print_level level, const char *fmt, va_list args)
{
	(void)level;
	(void)fmt;
	(void)args;
	return 0;
}

/* The id of the function of a hook that nothing calls meanwhile, or -errno. */
static int find_quiet_hook(void)
{
	struct btf *types = kernel_types_take();
	int id = types ? btf__find_by_name_kind(types, "bpf_lsm_quota_on", BTF_KIND_FUNC) : -errno;

	kernel_types_keep(types);
	return id;
}

/* The smallest LSM program, or -1, and p says why. */
static int load_smallest(struct probe_result *p)
{
	const struct bpf_insn insns[] = {
		{ .code = 0xb7, .dst_reg = 0, .imm = 0 }, /* r0 = 0 */
		{ .code = 0x95 },                         /* exit */
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_LSM_MAC);
	int id = 1; /* no function, but whoever may not load one is told that first */
	int prog;

	libbpf_set_print(silence);
	opts.attach_btf_id = (uint32_t)id;
	prog = bpf_prog_load(BPF_PROG_TYPE_LSM, "moat_probe", "GPL", insns, ARRAY_LEN(insns), &opts);
	if (prog < 0 && errno != EPERM)
		id = find_quiet_hook();
	if (id < 0) {
		FOUND(p, "the kernel has no bpf_lsm_ hooks in its BTF: needs CONFIG_BPF_LSM");
		return -1;
	}
	opts.attach_btf_id = (uint32_t)id;
	close_fd(&prog);
	prog = bpf_prog_load(BPF_PROG_TYPE_LSM, "moat_probe", "GPL", insns, ARRAY_LEN(insns), &opts);
	if (prog < 0)
		FOUND(p, "loading a BPF LSM program: %s%s", strerror(errno),
		      errno == EPERM ? " (privileges, or the host forbids bpf(2) here)" : "");
	return prog;
}

bool probe_bpf_lsm(struct probe_result *p)
{
	FD_OWNED int prog = load_smallest(p);

	if (prog < 0)
		return false;
	FOUND(p, "a program loads");
	return true;
}

/*
 * To take the program off again is a grace period of RCU tasks (unregister_ftrace_direct() in kernel/trace/ftrace.c),
 * and while those of an agent before are taken off, many.
 */
bool probe_bpf_attach(struct probe_result *p)
{
	FD_OWNED int prog = load_smallest(p);
	FD_OWNED int link = prog < 0 ? -1 : bpf_raw_tracepoint_open(NULL, prog);

	if (prog < 0)
		FOUND(p, "there is no program to attach");
	else if (link < 0)
		FOUND(p, "attaching a BPF LSM program: %s", strerror(errno));
	else
		FOUND(p, "a program attaches");
	return link >= 0;
}

/* Loads the smallest program for a cgroup that refuses with an errno of its own. */
bool probe_port_programs(struct probe_result *p)
{
	const struct bpf_insn insns[] = {
		{ .code = 0xb4, .dst_reg = 1, .imm = -EADDRINUSE }, /* w1 = -EADDRINUSE */
		{ .code = 0x85, .imm = BPF_FUNC_set_retval },
		{ .code = 0xb4, .dst_reg = 0, .imm = 0 }, /* w0 = 0 */
		{ .code = 0x95 },                         /* exit */
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_CGROUP_INET4_BIND);
	FD_OWNED int prog = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "moat_probe", "GPL",
					  insns, ARRAY_LEN(insns), &opts);

	if (prog < 0)
		FOUND(p, "loading a program that guards ports for a cgroup: %s%s", strerror(errno),
		      errno == EPERM ? " (privileges, or the host forbids bpf(2) here)" : "");
	else
		FOUND(p, "programs of a cgroup can guard ports where the LSM's cannot");
	return prog >= 0;
}

bool probe_map_types(struct probe_result *p)
{
	static const struct {
		enum bpf_map_type type;
		const char *name;
	} needed[] = { { BPF_MAP_TYPE_TASK_STORAGE, "task storage" },
		       { BPF_MAP_TYPE_SK_STORAGE, "socket storage" },
		       { BPF_MAP_TYPE_RINGBUF, "ring buffer" } };

	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		int r = libbpf_probe_bpf_map_type(needed[i].type, NULL);

		if (r != 1) {
			FOUND(p, "no %s maps%s%s", needed[i].name, r < 0 ? ": " : "",
			      r < 0 ? strerror(-r) : "");
			return false;
		}
	}
	FOUND(p, "task storage, socket storage, ring buffer");
	return true;
}

/* --- Places ------------------------------------------------------------------------------------ */

#define PLACES 38u     /* BPF_MAX_TRAMP_LINKS of the kernel's include/linux/bpf.h */
#define HOOKS_MAX 512u /* at which something is attached */

/* How many programs each hook has, by the BTF id of its function. */
struct places {
	struct {
		uint32_t hook;
		unsigned taken;
	} hooks[HOOKS_MAX];
	size_t n;
	unsigned most;
};

static void take(struct places *places, uint32_t hook)
{
	size_t i = 0;

	while (i < places->n && places->hooks[i].hook != hook)
		i++;
	if (i == HOOKS_MAX)
		return;
	if (i == places->n) {
		places->hooks[i].hook = hook;
		places->hooks[i].taken = 0;
		places->n++;
	}
	if (++places->hooks[i].taken > places->most)
		places->most = places->hooks[i].taken;
}

/* 0 or -errno. */
static int count_places(struct places *places)
{
	uint32_t id = 0;

	while (bpf_link_get_next_id(id, &id) == 0) {
		struct bpf_link_info info = { 0 };
		uint32_t len = sizeof(info);
		FD_OWNED int fd = bpf_link_get_fd_by_id(id);

		if (fd < 0 && errno == ENOENT)
			continue; /* gone meanwhile */
		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
			return -errno;
		if (info.type == BPF_LINK_TYPE_TRACING &&
		    info.tracing.attach_type == BPF_LSM_MAC)
			take(places, info.tracing.target_btf_id);
	}
	return errno == ENOENT ? 0 : -errno;
}

/* The kernel has places for so many programs at one hook, and each agent takes one at each of its. */
bool probe_places(struct probe_result *p)
{
	static struct places places; /* 4 KiB */
	int r;

	places.n = 0;
	places.most = 0;
	r = count_places(&places);
	if (r < 0)
		FOUND(p, "the programs that are attached cannot be counted: %s", strerror(-r));
	else if (places.most >= PLACES)
		FOUND(p, "all of the %u places that the kernel has at a hook are taken: one agent has to end",
		      PLACES);
	else
		FOUND(p, "%u of the %u places at a hook are free: so many agents more can run on this kernel",
		      PLACES - places.most, PLACES);
	return r == 0 && places.most < PLACES;
}
