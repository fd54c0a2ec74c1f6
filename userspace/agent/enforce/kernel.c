/* SPDX-License-Identifier: Apache-2.0 */
/* Which programs suit this kernel: by its own account (BTF), never by its version. */
#include "agent/enforce/internal.h"

#include <bpf/btf.h>

#include "agent/enforce/probes.h"

/* Reading and parsing it takes longer than the rest of a start. libbpf reads one for itself when it loads. */
static struct btf *kept_types;

struct btf *kernel_types_take(void)
{
	struct btf *types = take_ptr(kept_types);

	return types ? types : btf__load_vmlinux_btf();
}

void kernel_types_keep(struct btf *types)
{
	btf__free(kept_types);
	kept_types = types;
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

bool enforce_is_of_cgroup(const struct bpf_program *program)
{
	enum bpf_prog_type type = bpf_program__type(program);

	return type == BPF_PROG_TYPE_CGROUP_SOCK_ADDR || type == BPF_PROG_TYPE_CGROUP_SOCK;
}

/*
 * A hook that is there in a form that none of the programs is made for is a hole: then there is no
 * start.
 */
int enforce_suit_kernel(struct enforce *e, const struct config *config, struct failure *f)
{
	struct btf *kernel = kernel_types_take();
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

	(void)config;
	if (!kernel)
		return fail(f, errno, "cannot read the kernel's types (/sys/kernel/btf/vmlinux)");
	(void)bpf_map__set_autocreate(e->bpf->maps.execs,
				      false); /* of the programs of cgroups alone */
	e->bpf->rodata->labels_are_backed_up = needs_backup_labels(kernel);
	for (size_t i = 0; i < ARRAY_LEN(hooks) && r == 0; i++) {
		unsigned n = hook_arguments(kernel, hooks[i].hook);

		if (n == 0 && hooks[i].may_lack)
			continue;
		r = -ENOTSUP;
		for (size_t j = 0; j < ARRAY_LEN(hooks[i].programs); j++)
			if (hooks[i].arguments[j] == n)
				r = bpf_program__set_autoload(hooks[i].programs[j], true);
		if (r < 0)
			fail(f, -r,
			     "the hook %s of this kernel has %u arguments, which this version of moat does not know",
			     hooks[i].hook, n);
	}
	btf__free(kernel);
	return r;
}
