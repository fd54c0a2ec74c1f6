/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOAT_ATTEMPT_URING_H
#define MOAT_ATTEMPT_URING_H

#include <sys/socket.h>

/* bind(2) as one io_uring request. 0 or -errno; -EINVAL where the kernel has no IORING_OP_BIND. */
int uring_bind(int fd, const struct sockaddr *addr, socklen_t len);

#endif
