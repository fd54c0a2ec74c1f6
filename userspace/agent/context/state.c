/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/context/state.h"

#include "command/command.h"

/* Entries as they come: a letter, and NAME=VALUE or NAME; wiped when they go. */
struct context_state {
	char *directory; /* NULL: never left */
	char **entries;  /* by name, each once */
	size_t bytes;
};

/* --- What comes in ------------------------------------------------------------------------- */

static size_t name_len(const char *entry)
{
	return strcspn(entry + 1, "=");
}

/* By name; "=" is smaller than whatever stands in one. */
static int compare_names(const char *a, const char *b)
{
	size_t i = 1;

	while (a[i] == b[i] && a[i] != '=' && a[i] != '\0')
		i++;
	return (a[i] == '=' ? 0 : (unsigned char)a[i]) - (b[i] == '=' ? 0 : (unsigned char)b[i]);
}

/* Of n bytes, without the NUL. */
static bool is_entry(const char *entry, size_t n)
{
	bool has_value = strchr(entry, '=');

	switch ((enum run_entry)entry[0]) {
	case RUN_DIRECTORY:
		return entry[1] == '/' && n <= RUN_PATH_MAX;
	case RUN_EXPORTED:
		return command_name_valid(entry + 1, name_len(entry));
	case RUN_VARIABLE:
		return has_value && command_name_valid(entry + 1, name_len(entry));
	case RUN_UNSET:
		return !has_value && command_name_valid(entry + 1, n - 1);
	}
	return false;
}

/* Whether it is what it says it is, to the last byte. */
static bool is_packet(const struct run_packet *head, const char *entries, size_t n)
{
	size_t at = 0, names = 0, count = 0;

	if (head->magic != RUN_MAGIC || head->len != n || n > RUN_ENTRIES_MAX ||
	    (n > 0 && entries[n - 1] != '\0'))
		return false;
	for (; at < n; count++) {
		size_t len = strlen(entries + at);

		if (!is_entry(entries + at, len))
			return false;
		names += entries[at] != RUN_DIRECTORY;
		at += len + 1;
	}
	return count == head->count && names <= RUN_STATE_NAMES_MAX && count - names <= 1;
}

/* --- What becomes of it -------------------------------------------------------------------- */

static size_t bytes_of(const struct context_state *s)
{
	size_t n = s->directory ? strlen(s->directory) + 1 : 0;

	for (char *const *e = s->entries; e && *e; e++)
		n += strlen(*e) + 1 + sizeof(*e);
	return n;
}

static void state_free(struct context_state *s)
{
	if (!s)
		return;
	strv_free_wiped(s->entries);
	if (s->directory)
		free_wiped(s->directory, strlen(s->directory));
	free(s);
}

/* Whether the settings have a variable of that name: else what is not there need not be taken away. */
static bool is_set(const struct context *c, const char *entry)
{
	size_t n = name_len(entry);

	for (char *const *kv = c->settings->env[0]; kv && *kv; kv++)
		if (strncmp(*kv, entry + 1, n) == 0 && (*kv)[n] == '=')
			return true;
	return false;
}

struct ranked {
	const char *entry;
	size_t rank; /* of several with a name the highest stays */
};

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	int by_name = compare_names(x->entry, y->entry);

	return by_name ? by_name : (x->rank > y->rank) - (x->rank < y->rank);
}

/* Copies the n entries that stay. 0 or -ENOMEM. */
static int keep(const struct context *c, struct ranked *all, size_t n, struct context_state *s)
{
	size_t used = 0;

	qsort(all, n, sizeof(*all), compare_ranked);
	s->entries = calloc(n + 1, sizeof(*s->entries));
	if (!s->entries)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const char *entry = all[i].entry;

		if (i + 1 < n && compare_names(entry, all[i + 1].entry) == 0)
			continue;
		if (entry[0] == RUN_UNSET && !is_set(c, entry))
			continue;
		s->entries[used] = strdup(entry);
		if (!s->entries[used++])
			return -ENOMEM;
	}
	return 0;
}

/* The old ones that the packet does not name, and the packet's. 0, -ENOMEM, or -E2BIG. */
static int merge(const struct context *c, const struct run_packet *head, const char *entries,
		 struct context_state *s)
{
	const struct context_state *old = c->state;
	const char *directory = old ? old->directory : NULL;
	struct ranked *all PTR_OWNED =
		calloc((old ? strv_len(old->entries) : 0) + head->count, sizeof(*all));
	size_t n = 0, names, bytes = 0;

	if (!all)
		return -ENOMEM;
	for (char *const *e = old ? old->entries : NULL; e && *e; e++, n++)
		all[n] = (struct ranked){ *e, n };
	for (size_t at = 0; at < head->len; at += strlen(entries + at) + 1) {
		if (entries[at] == RUN_DIRECTORY) {
			directory = entries + at + 1;
			continue;
		}
		all[n] = (struct ranked){ entries + at, n };
		n++;
	}
	if (keep(c, all, n, s) < 0 || (directory && !(s->directory = strdup(directory))))
		return -ENOMEM;
	for (names = 0; s->entries[names]; names++)
		bytes += strlen(s->entries[names]) + 1;
	s->bytes = bytes_of(s);
	return names > RUN_STATE_NAMES_MAX || bytes > RUN_STATE_BYTES_MAX ? -E2BIG : 0;
}

/* Takes s over, or frees it. */
static enum context_state_fate put(struct contexts *contexts, struct context *c,
				   struct context_state *s)
{
	size_t *total = contexts_state_total(contexts), old = c->state ? c->state->bytes : 0;

	if (*total - old + s->bytes > CONTEXTS_STATE_MAX && s->bytes > old) {
		state_free(s);
		return CONTEXT_STATE_TOO_LARGE;
	}
	*total = *total - old + s->bytes;
	state_free(c->state);
	c->state = s;
	return CONTEXT_STATE_TAKEN;
}

enum context_state_fate context_state_apply(struct contexts *contexts, struct context *c,
					    const void *packet, size_t n)
{
	struct run_packet head;
	struct context_state *s;
	const char *entries = (const char *)packet + sizeof(head);
	int r;

	if (n < sizeof(head))
		return CONTEXT_STATE_NOT_RETURNED;
	memcpy(&head, packet, sizeof(head));
	if (!is_packet(&head, entries, n - sizeof(head)))
		return CONTEXT_STATE_NOT_RETURNED;
	if (head.says == RUN_SAYS_TOO_LARGE)
		return CONTEXT_STATE_TOO_LARGE;
	if (head.says != RUN_SAYS_STATE)
		return CONTEXT_STATE_NOT_RETURNED;
	if (head.count == 0)
		return CONTEXT_STATE_TAKEN;
	s = calloc(1, sizeof(*s));
	r = s ? merge(c, &head, entries, s) : -ENOMEM;
	if (r == 0)
		return put(contexts, c, s);
	state_free(s);
	return r == -E2BIG ? CONTEXT_STATE_TOO_LARGE : CONTEXT_STATE_NOT_RETURNED;
}

bool context_state_reset(struct contexts *contexts, struct context *c)
{
	if (!c->state)
		return false;
	*contexts_state_total(contexts) -= c->state->bytes;
	state_free(take_ptr(c->state));
	return true;
}

int context_state_packet(const struct context *c, void **ret, size_t *ret_n)
{
	const struct context_state *s = c->state;
	struct run_packet head = { .magic = RUN_MAGIC, .says = RUN_SAYS_STATE };
	char *packet, *at;

	head.len = s->directory ? (uint32_t)strlen(s->directory) + 2 : 0;
	for (char *const *e = s->entries; *e; e++, head.count++)
		head.len += (uint32_t)strlen(*e) + 1;
	head.count += s->directory != NULL;
	*ret = packet = malloc(sizeof(head) + head.len);
	if (!packet)
		return -ENOMEM;
	at = (char *)mempcpy(packet, &head, sizeof(head));
	if (s->directory) {
		*at++ = RUN_DIRECTORY;
		at = (char *)mempcpy(at, s->directory, strlen(s->directory) + 1);
	}
	for (char *const *e = s->entries; *e; e++)
		at = (char *)mempcpy(at, *e, strlen(*e) + 1);
	*ret_n = sizeof(head) + head.len;
	return 0;
}

/* --- What is made of it -------------------------------------------------------------------- */

const char *context_state_directory(const struct context *c)
{
	return c->state ? c->state->directory : NULL;
}

static int compare_key(const void *kv, const void *entry)
{
	return compare_names((const char *)kv - 1, *(char *const *)entry);
}

/* The settings' variable, unless an entry has its name. */
static bool is_taken(const struct context_state *s, size_t n, const char *kv)
{
	return bsearch(kv, s->entries, n, sizeof(*s->entries), compare_key);
}

int context_state_env(const struct context *c, char ***ret_vector, size_t *ret_size)
{
	char *const *base = c->settings->env[0];
	size_t n = strv_len(c->state->entries), used = 0;
	const char **all = calloc(strv_len(base) + n + 1, sizeof(*all));
	int r;

	if (!all)
		return -ENOMEM;
	for (; base && *base; base++)
		if (!is_taken(c->state, n, *base))
			all[used++] = *base;
	for (char *const *e = c->state->entries; e && *e; e++)
		if ((*e)[0] == RUN_EXPORTED && strchr(*e, '='))
			all[used++] = *e + 1;
	r = context_env_build(NULL, (char *const *)all, ret_vector, ret_size);
	free(all);
	return r;
}

/* Whether only a command string can have it. */
static bool is_unseen(const char *entry)
{
	return entry[0] == RUN_VARIABLE || (entry[0] == RUN_EXPORTED && !strchr(entry, '='));
}

int context_state_entries(const struct context *c, const char *directory, bool with_state,
			  char **ret, size_t *ret_n)
{
	char *const *entries = with_state && c->state ? c->state->entries : NULL;
	size_t size = strlen(directory) + 2;
	char *at;

	for (char *const *e = entries; e && *e; e++)
		size += is_unseen(*e) ? strlen(*e) + 1 : 0;
	*ret = at = malloc(size);
	if (!at)
		return -ENOMEM;
	*at++ = RUN_DIRECTORY;
	at = (char *)mempcpy(at, directory, strlen(directory) + 1);
	for (char *const *e = entries; e && *e; e++)
		if (is_unseen(*e))
			at = (char *)mempcpy(at, *e, strlen(*e) + 1);
	*ret_n = size;
	return 0;
}

/* --- What is told of it -------------------------------------------------------------------- */

/* An object of the variables of one kind; null: that would be exported, if it were set. */
static void write_variables(const struct context_state *s, const char *key, enum run_entry kind,
			    struct jbuf *b)
{
	jbuf_add_open(b, key, '{');
	for (char *const *e = s ? s->entries : NULL; e && *e; e++) {
		const char *value = strchr(*e, '=');
		char *name PTR_OWNED = NULL;

		if ((*e)[0] != (char)kind)
			continue;
		name = strndup(*e + 1, name_len(*e));
		if (!name) {
			b->failed = true;
			break;
		}
		jbuf_key(b, name);
		if (value)
			jbuf_bytes(b, value + 1, strlen(value + 1));
		else
			jbuf_null(b);
	}
	jbuf_close(b, '}');
}

void context_write_state(const struct context *c, struct jbuf *b)
{
	const struct context_state *s = c->state;

	jbuf_open(b, '{');
	jbuf_key(b, "directory");
	if (s && s->directory)
		jbuf_bytes(b, s->directory, strlen(s->directory));
	else
		jbuf_null(b);
	write_variables(s, "env", RUN_EXPORTED, b);
	write_variables(s, "variables", RUN_VARIABLE, b);
	jbuf_add_open(b, "unset", '[');
	for (char *const *e = s ? s->entries : NULL; e && *e; e++)
		if ((*e)[0] == RUN_UNSET)
			jbuf_text(b, *e + 1);
	jbuf_close(b, ']');
	jbuf_close(b, '}');
}
