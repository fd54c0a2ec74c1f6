// SPDX-License-Identifier: Apache-2.0
#include "agent/layers/internal.h"

#include "base/log.h"

struct layers {
	unsigned active;
	char reason[128]; /* of seccomp */
	struct filter filters[SECCOMP_CLASSES];
};

static int open_seccomp(struct layers *layers, struct failure *f)
{
	int r = seccomp_probe();

	if (r < 0) {
		snprintf(layers->reason, sizeof(layers->reason), "the kernel takes no filters: %s",
			 strerror(-r));
		log_warning("system calls are not filtered: %s", layers->reason);
		return 0;
	}
	for (unsigned i = 0; i < SECCOMP_CLASSES && r == 0; i++)
		r = seccomp_build(i, &layers->filters[i]);
	if (r < 0)
		return fail(f, -r, "cannot build the filters of system calls");
	layers->active |= LAYER_SECCOMP;
	return 0;
}

int layers_open(struct enforce *e, struct layers **ret, struct failure *f)
{
	struct layers *layers = calloc(1, sizeof(*layers));
	int r;

	if (!layers)
		return fail(f, ENOMEM, "layers");
	r = enforce_active(e) ? 0 : open_seccomp(layers, f);
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
	for (unsigned i = 0; i < SECCOMP_CLASSES; i++)
		free(layers->filters[i].bytes);
	free(layers);
}

unsigned layers_active(const struct layers *layers)
{
	return layers->active;
}

const char *layers_reason(const struct layers *layers, enum layer layer)
{
	return layers->active & layer ? "" : layers->reason;
}

const void *layers_filter(const struct layers *layers, enum seccomp_class class, size_t *ret_len)
{
	*ret_len = layers->filters[class].len;
	return layers->filters[class].bytes;
}
