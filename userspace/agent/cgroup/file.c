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

int cgroup_for_each_child(int dir, void (*fn)(int dir, const char *name))
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	DIR *d;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	while ((entry = readdir(d)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			fn(dir, entry->d_name);
	closedir(d);
	return 0;
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

void cgroup_remove(int dir, const char *name)
{
	FD_OWNED int child = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (child >= 0)
		(void)cgroup_for_each_child(child, cgroup_remove);
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		log_warning("cannot remove cgroup %s: %s", name, strerror(errno));
}
