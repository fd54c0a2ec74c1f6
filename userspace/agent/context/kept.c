/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/context/kept.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "agent/context/state.h"
#include "base/log.h"

#define NAME "contexts"
#define NAME_NEW "contexts.new"
/* Written anew when it is twice as long as it would be then, and so much. */
#define SLACK (1024u * 1024)
#define RETRY_NS NSEC_PER_SEC

struct kept {
	struct contexts *contexts;
	const struct config *config;
	int dir, file; /* file -EBADF: nothing is kept */
	const char *why;
	bool possible; /* another try may succeed */
	uint64_t retry_ns;
	uint64_t bytes, whole; /* of the file now, and as it was when it was written anew */
	unsigned generation;   /* how often that was: settings of another one are not in the file */
	uint64_t last_settings;
};

/* --- Writing ------------------------------------------------------------------------------ */

static void give_up(struct kept *k, int err)
{
	if (!k->why)
		log_error("contexts are not kept for the next agent: %s", strerror(err));
	close_fd(&k->file);
	/* What it says is not so any more. */
	(void)unlinkat(k->dir, NAME, 0);
	(void)unlinkat(k->dir, NAME_NEW, 0);
	k->why = "the state directory takes no more";
	k->retry_ns = now_ns() + RETRY_NS;
}

/* All of b, which it wipes. */
static int append(struct kept *k, struct jbuf *b)
{
	int r = b->failed ? -ENOMEM : write_all(k->file, b->data, b->len);

	k->bytes += b->len;
	jbuf_free(b);
	return r;
}

/* As long as no line of the file has them. */
static void write_settings(struct kept *k, struct context_settings *s, struct jbuf *b)
{
	if (s->kept_in == k->generation)
		return;
	s->kept_in = k->generation;
	s->kept_as = ++k->last_settings;
	jbuf_open(b, '{');
	jbuf_add_unsigned(b, "settings", s->kept_as);
	jbuf_add_open(b, "values", '{');
	context_write_values(&s->values, b);
	jbuf_close(b, '}');
	jbuf_close(b, '}');
	jbuf_newline(b);
}

/* "change": {…}; false: there is none. */
static bool write_change(const struct kept *k, const struct context *c, struct jbuf *b)
{
	const struct config_context *from = config_find_context(k->config, c->name);
	size_t before;

	jbuf_add_open(b, "change", '{');
	before = b->len;
	if (from)
		context_write_change(from, &c->settings->values, b);
	jbuf_close(b, '}');
	return b->len > before + 1;
}

static void write_state(const struct context *c, struct jbuf *b)
{
	void *packet = NULL;
	size_t n = 0;

	if (!c->state)
		return;
	if (context_state_packet(c, &packet, &n) < 0)
		b->failed = true;
	jbuf_key(b, "state");
	jbuf_base64(b, packet, n);
	free_wiped(packet, n);
}

static void write_gone(const struct context *c, struct jbuf *b)
{
	jbuf_open(b, '{');
	jbuf_add_text(b, "name", c->name);
	jbuf_add_bool(b, "gone", true);
	jbuf_close(b, '}');
	jbuf_newline(b);
}

static void write_context(struct kept *k, struct context *c, struct jbuf *b)
{
	bool needed = true;
	size_t start;

	if (!c->configured)
		write_settings(k, c->settings, b);
	start = b->len;
	jbuf_open(b, '{');
	jbuf_add_text(b, "name", c->name);
	if (c->configured) {
		needed = write_change(k, c, b) || c->state;
	} else {
		jbuf_add_bool(b, "session", c->session);
		jbuf_add_unsigned(b, "createdAt", c->created_unix_ms);
		jbuf_add_unsigned(b, "settings", c->settings->kept_as);
	}
	if (needed)
		write_state(c, b);
	jbuf_close(b, '}');
	if (!needed) { /* it is as the configuration says */
		b->len = start;
		b->comma = false;
		if (c->kept)
			write_gone(c, b);
	} else {
		jbuf_newline(b);
	}
	c->kept = needed;
}

struct writing {
	struct kept *k;
	int r;
};

static void write_one(struct context *c, void *data)
{
	struct writing *w = data;
	struct jbuf b = { 0 };

	if (w->r < 0 || c->ending)
		return;
	c->kept = false;
	write_context(w->k, c, &b);
	w->r = append(w->k, &b);
}

/* Beside the old one, which it then replaces at once. */
static int write_anew(struct kept *k)
{
	struct writing w = { .k = k };
	int old = k->file;

	k->generation++;
	k->bytes = k->last_settings = 0;
	k->file = openat(k->dir, NAME_NEW,
			 O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (k->file < 0)
		w.r = -errno;
	else
		contexts_for_each(k->contexts, write_one, &w);
	if (w.r == 0 && renameat(k->dir, NAME_NEW, k->dir, NAME) < 0)
		w.r = -errno;
	close_fd(&old);
	if (w.r < 0) {
		give_up(k, -w.r);
		return w.r;
	}
	k->whole = k->bytes;
	k->why = NULL;
	return 0;
}

/* Whether there is a file to append to. What was not kept for a while is then in it already: false as well. */
static bool is_ready(struct kept *k)
{
	if (!k || !k->possible)
		return false;
	if (k->file < 0) {
		if (now_ns() >= k->retry_ns)
			(void)write_anew(k);
		return false;
	}
	if (k->bytes <= 2 * k->whole + SLACK)
		return true;
	(void)write_anew(k);
	return false;
}

void kept_begin(struct kept *k)
{
	if (k->possible)
		(void)write_anew(k);
}

/* The same of a change: where it fails, nothing is kept any more. */
static void append_change(struct kept *k, struct jbuf *b)
{
	int r = append(k, b);

	if (r < 0)
		give_up(k, -r);
}

void kept_put(struct kept *k, struct context *c)
{
	struct jbuf b = { 0 };

	if (!is_ready(k) || c->ending)
		return;
	write_context(k, c, &b);
	append_change(k, &b);
}

void kept_drop(struct kept *k, struct context *c)
{
	struct jbuf b = { 0 };

	if (!is_ready(k) || !c->kept)
		return;
	c->kept = false;
	write_gone(c, &b);
	append_change(k, &b);
}

const char *kept_not(const struct kept *k)
{
	return k ? k->why : "it was not asked for";
}

/* --- Reading ------------------------------------------------------------------------------ */

/* Its place in `all` is that of the first line of its name. 0 or -EINVAL. */
static int take_line(const char *text, size_t n, json_t *settings, json_t *all)
{
	struct refusal e;
	const char *name;
	char number[24];
	json_t *line;
	int r = json_parse(text, n, &line, &e);

	if (r < 0)
		return r;
	name = json_string_value(json_object_get(line, "name"));
	if (name && json_is_true(json_object_get(line, "gone"))) {
		(void)json_object_del(all, name);
	} else if (name) {
		r = json_object_set(all, name, line);
	} else {
		snprintf(number, sizeof(number), "%lld",
			 (long long)json_integer_value(json_object_get(line, "settings")));
		r = json_object_set(settings, number, json_object_get(line, "values"));
	}
	json_decref(line);
	return r < 0 ? -EINVAL : 0;
}

static void hand_over(const char *name, const json_t *line, const json_t *settings,
		      void (*fn)(const struct kept_context *c, void *data), void *data)
{
	const json_t *state = json_object_get(line, "state");
	struct kept_context c = {
		.name = name,
		.session = json_is_true(json_object_get(line, "session")),
		.created_unix_ms = (uint64_t)json_integer_value(json_object_get(line, "createdAt")),
		.settings = (uint64_t)json_integer_value(json_object_get(line, "settings")),
		.values = json_object_get(line, "change"),
	};
	size_t size = json_string_length(state) + 1;
	char *packet = malloc(size), number[24];

	if (c.settings > 0) {
		snprintf(number, sizeof(number), "%llu", (unsigned long long)c.settings);
		c.values = json_object_get(settings, number);
	}
	if (packet && state &&
	    base64_decode(json_string_value(state), size - 1, packet, &c.state_len) == 0)
		c.state = packet;
	if (c.values)
		fn(&c, data);
	free_wiped(packet, size);
}

/* All of the file in one piece, which can be wiped. 0 or -errno. */
static int read_all(int file, char **ret, size_t *ret_size)
{
	struct stat st;
	size_t n = 0;
	ssize_t more;
	char *text;

	if (fstat(file, &st) < 0)
		return -errno;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	while (n < (size_t)st.st_size &&
	       (more = read(file, text + n, (size_t)st.st_size - n)) != 0) {
		if (more < 0 && errno != EINTR) {
			more = -errno;
			free_wiped(text, n);
			return (int)more;
		}
		n += more > 0 ? (size_t)more : 0;
	}
	*ret = text;
	*ret_size = n;
	return 0;
}

int kept_read(struct kept *k, void (*fn)(const struct kept_context *c, void *data), void *data,
	      unsigned *ret_broken)
{
	json_t *settings = json_object(), *all = json_object(), *line;
	char *text = NULL, *end;
	const char *name;
	size_t size = 0;
	int r = settings && all ? 0 : -ENOMEM;

	*ret_broken = 0;
	if (r == 0 && k->file >= 0)
		r = read_all(k->file, &text, &size);
	for (char *at = text; r == 0 && at && (end = memchr(at, '\n', size - (size_t)(at - text)));
	     at = end + 1)
		*ret_broken += take_line(at, (size_t)(end - at), settings, all) < 0;
	free_wiped(text, size);
	json_object_foreach(all, name, line)
		if (r == 0)
			hand_over(name, line, settings, fn, data);
	json_decref(all);
	json_decref(settings);
	return r;
}

/* --- From beginning to end ----------------------------------------------------------------- */

static int open_file(struct kept *k, const char *directory, struct failure *f)
{
	struct stat st;

	k->file = openat(k->dir, NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (k->file < 0)
		return errno == ENOENT ? 0 : fail(f, errno, "cannot open %s/" NAME, directory);
	if (fstat(k->file, &st) < 0)
		return fail(f, errno, "cannot look at %s/" NAME, directory);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 077)
		return fail(f, EINVAL, "%s/" NAME " is not the agent's alone", directory);
	return 0;
}

int kept_open(const char *directory, bool covered, struct contexts *contexts,
	      const struct config *config, struct kept **ret, struct failure *f)
{
	struct kept *k = calloc(1, sizeof(*k));
	struct statfs fs;
	int r = 0;

	if (!k)
		return fail(f, ENOMEM, "cannot keep contexts");
	json_setup();
	k->contexts = contexts;
	k->config = config;
	k->file = -EBADF;
	k->dir = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (k->dir < 0 || fstatfs(k->dir, &fs) < 0)
		r = fail(f, errno, "cannot open %s", directory);
	k->possible = r == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
	if (!k->possible)
		k->why = "state_dir is on no tmpfs, and variables are not written to a disk";
	if (!covered) {
		k->possible = false;
		k->why = "user code reaches state_dir";
	}
	if (k->possible)
		r = open_file(k, directory, f);
	if (r < 0) {
		kept_close(k);
		return r;
	}
	*ret = k;
	return 0;
}

static void count(struct context *c, void *data)
{
	*(size_t *)data += c->kept;
}

void kept_close(struct kept *k)
{
	size_t n = 0;

	if (!k)
		return;
	contexts_for_each(k->contexts, count, &n);
	if (k->file >= 0 && k->generation > 0 && n == 0)
		(void)unlinkat(k->dir, NAME, 0);
	close_fd(&k->file);
	close_fd(&k->dir);
	free(k);
}
