/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>

#include "cli/cli.h"

const char help_check[] =
	"usage: moat check [--json]\n\n"
	"Shows what this kernel and these privileges offer moat, and what is missing. Needs no\n"
	"agent and changes nothing; needs root. Exits with 0 when moat can enforce here, else 1.\n";

/* moatd stands next to moat, or in the sbin beside its bin. */
static void run_moatd(const char *self, const char *place, bool json)
{
	char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/%smoatd", self, place);
	execl(path, "moatd", "--check", json ? "--json" : NULL, NULL);
}

int cmd_check(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS, { 0 } };
	char self[PATH_MAX];
	char *slash;
	ssize_t n;
	int option, status;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		if (!option_common(cli, "check", option, &status))
			return status;
	status = no_operands("check", argc, argv);
	if (status)
		return status;
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash)
			*slash = '\0';
		run_moatd(self, "", cli->json);
		run_moatd(self, "../sbin/", cli->json);
	}
	run_moatd("/usr/local/sbin", "", cli->json);
	run_moatd("/usr/sbin", "", cli->json);
	return complain("NOT_FOUND", "cannot find moatd beside moat: %s", strerror(errno));
}
