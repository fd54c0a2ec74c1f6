/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls as the kernel has them: the result or -errno, and no code elsewhere. A child of
 * moat-init has to fault in each page of the program that it runs through, so what it runs is kept
 * together.
 */
#ifndef MOAT_INIT_RAW_H
#define MOAT_INIT_RAW_H

#include <stdint.h>
#include <sys/syscall.h>

static inline __attribute__((always_inline)) long raw_call(long nr, long a, long b, long c, long d,
							   long e)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;

	__asm__ volatile("syscall"
			 : "+a"(nr)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return nr;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
			 : "memory", "cc");
	return x0;
#else
#error "raw_call: no code for this architecture"
#endif
}

#define RAW_5(nr, a, b, c, d, e, ...)                                                              \
	raw_call(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
/* raw(SYS_name, up to five arguments) */
#define raw(...) RAW_5(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

#endif
