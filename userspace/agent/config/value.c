/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/value.h"

#include <ctype.h>
#include <limits.h>
#include <strings.h>
#include <sys/capability.h>

#define SIZE_LIMIT_MAX (UINT64_C(1) << 60)
#define PIDS_LIMIT_MAX 4194304u /* PID_MAX_LIMIT of 64-bit kernels */
#define CPUS_LIMIT_MAX 8192u
#define SECONDS_MAX 86400u
#define SOCKET_NAME_MAX sizeof(((struct moat_socket_name *)NULL)->path)
#define MAJOR_MAX 4095u /* 12 bits, linux/kdev_t.h */

static const char out_of_memory[] = "out of memory";

const char *config_value_choice(const char *text, const struct config_choice *choices,
				const char *refusal, int *ret_value)
{
	for (; choices->name; choices++)
		if (strcmp(text, choices->name) == 0) {
			*ret_value = choices->value;
			return NULL;
		}
	return refusal;
}

const char *config_value_bool(const char *text, bool *ret_value)
{
	static const struct config_choice choices[] = { { "yes", 1 }, { "no", 0 }, { NULL, 0 } };
	int value;
	const char *why = config_value_choice(text, choices, "must be yes or no", &value);

	if (!why)
		*ret_value = value;
	return why;
}

bool config_value_is_name(const char *text)
{
	size_t n = strlen(text);

	if (n < 1 || n > 32 || text[0] == '-')
		return false;
	return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

/* True when some component of path is "." or "..". */
static bool has_dots(const char *path)
{
	for (const char *p = path; (p = strchr(p, '/')); p++)
		if (p[1] == '.' && (p[2] == '/' || p[2] == '\0' ||
				    (p[2] == '.' && (p[3] == '/' || p[3] == '\0'))))
			return true;
	return false;
}

const char *config_value_context_name(const char *text)
{
	if (!config_value_is_name(text))
		return "must be 1 to 32 of a-z, 0-9 and -, and not begin with -";
	return strncmp(text, CONFIG_SESSION_PREFIX, strlen(CONFIG_SESSION_PREFIX)) == 0 ?
		       "must not begin with " CONFIG_SESSION_PREFIX ": such contexts are sessions" : NULL;
}

const char *config_value_path(const char *text, char **path)
{
	size_t n = strlen(text);
	char *copy;

	if (text[0] != '/')
		return "must be an absolute path";
	if (has_dots(text))
		return "must not have . or .. in the path";
	if (n >= PATH_MAX)
		return "is too long for a path";
	copy = malloc(n + 1);
	if (!copy)
		return out_of_memory;
	n = 0;
	for (const char *p = text; *p; p++)
		if (*p != '/' || (p[1] != '/' && (p[1] || n == 0)))
			copy[n++] = *p;
	copy[n] = '\0';
	free(*path);
	*path = copy;
	return NULL;
}

const char *config_value_port(const char *text, struct config_port *ret_port)
{
	unsigned port = 0;
	const char *p = text;

	for (; isdigit((unsigned char)*p) && port <= UINT16_MAX; p++)
		port = port * 10 + (unsigned)(*p - '0');
	if (p == text || port < 1 || port > UINT16_MAX ||
	    (*p && strcmp(p, "/tcp") != 0 && strcmp(p, "/udp") != 0))
		return "must be 1 to 65535, with /udp behind it for UDP";
	ret_port->port = (uint16_t)port;
	ret_port->udp = strcmp(p, "/udp") == 0;
	return NULL;
}

const char *config_value_env(const char *text, char ***env)
{
	size_t key = strcspn(text, "= \t");

	/* The kernel knows no other rule; a blank is a slip of whoever wrote the file. */
	if (key == 0 || text[key] != '=')
		return "must be KEY=VALUE, without blanks in KEY";
	return env_set(env, text) < 0 ? out_of_memory : NULL;
}

const char *config_value_add_path(const char *text, size_t max, char ***paths)
{
	PTR_OWNED char *path = NULL;
	const char *why = config_value_path(text, &path);

	if (!why && *paths && strv_len(*paths) == max)
		return "is one too many";
	return !why && strv_append(paths, path) < 0 ? out_of_memory : why;
}

/* Digits up to most; NULL where there are none, or too many. */
static const char *take_number(const char *text, uint64_t most, uint64_t *ret_number)
{
	uint64_t n = 0;
	const char *p = text;

	for (; isdigit((unsigned char)*p) && n <= most; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	if (p == text || n > most)
		return NULL;
	*ret_number = n;
	return p;
}

const char *config_value_device(const char *text, struct config_device *ret_device)
{
	static const char refusal[] = "must be MAJOR:MINOR, MAJOR:* or an absolute path";
	struct config_device device = { 0 };
	uint64_t major, minor = MOAT_MINOR_ANY;
	const char *p;

	if (text[0] == '/') {
		const char *why = config_value_path(text, &device.path);

		if (!why)
			*ret_device = device;
		return why;
	}
	p = take_number(text, MAJOR_MAX, &major);
	if (!p || *p++ != ':')
		return refusal;
	p = strcmp(p, "*") == 0 ? "" : take_number(p, MOAT_MINOR_ANY - 1, &minor);
	if (!p || *p)
		return refusal;
	device.major = (uint32_t)major;
	device.minor = (uint32_t)minor;
	*ret_device = device;
	return NULL;
}

const char *config_value_socket(const char *text, char **name)
{
	char *copy;

	if (text[0] == '/')
		return strlen(text) >= SOCKET_NAME_MAX ? "is too long for a unix socket" :
							 config_value_path(text, name);
	if (text[0] != '@' || !text[1])
		return "must be the absolute path or the @NAME of a unix socket";
	if (strlen(text) > SOCKET_NAME_MAX)
		return "is too long for a unix socket";
	copy = strdup(text);
	if (!copy)
		return out_of_memory;
	free(*name);
	*name = copy;
	return NULL;
}

const char *config_value_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	const char *unit, *end;
	uint64_t n, factor = 1;

	end = take_number(text, SIZE_LIMIT_MAX, &n);
	unit = end && *end ? strchr(units, *end) : NULL;
	for (const char *u = units; unit && u <= unit; u++)
		factor *= 1024;
	/* A size below is a forgotten unit: nothing could run. */
	if (!end || (*end && (!unit || end[1])) || n > SIZE_LIMIT_MAX / factor ||
	    n * factor < 1024 * 1024)
		return "must be a size of at least 1M, such as 512M or 2G";
	*ret_bytes = n * factor;
	return NULL;
}

/* "2", "0.5": thousandths. */
static const char *cpus(const char *text, uint64_t *ret_limit)
{
	uint64_t whole, digit, fraction = 0;
	const char *p = take_number(text, CPUS_LIMIT_MAX, &whole);

	if (p && *p == '.' && p[1])
		for (digit = 100, p++; isdigit((unsigned char)*p) && digit; p++, digit /= 10)
			fraction += (uint64_t)(*p - '0') * digit;
	/* The kernel takes no less than a hundredth (1 of 100 ms). */
	if (!p || *p || whole * 1000 + fraction < 10)
		return "must be a number of CPUs such as 2 or 0.5, or infinity";
	*ret_limit = whole * 1000 + fraction;
	return NULL;
}

const char *config_value_limit(const char *text, enum config_limit kind, uint64_t *ret_limit)
{
	const char *end;
	uint64_t n;

	if (strcmp(text, "infinity") == 0) {
		*ret_limit = CONFIG_NO_LIMIT;
		return NULL;
	}
	if (kind == LIMIT_CPU)
		return cpus(text, ret_limit);
	if (kind == LIMIT_MEMORY && config_value_size(text, ret_limit))
		return "must be a size of at least 1M, such as 512M or 2G, or infinity";
	if (kind == LIMIT_MEMORY)
		return NULL;
	end = take_number(text, PIDS_LIMIT_MAX, &n);
	if (!end || *end || n == 0)
		return "must be a number from 1 to 4194304, or infinity";
	*ret_limit = n;
	return NULL;
}

const char *config_value_seconds(const char *text, bool none, uint64_t *ret_seconds)
{
	uint64_t n;
	const char *end = take_number(text, SECONDS_MAX, &n);

	if (!end || *end || (n == 0 && !none))
		return none ? "must be a number of seconds up to 86400, or 0 for none" :
			      "must be a number of seconds from 1 to 86400";
	*ret_seconds = n;
	return NULL;
}

uint64_t config_capabilities_default(void)
{
	/* That of container engines less CAP_MKNOD, which they back with a device cgroup: without one
	 * a device node of the disk is the disk. */
	static const cap_value_t set[] = {
		CAP_CHOWN,  CAP_DAC_OVERRIDE,     CAP_FOWNER,     CAP_FSETID,  CAP_KILL,
		CAP_SETGID, CAP_SETUID,           CAP_SETPCAP,    CAP_NET_RAW, CAP_SYS_CHROOT,
		CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE, CAP_SETFCAP,
	};
	uint64_t mask = 0;

	for (size_t i = 0; i < ARRAY_LEN(set); i++)
		mask |= UINT64_C(1) << set[i];
	return mask;
}

/* Of the running kernel. */
static uint64_t all_capabilities(void)
{
	int n = cap_max_bits();

	return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

static const char *capability_set(const char *word, uint64_t *ret_mask)
{
	cap_value_t value;

	if (strcmp(word, "container-default") == 0)
		*ret_mask = config_capabilities_default();
	else if (strcmp(word, "all") == 0)
		*ret_mask = all_capabilities();
	else if (strncasecmp(word, "cap_", 4) == 0 && cap_from_name(word, &value) == 0 &&
		 value >= 0 && value <= 63) /* bare numbers it takes, too */
		*ret_mask = UINT64_C(1) << value;
	else
		return "must be container-default, all, none, or names such as cap_chown";
	return NULL;
}

const char *config_value_capabilities(const char *text, uint64_t *ret_mask)
{
	PTR_OWNED char *copy = strdup(text);
	char *save = NULL;
	uint64_t mask = 0;
	bool any = false;

	if (!copy)
		return out_of_memory;
	if (strcmp(text, "none") == 0) {
		*ret_mask = 0;
		return NULL;
	}
	for (char *word = strtok_r(copy, ", \t", &save); word;
	     word = strtok_r(NULL, ", \t", &save), any = true) {
		bool less = *word == '-';
		const char *why;
		uint64_t set;

		if (less && !any)
			return "must begin with a set or name: -cap_x takes one from what stands before it";
		why = capability_set(word + less, &set);
		if (why)
			return why;
		mask = less ? mask & ~set : mask | set;
	}
	if (!any)
		return "must name a capability (none: no capabilities)";
	*ret_mask = mask;
	return NULL;
}

/* Where the splitting of a command is. */
struct splitter {
	const char *in;
	char *word; /* as long as the text, so that every word fits */
	size_t n;
	bool quoted; /* something in the word was quoted */
};

/* Of what stands in no quotes: a shell would put something else in its place. */
static bool would_expand(const char *at)
{
	return *at == '`' || (*at == '$' && (isalnum((unsigned char)at[1]) ||
					     (at[1] && strchr("_{(@*#?$!-", at[1]))));
}

static const char would_expand_text[] =
	"has what a shell would expand ($, `, *, ?, [, ~), and no shell runs it: quote it to "
	"pass it on";

static const char *take_quoted(struct splitter *s, char quote)
{
	s->quoted = true;
	for (s->in++; *s->in != quote; s->in++) {
		if (quote == '"' && s->in[0] == '\\' && (s->in[1] == '"' || s->in[1] == '\\'))
			s->in++;
		if (!*s->in)
			return quote == '"' ? "has an unterminated \"" : "has an unterminated '";
		s->word[s->n++] = *s->in;
	}
	s->in++;
	return NULL;
}

static const char *take_word(struct splitter *s)
{
	s->n = 0;
	s->quoted = false;
	if (*s->in == '#')
		return "has a # outside of quotes, and there are no comments behind a value: quote "
		       "it to pass it on";
	if (*s->in == '~')
		return would_expand_text;
	while (*s->in && *s->in != ' ' && *s->in != '\t') {
		const char *why = NULL;

		if (*s->in == '\'' || *s->in == '"') {
			why = take_quoted(s, *s->in);
		} else if (*s->in == '\\') {
			s->quoted = true;
			if (!*++s->in)
				return "ends with a \\";
			s->word[s->n++] = *s->in++;
		} else if (would_expand(s->in) || strchr("*?[", *s->in)) {
			return would_expand_text;
		} else {
			s->word[s->n++] = *s->in++;
		}
		if (why)
			return why;
	}
	s->word[s->n] = '\0';
	if (!s->quoted && s->word[strspn(s->word, "|&;<>0123456789")] == '\0' &&
	    strpbrk(s->word, "|&;<>"))
		return "has a shell operator, and no shell runs it: quote it to pass it on";
	return NULL;
}

/* NAME=…, which a shell would not run but take for the environment of what follows. */
static bool is_assignment(const struct splitter *s)
{
	const char *end = s->word;

	while (isalnum((unsigned char)*end) || *end == '_')
		end++;
	return !s->quoted && *end == '=' && end > s->word && !isdigit((unsigned char)s->word[0]);
}

const char *config_value_words(const char *text, char ***ret_argv)
{
	struct splitter s = { .in = text };
	const char *why = NULL;
	char **argv = NULL;

	s.word = malloc(strlen(text) + 1);
	if (!s.word)
		return out_of_memory;
	for (;;) {
		s.in += strspn(s.in, " \t");
		if (!*s.in || why)
			break;
		why = take_word(&s);
		if (!why && !argv && is_assignment(&s))
			why = "begins with an assignment, and no shell makes it: there is env for that";
		if (!why && strv_append(&argv, s.word) < 0)
			why = out_of_memory;
	}
	free_wiped(s.word, strlen(text) + 1);
	if (!why && (!argv || !argv[0][0]))
		why = "is empty";
	if (why) {
		strv_free_wiped(argv);
		return why;
	}
	*ret_argv = argv;
	return NULL;
}
