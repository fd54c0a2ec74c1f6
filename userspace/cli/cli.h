/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of `moat` share. One file per command: cmd_NAME.c; the table is in main.c. */
#ifndef MOAT_CLI_H
#define MOAT_CLI_H

#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>

#include "base/base.h"
#include "moat/moat.h"

#define CLI_FAILED 125  /* the exit status when moat itself fails, as env(1) and timeout(1) do */
#define CLI_TIMED_OUT 124

struct cli {
	char **argv;        /* what getopt reads */
	const char *socket; /* NULL: $MOAT_SOCKET or the default */
	bool json;
	bool color;
};

extern bool errors_as_json; /* as cli.json, for complain() */

struct command {
	const char *name;
	const char *summary; /* one line, for `moat --help` */
	const char *help;    /* the whole text of `moat NAME --help` */
	int (*run)(struct cli *cli, int argc, char **argv); /* argv[0] is the name */
};

const struct command *command_find(const char *name);
/* In the order of the table, up to NULL. */
const struct command *command_at(unsigned index);

/* ---- options that every command takes ---- */
enum { OPTION_SOCKET = 1000, OPTION_JSON, OPTION_ENV_FILE, OPTION_COMMAND }; /* long only; own ones from the last */
#define COMMON_OPTIONS                                                     \
	{ "help", no_argument, NULL, 'h' },                                \
	{ "socket", required_argument, NULL, OPTION_SOCKET },              \
	{ "json", no_argument, NULL, OPTION_JSON }
/*
 * For the default: label of a command's getopt loop. Returns true when the command goes on, false
 * when it must return *ret_status (help was printed, or the option is wrong).
 */
bool option_common(struct cli *cli, const char *command, int option, int *ret_status);
/* Variables, for commands that take some; -1: the option is another one. 0 or CLI_FAILED. */
#define ENV_OPTIONS                                              \
	{ "env", required_argument, NULL, 'e' },                 \
	{ "env-from", required_argument, NULL, 'E' },            \
	{ "env-file", required_argument, NULL, OPTION_ENV_FILE }
int option_env(const char *command, int option, json_t *env);
/* Prints "moat NAME: message" and how to get help; returns CLI_FAILED. */
int usage_error(const char *command, const char *fmt, ...) PRINTF(2, 3);
/* Complains unless there are no operands from optind on. 0 or CLI_FAILED. */
int no_operands(const char *command, int argc, char **argv);

/* ---- talking to the agent (agent.c) ---- */
/* Prints "moat: message (CODE)", with --json {"code", "message"}, on stderr. Returns CLI_FAILED.
 * code: one of the agent's, or of those that moat(1) lists. */
int complain(const char *code, const char *fmt, ...) PRINTF(2, 3);
/* The text, owned by the caller; NULL: there is no memory for it. */
char *format_text(const char *fmt, va_list ap) PRINTF(1, 0);
/* Connects; says what to do when nobody is there. 0 or CLI_FAILED. */
int agent_connect(const struct cli *cli, struct moat_client **ret);
/* Prints what a failed call means; r is its negative errno. Returns CLI_FAILED. */
int agent_failed(int r);
/* Prints an error body as "moat: message (CODE)"; returns the exit status of its code. */
int agent_refused(const struct moat_response *response);
/* One whole exchange. On success *ret is the answer, 0; otherwise it has complained and returns an
 * exit status. */
int agent_call(const struct cli *cli, const char *method, const char *path, const char *body,
	       struct moat_response *ret);
/* The same, with the answer decoded. */
int agent_get(const struct cli *cli, const char *method, const char *path, const char *body,
	      json_t **ret_root);
/* "warnings" of an answer, on stderr. */
void print_warnings(const json_t *answer);
/* With --json: prints the answer and frees it, true. */
bool printed_json(const struct cli *cli, json_t *root);

static inline void json_freep(json_t **root)
{
	json_decref(*root);
	*root = NULL;
}
static inline void client_freep(struct moat_client **client)
{
	moat_disconnect(*client);
	*client = NULL;
}
static inline void response_free(struct moat_response *response)
{
	moat_response_free(response);
}
#define JSON_OWNED CLEANUP(json_freep)
#define CLIENT_OWNED CLEANUP(client_freep)
#define RESPONSE_OWNED CLEANUP(response_free)

/* What the agent has sent, or NULL. Output of commands may be in it: also NUL. */
json_t *answer_decode(const char *text, size_t len);
/* The bytes of object[key], which are base64 where object[encoding] says so. Strings that were
 * decoded are in *ret_owned. 0, or -EPROTO, -ENOMEM. */
int member_output(const json_t *object, const char *key, const char *encoding, const char **ret,
		  size_t *ret_len, char **ret_owned);
/* Members of decoded objects; "" or 0 when absent. Borrowed. */
const char *member_text(const json_t *object, const char *key);
json_int_t member_number(const json_t *object, const char *key);

/* ---- printing (table.c) ---- */
#define TABLE_COLUMNS_MAX 8u

struct table {
	const char *const *titles; /* NULL-terminated */
	char **cells;              /* owned; rows after each other */
	size_t n_cells;
	bool color;
};

/* Appends one cell; rows fill from left to right. What would command a terminal is shown as '?'. */
void table_add(struct table *t, const char *fmt, ...) PRINTF(2, 3);
void table_print(struct table *t);
void table_free(struct table *t);
/* Prints text from a peer on a terminal safely: what would command it becomes '?'. */
void print_safe(const char *text);
void fprint_safe(FILE *out, const char *text);
/* "3s", "4m12s", "2h05m", "3d04h". buf holds 24 bytes. */
const char *format_duration(uint64_t ms, char *buf, size_t n);
/* Escape sequences around a word that tells a state; plain without color. */
const char *state_color(const struct cli *cli, const char *state);
const char *color_end(const struct cli *cli);

/* ---- parsing (parse.c) ---- */
/* "500ms", "30s", "1.5m", "2h", "1d"; without a unit: seconds. At least 1 ms. 0 or -EINVAL. */
int parse_duration(const char *text, uint64_t *ret_ms);
/* A number from 1 to 2^40, of bytes. 0 or -EINVAL. */
int parse_bytes(const char *text, uint64_t *ret);
/* "KILL", "SIGKILL", "9" -> 9; -EINVAL. */
int parse_signal(const char *text);
/* Writes text with what is not plain in a URL escaped, at most three times as long, to `to`; returns its end, a NUL. */
char *percent_encode(char *to, const char *text);
/* A JSON string, or {"base64": "…"} where the bytes are none; NULL: out of memory. */
json_t *bytes_to_json(const char *data, size_t n);
/* KEY=VALUE lines; empty lines and those that begin with # are skipped. Sets each in the object.
 * -EINVAL with *ret_line, the number of the wrong line. */
int parse_env_file(const char *text, json_t *env, unsigned *ret_line);

/* ---- commands ---- */
int cmd_exec(struct cli *cli, int argc, char **argv);
int cmd_run(struct cli *cli, int argc, char **argv);
int cmd_ps(struct cli *cli, int argc, char **argv);
int cmd_logs(struct cli *cli, int argc, char **argv);
int cmd_ports(struct cli *cli, int argc, char **argv);
int cmd_attach(struct cli *cli, int argc, char **argv);
int cmd_wait(struct cli *cli, int argc, char **argv);
int cmd_kill(struct cli *cli, int argc, char **argv);
int cmd_status(struct cli *cli, int argc, char **argv);
int cmd_health(struct cli *cli, int argc, char **argv);
int cmd_context(struct cli *cli, int argc, char **argv);
int cmd_services(struct cli *cli, int argc, char **argv);
int cmd_check(struct cli *cli, int argc, char **argv);
int cmd_events(struct cli *cli, int argc, char **argv);
int cmd_mode(struct cli *cli, int argc, char **argv);
int cmd_metrics(struct cli *cli, int argc, char **argv);
int cmd_files(struct cli *cli, int argc, char **argv);
int cmd_jupyter(struct cli *cli, int argc, char **argv);
int cmd_completion(struct cli *cli, int argc, char **argv);
extern const char help_files[], help_context[], help_exec[], help_run[], help_ps[], help_logs[],
	help_kill[], help_wait[], help_attach[], help_ports[], help_status[], help_health[],
	help_services[], help_check[], help_events[], help_mode[], help_metrics[],
	help_jupyter[], help_completion[];

#endif
