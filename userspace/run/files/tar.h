/* SPDX-License-Identifier: Apache-2.0 */
/* Tar archives, as POSIX has them (pax(1), "ustar Interchange Format" and "pax Interchange Format"). */
#ifndef MOAT_RUN_FILES_TAR_H
#define MOAT_RUN_FILES_TAR_H

#include <stdint.h>

#define TAR_BLOCK 512u

struct tar_header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
	char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "as on tape");

enum {
	TAR_FILE = '0',
	TAR_OLD_FILE = '\0',
	TAR_HARD_LINK = '1',
	TAR_LINK = '2',
	TAR_CHARACTER = '3',
	TAR_BLOCK_DEVICE = '4',
	TAR_DIRECTORY = '5',
	TAR_FIFO = '6',
	TAR_CONTIGUOUS = '7',
	TAR_NEXT = 'x',      /* pax: of the next entry */
	TAR_ALL = 'g',       /* pax: of all that follow */
	TAR_LONG_NAME = 'L', /* GNU: of the next entry */
	TAR_LONG_LINK = 'K',
};

static inline uint64_t tar_padding(uint64_t size)
{
	return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

/* With blanks in the place of the checksum itself. */
static inline unsigned tar_checksum(const struct tar_header *h)
{
	const unsigned char *bytes = (const unsigned char *)h;
	const unsigned at = (unsigned)__builtin_offsetof(struct tar_header, checksum);
	unsigned sum = 0;

	for (unsigned i = 0; i < TAR_BLOCK; i++)
		sum += i >= at && i < at + sizeof(h->checksum) ? ' ' : bytes[i];
	return sum;
}

#endif
