// SPDX-License-Identifier: Apache-2.0
#include "agent/layers/internal.h"

#include <linux/capability.h>
#include <sys/random.h>

#include "agent/process/landlock.h"
#include "base/log.h"

struct layers {
	unsigned active;
	struct filter filters[SECCOMP_FILTERS];
	uint64_t secret[SECCOMP_SECRET];
	int ruleset;
};

static int open_seccomp(struct layers *layers, struct failure *f)
{
	int r = seccomp_probe();

	if (r < 0) {
		log_warning("system calls are not filtered: the kernel takes no filters: %s",
			    strerror(-r));
		return 0;
	}
	if (getrandom(layers->secret, sizeof(layers->secret), 0) != sizeof(layers->secret))
		return fail(f, EIO, "no random numbers");
	for (unsigned i = 0; i < SECCOMP_FILTERS && r == 0; i++)
		r = seccomp_build(i, layers->secret, &layers->filters[i]);
	if (r < 0)
		return fail(f, -r, "cannot build the filters of system calls");
	layers->active |= LAYER_SECCOMP;
	return 0;
}

static int open_landlock(struct layers *layers, struct failure *f)
{
	int abi = landlock_abi(), r = abi < 0 ? abi : landlock_make_ruleset(abi, &layers->ruleset);

	/* Not built in, not in the list of lsm= or too old, or kept from us by a container engine's own filter. */
	if (r == -ENOSYS || r == -EOPNOTSUPP || r == -EPERM) {
		log_warning("user code is not confined by Landlock: %s",
			    r == -EOPNOTSUPP ? "not in the list of lsm=, or too old" : strerror(-r));
		return 0;
	}
	if (r < 0)
		return fail(f, -r, "cannot make the ruleset of Landlock");
	layers->active |= LAYER_LANDLOCK | (abi >= LANDLOCK_SCOPES ? LAYER_LANDLOCK_SCOPES : 0);
	return 0;
}

int layers_open(struct enforce *e, enum init_world world, struct layers **ret, struct failure *f)
{
	struct layers *layers = calloc(1, sizeof(*layers));
	int r;

	if (!layers)
		return fail(f, ENOMEM, "layers");
	layers->ruleset = -EBADF;
	r = enforce_active(e) ? 0 : open_seccomp(layers, f);
	if (r == 0 && !enforce_active(e)) {
		layers->active |= (world != INIT_WORLD_NONE ? LAYER_MOUNTS : 0) |
				  (world == INIT_WORLD_OWN ? LAYER_PROC : 0) |
				  (enforce_guards_ports(e) ? LAYER_PORTS : 0);
		r = open_landlock(layers, f);
	}
	if (r < 0) {
		layers_close(layers);
		return r;
	}
	*ret = layers;
	return 0;
}

void layers_close(struct layers *layers)
{
	if (!layers)
		return;
	for (unsigned i = 0; i < SECCOMP_FILTERS; i++)
		free(layers->filters[i].bytes);
	close_fd(&layers->ruleset);
	explicit_bzero(layers->secret, sizeof(layers->secret));
	free(layers);
}

unsigned layers_active(const struct layers *layers)
{
	return layers->active;
}

const uint64_t *layers_secret(const struct layers *layers)
{
	return layers->secret;
}

int layers_ruleset(const struct layers *layers)
{
	return layers->ruleset;
}

bool layers_can_confine(const struct layers *layers, uint64_t capabilities)
{
	if (!(layers->active & LAYER_LANDLOCK))
		return false;
	return layers->active & LAYER_LANDLOCK_SCOPES || !(capabilities & 1ull << CAP_SYS_ADMIN);
}

uint64_t layers_withheld(const struct layers *layers)
{
	return layers->active ? 1ull << CAP_PERFMON : 0; /* nothing is where the kernel programs are */
}

const void *layers_filter(const struct layers *layers, enum seccomp_filter filter, size_t *ret_len)
{
	*ret_len = layers->filters[filter].len;
	return layers->filters[filter].bytes;
}
