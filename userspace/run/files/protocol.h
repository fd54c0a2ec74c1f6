/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent and the moat-run of a request for files say to each other. moat-run is started like any
 * command of the context, as FILES_PROGRAM: its standard input is a pipe from the agent, its standard output
 * one to the agent.
 *
 * The agent sends one struct files_request, the strings that it announces, and for FILES_WRITE, FILES_APPEND and
 * FILES_UNPACK the content: FILES_DATA frames, and a FILES_END, without which the file stays as it was. moat-run answers in
 * frames: what the operation has (see the table), then a FILES_END; or a FILES_ERROR at any point.
 *
 * User code of the context may trace moat-run, or write to its pipe: the agent takes an answer for the words of
 * an adversary, and every number in it has a limit here.
 */
#ifndef MOAT_RUN_FILES_PROTOCOL_H
#define MOAT_RUN_FILES_PROTOCOL_H

#include <stdint.h>

#define FILES_PROGRAM "moat-files" /* argv[0] */
#define FILES_MAGIC 0x6d6f6631u
#define FILES_PATH_MAX 4095u               /* bytes of a path, of a link's target */
#define FILES_DATA_MAX 65536u              /* bytes of a frame */
#define FILES_TEXT_MAX (1024u * 1024)      /* of what is replaced, and by what */
#define FILES_ENTRIES_MAX 10000u           /* of a list */
#define FILES_DEPTH_MAX 128u               /* of directories, in a list and for removal */
#define FILES_NAMES_MAX (4u * 1024 * 1024) /* bytes of all names of a list */

/* The operations, and how many entries each answers with (of a list: at most). */
#define FILES_OPERATIONS(X)                                                                        \
	X(READ, 1) /* the file, then as much content as the entry says */                          \
	X(WRITE, 1)                                                                                \
	X(APPEND, 1)                                                                               \
	X(REPLACE, 1) /* text in a file */                                                         \
	X(LIST, FILES_ENTRIES_MAX)                                                                 \
	X(STAT, 1)                                                                                 \
	X(MKDIR, 1)                                                                                \
	X(REMOVE, 0)                                                                               \
	X(RENAME, 1)                                                                               \
	X(PREPARE, 1) /* a workspace with its links, beneath / */                                  \
	X(PACK, 1)    /* the directory, then a tar archive of it */                                \
	X(UNPACK, 1)  /* a tar archive into the directory */

enum files_operation {
#define FILES_OPERATION_ENUM(name, entries) FILES_##name,
	FILES_OPERATIONS(FILES_OPERATION_ENUM)
#undef FILES_OPERATION_ENUM
		FILES_OPERATION_COUNT,
};

enum {
	FILES_PARENTS = 1,    /* directories that are missing are made */
	FILES_NEW = 2,        /* the file, or what a rename makes, must not be there */
	FILES_SAME = 4,       /* its content must have `hash` */
	FILES_HASH = 8,       /* stat: tell it */
	FILES_RECURSIVE = 16, /* list, remove */
	FILES_SUFFIX = 32,    /* read: the last `length` bytes */
	FILES_RANGE = 64,     /* read: `length` bytes from `offset` on */
	FILES_IN_PLACE = 128, /* write: into the file that is there, not atomic */
	FILES_FLAGS = 255,
};

struct files_request {
	uint32_t magic;
	uint32_t operation;
	uint32_t flags;
	uint32_t mode; /* of what is made */
	uint64_t offset, length;
	uint32_t limit;              /* list: entries */
	uint32_t count;              /* replace: so many times, exactly */
	uint32_t root_len, path_len; /* the root, absolute; a path beneath it, "" for itself */
	uint32_t to_len;             /* rename: beneath the same root */
	uint32_t old_len, new_len;   /* replace. old_len also prepare: NAME NUL TARGET NUL, … */
	uint32_t pad;
	uint8_t hash[32];
};
_Static_assert(sizeof(struct files_request) == 96, "no hidden padding");

enum files_frame_type { FILES_DATA = 1, FILES_ENTRY, FILES_KEEP, FILES_END, FILES_ERROR };

struct files_frame {
	uint32_t type;
	uint32_t len; /* bytes behind it. FILES_KEEP: 0; moat-run is at work */
};

struct files_entry {
	uint64_t size, mtime_ms; /* mtime before 1970: 0 */
	uint64_t offset, length; /* read: the content that follows */
	uint32_t mode, uid, gid; /* mode with the type, as st_mode */
	uint32_t has_hash;
	uint8_t hash[32];
	uint32_t name_len,
		target_len; /* what follows: its path beneath the list's, the target of a link */
};
_Static_assert(sizeof(struct files_entry) == 88, "no hidden padding");

struct files_end {
	uint32_t created;   /* the file or directory was not there */
	uint32_t truncated; /* a list that is longer */
};

struct files_error {
	uint32_t code;   /* enum moat_error, one of MOAT_FILE_ERRORS */
	uint32_t err;    /* errno, or 0 */
	uint64_t number; /* NOT_REPLACED: how often the text is there */
};

#endif
