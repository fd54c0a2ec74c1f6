/* SPDX-License-Identifier: Apache-2.0 */
/* Calls as one io_uring request. 0 or -errno; -ENOSYS where the kernel has no io_uring. */
#ifndef MOAT_ATTEMPT_URING_H
#define MOAT_ATTEMPT_URING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* -EINVAL where the kernel has no IORING_OP_BIND. */
int uring_bind(int fd, const struct sockaddr *addr, socklen_t len);
/* madvise(2) */
int uring_madvise(void *start, uint32_t len, uint32_t advice);
/* Reads a byte. priority: as ioprio_set(2) takes it; 0: none. */
int uring_read(int fd, uint16_t priority);
/* in_worker: not by the caller itself but by a thread of the kernel's making. */
int uring_connect(int fd, const struct sockaddr *addr, socklen_t len, bool in_worker);
int uring_sendmsg(int fd, const struct msghdr *msg);

#endif
