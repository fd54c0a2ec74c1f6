/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request for files, with the rights of the context. Nothing is done by a path alone: the root is opened
 * first, then the directory of what is meant, beneath it (openat2); what is made, changed or removed there is
 * named by that directory and one name, which is no link.
 *
 *   files.c    the request, and the table of operations
 *   request.c  its form
 *   answer.c   frames, errors
 *   path.c     from a path to a directory and a name
 *   read.c     read, stat
 *   write.c    write, append: the content is gathered beside the file first
 *   replace.c  text in a file
 *   change.c   mkdir, remove, rename
 *   prepare.c  a workspace
 *   pack.c     tar out
 *   unpack.c   tar in
 *   list.c
 */
#ifndef MOAT_RUN_FILES_INTERNAL_H
#define MOAT_RUN_FILES_INTERNAL_H

#include <limits.h>
#include <sys/stat.h>

#include "base/sha256.h"
#include "moat/errors.h"
#include "run/files/files.h"
#include "run/files/protocol.h"

struct job {
	struct files_request request;
	char *root, *path, *to; /* root: absolute; the others without a '/' in front */
	char *old_text, *new_text;
	bool whole; /* the root is "/": links are followed within it */
	int root_fd;
	char *strings; /* where all of these are. Owned */
	size_t listed; /* bytes of the names told */

	/* The answer is this error, unless code is MOAT_OK. */
	enum moat_error code;
	int err;
	uint64_t number;

	/* Of the content that comes in. */
	size_t frame_left;
};

/* A file by its directory and its name in it. */
struct place {
	int dir; /* O_PATH. Owned */
	char name[NAME_MAX + 1];
};

static inline void place_close(struct place *p)
{
	close_fd(&p->dir);
}
#define PLACE_OWNED CLEANUP(place_close)

static inline bool wants(const struct job *j, unsigned flag)
{
	return j->request.flags & flag;
}

/* --- request.c --- */
/* Whether the numbers of a request are within their limits and fit the operation. */
bool files_request_valid(const struct files_request *request);
/* Bytes of the strings that follow it. */
size_t files_request_strings(const struct files_request *request);
/* Splits them; the job borrows what it gets, n + 5 bytes at text. False: a path that is none. */
bool files_request_split(struct job *j, const char *text, size_t n, char *room);

/* --- answer.c --- */
/* The request ends with this error. Returns -EINVAL. */
int refuse_job(struct job *j, enum moat_error code);
/* The same, with the code for an errno. err: positive. */
int refuse_errno(struct job *j, int err);
/* The code for a file that is none to be read or written: by its type. MOAT_OK: a regular file. */
enum moat_error code_of_type(mode_t mode);
/* They end the process when nobody reads any more. */
void tell_frame(enum files_frame_type type, const void *data, size_t n);
void tell_entry(struct files_entry *entry, const char *name, const char *target);
void tell_end(bool created, bool truncated);
void tell_error(const struct job *j);
void fill_entry(const struct stat *st, struct files_entry *ret);
/* All n bytes of standard input, or false. */
bool receive_all(void *buf, size_t n);
/* The next bytes of the content: 0 at its end; or -EINVAL, with UPLOAD_CUT. */
ssize_t take_content(struct job *j, void *buf, size_t n);

/* --- path.c --- */
int root_open(struct job *j);
/* Opens beneath the root, following links that stay there. A descriptor or -EINVAL. */
int open_beneath(struct job *j, const char *path, int flags);
/* Whether no directory before the last name of path, beneath base, is a link; what is not there is none. 1, 0 or -EINVAL. */
int leads_straight(struct job *j, const char *base, const char *path);
/* A regular file, for reading; no device and no FIFO is ever opened. A descriptor or -EINVAL. */
int open_regular(struct job *j, const char *path, struct stat *ret);
/* Where path is. follow: a link is followed to its end, which need not be there. make: parents as well. 0 or -EINVAL. */
int place_open(struct job *j, const char *path, bool follow, bool make, struct place *ret);
/* What is there, if it is: 1, 0, or -EINVAL. */
int place_stat(struct job *j, const struct place *p, struct stat *ret);
/* Directories, as far as they are missing; *ret_made: the last one was. 0 or -EINVAL. */
int make_directories(struct job *j, const char *path, mode_t mode, bool *ret_made);

/* --- write.c --- */
/* A file beside another, which takes its place when it is complete. */
/* A name that nothing has. 0 or -EIO. */
int draft_name(char ret[32]);
struct draft {
	int fd;        /* Owned */
	char name[32]; /* "": it has none yet */
	bool existed;  /* what it takes the place of was there: */
	struct stat old;
};
int draft_open(struct job *j, const struct place *p, struct draft *ret);
/* Puts it in its place, unless that has changed meanwhile. 0 or -EINVAL. */
int draft_commit(struct job *j, const struct place *p, struct draft *d);
void draft_drop(const struct place *p, struct draft *d);
/* Tells what is there now, and the end. */
int tell_place(struct job *j, const struct place *p, const uint8_t *hash, bool created);
/* The same of the directory that the request names. */
int tell_directory(struct job *j, bool created);
/* All bytes or -EINVAL. */
int write_content(struct job *j, int fd, const void *data, size_t n);
/* Whether the condition on the content that is there holds. 0 or -EINVAL. */
int check_same(struct job *j, const struct place *p);

/* --- the operations: 0 when they have told all, or -EINVAL --- */
int files_read(struct job *j);
int files_stat(struct job *j);
int files_write(struct job *j);
int files_append(struct job *j);
int files_replace(struct job *j);
int files_list(struct job *j);
int files_mkdir(struct job *j);
int files_remove(struct job *j);
int files_rename(struct job *j);
int files_workspace(struct job *j);
int files_pack(struct job *j);
int files_unpack(struct job *j);

/* prepare.c: a symbolic link, in the place of another one if that is there. 0 or -EINVAL. */
int make_link(struct job *j, const char *path, const char *target);

/* read.c: of all its bytes. 0 or -EINVAL. */
int hash_file(struct job *j, int fd, uint8_t ret[SHA256_SIZE]);

#endif
