/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/context/context.h"

#include "init/protocol.h"

#define BUCKETS 1024u

/* The base environment, whole. Which HOME, says build_env(). */
static const char *const base_env[] = {
	"PATH=" DEFAULT_PATH,
	"HOME=/root",
	"USER=root",
	"LANG=C.UTF-8",
};

/*
 * What a secure exec has besides. Common programs execute what lies in the directory they are started in, which
 * others have written; these do without where they are told to. The same table is in moat.conf(5).
 */
static const char *const own_env[] = { "TMPDIR=" INIT_OWN_TMP };
static const char *const careful_env[] = {
	"PYTHONSAFEPATH=1",    /* no module from the directory of a script, or from the working directory */
	"PYTHONNOUSERSITE=1",  /* nor from HOME, where the context has a real one */
	"PERL_USE_UNSAFE_INC=0",
	"GIT_CONFIG_COUNT=2",  /* nor a program that a repository names */
	"GIT_CONFIG_KEY_0=core.fsmonitor", "GIT_CONFIG_VALUE_0=false",
	"GIT_CONFIG_KEY_1=core.hooksPath", "GIT_CONFIG_VALUE_1=/dev/null",
};

struct contexts {
	uint64_t last_number;
	size_t n;
	struct context *buckets[BUCKETS];    /* by name */
	struct context *by_number[BUCKETS];
};

/* FNV-1a. The names come from the control plane: nobody gains by making them collide. */
static size_t bucket_of(const char *name)
{
	uint32_t hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return hash % BUCKETS;
}

static void context_free(struct context *c)
{
	strv_free_wiped(c->env[0]);
	strv_free_wiped(c->env[1]);
	free(c);
}

static int add_all(char ***env, const char *const *list, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = env_set(env, list[i]);
	return r;
}

/* HOME is what the context names, or its directory if it has one; a secure exec's is its own. */
static int build_env(struct context *c, bool own)
{
	const struct config_context *config = c->config;
	const char *directory = config->directory;
	char *const *more = config->env, ***env = &c->env[own];
	PTR_OWNED char *home = NULL;
	int r;

	if (asprintf(&home, "HOME=%s",
		     config->home                              ? config->home :
		     own                                       ? INIT_OWN_HOME :
		     directory && strcmp(directory, "/") != 0 ? directory :
								 "/root") < 0)
		return -ENOMEM;
	r = add_all(env, base_env, ARRAY_LEN(base_env));
	if (r == 0)
		r = env_set(env, home);
	if (r == 0 && own)
		r = add_all(env, own_env, ARRAY_LEN(own_env));
	if (r == 0 && own && !config->careless)
		r = add_all(env, careful_env, ARRAY_LEN(careful_env));
	for (; more && *more && r == 0; more++)
		r = env_set(env, *more);
	c->directory[own] = directory                  ? directory :
			    !own                       ? "/" :
			    config->home               ? config->home :
							 INIT_OWN_HOME;
	return r;
}

static int context_add(struct contexts *contexts, const struct config_context *config)
{
	struct context *c = calloc(1, sizeof(*c)), **bucket;
	int r;

	if (!c)
		return -ENOMEM;
	c->config = config;
	r = build_env(c, false);
	if (r == 0)
		r = build_env(c, true);
	if (r < 0) {
		context_free(c);
		return r;
	}
	c->number = ++contexts->last_number;
	bucket = &contexts->buckets[bucket_of(config->name)];
	c->next = *bucket;
	*bucket = c;
	bucket = &contexts->by_number[c->number % BUCKETS];
	c->next_by_number = *bucket;
	*bucket = c;
	contexts->n++;
	return 0;
}

int contexts_open(const struct config *config, uint64_t above, struct contexts **ret)
{
	struct contexts *contexts = calloc(1, sizeof(*contexts));
	int r = 0;

	if (!contexts)
		return -ENOMEM;
	contexts->last_number = above;
	for (size_t i = 0; i < config->n_contexts && r == 0; i++)
		r = context_add(contexts, &config->contexts[i]);
	if (r < 0) {
		contexts_free(contexts);
		return r;
	}
	*ret = contexts;
	return 0;
}

void contexts_free(struct contexts *contexts)
{
	if (!contexts)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (contexts->buckets[i]) {
			struct context *c = contexts->buckets[i];

			contexts->buckets[i] = c->next;
			context_free(c);
		}
	free(contexts);
}

struct context *context_find(struct contexts *contexts, const char *name)
{
	struct context *c = contexts->buckets[bucket_of(name)];

	while (c && strcmp(c->config->name, name) != 0)
		c = c->next;
	return c;
}

struct context *context_by_number(struct contexts *contexts, uint64_t number)
{
	struct context *c = contexts->by_number[number % BUCKETS];

	while (c && c->number != number)
		c = c->next_by_number;
	return c;
}

size_t contexts_count(const struct contexts *contexts)
{
	return contexts->n;
}

void contexts_for_each(struct contexts *contexts, void (*fn)(struct context *c, void *data),
		       void *data)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct context *c = contexts->buckets[i]; c; c = c->next)
			fn(c, data);
}

/* Whether one of over has the key of kv. */
static bool overridden(const char *kv, char *const *over)
{
	size_t n = strcspn(kv, "=") + 1;

	for (; over && *over; over++)
		if (strncmp(*over, kv, n) == 0)
			return true;
	return false;
}

int context_env_build(char *const *base, char *const *over, char ***ret_vector, size_t *ret_size)
{
	size_t n = strv_len(base) + strv_len(over), size = (n + 1) * sizeof(char *);
	char **vector, **out, *text;

	for (char *const *s = base; s && *s; s++)
		size += strlen(*s) + 1;
	for (char *const *s = over; s && *s; s++)
		size += strlen(*s) + 1;
	vector = out = calloc(1, size);
	if (!vector)
		return -ENOMEM;
	text = (char *)(vector + n + 1);
	for (char *const *s = base; s && *s; s++)
		if (!overridden(*s, over)) {
			*out++ = text;
			text = (char *)mempcpy(text, *s, strlen(*s) + 1);
		}
	for (char *const *s = over; s && *s; s++) {
		*out++ = text;
		text = (char *)mempcpy(text, *s, strlen(*s) + 1);
	}
	*ret_vector = vector;
	*ret_size = size;
	return 0;
}
