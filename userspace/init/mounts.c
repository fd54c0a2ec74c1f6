// SPDX-License-Identifier: Apache-2.0
/*
 * Mounts by what they are, not by where they are expected: the table of this namespace is read
 * from mountinfo, and every entry whose filesystem is on one of the two lists below is dealt with
 * wherever it is. Afterwards the table is read again; anything left is a failure.
 *
 * An entry that another mount covers cannot be reached by its path. To uncover it takes
 * CAP_SYS_ADMIN, which user code has only where its context says so.
 */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/mountinfo.h"
#include "init/init.h"

#define CGROUP_PLACE "/sys/fs/cgroup" /* where programs look first */
#define ROUNDS 16 /* each peels one layer off stacked mounts */

/* Doors to the kernel, to other namespaces, or to devices: gone. */
static const char *const forbidden[] = {
	"bpf",	    "debugfs",	"tracefs", "securityfs",  "configfs", "efivarfs", "pstore",
	"binfmt_misc", "proc",	"nsfs",	   "devtmpfs",	  "devpts",   "cgroup",	  "cgroup2",  NULL,
};
/* Needed for reading by ordinary programs, or at least harmless so. */
static const char *const control[] = { "sysfs", "fusectl", "selinuxfs", "smackfs", "resctrl", NULL };

struct mount_table {
	char *text;
	struct mountinfo *entries;
	size_t n;
};

static void table_free(struct mount_table *t)
{
	free(t->text);
	free(t->entries);
}

static bool type_in(const char *type, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(type, *list))
			return true;
	return false;
}

/* mountinfo is read to its end in one buffer: a partial read could miss an entry. */
static int read_all(int dirfd, const char *path, char **ret_text)
{
	FD_OWNED int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	size_t size = 16384, len = 0;
	PTR_OWNED char *text = NULL;

	if (fd < 0)
		return -errno;
	for (;;) {
		char *bigger;
		ssize_t n;

		if (!text || len + 1 >= size) {
			size *= 2;
			bigger = realloc(text, size);
			if (!bigger)
				return -ENOMEM;
			text = bigger;
		}
		n = read(fd, text + len, size - len - 1);
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	text[len] = '\0';
	*ret_text = take_ptr(text);
	return 0;
}

static int table_read(int proc_fd, struct mount_table *ret)
{
	struct mount_table t = { 0 };
	size_t lines = 0;
	int r = read_all(proc_fd, "self/mountinfo", &t.text);

	if (r < 0)
		return r;
	for (char *p = t.text; *p; p++)
		lines += *p == '\n';
	t.entries = calloc(lines + 1, sizeof(*t.entries));
	if (!t.entries)
		r = -ENOMEM;
	for (char *rest = t.text, *line; r == 0 && (line = strsep(&rest, "\n")) && *line;)
		r = mountinfo_parse(line, &t.entries[t.n++]);
	if (r < 0) {
		table_free(&t);
		return r;
	}
	*ret = t;
	return 0;
}

/* Whether an errno of a call on an entry's path means that the path does not lead to it. */
static bool is_covered(int err)
{
	return err == ENOENT || err == ENOTDIR || err == EINVAL || err == ELOOP;
}

/* EINVAL alone does not tell: in a user namespace it is also that of a mount that came with it (mount_namespaces(7)). */
static bool leads_to(const struct mountinfo *m)
{
	struct statx st;

	return statx(AT_FDCWD, m->path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) ==
		       0 &&
	       (!(st.stx_mask & STATX_MNT_ID) || st.stx_mnt_id == m->id);
}

int mounts_detach_forbidden(int proc_fd, int (*cover)(const char *path))
{
	for (int round = 0; round < ROUNDS; round++) {
		CLEANUP(table_free) struct mount_table t = { 0 };
		int r = table_read(proc_fd, &t);
		bool detached = false;

		if (r < 0)
			return r;
		for (size_t i = t.n; i-- > 0;) {
			if (!type_in(t.entries[i].type, forbidden))
				continue;
			if (umount2(t.entries[i].path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
				detached = true;
			else if (!is_covered(errno))
				return -errno;
			else if (errno == EINVAL && leads_to(&t.entries[i]) &&
				 (r = cover(t.entries[i].path)) < 0)
				return r;
		}
		if (!detached)
			return 0;
	}
	return -EBUSY;
}

static int prove_readonly(int proc_fd)
{
	CLEANUP(table_free) struct mount_table t = { 0 };
	int r = table_read(proc_fd, &t);

	if (r < 0)
		return r;
	for (size_t i = 0; i < t.n; i++) {
		if (type_in(t.entries[i].type, control) && !t.entries[i].readonly &&
		    leads_to(&t.entries[i]))
			return -EROFS;
	}
	return 0;
}

int mounts_make_readonly(int proc_fd)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	CLEANUP(table_free) struct mount_table t = { 0 };
	int r = table_read(proc_fd, &t);

	if (r < 0)
		return r;
	for (size_t i = 0; i < t.n; i++) {
		if (!type_in(t.entries[i].type, control))
			continue;
		if (mount_setattr(AT_FDCWD, t.entries[i].path, AT_SYMLINK_NOFOLLOW, &attr,
				  sizeof(attr)) < 0 &&
		    !is_covered(errno))
			return -errno;
	}
	return prove_readonly(proc_fd);
}

int mounts_find_cgroup(int proc_fd, char **ret_place)
{
	CLEANUP(table_free) struct mount_table t = { 0 };
	const char *place = NULL;
	int r = table_read(proc_fd, &t);

	if (r < 0)
		return r;
	for (size_t i = 0; i < t.n; i++)
		if (strcmp(t.entries[i].type, "cgroup2") == 0 &&
		    (!place || strcmp(t.entries[i].path, CGROUP_PLACE) == 0))
			place = t.entries[i].path;
	*ret_place = place ? strdup(place) : NULL;
	return place && !*ret_place ? -ENOMEM : 0;
}

struct option {
	const char *key, *value;
};

/* A new superblock as a detached mount. options ends with a NULL key. */
static int new_mount(const char *type, const struct option *options, unsigned attrs, int *ret_fd)
{
	FD_OWNED int fs = fsopen(type, FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0)
		return -errno;
	for (; options->key; options++)
		if (fsconfig(fs, FSCONFIG_SET_STRING, options->key, options->value, 0) < 0)
			return -errno;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = fsmount(fs, FSMOUNT_CLOEXEC, attrs);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int mounts_new_proc(bool hiding, int *ret_fd)
{
	static const struct option options[] = { { "hidepid", "ptraceable" }, { 0 } };

	return new_mount("proc", hiding ? options : options + 1,
			 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, ret_fd);
}

int mounts_cgroup(const char *place)
{
	static const struct option options[] = { { 0 } };
	FD_OWNED int mount = -EBADF;
	int r = new_mount("cgroup2", options,
			  MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				  MOUNT_ATTR_NOEXEC,
			  &mount);

	return r < 0 ? r : mounts_attach(mount, AT_FDCWD, place);
}

int mounts_new_tmpfs(const char *mode, const char *size, int *ret_fd)
{
	const struct option options[] = { { "mode", mode }, { "size", size }, { 0 } };

	return new_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, ret_fd);
}

int mounts_new_devpts(int *ret_fd)
{
	static const struct option options[] = {
		{ "ptmxmode", "0666" }, { "mode", "0620" }, { "gid", "5" }, { 0 }
	};

	return new_mount("devpts", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, ret_fd);
}

int mounts_attach(int mount_fd, int dirfd, const char *path)
{
	unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (*path ? 0 : MOVE_MOUNT_T_EMPTY_PATH);

	return move_mount(mount_fd, "", dirfd, path, flags) < 0 ? -errno : 0;
}

int mounts_set(int mount_fd, uint64_t attr_set, uint64_t attr_clr)
{
	struct mount_attr attr = { .attr_set = attr_set, .attr_clr = attr_clr };

	return mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}
