/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file format is inih's, but inih is forgiving where this agent must not be: it cuts long lines
 * and what follows " ;", takes an indented line for the continuation of the one before, ignores
 * what follows a ']' and says nothing of empty sections. So it gets its lines from next_line(),
 * which checks those things, counts lines, and leaves no meaning to indentation.
 */
#include "agent/config/parse.h"

#include <ctype.h>
#include <stdarg.h>

#include <ini.h>

#include "agent/config/context_keys.h"
#include "agent/config/value.h"

#define LINE_BYTES_MAX 16384

/* Debian's inih has these as variables; another build keeps what it was compiled with. */
extern int ini_max_line __attribute__((weak));
extern bool ini_allow_inline_comments __attribute__((weak));

static const char unknown_key[] = "unknown key";

/* What the key of the section does with the value; NULL, or why it is refused. */
static const char *take(struct config_parser *p, const char *name, const char *value)
{
	const struct config_context_key *of_context = NULL;
	const struct config_key *key = NULL;
	bool repeats = false, again;
	unsigned i = 0;

	if (p->section == SECTION_CONTEXT)
		of_context = config_context_key_find(name, &i);
	else
		key = config_key_find(p->section, name, &i);
	if (of_context)
		repeats = config_context_key_repeats(of_context);
	else if (key)
		repeats = key->repeatable;
	else
		return unknown_key;
	again = p->seen >> i & 1;
	p->seen |= 1ull << i;
	if (again && !repeats)
		return "is given twice in this section";
	if (!p->value || strcmp(p->value, value) != 0)
		return "was not read whole by the INI library";
	return key ? key->set(p, value) : of_context->set(p->context, value);
}

/* An ini_handler. inih may be built to pass a line number behind the value, too; ours is better. */
static int on_key(void *data, const char *section, const char *name, const char *value)
{
	struct config_parser *p = data;
	const char *why;

	(void)section; /* next_line() knows it, without inih's limit of 50 bytes */
	if (p->section == SECTION_NONE) {
		if (!p->any_section)
			config_error_at(p->error, p->line, "key %s stands in no section", name);
		return 1;
	}
	why = take(p, name, value);
	if (why == unknown_key)
		config_error_at(p->error, p->line, "unknown key %s", name);
	else if (why)
		config_error_at(p->error, p->line, "%s %s", name, why);
	return 1;
}

/* Lines */

static void begin_service(struct config_parser *p, const char *name)
{
	struct config *c = p->config;

	for (size_t i = 0; i < c->n_services; i++)
		if (strcmp(c->services[i].name, name) == 0) {
			config_error_at(p->error, p->line,
					"service %s is there already, in line %u", name,
					c->services[i].line);
			return;
		}
	if (c->n_services == CONFIG_SERVICES_MAX) {
		config_error_at(p->error, p->line, "more than %u services", CONFIG_SERVICES_MAX);
		return;
	}
	p->service = config_add_service(c, name, p->line);
	p->no_memory = p->no_memory || !p->service;
	p->section = p->service ? SECTION_SERVICE : SECTION_NONE;
}

static void begin_context(struct config_parser *p, const char *name)
{
	struct config *c = p->config;

	for (size_t i = 0; i < c->n_contexts; i++) {
		if (strcmp(c->contexts[i].name, name) != 0)
			continue;
		if (c->contexts[i].line) {
			config_error_at(p->error, p->line,
					"context %s is there already, in line %u", name,
					c->contexts[i].line);
			return;
		}
		/* "default" always exists; now it has a section. */
		c->contexts[i].line = p->line;
		p->context = &c->contexts[i];
		p->section = SECTION_CONTEXT;
		return;
	}
	if (c->n_contexts == CONFIG_CONTEXTS_MAX) {
		config_error_at(p->error, p->line, "more than %u contexts", CONFIG_CONTEXTS_MAX);
		return;
	}
	p->context = config_add_context(c, name, p->line);
	p->no_memory = p->no_memory || !p->context;
	p->section = p->context ? SECTION_CONTEXT : SECTION_NONE;
}

/* text: what stands between the brackets; changed. */
static void begin_section(struct config_parser *p, char *text)
{
	char *save = NULL, *kind = strtok_r(text, " \t", &save);
	char *name = strtok_r(NULL, " \t", &save), *more = strtok_r(NULL, " \t", &save);
	const char *why;

	p->section = SECTION_NONE;
	p->any_section = true;
	p->seen = 0;
	if (kind && strcmp(kind, "moat") == 0 && !name) {
		if (p->moat_line)
			config_error_at(p->error, p->line,
					"section [moat] is there already, in line %u",
					p->moat_line);
		p->moat_line = p->line;
		p->section = SECTION_MOAT;
		return;
	}
	if (!kind || (strcmp(kind, "service") != 0 && strcmp(kind, "context") != 0) || more) {
		config_error_at(p->error, p->line,
				"unknown section: there are [moat], [service NAME] and "
				"[context NAME]");
		return;
	}
	if (!name || !config_value_is_name(name)) {
		config_error_at(p->error, p->line,
				"the name of a %s must be 1 to 32 of a-z, 0-9 and -, and not begin "
				"with -", kind);
		return;
	}
	if (kind[0] == 's') {
		begin_service(p, name);
		return;
	}
	why = config_value_context_name(name);
	if (why)
		config_error_at(p->error, p->line, "the name of a context %s", why);
	else
		begin_context(p, name);
}

/* Cuts the next line out of the text, trimmed; NULL at the end. */
static char *cut_line(struct config_parser *p, size_t *ret_len)
{
	char *line = p->next, *end;

	if (line >= p->end)
		return NULL;
	p->line++;
	if (p->line == 1 && p->end - line >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
		line += 3;
	end = memchr(line, '\n', (size_t)(p->end - line));
	p->next = end ? end + 1 : p->end;
	if (!end)
		end = p->end; /* where config_parse()'s caller has put a NUL */
	while (line < end && isspace((unsigned char)*line))
		line++;
	while (line < end && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	*ret_len = (size_t)(end - line);
	return line;
}

/* An ini_reader: one line into buf. Lines with an error, and comments, reach inih empty. */
static char *next_line(char *buf, int size, void *stream)
{
	struct config_parser *p = stream;
	size_t n;
	char *line = cut_line(p, &n);

	if (!line)
		return NULL;
	p->value = NULL;
	snprintf(buf, (size_t)size, "\n");
	if (memchr(line, '\0', n))
		config_error_at(p->error, p->line, "NUL byte");
	else if (!utf8_valid(line, n))
		config_error_at(p->error, p->line, "not UTF-8 text");
	else if (line[0] == '\0' || line[0] == '#' || line[0] == ';')
		;
	else if (n + 2 > (size_t)size)
		config_error_at(p->error, p->line, "line is longer than %d bytes", size - 2);
	else if (line[0] == '[' && line[n - 1] != ']')
		config_error_at(p->error, p->line, "a section line must end with ]");
	else if (line[0] == '[') {
		line[n - 1] = '\0';
		begin_section(p, line + 1);
	} else {
		snprintf(buf, (size_t)size, "%s\n", line);
		p->value = strpbrk(line, "=:");
		if (p->value && *p->value == ':' && !strchr(line, '='))
			config_error_at(p->error, p->line, "%.*s: write =, not :",
					(int)(p->value - line), line);
		while (p->value && isspace((unsigned char)*++p->value))
			;
	}
	return buf;
}

int config_parse(struct config *config, char *text, size_t len, struct config_error *e)
{
	struct config_parser p = { .config = config, .error = e, .next = text, .end = text + len };
	int r;

	if (&ini_max_line)
		ini_max_line = LINE_BYTES_MAX + 2;
	if (&ini_allow_inline_comments)
		ini_allow_inline_comments = false;
	r = ini_parse_stream(next_line, &p, on_key, &p);
	if (r == -2 || p.no_memory)
		return -ENOMEM;
	/* Of its own, inih refuses only lines without a '='. It counts calls of next_line(). */
	if (r > 0)
		config_error_at(e, (unsigned)r, "neither [section] nor key = value");
	return 0;
}
