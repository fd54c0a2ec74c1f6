/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marking the files that user code may not change, or not even see (bpf/protect.h). The kernel knows an inode better
 * than stat(2) tells, so it marks itself: this announces the mark in our own label and adds an inotify
 * watch, whose hook (bpf/protect.bpf.c) marks the inode and takes the announcement back.
 *
 * The directories that all may write and that programs take for such by name stay what they are, so
 * that nobody replaces /tmp by one in which links are followed (bpf/follow.h).
 *
 * A path is walked by component: each directory on the way may not be moved, each symbolic link may
 * not be replaced. Beneath a directory, what is mounted there is marked as well, and each file that
 * has more than one name.
 *
 * The watches of what is marked by path stay: a watch keeps the inode in memory (fs/notify/mark.c), and
 * with it the address that the mark knows it by where numbers do not last (bpf/identity.h). A watch ends
 * with its file and holds up no umount; nobody reads the events, of which each watch makes at most two.
 * Those of the files that were found to have more than one name stay only there: there may be very many.
 */
#include "agent/enforce/internal.h"

#include <fts.h>
#include <limits.h>
#include <link.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "base/mountinfo.h"

#define LINKS_MAX 40 /* as the kernel: MAXSYMLINKS */
#define MOUNTINFO_MAX (16u * 1024 * 1024)

struct marker {
	struct enforce *e;
	uint32_t pass; /* which flag is marked now */
	uint32_t last; /* the flag for the end of a path */
	uint32_t more; /* what else is told of trees: MOAT_PROTECT_HIDDEN, OWN */
	uint64_t hash; /* of the name in the directory that is marked; 0: the directory itself */
	bool optional; /* what is not there is not missed: its name is marked */
	uint64_t context; /* whom it is shown to, in the pass of MOAT_PROTECT_SHOWN */
	int passing; /* inotify: watches that do not stay */
	int pidfd;
};

static void marker_close(struct marker *m)
{
	close_fd(&m->passing);
	close_fd(&m->pidfd);
}

static int marker_open(struct enforce *e, struct marker *ret)
{
	*ret = (struct marker){ .e = e, .passing = -EBADF, .pidfd = -EBADF };
	e->watches = inotify_init1(IN_CLOEXEC);
	if (e->watches >= 0)
		ret->passing = inotify_init1(IN_CLOEXEC);
	if (ret->passing >= 0)
		ret->pidfd = pidfd_open(getpid(), 0);
	return ret->pidfd < 0 ? -errno : 0;
}

static int watch(int watches, const char *path)
{
	int watch = inotify_add_watch(watches, path, IN_DELETE_SELF | IN_DONT_FOLLOW);

	return watch < 0 ? -errno : watch;
}

/* 0, or -errno; -ENOSPC: no more watches, -E2BIG: no more marks. */
static int mark_by(struct marker *m, int watches, const char *path, uint32_t flags)
{
	struct moat_task task = {
		.label = { .role = MOAT_ROLE_CONTROL },
		.next = { .flags = flags | (flags == MOAT_PROTECT_TREE ? m->more : 0),
			  .context = m->e->epoch, .exec = m->context },
	};
	int r, passing = -EBADF;

	if (flags != m->pass)
		return 0;
	if (m->hash) {
		task.next.flags |= MOAT_PROTECT_NAME;
		task.next.exec = m->hash;
	}
	r = enforce_set_task(m->e, m->pidfd, &task);
	if (r < 0)
		return r;
	r = watch(watches, path);
	if (r >= 0 && watches == m->passing)
		passing = r;
	if (r >= 0)
		r = bpf_map_lookup_elem(bpf_map__fd(m->e->bpf->maps.tasks), &m->pidfd, &task);
	if (r == 0 && task.next.flags == 0 && task.next.exec && passing >= 0)
		r = watch(m->e->watches, path); /* known by its address: it has to stay there */
	if (passing >= 0)
		(void)inotify_rm_watch(m->passing, passing);
	if (r >= 0 && task.next.flags == 0)
		return 0;
	task.next.flags = 0;
	(void)enforce_set_task(m->e, m->pidfd, &task);
	return r < 0 ? r : -E2BIG; /* the hook could not: the map is full */
}

/* path is not followed if it is a symbolic link. */
static int mark(struct marker *m, const char *path, uint32_t flags)
{
	return mark_by(m, m->e->watches, path, flags);
}

static int mark_at(struct marker *m, int dir, const char *name, uint32_t flags)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return mark(m, path, flags);
}

/* Whatever has the name in the directory, now or later. */
static int mark_name(struct marker *m, int dir, const char *name)
{
	struct moat_name bytes = { 0 };
	int r;

	strncpy((char *)bytes.words, name, sizeof(bytes) - 1);
	m->hash = moat_name_hash(&bytes);
	r = mark_at(m, dir, ".", MOAT_PROTECT_TREE);
	m->hash = 0;
	return r;
}

/* Each file beneath a directory, on its file system, that has more than one name. */
static int mark_linked_files(struct marker *m, char *directory)
{
	char *const roots[] = { directory, NULL };
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	int r = 0;

	if (!tree)
		return -errno;
	while (r == 0) {
		FTSENT *entry;

		errno = 0;
		entry = fts_read(tree);
		if (!entry) {
			r = -errno; /* 0: the end */
			break;
		}
		if (entry->fts_info == FTS_F && entry->fts_statp->st_nlink > 1) {
			r = mark_by(m, m->passing, entry->fts_accpath, MOAT_PROTECT_TREE);
			if (r == -ENOENT) /* removed meanwhile; the others are there */
				r = 0;
		} else if ((entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR ||
			  entry->fts_info == FTS_NS) && entry->fts_errno != ENOENT)
			r = -entry->fts_errno;
	}
	fts_close(tree);
	return r;
}

static bool is_beneath(const char *path, const char *directory)
{
	size_t n = strcmp(directory, "/") == 0 ? 0 : strlen(directory);

	return strncmp(path, directory, n) == 0 && path[n] == '/' && path[n + 1];
}

static int mark_mounts_beneath(struct marker *m, const char *directory)
{
	PTR_OWNED char *text = NULL;
	int r = read_file_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL);

	for (char *rest = text, *line; r == 0 && (line = strsep(&rest, "\n")) && *line;) {
		struct mountinfo mount;

		r = mountinfo_parse(line, &mount);
		if (r < 0 || !is_beneath(mount.path, directory))
			continue;
		r = mark(m, mount.path, MOAT_PROTECT_TREE);
		if (r == 0)
			r = mark_linked_files(m, mount.path);
		if (r == -ENOENT || r == -ENOTDIR)
			r = 0; /* covered by another mount: nobody gets there by this path */
	}
	return r;
}

/* The end of a path: a file, or a directory with everything in it. */
static int mark_tree(struct marker *m, int parent, const char *name, mode_t mode)
{
	FD_OWNED int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char link[64], path[PATH_MAX];
	ssize_t n;
	int r;

	if (fd < 0)
		return -errno;
	r = mark_at(m, parent, name, m->last);
	if (r == 0 && m->last == MOAT_PROTECT_TREE && strcmp(name, ".") != 0)
		r = mark_name(m, parent, name);
	if (r == 0 && m->last == MOAT_PROTECT_TREE)
		r = mark_at(m, parent, name, MOAT_PROTECT_SHOWN);
	if (r < 0 || !S_ISDIR(mode) || m->last != MOAT_PROTECT_TREE || m->pass != MOAT_PROTECT_TREE)
		return r;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	r = mark_linked_files(m, path);
	return r < 0 ? r : mark_mounts_beneath(m, path);
}

/* Moves *dir to name beneath it. */
static int enter(int *dir, const char *name)
{
	int fd = openat(*dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close_fd(dir);
	*dir = fd;
	return 0;
}

struct walk {
	int dir;
	unsigned links;
	char todo[PATH_MAX]; /* what is left of the path */
};

/* The link at name is marked and stands for its target from here on. */
static int follow(struct marker *m, struct walk *w, const char *name)
{
	char target[PATH_MAX], todo[PATH_MAX];
	ssize_t n;
	int r = ++w->links > LINKS_MAX ? -ELOOP : mark_at(m, w->dir, name, MOAT_PROTECT_TREE);

	if (r < 0)
		return r;
	n = readlinkat(w->dir, name, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (snprintf(todo, sizeof(todo), "%s/%s", target, w->todo) >= (int)sizeof(todo))
		return -ENAMETOOLONG;
	memcpy(w->todo, todo, sizeof(todo));
	return target[0] == '/' ? enter(&w->dir, "/") : 0;
}

/* Takes one component off the path. 1: more to come, 0: done, -errno. */
static int step(struct marker *m, struct walk *w)
{
	char name[NAME_MAX + 1];
	char *start = w->todo + strspn(w->todo, "/");
	size_t n = strcspn(start, "/");
	char *rest = start + n + strspn(start + n, "/");
	bool last = *rest == '\0';
	struct stat st;
	int r;

	if (n == 0)
		return mark_tree(m, w->dir, ".", S_IFDIR); /* the root, or a link to it */
	if (n >= sizeof(name))
		return -ENAMETOOLONG;
	memcpy(name, start, n);
	name[n] = '\0';
	memmove(w->todo, rest, strlen(rest) + 1);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		r = enter(&w->dir, name);
		return r < 0 ? r : 1;
	}
	if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT && m->optional ? mark_name(m, w->dir, name) : -errno;
	if (S_ISLNK(st.st_mode))
		r = follow(m, w, name);
	else if (last)
		return mark_tree(m, w->dir, name, st.st_mode);
	else
		r = mark_at(m, w->dir, name, MOAT_PROTECT_PATH);
	if (r == 0 && S_ISDIR(st.st_mode))
		r = enter(&w->dir, name);
	return r < 0 ? r : 1;
}

static int mark_path(struct marker *m, const char *path)
{
	struct walk w = { .dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) };
	int r;

	if (w.dir < 0)
		return -errno;
	snprintf(w.todo, sizeof(w.todo), "%s", path);
	r = mark_at(m, w.dir, ".", MOAT_PROTECT_PATH);
	if (r == 0)
		r = 1;
	while (r > 0)
		r = step(m, &w);
	close_fd(&w.dir);
	return r;
}

static int cannot_protect(const char *path, int r, struct failure *f)
{
	if (r == -ENOSPC)
		return fail(f, EINVAL, "cannot protect %s: fs.inotify.max_user_watches is too low", path);
	if (r == -E2BIG)
		return fail(f, EINVAL, "cannot protect %s: too many protected files", path);
	return fail(f, -r, "cannot protect %s", path);
}

struct loaded {
	struct marker *m;
	struct failure *f;
};

static int mark_loaded(struct dl_phdr_info *object, size_t size, void *data)
{
	struct loaded *l = data;
	int r;

	(void)size;
	if (object->dlpi_name[0] != '/') /* the program itself, the vDSO */
		return 0;
	r = mark_path(l->m, object->dlpi_name);
	return r < 0 ? cannot_protect(object->dlpi_name, r, l->f) : 0;
}

static int mark_paths(struct marker *m, char *const *paths, uint32_t more, struct failure *f)
{
	m->more = more;
	for (; paths && *paths; paths++) {
		int r = mark_path(m, *paths);

		if (r < 0)
			return cannot_protect(*paths, r, f);
	}
	return 0;
}

/* What is hidden comes first: if an earlier agent hid it as well, at no moment it is only protected. */
static int mark_all(struct marker *m, const struct enforce_files *files, uint32_t flag,
		    struct failure *f)
{
	struct loaded loaded = { .m = m, .f = f };
	int r;

	m->pass = flag;
	m->last = MOAT_PROTECT_TREE;
	r = mark_paths(m, files->own, MOAT_PROTECT_HIDDEN | MOAT_PROTECT_OWN, f);
	if (r == 0)
		r = mark_paths(m, files->services, MOAT_PROTECT_HIDDEN | MOAT_PROTECT_SERVICES, f);
	if (r == 0)
		r = mark_paths(m, files->hidden, MOAT_PROTECT_HIDDEN, f);
	if (r == 0)
		r = mark_paths(m, files->protect, 0, f);
	m->optional = true;
	if (r == 0)
		r = mark_paths(m, files->optional, 0, f);
	m->optional = false;
	return r < 0 ? r : dl_iterate_phdr(mark_loaded, &loaded);
}

/* Each pass walks the whole path: the links on the way first, then the directories, then the place. */
static int mark_places(struct marker *m, struct failure *f)
{
	static const char *const places[] = { "/tmp", "/var/tmp", "/dev/shm" };
	static const uint32_t passes[] = { MOAT_PROTECT_TREE, MOAT_PROTECT_PATH, MOAT_PROTECT_PLACE };

	m->last = MOAT_PROTECT_PLACE;
	m->more = 0;
	for (size_t i = 0; i < ARRAY_LEN(places) * ARRAY_LEN(passes); i++) {
		const char *place = places[i / ARRAY_LEN(passes)];
		int r;

		m->pass = passes[i % ARRAY_LEN(passes)];
		r = mark_path(m, place);
		if (r < 0 && r != -ENOENT)
			return cannot_protect(place, r, f);
	}
	return 0;
}

/* Of an agent before this one that did not repeat it. */
static bool is_not_repeated(int map, const void *key, const void *data)
{
	const struct enforce *e = data;
	struct moat_inode mark;

	return bpf_map_lookup_elem(map, key, &mark) == 0 && mark.epoch != e->epoch &&
	       mark.epoch != MOAT_EPOCH_ANY;
}

static int mark_shown(struct marker *m, const struct enforce_shown *shown, struct failure *f)
{
	m->pass = MOAT_PROTECT_SHOWN;
	m->last = MOAT_PROTECT_TREE;
	for (; shown && shown->context; shown++) {
		int r;

		m->context = shown->context;
		r = mark_path(m, shown->path);
		if (r < 0)
			return cannot_protect(shown->path, r, f);
	}
	return 0;
}

int enforce_protect(struct enforce *e, const struct enforce_files *files, struct failure *f)
{
	CLEANUP(marker_close) struct marker m = { .passing = -EBADF, .pidfd = -EBADF };
	int r;

	if (!e->active)
		return 0;
	e->epoch = now_ns();
	(void)enforce_sweep(e->bpf->maps.shown, NULL, NULL); /* its contexts are no longer */
	r = marker_open(e, &m);
	if (r < 0)
		return fail(f, -r, "cannot mark protected files");
	/* In this order no directory that the last agent protected, and that is on the way to another
	 * one as well, is only the latter for a moment. */
	r = mark_all(&m, files, MOAT_PROTECT_TREE, f);
	if (r == 0)
		r = mark_all(&m, files, MOAT_PROTECT_PATH, f);
	if (r == 0)
		r = mark_places(&m, f);
	if (r == 0)
		r = mark_shown(&m, files->shown, f);
	if (r == 0) {
		(void)enforce_sweep(e->bpf->maps.protected, is_not_repeated, e);
		(void)enforce_sweep(e->bpf->maps.names, is_not_repeated, e);
	}
	return r;
}
