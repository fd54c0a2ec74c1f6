/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOAT_ATTEMPT_URING_H
#define MOAT_ATTEMPT_URING_H

#include <stdint.h>
#include <sys/socket.h>

/* bind(2) as one io_uring request. 0 or -errno; -EINVAL where the kernel has no IORING_OP_BIND. */
int uring_bind(int fd, const struct sockaddr *addr, socklen_t len);
/* madvise(2) */
int uring_madvise(void *start, uint32_t len, uint32_t advice);
/* Reads a byte; the number of bytes read, or -errno. priority: as ioprio_set(2) takes it; 0: none. */
int uring_read(int fd, uint16_t priority);

#endif
