/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share: config.c (the whole), parse.c (lines and sections), keys.c (keys of [moat] and
 * [service NAME]), places.c (where services execute). */
#ifndef MOAT_CONFIG_PARSE_H
#define MOAT_CONFIG_PARSE_H

#include "agent/config/config.h"

#define CONFIG_ERRORS_MORE 8u

/* The errors of a file: the one with the lowest line number, and what others there are, one a line. */
struct config_error {
	unsigned line;       /* 0: none */
	unsigned paths_line; /* of the last of the keys socket and state_dir; 0: none */
	char reason[400];
	size_t n_more; /* also those that found no room */
	struct {
		unsigned line;
		char reason[120];
	} more[CONFIG_ERRORS_MORE];
};

/* Of all errors of a file one message. Returns -EINVAL. */
int config_errors_tell(struct config_error *e, const char *file, struct failure *f);

void config_error_at(struct config_error *e, unsigned line, const char *fmt, ...) PRINTF(3, 4);

/* Adds one with its defaults, and returns it, valid until the next one is added; NULL: no memory. */
struct config_service *config_add_service(struct config *config, const char *name, unsigned line);
struct config_context *config_add_context(struct config *config, const char *name, unsigned line);
/* 0 or -ENOMEM. */
int config_add_port(struct config_service *service, const struct config_port *port);
int config_add_open_port(struct config_service *service, const struct config_port *port);

/* --- keys.c: what stands in [moat] and [service NAME]; for [context NAME] see context_keys.h ------------ */

enum config_section { SECTION_NONE, SECTION_MOAT, SECTION_SERVICE, SECTION_CONTEXT };

struct config_parser {
	struct config *config;
	struct config_error *error;
	char *next, *end; /* what is not read yet */
	unsigned line;    /* of what inih was given last */
	char *value;      /* the value on it, to compare with what inih makes of it */
	enum config_section section;
	bool any_section; /* NONE is then one that was refused */
	struct config_service *service; /* of the section, which adds no other meanwhile */
	struct config_context *context;
	unsigned moat_line;
	uint64_t seen; /* keys that the section has had, by their place in their table */
	bool reach_given;
	bool no_memory;
};

struct config_key {
	enum config_section section;
	const char *name;
	const char *(*set)(struct config_parser *p, const char *text); /* NULL, or why it is refused */
	bool repeatable;
};

/* NULL: the section has no such key. *ret_index: its place in the table, which has at most 64. */
const struct config_key *config_key_find(enum config_section section, const char *name,
					 unsigned *ret_index);

/* places.c: what concerns several lines of one service. */
void config_check_service(const struct config *config, const struct config_service *service,
			  struct config_error *e);

/*
 * Reads the text of a file into *config, which has its defaults. Checks line by line; what concerns
 * several lines is config.c's. 0 (see e->line for errors) or -ENOMEM.
 */
int config_parse(struct config *config, char *text, size_t len, struct config_error *e);

#endif
