// SPDX-License-Identifier: Apache-2.0
/* The filters of system calls: the agent has made them, this only keeps them. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include "init/init.h"

static struct sock_filter rows[INIT_FILTERS][INIT_FILTER_MAX / sizeof(struct sock_filter)];
static struct sock_fprog filters[INIT_FILTERS];

int filters_keep(const char *bytes, const uint32_t len[INIT_FILTERS])
{
	for (unsigned i = 0; i < INIT_FILTERS; i++) {
		if (len[i] > sizeof(rows[i]) || len[i] % sizeof(struct sock_filter) != 0)
			return -EPROTO;
		memcpy(rows[i], bytes, len[i]);
		filters[i] = (struct sock_fprog){
			.len = (unsigned short)(len[i] / sizeof(struct sock_filter)),
			.filter = rows[i]
		};
		bytes += len[i];
	}
	return 0;
}

int filters_apply(uint32_t number)
{
	if (number == 0)
		return 0;
	if (number > INIT_FILTERS || filters[number - 1].len == 0)
		return -EPROTO;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filters[number - 1]) < 0 ? -errno : 0;
}
