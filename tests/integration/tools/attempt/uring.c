/* SPDX-License-Identifier: Apache-2.0 */
#include "uring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OP_BIND 56 /* IORING_OP_BIND, since 6.11 */

static void *map(int ring, size_t size, uint64_t offset)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, (off_t)offset);

	return p == MAP_FAILED ? NULL : p;
}

static int submit(int ring, const struct io_uring_params *p, const struct io_uring_sqe *request)
{
	size_t sq_size = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	size_t cq_size = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	char *rings = map(ring, sq_size > cq_size ? sq_size : cq_size, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqes = map(ring, p->sq_entries * sizeof(*sqes), IORING_OFF_SQES);
	struct io_uring_cqe *cqe;

	if (!rings || !sqes)
		return -errno;
	sqes[0] = *request;
	((uint32_t *)(rings + p->sq_off.array))[0] = 0;
	__atomic_store_n((uint32_t *)(rings + p->sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0ul) < 0)
		return -errno;
	cqe = (struct io_uring_cqe *)(rings + p->cq_off.cqes);
	return cqe->res;
}

/* By a ring of its own. */
static int run(const struct io_uring_sqe *request)
{
	struct io_uring_params p = { 0 };
	int r, ring = (int)syscall(SYS_io_uring_setup, 1, &p);

	if (ring < 0)
		return -errno;
	r = submit(ring, &p, request);
	close(ring);
	return r < 0 ? r : 0;
}

/* off: where the kernel reads the length: addr2 */
int uring_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	return run(&(struct io_uring_sqe){
		.opcode = OP_BIND, .fd = fd, .addr = (uintptr_t)addr, .off = len });
}

int uring_connect(int fd, const struct sockaddr *addr, socklen_t len, bool in_worker)
{
	return run(&(struct io_uring_sqe){
		.opcode = IORING_OP_CONNECT, .fd = fd, .addr = (uintptr_t)addr, .off = len,
		.flags = in_worker ? IOSQE_ASYNC : 0 });
}

int uring_sendmsg(int fd, const struct msghdr *msg)
{
	return run(&(struct io_uring_sqe){
		.opcode = IORING_OP_SENDMSG, .fd = fd, .addr = (uintptr_t)msg, .len = 1 });
}

int uring_madvise(void *start, uint32_t len, uint32_t advice)
{
	return run(&(struct io_uring_sqe){
		.opcode = IORING_OP_MADVISE, .addr = (uintptr_t)start, .len = len,
		.fadvise_advice = advice });
}

int uring_read(int fd, uint16_t priority)
{
	static char byte;

	return run(&(struct io_uring_sqe){
		.opcode = IORING_OP_READ, .fd = fd, .addr = (uintptr_t)&byte, .len = 1,
		.ioprio = priority });
}
