/* SPDX-License-Identifier: Apache-2.0 */
/* Pins: PIN_DIR/INSTANCE/{programs,maps,links}/NAME. See internal.h. */
#include "agent/enforce/internal.h"

#include <dirent.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "agent/process/lock.h"
#include "base/log.h"

#define BPFFS "/sys/fs/bpf"
#define LOCK_WAIT (2 * NSEC_PER_SEC) /* as in state_dir.c */

/* Makes every missing directory of an absolute path. 0 or -errno. */
static int make_path(const char *path)
{
	int r = make_parents(path, 0700);

	return r == 0 && mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : r;
}

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
}

static int ensure_bpffs(struct enforce *e, const char *pin_dir, struct failure *f)
{
	size_t n = strlen(BPFFS);
	int r;

	if (!strncmp(pin_dir, BPFFS, n) && (pin_dir[n] == '/' || !pin_dir[n]) && !is_bpffs(BPFFS)) {
		if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
			return fail(f, errno, "cannot mount a bpffs at " BPFFS);
		e->mounted = strdup(BPFFS);
	}
	r = make_path(pin_dir);
	if (r < 0)
		return fail(f, -r, "cannot make %s", pin_dir);
	if (!is_bpffs(pin_dir))
		return fail(f, EINVAL, "pin_dir %s is not on a bpffs", pin_dir);
	return 0;
}

/* Removes DIR/SUB/… for each of the three kinds, then DIR itself. Unpinning a link detaches it
 * once no descriptor is left either. */
static const char *const kinds[] = { "links", "programs", "maps" };

static void remove_pins(const char *dir)
{
	char path[512];

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		DIR *d;

		snprintf(path, sizeof(path), "%s/%s", dir, kinds[i]);
		d = opendir(path);
		if (!d)
			continue;
		for (struct dirent *entry = readdir(d); entry; entry = readdir(d))
			if (entry->d_name[0] != '.')
				unlinkat(dirfd(d), entry->d_name, 0);
		closedir(d);
		rmdir(path);
	}
	rmdir(dir);
}

#define PIN_PATH_MAX 512

/* bpffs allows no '.' in names; libbpf names its data sections "moat_bpf.bss". */
static void pin_path(char path[PIN_PATH_MAX], const char *dir, const char *kind, const char *name)
{
	char safe[128];

	snprintf(safe, sizeof(safe), "%s", name);
	for (char *c = safe; *c; c++)
		if (*c == '.')
			*c = '_';
	snprintf(path, PIN_PATH_MAX, "%s/%s/%s", dir, kind, safe);
}

static int pin_one(int fd, const char *dir, const char *kind, const char *name, struct failure *f)
{
	char path[PIN_PATH_MAX];

	pin_path(path, dir, kind, name);
	if (bpf_obj_pin(fd, path) < 0)
		return fail(f, errno, "cannot pin %s", path);
	return 0;
}

static int pin_all(struct enforce *e, const char *dir, struct failure *f)
{
	struct bpf_object_skeleton *s = e->bpf->skeleton;
	int r = 0;

	for (int i = 0; i < s->map_cnt && r == 0; i++)
		if (bpf_map__autocreate(*s->maps[i].map))
			r = pin_one(bpf_map__fd(*s->maps[i].map), dir, "maps", s->maps[i].name, f);
	for (int i = 0; i < s->prog_cnt && r == 0; i++) {
		if (!*s->progs[i].link) /* not for this kernel, or not needed */
			continue;
		r = pin_one(bpf_program__fd(*s->progs[i].prog), dir, "programs", s->progs[i].name, f);
		if (r == 0)
			r = pin_one(bpf_link__fd(*s->progs[i].link), dir, "links",
				    s->progs[i].name, f);
	}
	return r;
}

static int pin_beside(struct enforce *e, const char *dir, struct failure *f)
{
	char path[512];

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		int r;

		snprintf(path, sizeof(path), "%s/%s", dir, kinds[i]);
		r = make_path(path);
		if (r < 0)
			return fail(f, -r, "cannot make %s", path);
	}
	return pin_all(e, dir, f);
}

static bool same_layout(const struct bpf_map *map, int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) == 0 && info.type == bpf_map__type(map) &&
	       info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map) &&
	       info.max_entries == bpf_map__max_entries(map);
}

/* What may begin anew where another version of moat had it otherwise; of all else the next agent
 * would have to know what it says. */
static bool is_dispensable(const struct bpf_map *map)
{
	static const char *const names[] = { "counters", "drops", "events", "windows" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(bpf_map__name(map), names[i]) == 0)
			return true;
	return bpf_map__is_internal(map);
}

/* The constants of programs are theirs: those of another version say something else in the same places. */
static bool is_constant(const struct bpf_map *map)
{
	return bpf_map__map_flags(map) & BPF_F_RDONLY_PROG;
}

static int adopt_map(struct enforce *e, struct bpf_map *map, const char *path, struct failure *f)
{
	FD_OWNED int fd = bpf_obj_get(path);
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : fail(f, errno, "cannot open the pin %s", path);
	e->adopted = true;
	if (!same_layout(map, fd) && is_dispensable(map)) {
		log_info("%s is another version's and begins anew", path);
		return 0;
	}
	if (!same_layout(map, fd))
		return fail(f, EPROTO, "%s was left by a version of moat with another layout; "
			    "remove its directory to start without its labels", path);
	r = bpf_map__reuse_fd(map, fd);
	return r < 0 ? fail(f, -r, "cannot take over the map %s", path) : 0;
}

/* A locked directory, > 0; or -EAGAIN: its holder removed it between our opening and our locking. */
static int lock_directory(const char *path, uint64_t wait_ns)
{
	FD_OWNED int fd = -EBADF;
	int r;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	r = lock_removable_in_time(fd, wait_ns);
	return r < 0 ? r : take_fd(&fd);
}

int enforce_lock(struct enforce *e, const struct config *config, struct failure *f)
{
	PTR_OWNED char *path = NULL;
	int r = ensure_bpffs(e, config->pin_dir, f);

	if (r < 0)
		return r;
	/* No instance has such a name. */
	if (asprintf(&path, "%s/%s_lock", config->pin_dir, config->instance) < 0) {
		path = NULL;
		return fail(f, ENOMEM, "pin directory");
	}
	do
		r = lock_directory(path, LOCK_WAIT);
	while (r == -EAGAIN);
	if (r == -EBUSY) {
		fail(f, EINVAL, "another moatd runs as instance %s: %s is locked", config->instance, path);
		return r;
	}
	if (r < 0)
		return fail(f, -r, "cannot lock %s", path);
	e->lock = r;
	e->lock_dir = take_ptr(path);
	return 0;
}

/* The pins of one instance, unless an agent of it lives. 1: removed, 0: left, or -errno. */
static int clean_one(const char *pin_dir, const char *instance)
{
	char dir[PIN_PATH_MAX], fresh[PIN_PATH_MAX], lock[PIN_PATH_MAX];
	FD_OWNED int held = -EBADF;

	snprintf(dir, sizeof(dir), "%s/%s", pin_dir, instance);
	snprintf(fresh, sizeof(fresh), "%s/%s_new", pin_dir, instance);
	snprintf(lock, sizeof(lock), "%s/%s_lock", pin_dir, instance);
	do
		held = lock_directory(lock, 0);
	while (held == -EAGAIN);
	if (held < 0)
		return held == -EBUSY ? 0 : held;
	remove_pins(dir);
	remove_pins(fresh);
	rmdir(lock);
	return access(dir, F_OK) < 0 && access(fresh, F_OK) < 0 && errno == ENOENT ? 1 : -ENOTEMPTY;
}

/*
 * Whose pins the entry is, in name: "NAME", or "NAME_new" of an agent that died while it pinned.
 * False: nobody's, as "NAME_lock"; no instance has a name with a '_'.
 */
static bool pins_of(const char *entry, char name[NAME_MAX + 1])
{
	size_t n = strcspn(entry, "_");

	if (entry[0] == '.' || n == 0 || (entry[n] && strcmp(entry + n, "_new") != 0))
		return false;
	snprintf(name, NAME_MAX + 1, "%.*s", (int)n, entry);
	return true;
}

/* Not when it went together with its other one. */
static bool is_there(const char *pin_dir, const char *entry)
{
	char path[PIN_PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", pin_dir, entry);
	return access(path, F_OK) == 0;
}

int enforce_clean(const char *pin_dir, void (*removed)(const char *instance), struct failure *f)
{
	char name[NAME_MAX + 1];
	struct dirent *entry;
	DIR *d;
	int r = 0;

	if (access(pin_dir, F_OK) < 0)
		return errno == ENOENT ? 0 : fail(f, errno, "cannot look at %s", pin_dir);
	if (!is_bpffs(pin_dir))
		return fail(f, EINVAL, "%s is not on a bpffs", pin_dir);
	d = opendir(pin_dir);
	if (!d)
		return fail(f, errno, "cannot read %s", pin_dir);
	while (r >= 0 && (entry = readdir(d))) {
		if (!pins_of(entry->d_name, name) || !is_there(pin_dir, entry->d_name))
			continue;
		r = clean_one(pin_dir, name);
		if (r > 0)
			removed(name);
		else if (r < 0)
			fail(f, -r, "cannot remove the pins in %s/%s", pin_dir, name);
	}
	closedir(d);
	(void)rmdir(pin_dir); /* fails where something is left in it */
	return r < 0 ? r : 0;
}

int enforce_adopt(struct enforce *e, const struct config *config, struct failure *f)
{
	struct bpf_object_skeleton *s = e->bpf->skeleton;
	PTR_OWNED char *dir = NULL;
	char path[PIN_PATH_MAX];
	int r = 0;

	if (asprintf(&dir, "%s/%s", config->pin_dir, config->instance) < 0)
		return fail(f, ENOMEM, "pin directory");
	for (int i = 0; i < s->map_cnt && r == 0; i++) {
		if (!bpf_map__autocreate(*s->maps[i].map) || is_constant(*s->maps[i].map))
			continue;
		pin_path(path, dir, "maps", s->maps[i].name);
		r = adopt_map(e, *s->maps[i].map, path, f);
	}
	e->stale_namespaces = e->adopted;
	if (r == 0 && e->adopted)
		log_info("taking over the labels, ports and counters in %s", dir);
	return r;
}

int enforce_pin(struct enforce *e, const struct config *config, struct failure *f)
{
	PTR_OWNED char *dir = NULL, *fresh = NULL;
	int r;

	if (asprintf(&dir, "%s/%s", config->pin_dir, config->instance) < 0 ||
	    asprintf(&fresh, "%s/%s_new", config->pin_dir, config->instance) < 0)
		return fail(f, ENOMEM, "pin directory");
	/* Of a start or a take-over that was cut short; no instance has such a name. */
	remove_pins(fresh);
	r = pin_beside(e, fresh, f);
	/* In one step, so that at no moment a death leaves the place without pins. */
	if (r == 0 && renameat2(AT_FDCWD, fresh, AT_FDCWD, dir, RENAME_EXCHANGE) < 0 &&
	    (errno != ENOENT || rename(fresh, dir) < 0))
		r = fail(f, errno, "cannot rename %s to %s", fresh, dir);
	remove_pins(fresh); /* now those of the last agent, if there was one */
	if (r < 0)
		return r;
	e->pin_dir = take_ptr(dir);
	return 0;
}

void enforce_unpin(struct enforce *e)
{
	char *slash;

	if (e->pin_dir)
		remove_pins(e->pin_dir);
	free_ptr(&e->pin_dir);
	if (e->lock_dir) {
		rmdir(e->lock_dir);
		slash = strrchr(e->lock_dir, '/');
		*slash = '\0';
		rmdir(e->lock_dir); /* PIN_DIR, when no other instance is in it */
	}
	free_ptr(&e->lock_dir);
	close_fd(&e->lock);
	if (e->mounted && umount2(e->mounted, 0) < 0 && errno != EBUSY)
		log_warning("cannot unmount %s: %s", e->mounted, strerror(errno));
	free_ptr(&e->mounted);
}
