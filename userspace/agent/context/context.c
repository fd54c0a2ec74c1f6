/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/context/context.h"

#define BUCKETS 1024u

/* The base environment, whole. HOME becomes the context's directory where it has one. */
static const char *const base_env[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
	"USER=root",
	"LANG=C.UTF-8",
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
	strv_free_wiped(c->env);
	free(c);
}

static int build_env(struct context *c)
{
	char *const *more = c->config->env;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(base_env) && r == 0; i++)
		r = env_set(&c->env, base_env[i]);
	if (r == 0 && strcmp(c->directory, "/") != 0) {
		PTR_OWNED char *home = NULL;

		if (asprintf(&home, "HOME=%s", c->directory) < 0)
			return -ENOMEM;
		r = env_set(&c->env, home);
	}
	for (; more && *more && r == 0; more++)
		r = env_set(&c->env, *more);
	return r;
}

static int context_add(struct contexts *contexts, const struct config_context *config)
{
	struct context *c = calloc(1, sizeof(*c)), **bucket;
	int r;

	if (!c)
		return -ENOMEM;
	c->config = config;
	c->directory = config->directory ? config->directory : "/";
	r = build_env(c);
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
