/* SPDX-License-Identifier: Apache-2.0 */
/* The character devices that the configuration gives user code. See bpf/open.bpf.c. */
#include "agent/enforce/internal.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

/* The key of a device in the map. 0 or -errno. */
static int key_of(const struct config_device *device, uint32_t *ret_key, struct failure *f)
{
	uint32_t major = device->major, minor = device->minor;
	struct stat st;

	if (device->path) {
		if (stat(device->path, &st) < 0)
			return fail(f, errno, "cannot find the device %s", device->path);
		if (!S_ISCHR(st.st_mode))
			return fail(f, EINVAL, "%s is not a character device", device->path);
		major = major(st.st_rdev);
		minor = minor(st.st_rdev);
	}
	*ret_key = major << MOAT_MINOR_BITS | minor;
	return 0;
}

int enforce_allow_devices(struct enforce *e, const struct config *config, struct failure *f)
{
	int map = bpf_map__fd(e->bpf->maps.devices);
	uint32_t key, one = 1;
	int r = enforce_sweep(e->bpf->maps.devices, NULL, NULL); /* what the last agent gave */

	if (r < 0)
		return fail(f, -r, "cannot empty the devices map");
	for (size_t i = 0; i < config->n_devices; i++) {
		r = key_of(&config->devices[i], &key, f);
		if (r < 0)
			return r;
		r = bpf_map_update_elem(map, &key, &one, BPF_ANY);
		if (r < 0)
			return fail(f, -r, "cannot write the devices map");
	}
	return 0;
}
