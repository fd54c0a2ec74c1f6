/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moatd <-> moat-run, of which moat-init only passes the descriptors on.
 *
 * moatd -> moat-run: a sealed file in memory, RUN_INPUT_FD: struct run_input, then variables_len bytes of entries,
 * then the command string. The entries are what a context's state has and an environment cannot hold.
 *
 * moat-run -> moatd: packets over a SOCK_SEQPACKET socket, RUN_STATE_FD, where has_state says that it is there. At
 * most one of each kind; what the string changed is in one, RUN_SAYS_STATE, sent when it ends, or right before its last
 * program takes the place of moat-run. moatd looks for them once, when the command has ended. Whoever else has got hold
 * of the socket can say what he likes: moatd takes every packet for an adversary's.
 *
 * An entry is NUL-terminated text, its first byte says what it is of:
 *
 *   dPATH        the working directory
 *   xNAME=VALUE  a variable that is exported; xNAME: that would be, if it were set
 *   vNAME=VALUE  one that is not
 *   uNAME        one that was unset
 */
#ifndef MOAT_RUN_PROTOCOL_H
#define MOAT_RUN_PROTOCOL_H

#include <stdint.h>

#define RUN_INPUT_FD 5
#define RUN_STATE_FD 6

#define RUN_MAGIC 0x6d6f6174u
/* Of the entries of a packet, and of a context's state, together and without the directory. */
#define RUN_STATE_NAMES_MAX 1024u
#define RUN_STATE_BYTES_MAX (64u * 1024)
#define RUN_PATH_MAX 4096u /* of a directory, with the NUL */
#define RUN_ENTRIES_MAX (RUN_STATE_BYTES_MAX + RUN_PATH_MAX + 1u)

enum run_entry { RUN_DIRECTORY = 'd', RUN_EXPORTED = 'x', RUN_VARIABLE = 'v', RUN_UNSET = 'u' };

struct run_input {
	uint32_t magic;
	uint32_t has_state;
	uint32_t variables_len;
	uint32_t string_len;
};

enum run_says {
	RUN_SAYS_STATE = 1,
	RUN_SAYS_TOO_LARGE, /* in its place: it is above the limits, and nothing is handed back */
};

/* Followed by len bytes: count entries. */
struct run_packet {
	uint32_t magic;
	uint32_t says; /* enum run_says */
	uint32_t len;
	uint32_t count;
};

#endif
