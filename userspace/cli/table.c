/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "cli/cli.h"

void fprint_safe(FILE *out, const char *text)
{
	PTR_OWNED char *copy = strdup(text);

	if (copy)
		hide_controls(copy);
	fputs(copy ? copy : "?", out);
}

void print_safe(const char *text)
{
	fprint_safe(stdout, text);
}

/* Characters of UTF-8 text, near enough to columns. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void table_add(struct table *t, const char *fmt, ...)
{
	char **cells = realloc(t->cells, (t->n_cells + 1) * sizeof(*cells));
	char *cell = NULL;
	va_list ap;

	if (!cells)
		return;
	t->cells = cells;
	va_start(ap, fmt);
	if (vasprintf(&cell, fmt, ap) < 0)
		cell = NULL;
	va_end(ap);
	if (cell)
		hide_controls(cell);
	t->cells[t->n_cells++] = cell;
}

static const char *cell_text(const struct table *t, size_t i)
{
	return t->cells[i] && *t->cells[i] ? t->cells[i] : "-";
}

static void print_cell(const char *text, size_t column_width, bool last)
{
	fputs(text, stdout);
	for (size_t n = width(text); !last && n < column_width + 2; n++)
		putchar(' ');
	if (last)
		putchar('\n');
}

void table_print(struct table *t)
{
	size_t widths[TABLE_COLUMNS_MAX] = { 0 }, columns = 0;

	while (columns < TABLE_COLUMNS_MAX && t->titles[columns]) {
		widths[columns] = width(t->titles[columns]);
		columns++;
	}
	for (size_t i = 0; i < t->n_cells; i++) {
		size_t w = width(cell_text(t, i));

		if (w > widths[i % columns])
			widths[i % columns] = w;
	}
	fputs(t->color ? "\033[1m" : "", stdout);
	for (size_t i = 0; i < columns; i++)
		print_cell(t->titles[i], widths[i], i == columns - 1);
	fputs(t->color ? "\033[0m" : "", stdout);
	for (size_t i = 0; i < t->n_cells - t->n_cells % columns; i++)
		print_cell(cell_text(t, i), widths[i % columns], i % columns == columns - 1);
}

void table_free(struct table *t)
{
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->n_cells = 0;
}

const char *format_duration(uint64_t ms, char *buf, size_t n)
{
	unsigned long long s = ms / 1000;

	if (s < 10)
		snprintf(buf, n, "%llu.%llus", s, (unsigned long long)ms % 1000 / 100);
	else if (s < 60)
		snprintf(buf, n, "%llus", s);
	else if (s < 3600)
		snprintf(buf, n, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, n, "%lluh%02llum", s / 3600, s % 3600 / 60);
	else
		snprintf(buf, n, "%llud%02lluh", s / 86400, s % 86400 / 3600);
	return buf;
}

const char *state_color(const struct cli *cli, const char *state)
{
	static const char *const good[] = { "active", "available", "ready", "running", "enforce" };
	static const char *const bad[] = { "missing", "inactive", "off", "backoff", "exited" };

	if (!cli->color)
		return "";
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (strcmp(state, good[i]) == 0)
			return "\033[32m";
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (strcmp(state, bad[i]) == 0)
			return "\033[31m";
	return "\033[33m";
}

const char *color_end(const struct cli *cli)
{
	return cli->color ? "\033[0m" : "";
}
