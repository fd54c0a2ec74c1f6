/* SPDX-License-Identifier: Apache-2.0 */
/* -e, -E and --env-file: variables as a JSON object. */
#include <fcntl.h>

#include "cli/cli.h"

#define ENV_FILE_MAX (1024u * 1024)

static int add_env(const char *command, json_t *env, const char *name, size_t name_len, const char *value)
{
	json_t *text;

	if (!env_name_valid(name, name_len))
		return usage_error(command, "not a name of a variable: %.*s", (int)name_len, name);
	text = bytes_to_json(value, strlen(value));
	return json_object_setn_new(env, name, name_len, text) < 0 ? complain("OUT_OF_MEMORY", "out of memory") : 0;
}

static int add_env_pair(const char *command, json_t *env, const char *pair)
{
	const char *equals = strchr(pair, '=');

	if (!equals)
		return usage_error(command, "-e wants NAME=VALUE; -E takes the value moat has");
	return add_env(command, env, pair, (size_t)(equals - pair), equals + 1);
}

static int add_env_from(const char *command, json_t *env, const char *name)
{
	const char *value = getenv(name);

	if (!value)
		return complain("USAGE", "%s is not set", name);
	return add_env(command, env, name, strlen(name), value);
}

static int add_env_file(json_t *env, const char *path)
{
	char *text;
	size_t len;
	unsigned line = 0;
	int r = read_file_at(AT_FDCWD, path, ENV_FILE_MAX, &text, &len);

	if (r < 0)
		return complain("INPUT_FAILED", "%s: %s", path, strerror(-r));
	r = strlen(text) == len ? parse_env_file(text, env, &line) : -EINVAL;
	free_wiped(text, len);
	if (r == -EINVAL)
		return complain("INPUT_FAILED", "%s:%u: not NAME=VALUE", path, line);
	return r < 0 ? complain("OUT_OF_MEMORY", "out of memory") : 0;
}

int option_env(const char *command, int option, json_t *env)
{
	switch (option) {
	case 'e':
		return add_env_pair(command, env, optarg);
	case 'E':
		return add_env_from(command, env, optarg);
	case OPTION_ENV_FILE:
		return add_env_file(env, optarg);
	default:
		return -1;
	}
}
