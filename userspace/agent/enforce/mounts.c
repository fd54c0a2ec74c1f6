/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts of moat-inits that user code has to leave as they are (bpf/mount.bpf.c). The kernel's hooks see
 * no mount being made, so they are taken from the table of the namespace when it has been set up: whatever
 * is in it then, covered ones included. Their ids are used again only after they are gone.
 */
#include "agent/enforce/internal.h"

#include "base/mountinfo.h"

#define MOUNTINFO_MAX (16u * 1024 * 1024)

/* The keys of one namespace. */
struct kept_mounts {
	struct list link;
	size_t n;
	struct moat_mount_key keys[];
};

static void forget(struct enforce *e, struct kept_mounts *kept)
{
	for (size_t i = 0; i < kept->n; i++)
		bpf_map_delete_elem(bpf_map__fd(e->bpf->maps.mounts), &kept->keys[i]);
	list_remove(&kept->link);
	free(kept);
}

static int parse(char *text, uint32_t mnt_ns, struct kept_mounts **ret)
{
	struct kept_mounts *kept;
	size_t lines = 0;
	int r = 0;

	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	kept = calloc(1, sizeof(*kept) + lines * sizeof(kept->keys[0]));
	if (!kept)
		return -ENOMEM;
	list_init(&kept->link);
	for (char *rest = text, *line; r == 0 && kept->n < lines && (line = strsep(&rest, "\n"));) {
		struct mountinfo mount;

		r = mountinfo_parse(line, &mount);
		if (r == 0)
			kept->keys[kept->n++] = (struct moat_mount_key){ .id = (uint32_t)mount.id,
									 .mnt_ns = mnt_ns };
	}
	if (r < 0)
		free(kept);
	else
		*ret = kept;
	return r;
}

int enforce_keep_mounts(struct enforce *e, int pidfd, const struct enforce_namespaces *namespaces)
{
	PTR_OWNED char *text = NULL;
	struct kept_mounts *kept = NULL;
	uint32_t one = 1;
	char path[64];
	int r;

	if (!e->active)
		return 0;
	r = enforce_pid_of(pidfd);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/mountinfo", r);
	r = read_file_at(AT_FDCWD, path, MOUNTINFO_MAX, &text, NULL);
	if (r == 0)
		r = parse(text, namespaces->mnt, &kept);
	if (r < 0)
		return r;
	list_append(&e->kept_mounts, &kept->link);
	for (size_t i = 0; r == 0 && i < kept->n; i++)
		r = bpf_map_update_elem(bpf_map__fd(e->bpf->maps.mounts), &kept->keys[i], &one, BPF_ANY);
	if (r < 0)
		forget(e, kept);
	return r;
}

void enforce_forget_mounts(struct enforce *e, uint32_t mnt_ns)
{
	list_for_each_safe(pos, &e->kept_mounts) {
		struct kept_mounts *kept = list_entry(pos, struct kept_mounts, link);

		if (kept->n && kept->keys[0].mnt_ns == mnt_ns)
			forget(e, kept);
	}
}

void enforce_free_mounts(struct enforce *e)
{
	list_for_each_safe(pos, &e->kept_mounts)
		free(list_entry(pos, struct kept_mounts, link));
	list_init(&e->kept_mounts);
}
