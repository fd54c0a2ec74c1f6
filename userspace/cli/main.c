/* SPDX-License-Identifier: Apache-2.0 */
/* moat: the command line of moatd. */
#include <malloc.h>
#include <stdarg.h>

#include "base/standard_fds.h"
#include "cli/cli.h"

static const struct command commands[] = {
	{ "exec", "run a command in a context", help_exec, cmd_exec },
	{ "run", "run a command string, without a shell", help_run, cmd_run },
	{ "context", "list, make, change and remove contexts", help_context, cmd_context },
	{ "files", "read, write and list the files of a context", help_files, cmd_files },
	{ "ps", "list commands that run", help_ps, cmd_ps },
	{ "logs", "print what a command has written", help_logs, cmd_logs },
	{ "ports", "list who listens on what, or wait for it", help_ports, cmd_ports },
	{ "attach", "type into a command on a terminal", help_attach, cmd_attach },
	{ "wait", "wait until a command has ended, or has written something", help_wait, cmd_wait },
	{ "kill", "kill a command and all its children, or signal it", help_kill, cmd_kill },
	{ "status", "show what is enforced and what is not", help_status, cmd_status },
	{ "health", "tell whether the agent, and the services, are well", help_health, cmd_health },
	{ "services", "list the services of the control plane", help_services, cmd_services },
	{ "events", "show what was denied", help_events, cmd_events },
	{ "mode", "show or switch whether denials are enforced", help_mode, cmd_mode },
	{ "metrics", "print the agent's counters for Prometheus", help_metrics, cmd_metrics },
	{ "jupyter-kernelspec", "have Jupyter start its kernels here", help_jupyter, cmd_jupyter },
	{ "check", "show what this kernel offers; needs no agent", help_check, cmd_check },
	{ "completion", "tell a shell what may come next", help_completion, cmd_completion },
};

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

const struct command *command_at(unsigned index)
{
	return index < ARRAY_LEN(commands) ? &commands[index] : NULL;
}

static void print_help(FILE *out)
{
	fputs("usage: moat [--socket PATH] [--json] COMMAND …\n\ncommands:\n", out);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(out, "  %-20s%s\n", commands[i].name, commands[i].summary);
	fputs("\noptions, here or after the command:\n"
	      "  --socket PATH  the socket of moatd ($MOAT_SOCKET; " MOAT_SOCKET_DEFAULT ")\n"
	      "  --json         print JSON\n"
	      "  --help         help, also of each command\n"
	      "  --version      print the version\n"
	      "\nSee moat(1).\n", out);
}

int usage_error(const char *command, const char *fmt, ...)
{
	char *message PTR_OWNED = NULL;
	va_list ap;

	va_start(ap, fmt);
	message = format_text(fmt, ap);
	va_end(ap);
	complain("USAGE", "%s%s%s", command ? command : "", command ? ": " : "", message ? message : "");
	if (!errors_as_json)
		fprintf(stderr, "try: moat %s%s--help\n", command ? command : "", command ? " " : "");
	return CLI_FAILED;
}

/* In our words, not getopt's: those would repeat on a terminal whatever the option was made of. */
static int wrong_option(const struct cli *cli, const char *command)
{
	const char letter[] = { '-', (char)optopt, '\0' };

	return usage_error(command, "no such option, or one that lacks its value: %s",
			   optopt > 0 && optopt < 0x80 ? letter : cli->argv[optind - 1]);
}

bool option_common(struct cli *cli, const char *command, int option, int *ret_status)
{
	const struct command *c;

	switch (option) {
	case OPTION_SOCKET:
		cli->socket = optarg;
		return true;
	case OPTION_JSON:
		cli->json = errors_as_json = true;
		return true;
	case 'h':
		c = command_find(command);
		fputs(c ? c->help : "", stdout);
		*ret_status = 0;
		return false;
	default:
		*ret_status = wrong_option(cli, *command ? command : NULL);
		return false;
	}
}

int no_operands(const char *command, int argc, char **argv)
{
	return optind < argc ? usage_error(command, "unexpected argument: %s", argv[optind]) : 0;
}

static void json_free_wiped(void *p)
{
	if (p)
		free_wiped(p, malloc_usable_size(p));
}

static bool color_wanted(void)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no_color && *no_color) &&
	       term && strcmp(term, "dumb") != 0;
}

/* Options before the command; leaves optind at the command. */
static bool global_options(struct cli *cli, int argc, char **argv, int *ret_status)
{
	static const struct option options[] = {
		COMMON_OPTIONS, { "version", no_argument, NULL, 'V' }, { 0 }
	};
	int option;

	while ((option = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		if (option == 'h' || option == 'V') {
			if (option == 'h')
				print_help(stdout);
			else
				puts("moat " MOAT_VERSION);
			*ret_status = 0;
			return false;
		}
		if (!option_common(cli, "", option, ret_status))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct cli cli = { .argv = argv };
	const struct command *command;
	int status, first;

	if (standard_fds_open() < 0)
		return CLI_FAILED;
	json_set_alloc_funcs(malloc, json_free_wiped);
	cli.color = color_wanted();
	opterr = 0;
	if (!global_options(&cli, argc, argv, &status))
		return status;
	if (optind == argc) {
		print_help(stderr);
		return CLI_FAILED;
	}
	command = command_find(argv[optind]);
	if (!command)
		return usage_error(NULL, "there is no command %s", argv[optind]);
	first = optind;
	cli.argv = argv + first;
	optind = 0; /* getopt begins anew, with the arguments of the command */
	status = command->run(&cli, argc - first, argv + first);
	if (fflush(stdout) != 0 && status == 0)
		return complain("OUTPUT_FAILED", "cannot write: %s", strerror(errno));
	return status;
}
