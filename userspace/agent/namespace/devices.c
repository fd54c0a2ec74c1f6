/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes of /dev are devices that the configuration gives user code. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <moat/abi.h>

#include "agent/namespace/internal.h"
#include "base/log.h"
#include "init/protocol.h"

#define DEPTH_MAX 3 /* dri/by-path/X */

struct walk {
	const struct config *config;
	char ***names;
};

/* Those that are mounts, or moat's own, in what user code sees. */
static bool is_reserved(const char *name)
{
	static const char *const reserved[] = { "pts", "shm", "own" };

	for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
		size_t n = strlen(reserved[i]);

		if (strncmp(name, reserved[i], n) == 0 && (name[n] == '/' || !name[n]))
			return true;
	}
	return false;
}

static bool is_given(const struct config_device *device, dev_t numbers)
{
	struct stat st;

	if (device->path)
		return stat(device->path, &st) == 0 && S_ISCHR(st.st_mode) &&
		       st.st_rdev == numbers;
	return device->major == major(numbers) &&
	       (device->minor == MOAT_MINOR_ANY || device->minor == minor(numbers));
}

static int add(const struct walk *w, const char *name)
{
	size_t n = strv_len(*w->names);

	for (size_t i = 0; i < n; i++)
		if (strcmp((*w->names)[i], name) == 0)
			return 0;
	if (n == INIT_DEVICES_MAX) {
		log_warning("/dev/%s is not in user code's /dev: %u others are", name,
			    INIT_DEVICES_MAX);
		return 0;
	}
	return strv_append(w->names, name);
}

static int look_at(const struct walk *w, int dir, const char *entry, const char *name)
{
	struct stat st;

	if (fstatat(dir, entry, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISCHR(st.st_mode))
		return 0;
	for (size_t i = 0; i < w->config->n_devices; i++)
		if (is_given(&w->config->devices[i], st.st_rdev))
			return add(w, name);
	return 0;
}

static int walk(const struct walk *w, int at, const char *path, const char *prefix, unsigned depth)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		r = -errno;
		close_fd(&fd);
		return r == -ENOENT ? 0 : r;
	}
	while (r == 0 && (entry = readdir(dir))) {
		char name[PATH_MAX];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "/" : "", entry->d_name);
		if (is_reserved(name))
			continue;
		if (entry->d_type == DT_DIR && depth < DEPTH_MAX)
			r = walk(w, fd, entry->d_name, name, depth + 1);
		else if (entry->d_type == DT_CHR)
			r = look_at(w, fd, entry->d_name, name);
	}
	closedir(dir);
	return r;
}

int namespace_find_devices(const struct config *config, char ***ret_names, struct failure *f)
{
	const struct walk w = { config, ret_names };
	int r = config->n_devices ? walk(&w, AT_FDCWD, "/dev", "", 0) : 0;

	/* Also by a name that is a link. */
	for (size_t i = 0; i < config->n_devices && r == 0; i++) {
		const char *path = config->devices[i].path;
		struct stat st;

		if (path && strncmp(path, "/dev/", 5) == 0 && !is_reserved(path + 5) &&
		    stat(path, &st) == 0 && S_ISCHR(st.st_mode))
			r = add(&w, path + 5);
	}
	return r < 0 ? fail(f, -r, "cannot look for the devices of user code in /dev") : 0;
}
