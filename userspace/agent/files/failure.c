/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/files/internal.h"

static const char *words(enum moat_error code)
{
	static const struct {
		enum moat_error code;
		const char *text;
	} table[] = {
		{ MOAT_E_BAD_PATH, "names nothing that can be made, written or removed" },
		{ MOAT_E_BAD_ARCHIVE, "is not what was sent: no tar archive of files, directories and links" },
		{ MOAT_E_OUTSIDE_WORKSPACE, "leads out of the workspace of the context" },
		{ MOAT_E_NO_SUCH_FILE, "is not there" },
		{ MOAT_E_FILE_EXISTS, "is there already" },
		{ MOAT_E_IS_A_DIRECTORY, "is a directory" },
		{ MOAT_E_IS_A_FIFO, "is a FIFO" },
		{ MOAT_E_IS_A_DEVICE, "is a device" },
		{ MOAT_E_IS_A_SOCKET, "is a socket" },
		{ MOAT_E_TOO_MANY_LINKS, "has too many links on its way" },
		{ MOAT_E_OTHER_FILESYSTEM,
		  "is on another file system, or has one mounted beneath it" },
		{ MOAT_E_FILE_CHANGED, "has changed" },
		{ MOAT_E_RANGE_NOT_SATISFIABLE, "is not as long as the range wants it" },
		{ MOAT_E_UPLOAD_CUT, "was not written: its content did not arrive whole" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].code == code)
			return table[i].text;
	return NULL;
}

void files_describe(const struct files_error *error, const char *path, struct refusal *e)
{
	const char *text = words(error->code);

	if (error->code == MOAT_E_NOT_REPLACED) {
		refuse(e, error->code, "%.128s: the text is there %llu times", path,
		       (unsigned long long)error->number);
		e->count = error->number > INT64_MAX ? INT64_MAX : (long long)error->number;
	} else if (text) {
		refuse(e, error->code, "%.128s %s", path, text);
	} else {
		refuse(e, error->code, "%.128s: %s", path,
		       error->err ? strerror((int)error->err) : "it failed");
	}
	e->err = (int)error->err;
}
