/* SPDX-License-Identifier: Apache-2.0 */
/* A workspace, as it is to be when its context is made: the directory, and links of the configuration in it. */
#include <fcntl.h>

#include "run/files/internal.h"

/* A link that is there takes another's place at once; anything else stays, and is an error. */
int make_link(struct job *j, const char *path, const char *target)
{
	PLACE_OWNED struct place p = { .dir = -EBADF };
	char draft[32];
	struct stat st;
	int r = place_open(j, path, false, true, &p);

	if (r == 0)
		r = place_stat(j, &p, &st);
	if (r < 0)
		return r;
	if (r == 1 && !S_ISLNK(st.st_mode))
		return refuse_job(j, MOAT_E_FILE_EXISTS);
	if (draft_name(draft) < 0)
		return refuse_errno(j, EIO);
	if (symlinkat(target, p.dir, draft) < 0)
		return refuse_errno(j, errno);
	if (renameat(p.dir, draft, p.dir, p.name) < 0) {
		r = refuse_errno(j, errno);
		(void)unlinkat(p.dir, draft, 0);
		return r;
	}
	return 0;
}

/* The next NAME and TARGET, or false: there is no more that is whole. */
static bool next_link(const char **at, const char *end, const char **ret_name, const char **ret_target)
{
	*ret_name = *at;
	*at += strnlen(*at, (size_t)(end - *at)) + 1;
	if (*at >= end)
		return false;
	*ret_target = *at;
	*at += strnlen(*at, (size_t)(end - *at)) + 1;
	return *at <= end;
}

int files_workspace(struct job *j)
{
	const char *at = j->old_text, *end = at + j->request.old_len, *name, *target;
	FD_OWNED int work = -EBADF;
	struct files_entry entry;
	struct stat st;
	bool made;
	int r = 0;

	if (make_directories(j, j->path, j->request.mode, &made) < 0)
		return -EINVAL;
	work = open_beneath(j, j->path, O_PATH | O_DIRECTORY);
	if (work < 0)
		return work;
	if (fstat(work, &st) < 0)
		return refuse_errno(j, errno);
	/* Links have their place beneath it, wherever links that are there lead. */
	close_fd(&j->root_fd);
	j->root_fd = take_fd(&work);
	j->whole = false;
	while (r == 0 && next_link(&at, end, &name, &target))
		r = make_link(j, name, target);
	if (r < 0)
		return r;
	fill_entry(&st, &entry);
	tell_entry(&entry, "", "");
	tell_end(made, false);
	return 0;
}
