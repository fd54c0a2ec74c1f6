/* SPDX-License-Identifier: Apache-2.0 */
/* Between config.c and parse.c. */
#ifndef MOAT_CONFIG_PARSE_H
#define MOAT_CONFIG_PARSE_H

#include "agent/config/config.h"

/* An error of the file; of several the one with the lowest line number is kept. */
struct config_error {
	unsigned line;       /* 0: none */
	unsigned paths_line; /* of the last of the keys socket and state_dir; 0: none */
	char reason[400];
};

void config_error_at(struct config_error *e, unsigned line, const char *fmt, ...) PRINTF(3, 4);

/* Adds one with its defaults, and returns it, valid until the next one is added; NULL: no memory. */
struct config_service *config_add_service(struct config *config, const char *name, unsigned line);
struct config_context *config_add_context(struct config *config, const char *name, unsigned line);
/* 0 or -ENOMEM. */
int config_add_port(struct config_service *service, const struct config_port *port);
int config_add_open_port(struct config_service *service, const struct config_port *port);

/* places.c: what concerns several lines of one service. */
void config_check_service(const struct config *config, const struct config_service *service,
			  struct config_error *e);

/*
 * Reads the text of a file into *config, which has its defaults. Checks line by line; what concerns
 * several lines is config.c's. 0 (see e->line for errors) or -ENOMEM.
 */
int config_parse(struct config *config, char *text, size_t len, struct config_error *e);

#endif
