/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error codes of the API: stable names, the HTTP status each is sent with, and the exit status
 * that the command line gives for it. One table; the enum, the server and the client come from it.
 *
 * An error body is {"code": NAME, "message": text, "details": {…}}; details is optional and holds,
 * where known, "errno" (number), "step" (see userspace/init/protocol.h), "field", "offset", "limit", "expected", "exitCode"; of a command
 * string that is refused "construct", "offset", "line", "column", "excerpt", "hint" and "retry" (see moat-run(7)).
 */
#ifndef MOAT_ERRORS_H
#define MOAT_ERRORS_H

/* Of files: what moat-run may answer (userspace/run/files). details.errno where the kernel gave one. */
#define MOAT_FILE_ERRORS(X)                                                                        \
	X(BAD_PATH, 400, 125)          /* names nothing that can be made, written or removed */    \
	X(BAD_ARCHIVE, 400, 125)       /* no tar archive, or with entries of other kinds */        \
	X(PERMISSION_DENIED, 403, 125) /* the commands of the context may not either */            \
	X(OUTSIDE_WORKSPACE, 403, 125) /* not beneath the workspace of the context */              \
	X(READ_ONLY, 403, 125)         /* the file system */                                       \
	X(NO_SUCH_FILE, 404, 125)                                                                  \
	X(FILE_EXISTS, 409, 125)                                                                   \
	X(IS_A_DIRECTORY, 409, 125)                                                                \
	X(IS_A_FIFO, 409, 125)                                                                     \
	X(IS_A_DEVICE, 409, 125)                                                                   \
	X(IS_A_SOCKET, 409, 125)                                                                   \
	X(NOT_A_DIRECTORY, 409, 125)                                                               \
	X(NOT_EMPTY, 409, 125) /* a directory that is to be removed, or renamed over */            \
	X(TOO_MANY_LINKS, 409, 125)                                                                \
	X(OTHER_FILESYSTEM, 409, 125) /* a rename, or a removal, that would leave one */           \
	X(FILE_IN_USE, 409, 125)      /* it is executed, mounted on, or changes all the time */    \
	X(FILE_CHANGED, 412, 125)     /* it has another content than ifMatch says, or got one */   \
	X(FILE_TOO_LARGE, 413, 125)                                                                \
	X(RANGE_NOT_SATISFIABLE, 416, 125)                                                         \
	X(NOT_REPLACED, 422, 125) /* the text is not there so many times; details.count */         \
	X(UPLOAD_CUT, 422, 125)   /* the content did not arrive whole */                           \
	X(FILE_FAILED, 500, 125)  /* anything else; details.errno */                               \
	X(NO_SPACE, 507, 125)     /* on the file system, or in a quota */

#define MOAT_ERRORS(X)                                                                             \
	/* code, HTTP status, exit status of the CLI */                                            \
	X(BAD_JSON, 400, 125)           /* not JSON; details.offset is the byte */                 \
	X(UNKNOWN_FIELD, 400, 125)      /* details.field */                                        \
	X(MISSING_FIELD, 400, 125)      /* details.field */                                        \
	X(BAD_VALUE, 400, 125)          /* details.field */                                        \
	X(SYNTAX_ERROR, 400, 125)       /* a command string that no shell reads either */          \
	X(UNSUPPORTED_SYNTAX, 400, 125) /* one that goes beyond the language of moat-run(7) */     \
	X(FORBIDDEN, 403, 125)          /* the peer is user code */                                \
	X(NOT_FOUND, 404, 125)          /* no such route */                                        \
	X(NO_SUCH_CONTEXT, 404, 125)                                                               \
	X(NO_SUCH_PROCESS, 404, 125)                                                               \
	X(NO_SUCH_SERVICE, 404, 125)                                                               \
	X(METHOD_NOT_ALLOWED, 405, 125)                                                            \
	X(ENFORCEMENT_INACTIVE, 409,                                                               \
	  125)                      /* the kernel enforces nothing: there is no mode to set */     \
	X(CONTEXT_EXISTS, 409, 125) /* another of that name */                                     \
	X(CONTEXT_ENDING, 409, 125) /* it was removed, and something still runs in it */           \
	X(IMMUTABLE, 409, 125)      /* what a context is, or a key of it; details.field */         \
	X(CAPABILITIES_UNAVAILABLE, 409,                                                           \
	  125)                         /* more than the contexts of the configuration have */      \
	X(LIMIT_UNAVAILABLE, 409, 125) /* of a context: this machine cannot set it */              \
	X(ID_TAKEN, 409, 125)          /* of a process: by a request that was another one */       \
	X(AGENT_RESTARTED, 409,                                                                    \
	  125)                   /* the instance that a request names is gone; nothing has run */  \
	X(WRONG_OFFSET, 409, 125)      /* of stdin: bytes before it are missing; details.expected */ \
	X(NO_TERMINAL, 409, 125)       /* to be resized: it was started without tty */             \
	X(STDIN_CLOSED, 409, 125)      /* or nobody reads it any more, or it was never open */     \
	X(RESULT_GONE, 410, 125) /* the request was sent before; details.exitCode */               \
	X(BODY_TOO_LARGE, 413, 125)        /* details.limit, bytes */                              \
	X(ARGUMENTS_TOO_LARGE, 413, 125)   /* argv + env; details.limit, bytes */                  \
	X(ENVIRONMENT_TOO_LARGE, 413, 125) /* of a context; details.limit, bytes */                \
	X(COMMAND_NOT_FOUND, 422, 127)     /* details.errno, details.step */                       \
	X(COMMAND_NOT_EXECUTABLE, 422, 126)                                                        \
	X(BAD_DIRECTORY, 422, 125)      /* cwd; details.errno */                                   \
	X(SPAWN_FAILED, 422, 125)       /* any other step; details.errno, details.step */          \
	X(TOO_MANY_PROCESSES, 429, 125) /* details.limit */                                        \
	X(TOO_MANY_IDS, 429, 125)       /* chosen by clients; details.limit */                     \
	X(TOO_MANY_CONTEXTS, 429, 125)  /* details.limit */                                        \
	X(INTERNAL, 500, 125)                                                                      \
	X(BUSY, 503, 125) /* no memory, descriptor or room for it now: try again */                \
	X(OUT_OF_MEMORY, 503, 125)                                                                 \
	X(NAMESPACE_LOST, 503, 125)    /* its moat-init died or cannot be made; nothing has run */ \
	X(NOT_READY, 503, 1)           /* /v1/health?ready: which service, or enforcement */       \
	X(NOT_STARTED, 503, 124)       /* the time limit was over, or it was killed, before; nothing has run */\
	X(SHUTTING_DOWN, 503, 125)                                                                 \
	X(FILE_TIMED_OUT, 504, 125) /* no byte of it came or went for a while */                   \
	MOAT_FILE_ERRORS(X)

enum moat_error {
	MOAT_OK = 0,
#define MOAT_ERROR_ENUM(code, http, exit) MOAT_E_##code,
	MOAT_ERRORS(MOAT_ERROR_ENUM)
#undef MOAT_ERROR_ENUM
};

#endif
