/* SPDX-License-Identifier: Apache-2.0 */
/* Pins: PIN_DIR/INSTANCE/{programs,maps,links}/NAME. See enforce_internal.h. */
#include "agent/enforce_internal.h"

#include <dirent.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/log.h"

#define BPFFS "/sys/fs/bpf"

/* Makes every missing directory of an absolute path. 0 or -errno. */
static int make_path(const char *path)
{
	PTR_OWNED char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(copy, 0700) < 0 && errno != EEXIST ? -errno : 0;
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

/* bpffs allows no '.' in names; libbpf names its data sections "moat_bpf.bss". */
static int pin_one(int fd, const char *dir, const char *kind, const char *name, struct failure *f)
{
	char path[512], safe[128];

	snprintf(safe, sizeof(safe), "%s", name);
	for (char *c = safe; *c; c++)
		if (*c == '.')
			*c = '_';
	snprintf(path, sizeof(path), "%s/%s/%s", dir, kind, safe);
	if (bpf_obj_pin(fd, path) < 0)
		return fail(f, errno, "cannot pin %s", path);
	return 0;
}

static int pin_all(struct enforce *e, const char *dir, struct failure *f)
{
	struct bpf_object_skeleton *s = e->bpf->skeleton;
	int r = 0;

	for (int i = 0; i < s->map_cnt && r == 0; i++)
		r = pin_one(bpf_map__fd(*s->maps[i].map), dir, "maps", s->maps[i].name, f);
	for (int i = 0; i < s->prog_cnt && r == 0; i++) {
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

int enforce_pin(struct enforce *e, const struct config *config, struct failure *f)
{
	PTR_OWNED char *dir = NULL, *fresh = NULL;
	int r;

	r = ensure_bpffs(e, config->pin_dir, f);
	if (r < 0)
		return r;
	if (asprintf(&dir, "%s/%s", config->pin_dir, config->instance) < 0 ||
	    asprintf(&fresh, "%s/%s-new", config->pin_dir, config->instance) < 0)
		return fail(f, ENOMEM, "pin directory");
	remove_pins(fresh);
	r = pin_beside(e, fresh, f);
	if (r < 0) {
		remove_pins(fresh);
		return r;
	}
	remove_pins(dir);
	if (rename(fresh, dir) < 0) {
		r = fail(f, errno, "cannot rename %s to %s", fresh, dir);
		remove_pins(fresh);
		return r;
	}
	e->pin_dir = take_ptr(dir);
	return 0;
}

void enforce_unpin(struct enforce *e)
{
	char *slash;

	if (!e->pin_dir)
		return;
	remove_pins(e->pin_dir);
	slash = strrchr(e->pin_dir, '/');
	*slash = '\0';
	rmdir(e->pin_dir); /* PIN_DIR, when no other instance is in it */
	*slash = '/';
	if (e->mounted && umount2(e->mounted, 0) < 0 && errno != EBUSY)
		log_warning("cannot unmount %s: %s", e->mounted, strerror(errno));
	free_ptr(&e->mounted);
}
