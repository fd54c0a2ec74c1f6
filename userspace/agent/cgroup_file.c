/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup_file.h"

#include <dirent.h>
#include <fcntl.h>

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

int cgroup_enable_controllers(int dir, char **ret_disable)
{
	static const char *const wanted[] = { "memory", "pids" };
	PTR_OWNED char *have = NULL, *on = NULL, *add = NULL, *undo = NULL;
	int r = read_file_at(dir, "cgroup.controllers", 4096, &have, NULL);

	if (r == 0)
		r = read_file_at(dir, "cgroup.subtree_control", 4096, &on, NULL);
	if (r < 0)
		return r;
	add = calloc(1, 64);
	undo = calloc(1, 64);
	if (!add || !undo)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		if (!strstr(have, wanted[i]) || strstr(on, wanted[i]))
			continue;
		snprintf(add + strlen(add), 64 - strlen(add), "+%s ", wanted[i]);
		snprintf(undo + strlen(undo), 64 - strlen(undo), "-%s ", wanted[i]);
	}
	r = *add ? write_file_at(dir, "cgroup.subtree_control", add) : 0;
	if (r < 0)
		return r;
	if (ret_disable)
		*ret_disable = take_ptr(undo);
	return 0;
}
