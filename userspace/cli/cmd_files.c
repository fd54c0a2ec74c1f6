/* SPDX-License-Identifier: Apache-2.0 */
/* moat files: what is in the files of a context, as its commands see them. */
#include "cli/cli.h"

const char help_files[] =
	"usage: moat files read PATH > FILE\n"
	"       moat files write PATH < FILE\n"
	"       moat files pack DIR > TAR\n"
	"       moat files unpack DIR < TAR\n"
	"       moat files ls [-R] [PATH]\n"
	"       moat files stat PATH\n"
	"       moat files mkdir PATH\n"
	"       moat files mv PATH TO\n"
	"       moat files rm [-R] PATH\n"
	"       moat files replace PATH OLD NEW\n\n"
	"With the rights of the context's commands, and in their sight. A path that does not begin\n"
	"with / is beneath the context's workspace, or its directory. What is written takes the\n"
	"place of the file when it has arrived whole.\n\n"
	"  -c, --context NAME   of this context (default)\n"
	"  -a, --append         write: behind what is there\n"
	"  -m, --mode MODE      write, mkdir: of what is made, octal\n"
	"  -n, --new            write, mv, unpack: only where there is nothing yet\n"
	"      --if-match HASH  write, replace: only over this content, a SHA-256 (stat tells it)\n"
	"      --count N        replace: where it is there N times (1)\n"
	"  -R, --recursive      ls, rm: with all that is below\n";

enum { OPTION_MATCH = OPTION_COMMAND, OPTION_COUNT };

struct options {
	const char *context, *mode, *match, *count;
	bool append, fresh, recursive;
	char **words; /* operands, from the path on */
	int n_words;
};

/* /v1/contexts/NAME/files?path=PATH and what follows, which is plain. NULL: out of memory. */
static char *place(const struct options *o, const char *more)
{
	static const char start[] = "/v1/contexts/", files[] = "/files?path=";
	const char *path = o->n_words > 0 ? o->words[0] : ".";
	size_t size = sizeof(start) + sizeof(files) + 3 * (strlen(o->context) + strlen(path)) +
		      strlen(more);
	char *text = malloc(size), *at = text;

	if (!text)
		return NULL;
	at = percent_encode(stpcpy(at, start), o->context);
	at = percent_encode(stpcpy(at, files), path);
	snprintf(at, size - (size_t)(at - text), "%s", more);
	return text;
}

static int no_memory(void)
{
	return complain("OUT_OF_MEMORY", "out of memory");
}

/* One request that is not about content; prints what --json wants. */
static int call(struct cli *cli, const struct options *o, const char *method, const char *more,
		const json_t *body, json_t **ret)
{
	PTR_OWNED char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	PTR_OWNED char *path = place(o, more);

	return !path || (body && !text) ? no_memory() : agent_get(cli, method, path, text, ret);
}

static int change(struct cli *cli, const struct options *o, json_t *body)
{
	json_t *owned JSON_OWNED = body, *root JSON_OWNED = NULL;
	int r;

	if (!owned)
		return usage_error("files", "what is given must be UTF-8");
	if (o->mode)
		json_object_set_new(owned, "mode", json_string(o->mode));
	if (o->match)
		json_object_set_new(owned, "ifMatch", json_string(o->match));
	r = call(cli, o, "POST", "", owned, &root);
	if (r == 0)
		(void)printed_json(cli, root);
	return r;
}

/* --- Content -------------------------------------------------------------------------------- */

static ssize_t take_input(char *buf, size_t n, void *data)
{
	ssize_t some;

	do
		some = read(STDIN_FILENO, buf, n);
	while (some < 0 && errno == EINTR);
	if (some < 0)
		*(int *)data = errno;
	return some < 0 ? -errno : some;
}

static int give_output(const char *bytes, size_t n, void *data)
{
	int r = write_all(STDOUT_FILENO, bytes, n);

	*(int *)data = -r;
	return r;
}

static int transfer(struct cli *cli, const char *method, const char *path, bool output, bool input,
		    struct moat_response *ret)
{
	struct moat_client *client CLIENT_OWNED = NULL;
	int err = 0;
	const struct moat_transfer t = { .take = input ? take_input : NULL,
					 .give = output ? give_output : NULL,
					 .data = &err };
	int r = agent_connect(cli, &client);

	if (r)
		return r;
	r = moat_transfer(client, method, path, &t, ret);
	if (r < 0 && err)
		return input ? complain("INPUT_FAILED", "cannot read: %s", strerror(err)) :
			       complain("OUTPUT_FAILED", "cannot write: %s", strerror(err));
	if (r < 0)
		return agent_failed(r);
	return ret->status >= 300 ? agent_refused(ret) : 0;
}

static int files_read(struct cli *cli, const struct options *o)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	PTR_OWNED char *path = place(o, "");

	return path ? transfer(cli, "GET", path, true, false, &response) : no_memory();
}

static int files_pack(struct cli *cli, const struct options *o)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	PTR_OWNED char *path = place(o, "&archive=tar");

	return path ? transfer(cli, "GET", path, true, false, &response) : no_memory();
}

/* What is on standard input, to a place. */
static int send_input(struct cli *cli, const struct options *o, const char *more)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	json_t *root JSON_OWNED = NULL;
	PTR_OWNED char *path = place(o, more);
	int r = path ? transfer(cli, "PUT", path, false, true, &response) : no_memory();

	if (r)
		return r;
	root = answer_decode(response.body, response.len);
	if (!root)
		return agent_failed(-EPROTO);
	(void)printed_json(cli, root);
	return 0;
}

static int files_unpack(struct cli *cli, const struct options *o)
{
	return send_input(cli, o, o->fresh ? "&archive=tar&ifNoneMatch=*" : "&archive=tar");
}

static int files_write(struct cli *cli, const struct options *o)
{
	char more[256];

	if ((o->mode && strspn(o->mode, "01234567") != strlen(o->mode)) ||
	    (o->match && strspn(o->match, "0123456789abcdefABCDEF") != strlen(o->match)) ||
	    snprintf(more, sizeof(more), "%s%s%s%s%s%s", o->append ? "&append" : "",
		     o->fresh ? "&ifNoneMatch=*" : "", o->mode ? "&mode=" : "",
		     o->mode ? o->mode : "", o->match ? "&ifMatch=" : "",
		     o->match ? o->match : "") >= (int)sizeof(more))
		return usage_error("files", "a mode is octal, a hash hexadecimal");
	return send_input(cli, o, more);
}

/* --- What is there -------------------------------------------------------------------------- */

/* A name in sight of a terminal; those that are not UTF-8 stay base64. */
static void add_row(struct table *t, const json_t *entry, const char *path)
{
	const char *target = member_text(entry, "target");

	table_add(t, "%s", member_text(entry, "type"));
	table_add(t, "%s", member_text(entry, "mode"));
	table_add(t, "%lld:%lld", (long long)member_number(entry, "uid"),
		  (long long)member_number(entry, "gid"));
	table_add(t, "%lld", (long long)member_number(entry, "size"));
	table_add(t, "%s", member_text(entry, "modifiedAt"));
	table_add(t, "%s%s%s", path, *target ? " -> " : "", target);
}

static int files_list(struct cli *cli, const struct options *o)
{
	static const char *const titles[] = { "TYPE",     "MODE", "OWNER", "SIZE",
					      "MODIFIED", "PATH", NULL };
	struct table table = { .titles = titles, .color = cli->color };
	json_t *root JSON_OWNED = NULL, *entry;
	size_t i;
	int r = call(cli, o, "GET",
		     o->recursive ? "&list&recursive&limit=10000" : "&list&limit=10000", NULL,
		     &root);

	if (r || printed_json(cli, root))
		return r;
	json_array_foreach(json_object_get(root, "entries"), i, entry)
		add_row(&table, entry, member_text(entry, "path"));
	table_print(&table);
	table_free(&table);
	if (json_is_true(json_object_get(root, "truncated")))
		fputs("moat: there is more than is shown\n", stderr);
	return 0;
}

static int files_stat(struct cli *cli, const struct options *o)
{
	static const char *const titles[] = { "TYPE",     "MODE", "OWNER", "SIZE",
					      "MODIFIED", "PATH", NULL };
	struct table table = { .titles = titles, .color = cli->color };
	json_t *root JSON_OWNED = NULL;
	int r = call(cli, o, "GET", "&stat&hash", NULL, &root);

	if (r || printed_json(cli, root))
		return r;
	add_row(&table, root, member_text(root, "path"));
	table_print(&table);
	table_free(&table);
	if (json_object_get(root, "sha256"))
		printf("sha256 %s\n", member_text(root, "sha256"));
	return 0;
}

/* --- Changes -------------------------------------------------------------------------------- */

static int files_mkdir(struct cli *cli, const struct options *o)
{
	return change(cli, o, json_pack("{s:s}", "op", "mkdir"));
}

static int files_move(struct cli *cli, const struct options *o)
{
	return change(cli, o,
		      json_pack("{s:s, s:s, s:b}", "op", "rename", "to", o->words[1], "overwrite",
				!o->fresh));
}

static int files_remove(struct cli *cli, const struct options *o)
{
	json_t *root JSON_OWNED = NULL;
	int r = call(cli, o, "DELETE", o->recursive ? "&recursive" : "", NULL, &root);

	if (r == 0)
		(void)printed_json(cli, root);
	return r;
}

static int files_replace(struct cli *cli, const struct options *o)
{
	long long count = o->count ? strtoll(o->count, NULL, 10) : 1;

	return change(cli, o,
		      json_pack("{s:s, s:s, s:s, s:I}", "op", "replace", "old", o->words[1], "new",
				o->words[2], "count", (json_int_t)count));
}

static const struct {
	const char *name;
	int least, most; /* operands */
	int (*run)(struct cli *cli, const struct options *o);
} operations[] = {
	{ "read", 1, 1, files_read },   { "write", 1, 1, files_write },
	{ "pack", 1, 1, files_pack },   { "unpack", 1, 1, files_unpack },
	{ "ls", 0, 1, files_list },     { "stat", 1, 1, files_stat },
	{ "mkdir", 1, 1, files_mkdir }, { "mv", 2, 2, files_move },
	{ "rm", 1, 1, files_remove },   { "replace", 3, 3, files_replace },
};

static bool parse(struct cli *cli, int argc, char **argv, struct options *o, int *ret_status)
{
	static const struct option options[] = {
		COMMON_OPTIONS,
		{ "context", required_argument, NULL, 'c' },
		{ "append", no_argument, NULL, 'a' },
		{ "mode", required_argument, NULL, 'm' },
		{ "new", no_argument, NULL, 'n' },
		{ "recursive", no_argument, NULL, 'R' },
		{ "if-match", required_argument, NULL, OPTION_MATCH },
		{ "count", required_argument, NULL, OPTION_COUNT },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "hc:am:nR", options, NULL)) != -1)
		switch (option) {
		case 'c':
			o->context = optarg;
			break;
		case 'a':
			o->append = true;
			break;
		case 'm':
			o->mode = optarg;
			break;
		case 'n':
			o->fresh = true;
			break;
		case 'R':
			o->recursive = true;
			break;
		case OPTION_MATCH:
			o->match = optarg;
			break;
		case OPTION_COUNT:
			o->count = optarg;
			break;
		default:
			if (!option_common(cli, "files", option, ret_status))
				return false;
		}
	return true;
}

int cmd_files(struct cli *cli, int argc, char **argv)
{
	struct options o = { .context = "default" };
	const char *name;
	int status;

	if (!parse(cli, argc, argv, &o, &status))
		return status;
	if (optind == argc)
		return usage_error("files", "what is to be done?");
	name = argv[optind];
	o.words = argv + optind + 1;
	o.n_words = argc - optind - 1;
	for (size_t i = 0; i < ARRAY_LEN(operations); i++)
		if (strcmp(operations[i].name, name) == 0) {
			if (o.n_words < operations[i].least || o.n_words > operations[i].most)
				return usage_error("files", "%s wants %d operand%s", name,
						   operations[i].most,
						   operations[i].most == 1 ? "" : "s");
			return operations[i].run(cli, &o);
		}
	return usage_error("files", "there is no %s", name);
}
