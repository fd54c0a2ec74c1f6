/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration names has to be there when it is used; that is told here before anything is started. */
#include <sys/stat.h>

#include "agent/config/config.h"
#include "base/log.h"

/* Whether path is what it should be; type: S_IF*, 0: anything. */
static bool is_there(const char *path, mode_t type, const char *key, const char *of, const char *name)
{
	struct stat st;

	if (stat(path, &st) == 0 && (!type || (st.st_mode & S_IFMT) == type))
		return true;
	log_error("%s%s%s: %s %s: %s", of, *name ? " " : "", name, key, path,
		  stat(path, &st) < 0 ? strerror(errno) :
		  type == S_IFDIR	? "not a directory" :
					  "not a character device");
	return false;
}

static size_t missing_of_service(const struct config_service *s)
{
	size_t n = 0;

	for (char **p = s->protect; p && *p; p++)
		n += **p != '@' && !is_there(*p, 0, "protect", "service", s->name);
	if (s->directory)
		n += !is_there(s->directory, S_IFDIR, "directory", "service", s->name);
	if (s->argv[0][0] == '/')
		n += !is_there(s->argv[0], 0, "command", "service", s->name);
	return n;
}

size_t config_count_missing(const struct config *config)
{
	size_t n = 0;

	for (char **p = config->hide; p && *p; p++)
		n += !is_there(*p, 0, "hide", "moat", "");
	for (size_t i = 0; i < config->n_devices; i++)
		if (config->devices[i].path)
			n += !is_there(config->devices[i].path, S_IFCHR, "device", "moat", "");
	if (config->cgroup_dir)
		n += !is_there(config->cgroup_dir, S_IFDIR, "cgroup_dir", "moat", "");
	for (size_t i = 0; i < config->n_services; i++)
		n += missing_of_service(&config->services[i]);
	for (size_t i = 0; i < config->n_contexts; i++)
		if (config->contexts[i].directory)
			n += !is_there(config->contexts[i].directory, S_IFDIR, "directory", "context",
				       config->contexts[i].name);
	return n;
}
