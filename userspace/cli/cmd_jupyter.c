/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moat jupyter-kernelspec: tells Jupyter to start kernels with moat exec. The kernel's connection file, and with it
 * the key, reaches the kernel as its standard input; the server's copy stays out of user code's sight.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "cli/cli.h"

#define KERNEL_FILE "kernel.json"
#define CONNECTION "{connection_file}" /* what Jupyter puts the path in the place of */
#define CONNECTION_INSIDE "/proc/self/fd/0"

const char help_jupyter[] =
	"usage: moat jupyter-kernelspec install [options] [-- KERNEL [ARGUMENT…]]\n\n"
	"Writes a kernelspec for Jupyter: each of its kernels is a command that runs apart from\n"
	"all others, as with moat exec --secure. KERNEL is what starts one, as in any kernelspec;\n"
	"without it python3 -m ipykernel_launcher -f {connection_file}. See moat.conf(5) for the\n"
	"service that goes with it.\n\n"
	"  -c, --context NAME       kernels run in this context (default)\n"
	"  -C, --directory DIR      and start in DIR\n"
	"      --no-isolation       among the other commands of the context, whose processes they\n"
	"                           then reach; other contexts then reach their ports\n"
	"      --name NAME          of the kernelspec (moat)\n"
	"      --display-name TEXT  what Jupyter shows (Python 3, moat)\n"
	"      --language NAME      of the cells (python)\n"
	"      --prefix DIR         in DIR/share/jupyter/kernels (/usr/local)\n"
	"      --json               print where it is as JSON\n"
	"      --socket PATH        of the moatd that they are to run under\n";

enum {
	OPTION_NAME = OPTION_COMMAND,
	OPTION_DISPLAY,
	OPTION_LANGUAGE,
	OPTION_PREFIX,
	OPTION_NO_ISOLATION
};

struct options {
	const char *context, *directory, *name, *display, *language, *prefix;
	bool no_isolation;
	char *const *kernel; /* NULL-terminated */
};

static char *const python[] = { (char *)"python3", (char *)"-m", (char *)"ipykernel_launcher",
				(char *)"-f",	   (char *)CONNECTION, NULL };

static void add(json_t *argv, const char *text)
{
	json_array_append_new(argv, json_string(text));
}

static void add_option(json_t *argv, const char *option, const char *value)
{
	if (!value)
		return;
	add(argv, option);
	add(argv, value);
}

/* An argument of the kernel, which finds its connection elsewhere than the server. */
static int add_argument(json_t *argv, const char *text, bool *found)
{
	const char *at = strstr(text, CONNECTION);
	PTR_OWNED char *changed = NULL;

	if (!at) {
		add(argv, text);
		return 0;
	}
	*found = true;
	if (asprintf(&changed, "%.*s" CONNECTION_INSIDE "%s", (int)(at - text), text,
		     at + strlen(CONNECTION)) < 0) {
		changed = NULL;
		return -ENOMEM;
	}
	add(argv, changed);
	return 0;
}

/* What Jupyter runs. 0 or an exit status. */
static int build_argv(const struct cli *cli, const struct options *o, json_t *argv)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	bool found = false;

	if (n < 0)
		return complain("INPUT_FAILED", "cannot read /proc/self/exe: %s", strerror(errno));
	self[n] = '\0';
	add(argv, self);
	add(argv, "exec");
	add_option(argv, "--socket", cli->socket);
	add_option(argv, "--context", o->context);
	add_option(argv, "--directory", o->directory);
	add(argv, o->no_isolation ? "--no-isolation" : "--secure");
	add(argv, "--interrupts");
	add_option(argv, "--stdin-file", CONNECTION);
	add(argv, "--");
	for (char *const *word = o->kernel; *word; word++)
		if (add_argument(argv, *word, &found) < 0)
			return complain("OUT_OF_MEMORY", "out of memory");
	return found ? 0 : usage_error("jupyter-kernelspec",
				       "the kernel is told nothing of its " CONNECTION);
}

/* Takes the place of what is there when it is whole. 0 or -errno. */
static int write_file(int dir, const char *text, size_t n)
{
	static const char draft[] = "." KERNEL_FILE;
	FD_OWNED int fd = -EBADF;
	int r;

	(void)unlinkat(dir, draft, 0);
	fd = openat(dir, draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	r = write_all(fd, text, n);
	if (r == 0 && (fchmod(fd, 0644) < 0 || renameat(dir, draft, dir, KERNEL_FILE) < 0))
		r = -errno;
	if (r < 0)
		(void)unlinkat(dir, draft, 0);
	return r;
}

/* path and what is missing above it. A descriptor or -errno. */
static int make_directory(const char *path)
{
	int r = make_parents(path, 0755);

	if (r == 0 && mkdir(path, 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (r < 0)
		return r;
	r = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return r < 0 ? -errno : r;
}

static int install(struct cli *cli, const struct options *o)
{
	json_t *argv = json_array();
	json_t *spec JSON_OWNED = json_pack("{s:o, s:s, s:s, s:s}", "argv", argv, "display_name",
					    o->display, "language", o->language, "interrupt_mode",
					    "signal");
	PTR_OWNED char *text = NULL, *path = NULL;
	FD_OWNED int dir = -EBADF;
	int r;

	if (!spec)
		return usage_error("jupyter-kernelspec", "names must be UTF-8");
	r = build_argv(cli, o, argv);
	if (r)
		return r;
	text = json_dumps(spec, JSON_INDENT(1));
	if (!text || asprintf(&path, "%s/share/jupyter/kernels/%s", o->prefix, o->name) < 0)
		return complain("OUT_OF_MEMORY", "out of memory");
	dir = make_directory(path);
	r = dir < 0 ? dir : write_file(dir, text, strlen(text));
	if (r < 0)
		return complain("OUTPUT_FAILED", "cannot write %s/" KERNEL_FILE ": %s", path,
				strerror(-r));
	if (printed_json(cli, json_pack("{s:s, s:s}", "name", o->name, "directory", path)))
		return 0;
	printf("installed %s in %s\n", o->name, path);
	return 0;
}

/* As Jupyter has it, and no path. */
static bool is_name(const char *name)
{
	return *name && *name != '.' &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] ==
		       '\0';
}

static bool parse(struct cli *cli, int argc, char **argv, struct options *o, int *ret_status)
{
	static const struct option options[] = {
		COMMON_OPTIONS,
		{ "context", required_argument, NULL, 'c' },
		{ "directory", required_argument, NULL, 'C' },
		{ "no-isolation", no_argument, NULL, OPTION_NO_ISOLATION },
		{ "name", required_argument, NULL, OPTION_NAME },
		{ "display-name", required_argument, NULL, OPTION_DISPLAY },
		{ "language", required_argument, NULL, OPTION_LANGUAGE },
		{ "prefix", required_argument, NULL, OPTION_PREFIX },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "+hc:C:", options, NULL)) != -1) {
		const char **text = option == 'c'	      ? &o->context :
				    option == 'C'	      ? &o->directory :
				    option == OPTION_NAME     ? &o->name :
				    option == OPTION_DISPLAY  ? &o->display :
				    option == OPTION_LANGUAGE ? &o->language :
				    option == OPTION_PREFIX   ? &o->prefix :
								NULL;

		if (text)
			*text = optarg;
		else if (option == OPTION_NO_ISOLATION)
			o->no_isolation = true;
		else if (!option_common(cli, "jupyter-kernelspec", option, ret_status))
			return false;
	}
	return true;
}

int cmd_jupyter(struct cli *cli, int argc, char **argv)
{
	struct options o = { .name = "moat",
			     .display = "Python 3 (moat)",
			     .language = "python",
			     .prefix = "/usr/local" };
	bool verb = argc > 1 && strcmp(argv[1], "install") == 0;
	int status;

	/* What is to be done stands before the options, as with Jupyter's own commands. */
	if (!parse(cli, argc - verb, argv + verb, &o, &status))
		return status;
	if (!verb)
		return usage_error("jupyter-kernelspec", "what is to be done? There is install");
	if (!is_name(o.name))
		return usage_error("jupyter-kernelspec", "a name is of A-Z a-z 0-9 . _ -");
	if (o.prefix[0] != '/')
		return usage_error("jupyter-kernelspec", "the prefix must be an absolute path");
	o.kernel = optind < argc - verb ? argv + verb + optind : python;
	return install(cli, &o);
}
