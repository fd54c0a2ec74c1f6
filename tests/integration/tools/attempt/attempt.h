/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt: one program with one case per technique of reaching, seeing or displacing a process.
 *
 * The table in cases.h is the one list of techniques: what the program can do, what each answers
 * under moat, what the tests expect and what the demo shows all come from it.
 *
 * A case is a function that makes exactly one attempt, in a process of its own, and returns 0 when
 * the attempt succeeded, -errno as the kernel refused it, or -NOT_HERE when this kernel lacks what
 * the technique needs. What fails on the way to the attempt is reported as such: see setup().
 */
#ifndef MOAT_ATTEMPT_H
#define MOAT_ATTEMPT_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#define NOT_HERE 5000 /* no errno */

/* What is attacked. Borrowed by the case; it may change its copy. */
struct target {
	pid_t pid, pgid, tid; /* tid: a thread of pid that is not its leader, or pid itself */
	uint16_t port;        /* to be bound */
	uint16_t listener;    /* somebody listens on it, over TCP */
	const char *cgroup;   /* of somebody else, relative to the root of cgroup2: "/moat-x/y" */
	const char *socket;   /* path of a listening unix socket */
	const char *link;     /* another hard link of the same socket */
	const char *pin;      /* a pinned BPF map */
	const char *abstract; /* abstract name of a listening unix socket; NAME.datagram: of another */
	const char *tree;     /* a directory of files, see files.c */
	const char *alias;    /* another hard link of one of them */
	const char *hidden;   /* a directory of hidden files, see hidden.c; stands for tree in these cases */
	const char *hidden_alias;
	unsigned disk;        /* device number of a block device with an ext4 file system */
	int channel;          /* between a case and a helper process of its own */
	bool fresh;           /* the target was made by attempt itself and is the user's own */
	bool enforced;        /* the caller vouches that a kill(-1) stays within moat */
	const char *step;     /* set by setup() */
};

/* The result of a system call that returns -1 and errno. */
static inline int answer(long r)
{
	return r < 0 ? -errno : 0;
}

/* What comes before the attempt failed: not an answer. step: static. */
static inline int setup(struct target *t, const char *step)
{
	t->step = step;
	return errno ? -errno : -EIO;
}

/* Closes what a case opened without losing its answer. */
static inline int answered(int fd, int result)
{
	if (fd >= 0)
		close(fd);
	return result;
}

/* Runs fn in a child and returns what it returned; -EIO if the child died. */
int in_child(int (*fn)(struct target *), struct target *t);
/* Like in_child(), but in a grandchild whose parent is gone. */
int in_orphan(int (*fn)(struct target *), struct target *t);
#define PLACE "/tmp" /* where cases mount, in a mount namespace of their own */

/* Of a file of the tree; the descriptor of the tree, which it is relative to, or -errno. */
struct tree_handle {
	struct file_handle head;
	unsigned char rest[MAX_HANDLE_SZ];
};
int handle_of_file(struct target *t, struct tree_handle *ret);
/* Connects to a unix stream socket by path. */
int connect_to(struct target *t, const char *path);
/* Opens, and closes again; 0 or -errno. */
int open_once(const char *path, int flags);
/* Mounts a file system at PLACE, in a mount namespace of one's own. 0, -errno, or -NOT_HERE: no such type. */
int mount_here(struct target *t, const char *type);
/* The address of an abstract unix socket; its length. */
socklen_t abstract_address(struct sockaddr_un *ret, const char *name, const char *suffix);
/* A private copy of the mount table, so that no attempt changes anybody's but its own. */
int own_mounts(struct target *t);
/* Waits up to ms for the process to end. true: it has ended. */
bool process_ended(int pidfd, int ms);
/* A process that waits for a signal and nothing else; the caller's child. -1 and errno. */
pid_t spawn_sleeper(void);

/*
 * What is left to do when an owner of the pipe is set: the kernel sends SIGKILL on behalf of whoever set
 * it, and tells nobody when it does not, so whether the target ended is the answer. One's own is to end,
 * however long a slow machine takes for it.
 */
int arm_and_wait(struct target *t, const int fds[2], int pidfd);

int pidfd_open_(pid_t pid);
int pidfd_send_(int pidfd, int sig, unsigned flags);

#include "cases.h"
#define DECLARE(name, ...) int attempt_##name(struct target *t);
CASES(DECLARE)
#undef DECLARE

#endif
