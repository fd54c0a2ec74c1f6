/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/prctl.h>

#include "run/files/internal.h"

static int (*const operations[FILES_OPERATION_COUNT])(struct job *j) = {
	[FILES_READ] = files_read,     [FILES_WRITE] = files_write,
	[FILES_APPEND] = files_append, [FILES_REPLACE] = files_replace,
	[FILES_LIST] = files_list,     [FILES_STAT] = files_stat,
	[FILES_MKDIR] = files_mkdir,   [FILES_REMOVE] = files_remove,
	[FILES_RENAME] = files_rename, [FILES_PREPARE] = files_workspace,
	[FILES_PACK] = files_pack,     [FILES_UNPACK] = files_unpack,
};

/* The strings are in one block: as they come, and behind that each with its NUL. */
static bool receive_request(struct job *j)
{
	size_t n;

	if (!receive_all(&j->request, sizeof(j->request)) || !files_request_valid(&j->request))
		return false;
	n = files_request_strings(&j->request);
	j->strings = malloc(2 * n + 5);
	return j->strings && receive_all(j->strings, n) &&
	       files_request_split(j, j->strings, n, j->strings + n);
}

int files_main(void)
{
	struct job j = { .root_fd = -EBADF };
	int r;

	prctl(PR_SET_NAME, FILES_PROGRAM);
	umask(0);
	if (!receive_request(&j))
		return 1;
	r = root_open(&j);
	if (r == 0)
		r = operations[j.request.operation](&j);
	if (r < 0)
		tell_error(&j);
	return 0;
}
