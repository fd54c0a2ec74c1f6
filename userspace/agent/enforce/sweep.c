/* SPDX-License-Identifier: Apache-2.0 */
/* Taking out of a map what an agent before this one left there. */
#include "agent/enforce/internal.h"

#define KEY_MAX 128 /* of the largest, struct moat_socket_name */

int enforce_sweep(const struct bpf_map *map, enforce_stale_fn is_stale, const void *data)
{
	_Alignas(8) char key[KEY_MAX], next[KEY_MAX];
	size_t size = bpf_map__key_size(map);
	int fd = bpf_map__fd(map);
	int r, failed = 0;

	if (size > sizeof(key))
		return -E2BIG;
	r = bpf_map_get_next_key(fd, NULL, next);
	while (r == 0) {
		memcpy(key, next, size);
		/* the next one first: what follows a key that is gone is unknown */
		r = bpf_map_get_next_key(fd, key, next);
		if (!is_stale || is_stale(fd, key, data)) {
			int deleted = bpf_map_delete_elem(fd, key);

			if (deleted < 0 && failed == 0)
				failed = deleted;
		}
	}
	return failed;
}
