/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <malloc.h>
#include <sys/capability.h>

#include "agent/config/config.h"
#include "agent/config/value.h"
#include "agent/enforce/enforce.h"
#include "agent/enforce/probe.h"
#include "agent/layers/requirements.h"
#include "agent/agent.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/standard_fds.h"

#define DEFAULT_FILE "/etc/moat/moat.conf"
#define EXIT_USAGE 2 /* also for a faulty configuration */

static const char usage[] =
	"usage: moatd [-c FILE] [--enforce MODE | --dev] [--keep-pins] [--config-test]\n"
	"       moatd --port PORT[/udp]... [--directory DIR] [--enforce MODE | --dev]\n"
	"             [--keep-pins] -- COMMAND [ARG]...\n"
	"       moatd --check [--json]\n"
	"       moatd --cleanup [-c FILE]\n"
	"\n"
	"Starts and protects the services of a configuration file (" DEFAULT_FILE "),\n"
	"or one service given on the command line, whose ports are guarded.\n"
	"\n"
	"  -c, --config FILE  the configuration\n"
	"      --port PORT    a port of the command; repeatable\n"
	"      --directory DIR\n"
	"                     where the command runs, guarded from user code; else an empty\n"
	"                     directory of its own\n"
	"      --enforce MODE require (the default): refuse to start where the kernel cannot\n"
	"                     enforce; best-effort: go on with what there is; audit: only record\n"
	"      --dev          for an ordinary user, without root and cgroups: with what there is then,\n"
	"                     which is less (moatd(8))\n"
	"      --keep-pins    leave the kernel programs in force when the agent stops\n"
	"      --config-test  check the configuration and start nothing\n"
	"      --check        tell what this kernel offers and start nothing\n"
	"      --json         ... as JSON\n"
	"      --cleanup      remove the kernel programs that agents which are gone have left in force\n"
	"  -V, --version      print the version\n"
	"  -h, --help         print this\n";

struct options {
	const char *file, *directory;
	char **ports;
	char **command; /* NULL: none */
	const char *enforce;
	bool keep_pins, config_test, check, json, cleanup, dev;
};

enum {
	OPT_PORT = 256,
	OPT_DIRECTORY,
	OPT_ENFORCE,
	OPT_KEEP_PINS,
	OPT_CONFIG_TEST,
	OPT_CHECK,
	OPT_JSON,
	OPT_CLEANUP,
	OPT_DEV,
};

static const struct option long_options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "port", required_argument, NULL, OPT_PORT },
	{ "directory", required_argument, NULL, OPT_DIRECTORY },
	{ "enforce", required_argument, NULL, OPT_ENFORCE },
	{ "keep-pins", no_argument, NULL, OPT_KEEP_PINS },
	{ "config-test", no_argument, NULL, OPT_CONFIG_TEST },
	{ "check", no_argument, NULL, OPT_CHECK },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "cleanup", no_argument, NULL, OPT_CLEANUP },
	{ "dev", no_argument, NULL, OPT_DEV },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static int complain(const char *what)
{
	fprintf(stderr, "moatd: %s (moatd --help)\n", what);
	return EXIT_USAGE;
}

/* -1: go on; otherwise the exit status. */
static int parse_options(int argc, char **argv, struct options *o)
{
	int c;

	while ((c = getopt_long(argc, argv, "+c:hV", long_options, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->file = optarg;
			break;
		case OPT_PORT:
			if (strv_append(&o->ports, optarg) < 0)
				return complain("out of memory");
			break;
		case OPT_DIRECTORY:
			o->directory = optarg;
			break;
		case OPT_ENFORCE:
			o->enforce = optarg;
			break;
		case OPT_KEEP_PINS:
			o->keep_pins = true;
			break;
		case OPT_CONFIG_TEST:
			o->config_test = true;
			break;
		case OPT_CHECK:
			o->check = true;
			break;
		case OPT_JSON:
			o->json = true;
			break;
		case OPT_CLEANUP:
			o->cleanup = true;
			break;
		case OPT_DEV:
			o->dev = true;
			break;
		case 'V':
			puts("moatd " MOAT_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			return complain("that is not understood"); /* getopt has named the option */
		}
	}
	if (optind < argc)
		o->command = argv + optind;
	if (o->command && o->file)
		return complain("either a configuration file or a command");
	if (o->command && !o->ports)
		return complain("a command needs --port: what is to be guarded?");
	if (!o->command && o->ports)
		return complain("--port needs a command behind --");
	if (!o->command && o->directory)
		return complain("--directory needs a command behind --");
	if (o->cleanup && o->command)
		return complain("--cleanup takes no command");
	if (o->dev && (o->enforce || o->keep_pins || o->cleanup))
		return complain(
			"--dev takes no --enforce, --keep-pins and --cleanup: it enforces nothing");
	if (o->json && !o->check)
		return complain("--json goes with --check");
	return -1;
}

static int load(const struct options *o, struct config **ret_config, struct failure *f)
{
	CLEANUP(config_freep) struct config *config = NULL;
	const char *why, *file = o->file ? o->file : DEFAULT_FILE;
	PTR_OWNED char *state_dir = NULL;
	int r;

	if (o->dev && config_dev_state_dir(&state_dir) < 0)
		return fail(f, ENOMEM, "out of memory");
	if (o->dev)
		config_set_state_dir(state_dir);
	if (o->command)
		r = config_from_command(o->ports, o->directory, o->command, &config, f);
	else if (!o->file && access(file, F_OK) < 0 && errno == ENOENT)
		r = fail(f, EINVAL,
			 "nothing to do: there is no " DEFAULT_FILE " and no command; try "
			 "moatd --port 8080 -- COMMAND, or moatd --help");
	else
		r = config_load(file, &config, f);
	if (r < 0 || !config)
		return r;
	why = o->enforce ? config_enforce_from_name(o->enforce, &config->enforce) : NULL;
	if (why)
		return fail(f, EINVAL, "--enforce %s", why);
	config->keep_pins = config->keep_pins || o->keep_pins;
	if (o->dev && config_make_dev(config) < 0)
		return fail(f, ENOMEM, "out of memory");
	*ret_config = take_ptr(config);
	return 0;
}

/* Names all that is missing, before anything is started. */
static bool refuses_to_start(const struct config *config, const struct probe_report *probes)
{
	bool enforce = config->enforce != ENFORCE_BEST_EFFORT;

	if (!probe_obstacle(probes, false) && !(enforce && !probe_enforceable(probes)))
		return false;
	for (size_t i = 0; i < probes->n; i++) {
		const struct probe_result *result = &probes->results[i];

		if (!result->ok && (result->always || (enforce && result->required)))
			log_error("%s: %s", result->name, result->detail);
	}
	if (probe_obstacle(probes, false))
		log_error("moat cannot run here; nothing was started%s",
			  geteuid() == 0 ? "" : " (moatd --dev is for ordinary users)");
	else
		log_error(
			"this kernel cannot enforce; nothing was started (--enforce best-effort, or "
			"enforce = best-effort in the configuration, goes on without)");
	return true;
}

/* Of what contexts are given by name, what the agent cannot give. */
static void warn_of_capabilities(const struct config *config)
{
	uint64_t all = 0;

	(void)config_value_capabilities("all", &all);
	for (size_t i = 0; i < config->n_contexts; i++) {
		const struct config_context *c = &config->contexts[i];

		if (c->capabilities == config_capabilities_default() ||
		    c->capabilities == all)
			continue;
		for (cap_value_t cap = 0; cap < cap_max_bits() && cap < 64; cap++) {
			char *name;

			if (!(c->capabilities & 1ull << cap) || cap_get_bound(cap) != 0)
				continue;
			name = cap_to_name(cap);
			log_warning("context %s does not get %s: the agent does not have it "
				    "(--cap-add=%s)", c->name, name ? name : "a capability",
				    name ? name + 4 : "ALL");
			cap_free(name);
		}
	}
}

static void say_removed(const char *instance)
{
	printf("removed what instance %s had left\n", instance);
}

/* --cleanup. The exit status. */
static int clean_up(const struct options *o)
{
	CLEANUP(config_freep) struct config *config = NULL;
	struct failure f = { 0 };
	int r = o->file ? config_load(o->file, &config, &f) : 0;

	if (r == 0)
		r = enforce_clean(config ? config->pin_dir : CONFIG_PIN_DIR, say_removed, &f);
	if (r < 0)
		log_error("%s", f.msg);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int check(bool json)
{
	struct probe_promise promises[CONFIG_REQUIREMENTS];
	struct probe_report report;
	const struct requirement *is;
	unsigned layers = layers_offered();
	size_t n = 0;

	probe_run(&report, PROBE_ALL);
	if (probe_ok(&report, "cgroup-ports"))
		layers |= LAYER_PORTS;
	for (; (is = requirement_at(n)); n++) {
		struct probe_promise *p = &promises[n];

		*p = (struct probe_promise){ .id = is->id, .name = is->name, .text = is->text };
		p->guard = guard_name(requirement_guard(n, probe_enforceable(&report),
							layers, 0, &p->by));
	}
	return probe_print(&report, promises, n, json);
}

int main(int argc, char **argv)
{
	CLEANUP(config_freep) struct config *config = NULL;
	struct probe_report probes;
	struct options o = { 0 };
	struct failure f = { 0 };
	int status;

	if (standard_fds_open() < 0)
		return EXIT_FAILURE;
	/* What whoever started us ignored: without SIGCHLD the exit statuses of all children would be lost. */
	reset_dispositions();
	/* Large buffers go back when they are freed; by itself the C library keeps ever larger ones. */
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	log_open("moatd", LOG_INFO);
	status = parse_options(argc, argv, &o);
	if (status >= 0) {
		strv_free(o.ports);
		return status;
	}
	if (o.cleanup)
		return clean_up(&o);
	if (o.check) {
		strv_free(o.ports);
		return check(o.json);
	}
	if (!o.config_test)
		agent_block_signals();
	status = load(&o, &config, &f);
	strv_free(o.ports);
	if (status < 0) {
		log_error("%s", f.msg);
		return EXIT_USAGE;
	}
	if (o.config_test && config_count_missing(config) > 0)
		return EXIT_USAGE;
	if (o.config_test) {
		printf("%s: ok\n", config->file ? config->file : "command line");
		return EXIT_SUCCESS;
	}
	probe_run(&probes,
		  config->enforce == ENFORCE_BEST_EFFORT ? PROBE_TO_CHOOSE : PROBE_TO_ENFORCE);
	if (!config->dev && refuses_to_start(config, &probes))
		return EXIT_FAILURE;
	if (!config->dev)
		warn_of_capabilities(config);
	return agent_run(config, &probes);
}
