/* SPDX-License-Identifier: Apache-2.0 */
#include "run/files/internal.h"

int refuse_job(struct job *j, enum moat_error code)
{
	j->code = code;
	j->err = 0;
	return -EINVAL;
}

int refuse_errno(struct job *j, int err)
{
	static const struct {
		int err;
		enum moat_error code;
	} table[] = {
		{ EACCES, MOAT_E_PERMISSION_DENIED }, { EPERM, MOAT_E_PERMISSION_DENIED },
		{ EROFS, MOAT_E_READ_ONLY },          { ENOENT, MOAT_E_NO_SUCH_FILE },
		{ EEXIST, MOAT_E_FILE_EXISTS },       { EISDIR, MOAT_E_IS_A_DIRECTORY },
		{ ENOTDIR, MOAT_E_NOT_A_DIRECTORY },  { ENOTEMPTY, MOAT_E_NOT_EMPTY },
		{ ELOOP, MOAT_E_TOO_MANY_LINKS },     { EBUSY, MOAT_E_FILE_IN_USE },
		{ ETXTBSY, MOAT_E_FILE_IN_USE },      { EAGAIN, MOAT_E_FILE_IN_USE },
		{ EFBIG, MOAT_E_FILE_TOO_LARGE },     { ENAMETOOLONG, MOAT_E_BAD_PATH },
		{ ENOSPC, MOAT_E_NO_SPACE },          { EDQUOT, MOAT_E_NO_SPACE },
		{ EXDEV, MOAT_E_OTHER_FILESYSTEM },   { ENXIO, MOAT_E_IS_A_DEVICE },
	};

	refuse_job(j, MOAT_E_FILE_FAILED);
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].err == err)
			j->code = table[i].code;
	j->err = err;
	return -EINVAL;
}

enum moat_error code_of_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return MOAT_OK;
	case S_IFDIR:
		return MOAT_E_IS_A_DIRECTORY;
	case S_IFIFO:
		return MOAT_E_IS_A_FIFO;
	case S_IFSOCK:
		return MOAT_E_IS_A_SOCKET;
	case S_IFLNK:
		return MOAT_E_TOO_MANY_LINKS; /* it came after the last look */
	default:
		return MOAT_E_IS_A_DEVICE;
	}
}

static void tell(const void *data, size_t n)
{
	if (write_all(STDOUT_FILENO, data, n) < 0)
		_exit(1);
}

void tell_frame(enum files_frame_type type, const void *data, size_t n)
{
	const struct files_frame frame = { .type = type, .len = (uint32_t)n };

	tell(&frame, sizeof(frame));
	tell(data, n);
}

void tell_entry(struct files_entry *entry, const char *name, const char *target)
{
	char frame[sizeof(*entry) + 2 * (FILES_PATH_MAX + 1)];
	size_t at = sizeof(*entry);

	entry->name_len = (uint32_t)strnlen(name, FILES_PATH_MAX);
	entry->target_len = (uint32_t)strnlen(target, FILES_PATH_MAX);
	memcpy(frame, entry, sizeof(*entry));
	memcpy(frame + at, name, entry->name_len);
	at += entry->name_len;
	memcpy(frame + at, target, entry->target_len);
	tell_frame(FILES_ENTRY, frame, at + entry->target_len);
}

void tell_end(bool created, bool truncated)
{
	const struct files_end end = { .created = created, .truncated = truncated };

	tell_frame(FILES_END, &end, sizeof(end));
}

void tell_error(const struct job *j)
{
	const struct files_error error = { .code = j->code,
					   .err = (uint32_t)j->err,
					   .number = j->number };

	tell_frame(FILES_ERROR, &error, sizeof(error));
}

void fill_entry(const struct stat *st, struct files_entry *ret)
{
	*ret = (struct files_entry){
		.size = (uint64_t)st->st_size,
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
	};
	if (st->st_mtim.tv_sec > 0)
		ret->mtime_ms = (uint64_t)st->st_mtim.tv_sec * 1000 +
				(uint64_t)st->st_mtim.tv_nsec / 1000000;
}

bool receive_all(void *buf, size_t n)
{
	for (char *p = buf; n > 0;) {
		ssize_t some = read(STDIN_FILENO, p, n);

		if (some < 0 && errno == EINTR)
			continue;
		if (some <= 0)
			return false;
		p += some;
		n -= (size_t)some;
	}
	return true;
}

ssize_t take_content(struct job *j, void *buf, size_t n)
{
	struct files_frame frame;

	if (j->frame_left == 0) {
		if (!receive_all(&frame, sizeof(frame)))
			return refuse_job(j, MOAT_E_UPLOAD_CUT);
		if (frame.type == FILES_END && frame.len == 0)
			return 0;
		if (frame.type != FILES_DATA || frame.len == 0 || frame.len > FILES_DATA_MAX)
			return refuse_job(j, MOAT_E_UPLOAD_CUT);
		j->frame_left = frame.len;
	}
	n = n < j->frame_left ? n : j->frame_left;
	if (!receive_all(buf, n))
		return refuse_job(j, MOAT_E_UPLOAD_CUT);
	j->frame_left -= n;
	return (ssize_t)n;
}
