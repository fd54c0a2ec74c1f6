/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/feed.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define FEED_SIZE 65536u

/* False: nobody reads it any more. */
static bool send_piece(struct moat_client *client, const char *id, uint64_t offset, const char *data, size_t n)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	char path[160];

	snprintf(path, sizeof(path), "/v1/processes/%s/stdin?offset=%llu%s", id, (unsigned long long)offset,
		 n ? "" : "&close");
	return moat_call(client, "POST", path, data, n, &response) == 0 && response.status == 200;
}

static void feed(const struct cli *cli, const char *id)
{
	static char data[FEED_SIZE];
	struct moat_client *client;
	uint64_t offset = 0;
	ssize_t n;

	if (moat_connect(cli->socket, &client) < 0)
		return;
	do {
		n = read(STDIN_FILENO, data, sizeof(data));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			complain("INPUT_FAILED", "cannot read stdin: %s", strerror(errno));
		if (n < 0 || !send_piece(client, id, offset, data, (size_t)n))
			return;
		offset += (uint64_t)n;
	} while (n != 0);
}

int feed_start(const struct cli *cli, const char *id, pid_t *ret_pid)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		return -1;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			feed(cli, id);
		_exit(0);
	}
	*ret_pid = pid;
	return 0;
}

void feed_stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
