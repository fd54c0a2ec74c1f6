/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/context_keys.h"

#include <sys/capability.h>

#include "agent/config/link.h"
#include "agent/config/presets.h"
#include "agent/config/value.h"


const char config_env_too_large[] = "makes the environment larger than 1024 variables or 64 KiB";
_Static_assert(CONFIG_ENV_MAX == 1024 && CONFIG_ENV_BYTES_MAX == 64 * 1024, "the text says it");

static const struct config_choice namespaces[] = {
	{ "user", CONTEXT_USER },
	{ "secure", CONTEXT_SECURE },
	{ "private", CONTEXT_PRIVATE },
	{ NULL, 0 },
};
static const struct config_choice pids[] = { { "private", 0 }, { "shared", 1 }, { NULL, 0 } };
static const struct config_choice filters[] = { { "on", 0 }, { "off", 1 }, { NULL, 0 } };
static const struct config_choice shells[] = { { "never", 0 }, { "fallback", 1 }, { NULL, 0 } };
static const struct config_choice tmps[] = { { "shared", 0 }, { "private", 1 }, { NULL, 0 } };

static void write_choice(const struct config_choice *choices, int value, struct jbuf *b)
{
	while (choices->name && choices->value != value)
		choices++;
	jbuf_text(b, choices->name);
}

static void write_strings(char *const *v, struct jbuf *b)
{
	jbuf_open(b, '[');
	for (; v && *v; v++)
		jbuf_text(b, *v);
	jbuf_close(b, ']');
}

/* The keys, each with what reads and what writes it */

static const char *set_namespace(struct config_context *c, const char *text)
{
	int value;
	const char *why =
		config_value_choice(text, namespaces, "must be user, secure or private", &value);

	if (!why)
		c->ns = (enum context_namespace)value;
	return why;
}

static void write_namespace(const struct config_context *c, struct jbuf *b)
{
	write_choice(namespaces, (int)c->ns, b);
}

static const char *set_pid(struct config_context *c, const char *text)
{
	int value;
	const char *why = config_value_choice(text, pids, "must be private or shared", &value);

	if (!why)
		c->shared_pid = value;
	return why;
}

static void write_pid(const struct config_context *c, struct jbuf *b)
{
	write_choice(pids, c->shared_pid, b);
}

static const char *set_capabilities(struct config_context *c, const char *text)
{
	return config_value_capabilities(text, &c->capabilities);
}

/* As they may be given: by one of the words, or by names. */
static void write_capabilities(const struct config_context *c, struct jbuf *b)
{
	static const char *const words[] = { "none", "container-default", "all" };
	char text[64 * 32] = "";
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		uint64_t mask;

		if (!config_value_capabilities(words[i], &mask) && mask == c->capabilities) {
			jbuf_text(b, words[i]);
			return;
		}
	}
	for (cap_value_t i = 0; i < 64; i++) {
		char *name = c->capabilities >> i & 1 ? cap_to_name(i) : NULL;

		if (name && used + strlen(name) + 2 < sizeof(text))
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used ? " " : "",
						 name);
		cap_free(name);
	}
	jbuf_text(b, text);
}

static const char *set_no_new_privs(struct config_context *c, const char *text)
{
	return config_value_bool(text, &c->no_new_privs);
}

static void write_no_new_privs(const struct config_context *c, struct jbuf *b)
{
	jbuf_bool(b, c->no_new_privs);
}

static const char *set_env(struct config_context *c, const char *text)
{
	size_t key = strcspn(text, "=") + 1, bytes = strlen(text) + 1, n = 1;

	/* what it takes the place of goes */
	for (char **kv = c->env; kv && *kv; kv++)
		if (strncmp(*kv, text, key) != 0) {
			bytes += strlen(*kv) + 1;
			n++;
		}
	return n > CONFIG_ENV_MAX || bytes > CONFIG_ENV_BYTES_MAX ? config_env_too_large :
								    config_value_env(text, &c->env);
}

static void write_env(const struct config_context *c, struct jbuf *b)
{
	jbuf_open(b, '{');
	for (char **kv = c->env; kv && *kv; kv++) {
		size_t key = strcspn(*kv, "="), value = strlen(*kv) - key - 1;
		PTR_OWNED char *name = strndup(*kv, key);

		if (!name) {
			b->failed = true;
			break;
		}
		jbuf_key(b, name);
		jbuf_bytes(b, *kv + key + 1, value);
	}
	jbuf_close(b, '}');
}

static const char *set_directory(struct config_context *c, const char *text)
{
	return config_value_path(text, &c->directory);
}

static void write_directory(const struct config_context *c, struct jbuf *b)
{
	jbuf_text(b, c->directory);
}

static void clear_directory(struct config_context *c)
{
	free_ptr(&c->directory);
}

static const char *set_show(struct config_context *c, const char *text)
{
	return config_value_add_path(text, CONFIG_SHOW_MAX, &c->show);
}

static void write_show(const struct config_context *c, struct jbuf *b)
{
	write_strings(c->show, b);
}

static const char *set_home(struct config_context *c, const char *text)
{
	return config_value_path(text, &c->home);
}

static void write_home(const struct config_context *c, struct jbuf *b)
{
	jbuf_text(b, c->home);
}

static void clear_home(struct config_context *c)
{
	free_ptr(&c->home);
}

static const char *set_workspace(struct config_context *c, const char *text)
{
	const char *why = config_value_path(text, &c->workspace);

	return why ? why : strcmp(c->workspace, "/") == 0 ? "must not be /" : NULL;
}

static void write_workspace(const struct config_context *c, struct jbuf *b)
{
	jbuf_text(b, c->workspace);
}

static void clear_workspace(struct config_context *c)
{
	free_ptr(&c->workspace);
}

static bool is_word(const char *text, size_t n, const char *word)
{
	return strlen(word) == n && strncmp(text, word, n) == 0;
}

/* One, or some with commas between them. */
static const char *set_preset(struct config_context *c, const char *text)
{
	unsigned found, named = 0;

	do {
		size_t n;

		text += strspn(text, " \t");
		n = strcspn(text, " \t,");
		found = 0;
		for (unsigned i = 0; i < CONFIG_PRESETS; i++)
			if (is_word(text, n, config_presets[i].name))
				found = 1u << i;
		named |= found;
		text += n;
		text += strspn(text, " \t");
	} while (found && *text == ',' && text++);
	if (!found || *text)
		return "must be python, node, or both with a comma between";
	c->presets |= named;
	return NULL;
}

static void write_preset(const struct config_context *c, struct jbuf *b)
{
	jbuf_open(b, '[');
	for (unsigned i = 0; i < CONFIG_PRESETS; i++)
		if (c->presets >> i & 1)
			jbuf_text(b, config_presets[i].name);
	jbuf_close(b, ']');
}

static void clear_preset(struct config_context *c)
{
	c->presets = 0;
}

static const char *set_link(struct config_context *c, const char *text)
{
	return config_link_add(text, CONFIG_LINKS_MAX, &c->links);
}

static void write_links(const struct config_context *c, struct jbuf *b)
{
	write_strings(c->links, b);
}

static void clear_links(struct config_context *c)
{
	strv_free(c->links);
	c->links = NULL;
}

static const char *set_tmp(struct config_context *c, const char *text)
{
	int value;
	const char *why = config_value_choice(text, tmps, "must be shared or private", &value);

	if (!why)
		c->own_tmp = value;
	return why;
}

static void write_tmp(const struct config_context *c, struct jbuf *b)
{
	write_choice(tmps, c->own_tmp, b);
}

static const char *set_seccomp(struct config_context *c, const char *text)
{
	int value;
	const char *why = config_value_choice(text, filters, "must be on or off", &value);

	if (!why)
		c->no_seccomp = value;
	return why;
}

static void write_seccomp(const struct config_context *c, struct jbuf *b)
{
	write_choice(filters, c->no_seccomp, b);
}

static const char *set_shell(struct config_context *c, const char *text)
{
	int value;
	const char *why = config_value_choice(text, shells, "must be never or fallback", &value);

	if (!why)
		c->falls_back = value;
	return why;
}

static void write_shell(const struct config_context *c, struct jbuf *b)
{
	write_choice(shells, c->falls_back, b);
}

static const char *set_careful(struct config_context *c, const char *text)
{
	bool careful;
	const char *why = config_value_bool(text, &careful);

	if (!why)
		c->careless = !careful;
	return why;
}

static void write_careful(const struct config_context *c, struct jbuf *b)
{
	jbuf_bool(b, !c->careless);
}

static void write_limit(uint64_t limit, struct jbuf *b)
{
	if (limit == 0)
		jbuf_null(b);
	else if (limit == CONFIG_NO_LIMIT)
		jbuf_text(b, "infinity");
	else
		jbuf_unsigned(b, limit);
}

static void clear_memory_max(struct config_context *c)
{
	c->limits[LIMIT_MEMORY] = 0;
}

static const char *set_memory_max(struct config_context *c, const char *text)
{
	return config_value_limit(text, LIMIT_MEMORY, &c->limits[LIMIT_MEMORY]);
}

static void write_memory_max(const struct config_context *c, struct jbuf *b)
{
	write_limit(c->limits[LIMIT_MEMORY], b);
}

static void clear_pids_max(struct config_context *c)
{
	c->limits[LIMIT_PIDS] = 0;
}

static const char *set_pids_max(struct config_context *c, const char *text)
{
	return config_value_limit(text, LIMIT_PIDS, &c->limits[LIMIT_PIDS]);
}

static void write_pids_max(const struct config_context *c, struct jbuf *b)
{
	write_limit(c->limits[LIMIT_PIDS], b);
}

static void clear_cpu_max(struct config_context *c)
{
	c->limits[LIMIT_CPU] = 0;
}

static const char *set_cpu_max(struct config_context *c, const char *text)
{
	return config_value_limit(text, LIMIT_CPU, &c->limits[LIMIT_CPU]);
}

/* In CPUs, as it is given. */
static void write_cpu_max(const struct config_context *c, struct jbuf *b)
{
	uint64_t limit = c->limits[LIMIT_CPU];
	char text[32];

	if (limit == 0 || limit == CONFIG_NO_LIMIT) {
		write_limit(limit, b);
		return;
	}
	snprintf(text, sizeof(text), "%llu.%03u", (unsigned long long)(limit / 1000),
		 (unsigned)(limit % 1000));
	jbuf_text(b, text);
}

static const struct config_context_key keys[] = {
	{ "namespace", CONFIG_KEY_TEXT, CONFIG_KEY_AT_FIRST, set_namespace, write_namespace },
	{ "pid", CONFIG_KEY_TEXT, CONFIG_KEY_AT_FIRST, set_pid, write_pid },
	{ "capabilities", CONFIG_KEY_TEXT, CONFIG_KEY_AT_FIRST, set_capabilities,
	  write_capabilities },
	{ "no_new_privs", CONFIG_KEY_BOOL, CONFIG_KEY_AT_FIRST, set_no_new_privs,
	  write_no_new_privs },
	{ "env", CONFIG_KEY_ENV, CONFIG_KEY_ALWAYS, set_env, write_env },
	{ "directory", CONFIG_KEY_TEXT, CONFIG_KEY_ALWAYS, set_directory, write_directory,
	  clear_directory },
	/* The kernel programs are told at the start. */
	{ "show", CONFIG_KEY_LIST, CONFIG_KEY_IN_FILE, set_show, write_show },
	{ "home", CONFIG_KEY_TEXT, CONFIG_KEY_AT_FIRST, set_home, write_home,
	  clear_home },
	{ "workspace", CONFIG_KEY_TEXT, CONFIG_KEY_AT_FIRST, set_workspace, write_workspace,
	  clear_workspace },
	{ "preset", CONFIG_KEY_LIST, CONFIG_KEY_AT_FIRST, set_preset, write_preset, clear_preset },
	{ "link", CONFIG_KEY_LIST, CONFIG_KEY_AT_FIRST, set_link, write_links, clear_links },
	{ "tmp", CONFIG_KEY_TEXT, CONFIG_KEY_AT_FIRST, set_tmp, write_tmp },
	{ "seccomp", CONFIG_KEY_TEXT, CONFIG_KEY_AT_FIRST, set_seccomp, write_seccomp },
	{ "shell", CONFIG_KEY_TEXT, CONFIG_KEY_ALWAYS, set_shell, write_shell },
	{ "careful", CONFIG_KEY_BOOL, CONFIG_KEY_AT_FIRST, set_careful, write_careful },
	{ "memory_max", CONFIG_KEY_LIMIT, CONFIG_KEY_AT_FIRST, set_memory_max, write_memory_max,
	  clear_memory_max },
	{ "pids_max", CONFIG_KEY_LIMIT, CONFIG_KEY_AT_FIRST, set_pids_max, write_pids_max,
	  clear_pids_max },
	{ "cpu_max", CONFIG_KEY_LIMIT, CONFIG_KEY_AT_FIRST, set_cpu_max, write_cpu_max,
	  clear_cpu_max },
};
_Static_assert(ARRAY_LEN(keys) <= 64, "struct config_parser.seen has a bit for each");

const struct config_context_key *config_context_key_find(const char *name, unsigned *ret_index)
{
	for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
		if (strcmp(keys[i].name, name) == 0) {
			*ret_index = i;
			return &keys[i];
		}
	return NULL;
}

const struct config_context_key *config_context_key_at(unsigned index)
{
	return index < ARRAY_LEN(keys) ? &keys[index] : NULL;
}
