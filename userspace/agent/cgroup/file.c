/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup/file.h"

#include <dirent.h>
#include <fcntl.h>

#include "base/log.h"

int cgroup_read_key(int fd, const char *key, uint64_t *ret_value)
{
	char text[1024];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	size_t len = strlen(key);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0 && line[len] == ' ') {
			*ret_value = strtoull(line + len + 1, NULL, 10);
			return 0;
		}
	}
	return -ENOENT;
}

bool cgroup_events_populated(int events)
{
	uint64_t value;

	return cgroup_read_key(events, "populated", &value) < 0 || value != 0;
}

int cgroup_for_each_child(int dir, int (*fn)(int dir, const char *name, void *data), void *data)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	DIR *d;
	int r = 0;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	while (r == 0 && (entry = readdir(d)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			r = fn(dir, entry->d_name, data);
	closedir(d);
	return r;
}

bool cgroup_offers(const char *list, enum config_limit limit)
{
	const char *name = config_limit_name(limit);
	size_t n = strlen(name);

	for (const char *at = list; (at = strstr(at, name)); at += n)
		if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\n' || !at[n]))
			return true;
	return false;
}

static int remove_child(int dir, const char *name, void *data)
{
	(void)data;
	cgroup_remove(dir, name);
	return 0;
}

void cgroup_remove_children(int dir)
{
	(void)cgroup_for_each_child(dir, remove_child, NULL);
}

void cgroup_remove(int dir, const char *name)
{
	FD_OWNED int child = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (child >= 0)
		cgroup_remove_children(child);
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		log_warning("cannot remove cgroup %s: %s", name, strerror(errno));
}

static int child_has_self(int dir, const char *name, void *data)
{
	FD_OWNED int child = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)data;
	if (child < 0)
		return errno == ENOENT ? 0 : -errno;
	return cgroup_has_self(child);
}

int cgroup_has_self(int dir)
{
	PTR_OWNED char *text = NULL;
	char *save = NULL;
	int r = read_file_at(dir, "cgroup.procs", 16u << 20, &text, NULL);

	/* In a threaded one, whose processes are all listed further up; in one that is gone. */
	if (r < 0 && r != -EOPNOTSUPP && r != -ENODEV)
		return r;
	for (char *p = r < 0 ? NULL : strtok_r(text, "\n", &save); p; p = strtok_r(NULL, "\n", &save))
		if (atoi(p) == getpid())
			return 1;
	return cgroup_for_each_child(dir, child_has_self, NULL);
}
