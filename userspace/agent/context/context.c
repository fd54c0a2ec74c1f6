/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/context/context.h"

#include <sys/random.h>
#include <time.h>

#include "agent/config/value.h"
#include "agent/context/state.h"

#define BUCKETS_MIN 64u

struct contexts {
	uint64_t last_number;
	size_t n_named, n; /* n: also those that are gone */
	size_t env_total, state_total;
	uint32_t seed;
	size_t buckets; /* of both tables, a power of two; grows with n */
	struct context **by_name, **by_number;
	struct list all;
};

/* FNV-1a from a start that nobody knows: the ids of sessions may be their users' choice. */
static size_t bucket_of(const struct contexts *contexts, const char *name)
{
	uint32_t hash = 2166136261u ^ contexts->seed;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return (hash ^ hash >> 16) & (contexts->buckets - 1);
}

static void enter_number(struct contexts *contexts, struct context *c)
{
	struct context **bucket = &contexts->by_number[c->number & (contexts->buckets - 1)];

	c->next_by_number = *bucket;
	*bucket = c;
}

static void enter_name(struct contexts *contexts, struct context *c)
{
	struct context **bucket = &contexts->by_name[bucket_of(contexts, c->name)];

	c->next = *bucket;
	*bucket = c;
}

static int grow(struct contexts *contexts)
{
	size_t buckets = contexts->buckets ? contexts->buckets * 2 : BUCKETS_MIN;
	struct context **by_name, **by_number;

	if (contexts->n < contexts->buckets)
		return 0;
	by_name = calloc(buckets, sizeof(struct context *));
	by_number = calloc(buckets, sizeof(struct context *));
	if (!by_name || !by_number) {
		free(by_name);
		free(by_number);
		return -ENOMEM;
	}
	free(contexts->by_name);
	free(contexts->by_number);
	contexts->by_name = by_name;
	contexts->by_number = by_number;
	contexts->buckets = buckets;
	list_for_each(pos, &contexts->all) {
		struct context *c = list_entry(pos, struct context, link);

		enter_number(contexts, c);
		if (!c->gone)
			enter_name(contexts, c);
	}
	return 0;
}

static void destroy(struct contexts *contexts, struct context *c)
{
	list_remove(&c->link);
	list_remove(&c->idle);
	context_settings_unref(c->settings, &contexts->env_total);
	(void)context_state_reset(contexts, c);
	free(c->name);
	free(c);
}

int context_add(struct contexts *contexts, const char *name, struct context_settings *settings,
		struct context **ret)
{
	struct context *c;
	struct timespec now;
	int r = grow(contexts);

	if (r < 0)
		return r;
	if (context_find(contexts, name))
		return -EEXIST;
	if (contexts->n_named >= CONFIG_CONTEXTS_MAX)
		return -EUSERS;
	c = calloc(1, sizeof(*c));
	if (!c || !(c->name = strdup(name))) {
		free(c);
		return -ENOMEM;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	c->created_unix_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	c->number = ++contexts->last_number;
	c->settings = settings;
	if (config_value_is_name(name))
		snprintf(c->place, sizeof(c->place), "%s", name);
	else
		snprintf(c->place, sizeof(c->place), "session_%llu", (unsigned long long)c->number);
	list_init(&c->execs);
	list_init(&c->idle);
	list_init(&c->waiters);
	list_append(&contexts->all, &c->link);
	enter_number(contexts, c);
	enter_name(contexts, c);
	contexts->n++;
	contexts->n_named++;
	*ret = c;
	return 0;
}

void context_unname(struct contexts *contexts, struct context *c)
{
	struct context **link = &contexts->by_name[bucket_of(contexts, c->name)];

	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	c->gone = true;
	contexts->n_named--;
}

void context_free(struct contexts *contexts, struct context *c)
{
	struct context **link = &contexts->by_number[c->number & (contexts->buckets - 1)];

	if (!c->gone)
		context_unname(contexts, c);
	while (*link != c)
		link = &(*link)->next_by_number;
	*link = c->next_by_number;
	contexts->n--;
	destroy(contexts, c);
}

static int add_configured(struct contexts *contexts, const struct config_context *config)
{
	struct context_settings *settings;
	struct context *c;
	int r = context_settings_make(config, &contexts->env_total, &settings);

	if (r < 0)
		return r;
	r = context_add(contexts, config->name, settings, &c);
	if (r < 0) {
		context_settings_unref(settings, &contexts->env_total);
		return r;
	}
	c->show = config->show;
	c->configured = true;
	return 0;
}

int contexts_open(const struct config *config, uint64_t above, struct contexts **ret)
{
	struct contexts *contexts = calloc(1, sizeof(*contexts));
	int r = 0;

	if (!contexts)
		return -ENOMEM;
	list_init(&contexts->all);
	contexts->last_number = above;
	if (getrandom(&contexts->seed, sizeof(contexts->seed), 0) != sizeof(contexts->seed))
		r = errno ? -errno : -EIO;
	for (size_t i = 0; i < config->n_contexts && r == 0; i++)
		r = add_configured(contexts, &config->contexts[i]);
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
	while (!list_empty(&contexts->all))
		destroy(contexts, list_entry(contexts->all.next, struct context, link));
	free(contexts->by_name);
	free(contexts->by_number);
	free(contexts);
}

size_t *contexts_env_total(struct contexts *contexts)
{
	return &contexts->env_total;
}

size_t *contexts_state_total(struct contexts *contexts)
{
	return &contexts->state_total;
}

struct context *context_find(struct contexts *contexts, const char *name)
{
	struct context *c = contexts->by_name[bucket_of(contexts, name)];

	while (c && strcmp(c->name, name) != 0)
		c = c->next;
	return c;
}

struct context *context_by_number(struct contexts *contexts, uint64_t number)
{
	struct context *c = contexts->by_number[number & (contexts->buckets - 1)];

	while (c && c->number != number)
		c = c->next_by_number;
	return c;
}

size_t contexts_count(const struct contexts *contexts)
{
	return contexts->n_named;
}

void contexts_for_each(struct contexts *contexts, void (*fn)(struct context *c, void *data),
		       void *data)
{
	list_for_each_safe(pos, &contexts->all) {
		struct context *c = list_entry(pos, struct context, link);

		if (!c->gone)
			fn(c, data);
	}
}
