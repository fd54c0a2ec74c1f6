/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/feed.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define FEED_SIZE 65536u
#define KEY_DETACH 0x1d /* Ctrl-] */

/* False: nobody reads it any more. */
static bool send_piece(struct moat_client *client, const char *id, const char *query, const char *data, size_t n)
{
	struct moat_response response RESPONSE_OWNED = { 0 };
	char path[160];

	snprintf(path, sizeof(path), "/v1/processes/%s/stdin%s", id, query);
	return moat_call(client, "POST", path, data, n, &response) == 0 && response.status == 200;
}

static void feed(struct moat_client *client, const char *id)
{
	static char data[FEED_SIZE];
	uint64_t offset = 0;
	char query[64];
	ssize_t n;

	do {
		n = read(STDIN_FILENO, data, sizeof(data));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			complain("INPUT_FAILED", "cannot read stdin: %s", strerror(errno));
			return;
		}
		snprintf(query, sizeof(query), "?offset=%llu%s", (unsigned long long)offset, n ? "" : "&close");
		if (!send_piece(client, id, query, data, (size_t)n))
			return;
		offset += (uint64_t)n;
	} while (n != 0);
}

/* Others may type as well, so nobody knows the offset. */
static void feed_keys(struct moat_client *client, const char *id)
{
	char keys[4096];
	ssize_t n;

	while ((n = read(STDIN_FILENO, keys, sizeof(keys))) > 0 || (n < 0 && errno == EINTR)) {
		char *detach = n > 0 ? memchr(keys, KEY_DETACH, (size_t)n) : NULL;
		size_t part = detach ? (size_t)(detach - keys) : n > 0 ? (size_t)n : 0;

		if ((part && !send_piece(client, id, "", keys, part)) || detach)
			return;
	}
}

int feed_start(const struct cli *cli, const char *id, bool keys, pid_t *ret_pid)
{
	struct moat_client *client;
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		return -1;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent || moat_connect(cli->socket, &client) < 0)
			_exit(1);
		if (keys)
			feed_keys(client, id);
		else
			feed(client, id);
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
